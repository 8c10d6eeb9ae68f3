package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestABrokenTransferContinuesWhereItStopped(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	body := filler(200_000)
	n := len(body)
	type broken struct {
		cuts  []int // how many bytes each answer has before it breaks
		reset bool
		edition
	}
	rows := make(map[string]broken)
	for where, cuts := range map[string][]int{
		"before the first byte": {0},
		"after the first byte":  {1},
		"in the middle":         {n / 2},
		"before the last byte":  {n - 1},
		"three times":           {1000, 1, 100_000},
		"without a new byte":    {1000, 0, 0},
	} {
		for length, chunked := range map[string]bool{"of known length": false, "of unknown length": true} {
			for how, reset := range map[string]bool{"closed": false, "reset": true} {
				rows[how+" "+where+" "+length] = broken{cuts, reset, edition{body: body, etag: `"v1"`, chunked: chunked}}
			}
		}
	}
	b := o.batch()
	for name, row := range rows {
		var answers []http.HandlerFunc
		for _, after := range row.cuts {
			if row.reset {
				answers = append(answers, reset(after, row.offer))
			} else {
				answers = append(answers, cut(after, row.offer))
			}
		}
		b.add(name, steps(append(answers, row.offer)...))
	}
	for name, r := range b.run(t, c, "") {
		t.Run(name, func(t *testing.T) {
			wantContent(t, r.file(t), body)
			row, asked := rows[name], b.asked(name)
			if len(asked) != len(row.cuts)+1 {
				t.Errorf("the origin had %d requests, want %d", len(asked), len(row.cuts)+1)
			}
			sent := 0
			for i, r := range asked {
				var start int
				_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
				ranged := r.Header.Get("Range") != ""
				switch {
				case ranged && (err != nil || r.Header.Get("Range") != fmt.Sprintf("bytes=%d-", start)):
					t.Errorf("request %d has Range %q", i, r.Header.Get("Range"))
				case ranged && r.Header.Get("If-Range") != `"v1"`:
					t.Errorf("request %d has If-Range %q", i, r.Header.Get("If-Range"))
				// what a reset overtakes was sent and did not arrive
				case start > sent || start < sent && !row.reset:
					t.Errorf("request %d starts at %d, but %d bytes were sent", i, start, sent)
				}
				if i < len(row.cuts) {
					sent = max(start, 0) + row.cuts[i]
				}
			}
		})
	}
	t.Run("and nothing stays in tmp", func(t *testing.T) {
		wantNoParts(t, c.cacheDir("onebot"))
	})
}

func TestATransferThatCannotContinueStartsOver(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	body := filler(100_000)
	rows := map[string]edition{
		"no validator":           {},
		"a weak ETag":            {etag: `W/"v1"`},
		"an ETag without quotes": {etag: `v1`},
		"half an ETag":           {etag: `"v1`},
		"a date of modification": {header: []string{"Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"}},
	}
	b := o.batch()
	for name, e := range rows {
		e.body = body
		b.add(name, steps(cut(50_000, e.offer), reset(99_999, e.offer), e.offer))
	}
	for name, r := range b.run(t, c, "") {
		t.Run(name, func(t *testing.T) {
			wantContent(t, r.file(t), body)
			asked := b.asked(name)
			if len(asked) != 3 {
				t.Errorf("the origin had %d requests, want 3", len(asked))
			}
			for _, r := range asked {
				if r.Header.Get("Range") != "" {
					t.Errorf("a part was asked for: %v", r.Header)
				}
			}
		})
	}
}

// Bytes of two versions in one file are the worst that can happen to it: it has
// the right length, and nobody notices.
func TestTwoVersionsAreNeverMixed(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	const n, half = 100_000, 50_000
	old, new := edition{body: filler(n), etag: `"v1"`}, edition{body: letters(n), etag: `"v2"`}
	twin := edition{body: new.body, etag: old.etag} // what another URL has under the same ETag
	o.handle("/elsewhere", new.offer)
	o.handle("/twin", twin.offer)
	ranged := func(from, to, total any) string {
		return fmt.Sprintf("Content-Range: bytes %v-%v/%v\r\n", from, to, total)
	}
	const v1 = "ETag: \"v1\"\r\n"
	good := ranged(half, n-1, n)
	rows := map[string]struct {
		second http.HandlerFunc // answers the request for the second half
		want   edition          // and all that follow
	}{
		"the whole file again":               {old.whole, old},
		"a new file":                         {new.offer, new},
		"a new file without an ETag":         {edition{body: new.body}.whole, new},
		"a part from the start":              {part("206 Partial Content", v1+ranged(0, n-1, n), new.body), new},
		"a part that starts too late":        {part("206 Partial Content", v1+ranged(half+1, n-1, n), old.body[half+1:]), old},
		"a part that starts too early":       {part("206 Partial Content", v1+ranged(half-1, n-1, n), old.body[half-1:]), old},
		"a part of a longer file":            {part("206 Partial Content", v1+ranged(half, n, n+1), new.body[half:]+"x"), new},
		"a part of a shorter file":           {part("206 Partial Content", v1+ranged(half, n-2, n-1), new.body[half:n-1]), new},
		"a part with another ETag":           {part("206 Partial Content", "ETag: \"v2\"\r\n"+good, new.body[half:]), new},
		"a part without an ETag":             {part("206 Partial Content", good, new.body[half:]), new},
		"a part with a weak ETag":            {part("206 Partial Content", "ETag: W/\"v1\"\r\n"+good, new.body[half:]), new},
		"a part with two ETags":              {part("206 Partial Content", "ETag: \"v2\"\r\n"+v1+good, new.body[half:]), new},
		"a part of who knows what":           {part("206 Partial Content", v1, new.body[half:]), new},
		"a part with two ranges":             {part("206 Partial Content", v1+ranged(0, half-1, n)+good, new.body[half:]), new},
		"a part of other units":              {part("206 Partial Content", v1+strings.Replace(good, "bytes", "lines", 1), new.body[half:]), new},
		"a part with a broken range":         {part("206 Partial Content", v1+ranged(half, "x", n), new.body[half:]), new},
		"a part with a negative range":       {part("206 Partial Content", v1+ranged(half, -1, n), new.body[half:]), new},
		"a part with numbers that overflow":  {part("206 Partial Content", v1+ranged("18446744073709601616", n-1, n), new.body[half:]), new},
		"several parts":                      {part("206 Partial Content", v1+"Content-Type: multipart/byteranges; boundary=b\r\n", "--b\r\n"+good+"\r\n"+new.body[half:]+"\r\n--b--"), new},
		"a part of unknown total":            {part("206 Partial Content", v1+ranged(half, n-1, "*"), old.body[half:]), old},
		"a part of the part":                 {part("206 Partial Content", v1+ranged(half, half+9, n), old.body[half:half+10]), old},
		"a part with more than its range":    {part("206 Partial Content", v1+good, old.body[half:]+"and more"), old},
		"a part with less than its range":    {part("206 Partial Content", v1+good, old.body[half:half+10]), old},
		"no such range":                      {part("416 Range Not Satisfiable", "Content-Range: bytes */5\r\n", ""), new},
		"a new file, broken as well":         {cut(1000, new.offer), new},
		"a new file, reset as well":          {reset(half+1, new.offer), new},
		"a redirect to a new file":           {redirect(302, "/elsewhere"), new},
		"a redirect to another of that ETag": {redirect(302, "/twin"), twin},
	}
	b := o.batch()
	for name, row := range rows {
		b.add(name, steps(cut(half, old.offer), row.second, row.want.offer))
		if !strings.HasSuffix(name, "er file") { // than one of which the length was told
			unknown := old
			unknown.chunked = true
			b.add(name+" for one of unknown length", steps(cut(half, unknown.offer), row.second, row.want.offer))
		}
	}
	for name, r := range b.run(t, c, "") {
		t.Run(name, func(t *testing.T) {
			wantContent(t, r.file(t), rows[strings.TrimSuffix(name, " for one of unknown length")].want.body)
			asked := b.asked(name)
			if len(asked) < 2 || asked[1].Header.Get("Range") != fmt.Sprintf("bytes=%d-", half) {
				t.Fatalf("the second half was not asked for in %d requests: this test proves nothing", len(asked))
			}
			if strings.HasPrefix(name, "a new file, broken as well") && asked[2].Header.Get("If-Range") != new.etag {
				t.Errorf("the third request continues with %v", asked[2].Header)
			}
		})
	}
}

// Where a redirect leads is often open for a short time only.
func TestATransferThatCannotContinueBehindARedirectStartsOverBeforeIt(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	e := edition{body: filler(100_000), etag: `"v1"`}
	for name, expired := range map[string]http.HandlerFunc{
		"is forbidden by now":   status(403),
		"is gone by now":        status(410),
		"was never there":       status(404),
		"leads to another page": redirect(302, "/expired"),
	} {
		t.Run("where the target "+name, func(t *testing.T) {
			o.handle("/expired", content("this link has expired"))
			o.handle("/first", steps(cut(50_000, e.offer), expired))
			o.handle("/second", e.offer)
			url := o.handle("/moved", steps(redirect(302, "/first"), redirect(302, "/second")))
			wantContent(t, c.fetch(t, url+"?"+strings.ReplaceAll(name, " ", "-")), e.body)
		})
	}
}

func TestAStalledTransferContinues(t *testing.T) {
	c := startBot(t, download("stall_timeout 300ms"))
	o := newOrigin(t)
	e := edition{body: filler(100_000), etag: `"v1"`}
	unknown := e
	unknown.chunked = true
	silent := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	rows := map[string]struct {
		from   int // where the last request starts
		answer http.HandlerFunc
	}{
		"no answer":              {0, steps(silent, e.offer)},
		"no byte after the head": {0, steps(stuck(0, e.offer), e.offer)},
		"no further byte":        {50_000, steps(stuck(50_000, e.offer), e.offer)},
		"no further chunk":       {50_000, steps(stuck(50_000, unknown.offer), unknown.offer)},
		"twice":                  {99_999, steps(stuck(50_000, e.offer), stuck(49_999, e.offer), e.offer)},
	}
	b := o.batch()
	for name, row := range rows {
		b.add(name, row.answer)
	}
	for name, r := range b.run(t, c, "") {
		t.Run(name, func(t *testing.T) {
			wantContent(t, r.file(t), e.body)
			want := ""
			if from := rows[name].from; from > 0 {
				want = fmt.Sprintf("bytes=%d-", from)
			}
			asked := b.asked(name)
			if got := asked[len(asked)-1].Header.Get("Range"); got != want {
				t.Errorf("the last request has Range %q, want %q", got, want)
			}
		})
	}
}

func TestABrokenStreamOfHTTP2Continues(t *testing.T) {
	c := startBot(t, download("stall_timeout 500ms"), trusted(t))
	o := newTLSOrigin(t, true)
	e, weak := edition{body: filler(200_000), etag: `"v1"`}, edition{body: filler(200_000), etag: `W/"v1"`}
	unknown := e
	unknown.chunked = true
	const half = 100_000
	rows := map[string]struct {
		answer http.HandlerFunc
		ranged bool // whether the second request is for a part
	}{
		"before its first byte":     {steps(abort(0, e.offer), e.offer), false},
		"in the middle":             {steps(abort(half, e.offer), e.offer), true},
		"in the middle, twice":      {steps(abort(half, e.offer), abort(10, e.offer), e.offer), true},
		"with a length nobody told": {steps(abort(half, unknown.offer), unknown.offer), true},
		"that stalls":               {steps(stuck(half, e.offer), e.offer), true},
		"that cannot continue":      {steps(abort(half, weak.offer), weak.offer), false},
		"of an origin out of order": {steps(status(502), e.offer), false},
	}
	b := o.batch()
	for name, row := range rows {
		b.add(name, row.answer)
	}
	for name, r := range b.run(t, c, "") {
		t.Run("one "+name, func(t *testing.T) {
			wantContent(t, r.file(t), e.body)
			asked := b.asked(name)
			if asked[0].ProtoMajor != 2 {
				t.Fatalf("the origin was asked by %s: this test proves nothing", asked[0].Proto)
			}
			// what was sent before the stream was reset need not have arrived
			ranged := asked[len(asked)-1].Header.Get("Range") != ""
			if ranged && !rows[name].ranged || name == "that stalls" && !ranged {
				t.Errorf("the last request is %v", asked[len(asked)-1].Header)
			}
		})
	}
}
