package fetch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func mustParse(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return u
}

func TestAnAnswerIsUsedForWhatItIs(t *testing.T) {
	known, unknown := part{have: 5, total: 10, etag: `"a"`}, part{have: 5, total: -1, etag: `"a"`}
	for name, tt := range map[string]struct {
		part   part
		status int
		header http.Header
		want   verdict
	}{
		"the rest":                   {known, 206, http.Header{"Content-Range": {"bytes 5-9/10"}, "Etag": {`"a"`}}, theRest},
		"some of the rest":           {known, 206, http.Header{"Content-Range": {"bytes 5-7/10"}, "Etag": {`"a"`}}, theRest},
		"the rest of a length":       {unknown, 206, http.Header{"Content-Range": {"BYTES 5-9/10"}, "Etag": {`"a"`}}, theRest},
		"the whole file":             {known, 200, http.Header{"Etag": {`"b"`}}, wholeFile},
		"another success":            {known, 203, nil, wholeFile},
		"from another byte":          {known, 206, http.Header{"Content-Range": {"bytes 4-9/10"}, "Etag": {`"a"`}}, useless},
		"of another length":          {known, 206, http.Header{"Content-Range": {"bytes 5-10/11"}, "Etag": {`"a"`}}, useless},
		"of an unknown length":       {known, 206, http.Header{"Content-Range": {"bytes 5-9/*"}, "Etag": {`"a"`}}, useless},
		"of another version":         {known, 206, http.Header{"Content-Range": {"bytes 5-9/10"}, "Etag": {`"b"`}}, useless},
		"of a version like this one": {known, 206, http.Header{"Content-Range": {"bytes 5-9/10"}, "Etag": {`W/"a"`}}, useless},
		"of no version":              {known, 206, http.Header{"Content-Range": {"bytes 5-9/10"}}, useless},
		"two ranges":                 {known, 206, http.Header{"Content-Range": {"bytes 5-9/10", "bytes 5-9/10"}, "Etag": {`"a"`}}, useless},
		"several parts":              {known, 206, http.Header{"Content-Type": {"multipart/byteranges; boundary=x"}, "Etag": {`"a"`}}, useless},
		"no such range":              {known, 416, http.Header{"Content-Range": {"bytes */3"}}, useless},
		"a failure":                  {known, 503, nil, failure},
		"not modified":               {known, 304, nil, useless},
		"gone":                       {known, 403, nil, useless},
		"a redirect":                 {known, 302, nil, useless},
	} {
		if got := tt.part.judge(&http.Response{StatusCode: tt.status, Header: tt.header}); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

var aRange = regexp.MustCompile(`(?i)^bytes ([0-9]+)-([0-9]+)/([0-9]+)$`)

func FuzzParseContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 0-0/1", "bytes 5-9/10", "bytes */10", "bytes 5-9/*", "bytes +5-9/10", "bytes 9-5/10", "bytes 5-9/9", "lines 0-1/2", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		start, total, ok := parseContentRange(value)
		if ok && (start < 0 || start >= total) {
			t.Errorf("%q: from %d of %d", value, start, total)
		}
		want := false
		if m := aRange.FindStringSubmatch(strings.TrimSpace(value)); m != nil {
			first, err1 := strconv.ParseInt(m[1], 10, 64)
			last, err2 := strconv.ParseInt(m[2], 10, 64)
			size, err3 := strconv.ParseInt(m[3], 10, 64)
			want = errors.Join(err1, err2, err3) == nil && first <= last && last < size
			if want && (start != first || total != size) {
				t.Errorf("%q: from %d of %d", value, start, total)
			}
		}
		if ok != want {
			t.Errorf("%q: %t", value, ok)
		}
	})
}

// flaky is an origin whose connections break.
type flaky struct {
	content string
	changes bool // with every answer, by its first byte
	etag    func(try int) string
	cuts    []int // after how many bytes of the body each answer breaks
	status  func(try int) int

	requests []*http.Request
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	try := len(f.requests)
	f.requests = append(f.requests, r)
	if f.status != nil && f.status(try) != 0 {
		w.WriteHeader(f.status(try))
		return
	}
	if f.etag != nil {
		w.Header().Set("ETag", f.etag(try))
	}
	body := &cutBody{ResponseWriter: w, left: -1}
	if try < len(f.cuts) {
		body.left = f.cuts[try]
	}
	content := f.content
	if f.changes {
		content = string(rune('a'+try)) + content[1:]
	}
	http.ServeContent(body, r, "", time.Time{}, strings.NewReader(content))
}

// cutBody breaks the connection when so many bytes of a body have gone.
type cutBody struct {
	http.ResponseWriter
	left int // or -1 for all
}

func (c *cutBody) Write(p []byte) (int, error) {
	if c.left < 0 {
		return c.ResponseWriter.Write(p)
	}
	n := min(c.left, len(p))
	_, _ = c.ResponseWriter.Write(p[:n])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func always(etag string) func(int) string { return func(int) string { return etag } }

func TestABrokenTransferContinues(t *testing.T) {
	content := make([]byte, 300_000)
	for i := range content {
		content[i] = byte(rand.N(256))
	}
	for name, tt := range map[string]struct {
		origin flaky
		want   []string // the ranges that were asked for
	}{
		"where it stopped":            {flaky{cuts: []int{100_000}, etag: always(`"a"`)}, []string{"", "bytes=100000-"}},
		"several times":               {flaky{cuts: []int{1, 1, 200_000}, etag: always(`"a"`)}, []string{"", "bytes=1-", "bytes=2-", "bytes=200002-"}},
		"after its first byte":        {flaky{cuts: []int{1}, etag: always(`"a"`)}, []string{"", "bytes=1-"}},
		"before its last byte":        {flaky{cuts: []int{299_999}, etag: always(`"a"`)}, []string{"", "bytes=299999-"}},
		"from its start, unvalidated": {flaky{cuts: []int{100_000}, changes: true}, []string{"", ""}},
		"from its start, weakly":      {flaky{cuts: []int{100_000}, changes: true, etag: always(`W/"a"`)}, []string{"", ""}},
		"from its start, changed": {flaky{cuts: []int{100_000}, changes: true, etag: func(try int) string { return fmt.Sprintf(`"%d"`, try) }},
			[]string{"", "bytes=100000-"}},
		"from its start, answered oddly": {flaky{cuts: []int{100_000}, etag: always(`"a"`), status: func(try int) int {
			return []int{0, 416, 0}[try]
		}}, []string{"", "bytes=100000-", ""}},
		"after a failure of the origin": {flaky{cuts: []int{-1, 100_000}, etag: always(`"a"`), status: func(try int) int {
			return []int{503, 0, 500, 0}[try]
		}}, []string{"", "", "bytes=100000-", "bytes=100000-"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &tt.origin
			o.content = string(content)
			c := newClient(t, func(o *Options) { o.Retries = 3 })
			result, err := fetch(t, c, serve(t, o.ServeHTTP))
			if err != nil {
				t.Fatal(err)
			}
			want := o.content
			if o.changes {
				want = "b" + want[1:]
			}
			if got, err := os.ReadFile(result.Path); string(got) != want || result.Size != int64(len(content)) {
				t.Errorf("the file is another: %d bytes, %v", len(got), err)
			}
			var asked []string
			for _, r := range o.requests {
				asked = append(asked, r.Header.Get("Range"))
				if (r.Header.Get("Range") != "") != (r.Header.Get("If-Range") == `"a"` || r.Header.Get("If-Range") == `"0"`) {
					t.Errorf("asked for %q if %q", r.Header.Get("Range"), r.Header.Get("If-Range"))
				}
			}
			if !slices.Equal(asked, tt.want) {
				t.Errorf("asked for %q, want %q", asked, tt.want)
			}
		})
	}
}

func TestValidatorsAreNotComparedBetweenURLs(t *testing.T) {
	// two mirrors whose versions have the same name
	var asked []string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Range"))
		w.Header().Set("ETag", `"1"`)
		switch {
		case r.URL.Path == "/":
			http.Redirect(w, r, fmt.Sprint("/mirror", len(asked)), http.StatusFound)
		case r.URL.Path == "/mirror1" && len(asked) > 2:
			w.WriteHeader(http.StatusForbidden) // as a signed URL that has expired
		case r.URL.Path == "/mirror1":
			http.ServeContent(&cutBody{w, 5}, r, "", time.Time{}, strings.NewReader("the first mirror"))
		default:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("the other mirror"))
		}
	})
	c := newClient(t, func(o *Options) { o.Retries = 1 })
	result, err := fetch(t, c, origin)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(result.Path); string(got) != "the other mirror" {
		t.Errorf("got %q, %v", got, err)
	}
	if want := []string{"/ ", "/mirror1 ", "/mirror1 bytes=5-", "/ ", "/mirror4 "}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}
