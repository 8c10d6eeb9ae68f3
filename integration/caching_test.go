package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// reuse is what a second call of the same makes of what the first one stored.
type reuse int

const (
	fetched     reuse = iota // another request, another file
	fresh                    // no request, the same file
	revalidated              // a conditional request, the same file
)

// numbered answers with other content each time, unless a condition holds.
func numbered(etag string, header ...string) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		edition{body: fmt.Sprintf("content %d", n.Add(1)), etag: etag, header: header}.offer(w, r)
	}
}

func httpDate(in time.Duration) string {
	return time.Now().Add(in).UTC().Format(http.TimeFormat)
}

func TestAFileIsUsedAgainAsTheCachingRulesSay(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	const cc, v1 = "Cache-Control", `"v1"`
	modified := []string{"Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"}
	rows := map[string]struct {
		want    reuse
		etag    string
		header  []string // of the answers
		request []string // headers that the caller sets
	}{
		"max-age":                             {fresh, "", []string{cc, "max-age=60"}, nil},
		"max-age in capitals":                 {fresh, "", []string{cc, "MAX-AGE=60"}, nil},
		"max-age in quotes":                   {fresh, "", []string{cc, `max-age="60"`}, nil},
		"max-age among others":                {fresh, "", []string{cc, "public, immutable", cc, "foo=\"a, b\", max-age=60"}, nil},
		"max-age for a private cache":         {fresh, "", []string{cc, "private, max-age=60"}, nil},
		"max-age with must-revalidate":        {fresh, v1, []string{cc, "max-age=60, must-revalidate"}, nil},
		"max-age of centuries":                {fresh, "", []string{cc, "max-age=99999999999"}, nil},
		"max-age with an age":                 {fresh, "", []string{cc, "max-age=3600", "Age", "60"}, nil},
		"max-age that is used up by an age":   {fetched, "", []string{cc, "max-age=60", "Age", "60"}, nil},
		"max-age that is used up by a date":   {fetched, "", []string{cc, "max-age=60", "Date", httpDate(-time.Hour)}, nil},
		"max-age of 0":                        {fetched, "", []string{cc, "max-age=0"}, nil},
		"max-age that is no number":           {fetched, "", []string{cc, "max-age=soon"}, nil},
		"max-age below 0":                     {fetched, "", []string{cc, "max-age=-1"}, nil},
		"max-age for shared caches only":      {fetched, "", []string{cc, "s-maxage=60"}, nil},
		"max-age 0 for shared caches only":    {fresh, "", []string{cc, "s-maxage=0, max-age=60"}, nil},
		"Expires":                             {fresh, "", []string{"Expires", httpDate(time.Hour)}, nil},
		"Expires in the past":                 {fetched, "", []string{"Expires", httpDate(-time.Hour)}, nil},
		"Expires that is no date":             {fetched, "", []string{"Expires", "0"}, nil},
		"Expires against max-age 0":           {fetched, "", []string{"Expires", httpDate(time.Hour), cc, "max-age=0"}, nil},
		"Expires in the past against max-age": {fresh, "", []string{"Expires", httpDate(-time.Hour), cc, "max-age=60"}, nil},
		"Expires at the time of Date":         {fetched, "", []string{"Expires", httpDate(time.Hour), "Date", httpDate(time.Hour)}, nil},
		"nothing":                             {fetched, "", nil, nil},
		"nothing but public":                  {fetched, "", []string{cc, "public"}, nil},
		"no-store":                            {fetched, v1, []string{cc, "no-store"}, nil},
		"no-store with max-age":               {fetched, v1, []string{cc, "max-age=60, no-store"}, nil},
		"no-store in capitals":                {fetched, v1, []string{cc, "No-Store"}, nil},
		"no-store on a line of its own":       {fetched, v1, []string{cc, "max-age=60", cc, "no-store"}, nil},
		"no-cache without a validator":        {fetched, "", []string{cc, "no-cache, max-age=60"}, nil},
		"no-cache with an ETag":               {revalidated, v1, []string{cc, "no-cache, max-age=60"}, nil},
		"an ETag":                             {revalidated, v1, nil, nil},
		"a weak ETag":                         {revalidated, `W/"v1"`, nil, nil},
		"an ETag after max-age":               {revalidated, v1, []string{cc, "max-age=60", "Age", "61"}, nil},
		"an ETag and a date":                  {revalidated, v1, modified, nil},
		"an ETag and max-age":                 {fresh, v1, []string{cc, "max-age=60"}, nil},
		"Vary with everything":                {fetched, "", []string{"Vary", "*", cc, "max-age=60"}, nil},
		"Vary with everything and more":       {fetched, "", []string{"Vary", "Accept, *", cc, "max-age=60"}, nil},
		"Vary with a header that was not set": {fresh, "", []string{"Vary", "Accept-Language", cc, "max-age=60"}, nil},
		"Vary with a header that is the same": {fresh, "", []string{"Vary", "X-Key", cc, "max-age=60"}, []string{"X-Key: a"}},
		"a call with Authorization":           {fresh, "", []string{cc, "max-age=60"}, []string{"Authorization: Bearer x"}},
		"a call with Cookie":                  {fresh, "", []string{cc, "max-age=60"}, []string{"Cookie: a=b"}},
		"a call with no-cache":                {revalidated, v1, []string{cc, "max-age=60"}, []string{"Cache-Control: no-cache"}},
		"a call with no-cache, no validator":  {fetched, "", []string{cc, "max-age=60"}, []string{"Cache-Control: no-cache"}},
		"a call with Pragma":                  {revalidated, v1, []string{cc, "max-age=60"}, []string{"Pragma: no-cache"}},
		"a call with max-age 0":               {revalidated, v1, []string{cc, "max-age=60"}, []string{"Cache-Control: max-age=0"}},
		"a call with max-age below the age":   {revalidated, v1, []string{cc, "max-age=60", "Age", "30"}, []string{"Cache-Control: max-age=10"}},
		"a call with min-fresh":               {revalidated, v1, []string{cc, "max-age=60"}, []string{"Cache-Control: min-fresh=100"}},
		"a call with no-store":                {fetched, v1, []string{cc, "max-age=60"}, []string{"Cache-Control: no-store"}},
	}
	b := o.batch()
	for name, row := range rows {
		b.add(name, numbered(row.etag, row.header...), row.request...)
	}
	first, second := b.run(t, c, ""), b.run(t, c, "")
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			old, file, asked := first[name].file(t), second[name].file(t), b.asked(name)
			wantContent(t, old, "content 1")
			want, requests := "content 1", 2
			switch row.want {
			case fresh:
				requests = 1
			case fetched:
				want = "content 2"
			}
			wantContent(t, file, want)
			if (file == old) != (row.want != fetched) {
				t.Errorf("first it is %s and then %s", old, file)
			}
			if len(asked) != requests {
				t.Fatalf("the origin had %d requests, want %d", len(asked), requests)
			}
			for i, r := range asked {
				match := r.Header.Get("If-None-Match")
				if conditional := match != "" || r.Header.Get("If-Modified-Since") != ""; conditional != (i > 0 && row.want == revalidated) {
					t.Errorf("request %d is %v", i, r.Header)
				}
				if match != "" && match != row.etag {
					t.Errorf("request %d is for %s", i, match)
				}
			}
		})
	}
}

func TestAFileWithADateOfModificationIsRevalidated(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	const date = "Mon, 02 Jan 2006 15:04:05 GMT"
	url := o.handle("/a.png", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", date)
		if r.Header.Get("If-Modified-Since") == date {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		content("a picture")(w, r)
	})
	first := c.fetch(t, url)
	for range 3 {
		if file := c.fetch(t, url); file != first {
			t.Errorf("first it is %s and then %s", first, file)
		}
	}
	wantContent(t, first, "a picture")
	if n := o.count(); n != 4 {
		t.Errorf("the origin had %d requests, want 4", n)
	}
}

func TestANewVersionGetsAPathOfItsOwn(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	var files []string
	for n := range 4 {
		body := fmt.Sprintf("version %d", n)
		url := o.handle("/a.png", edition{body: body, etag: fmt.Sprintf(`"v%d"`, n)}.offer)
		for range 2 {
			files = append(files, c.fetch(t, url))
			wantContent(t, files[len(files)-1], body)
		}
		if n > 0 && o.asked("/a.png")[2*n].Header.Get("If-None-Match") != fmt.Sprintf(`"v%d"`, n-1) {
			t.Errorf("version %d was not asked for as a change", n)
		}
	}
	for i, file := range files {
		wantContent(t, file, fmt.Sprintf("version %d", i/2))
		if i%2 == 1 && file != files[i-1] {
			t.Errorf("version %d has two paths", i/2)
		}
	}
}

func TestA304RenewsWhatItConfirms(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	url := o.handle("/a.png", steps(
		edition{body: "a picture", etag: `"v1"`}.offer,
		edition{body: "a picture", etag: `"v1"`, header: []string{"Cache-Control", "max-age=60"}}.offer,
	))
	first := c.fetch(t, url)
	for range 3 {
		if file := c.fetch(t, url); file != first {
			t.Errorf("first it is %s and then %s", first, file)
		}
	}
	if n := o.count(); n != 2 {
		t.Errorf("the origin had %d requests, want 2: the second made it fresh", n)
	}
}

func TestAFailedRevalidationIsAFailedDownload(t *testing.T) {
	c := startBot(t, download("retries 0"))
	o := newOrigin(t)
	o.server.Config.SetKeepAlivesEnabled(false) // see TestADownloadIsTriedAsOftenAsRetriesSays
	whole := edition{body: "a picture", etag: `"v1"`}
	for name, answer := range map[string]http.HandlerFunc{
		"gone":             status(410),
		"out of order":     status(503),
		"cut":              cut(3, edition{body: "another picture", etag: `"v2"`}.offer),
		"a part":           part("206 Partial Content", "Content-Range: bytes 0-2/9\r\nETag: \"v1\"\r\n", "a p"),
		"304 for another":  part("304 Not Modified", "ETag: \"v2\"\r\n", ""),
		"no answer at all": raw("", false),
	} {
		t.Run(name, func(t *testing.T) {
			url := o.handle("/"+strings.ReplaceAll(name, " ", "-"), steps(whole.offer, answer, whole.offer))
			first := c.fetch(t, url)
			r := c.post(t, "/download_file", params{"url": url}.String())
			if name == "304 for another" && r.status == "ok" { // it may have asked again
				wantContent(t, r.file(t), "a picture")
			} else {
				r.wantFailed(t)
			}
			wantContent(t, first, "a picture")
			wantContent(t, c.fetch(t, url), "a picture")
		})
	}
}

func TestRedirectsAreAskedAgainAndTheirTargetsAreNot(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	const cc = "Cache-Control"
	o.handle("/a.png", numbered("", cc, "max-age=60"))
	url := o.handle("/moved", with(redirect(301, "/again"), cc, "max-age=60"))
	o.handle("/again", with(redirect(302, "/a.png"), cc, "max-age=60"))
	first := c.fetch(t, url)
	wantContent(t, first, "content 1")
	for range 3 {
		if file := c.fetch(t, url); file != first {
			t.Errorf("first it is %s and then %s", first, file)
		}
	}
	for path, want := range map[string]int{"/moved": 4, "/again": 4, "/a.png": 1} {
		if n := len(o.asked(path)); n != want {
			t.Errorf("%s had %d requests, want %d", path, n, want)
		}
	}
	t.Run("so a redirect that moves is followed", func(t *testing.T) {
		o.handle("/again", redirect(302, "/b.png"))
		o.handle("/b.png", content("another picture"))
		wantContent(t, c.fetch(t, url), "another picture")
	})
}
