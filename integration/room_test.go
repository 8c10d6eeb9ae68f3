package integration

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestADownloadThatCannotFitFailsBeforeItFillsTheDisk(t *testing.T) {
	c := startBot(t, caching("max_size 1MiB"))
	o := newOrigin(t)
	t.Run("by its length, before a byte of it came", func(t *testing.T) {
		url := o.handle("/known", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<20+1))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
		wantNothingKept(t, c.cacheDir("onebot"))
	})
	t.Run("as it grows, when it has no end", func(t *testing.T) {
		piece := filler(64 << 10)
		url := o.handle("/unknown", func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write([]byte(piece)); err != nil {
					return
				}
			}
		})
		c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
		wantNothingKept(t, c.cacheDir("onebot"))
	})
	t.Run("when others have reserved the room", func(t *testing.T) {
		g := newGate()
		large := filler(600 << 10)
		first := c.ask(t, 1, params{"url": o.handle("/first", g.after(10, content(large)))})
		receive(t, g.passed, "the first download to begin")
		for range 2 {
			c.post(t, "/download_file", params{"url": o.handle("/second", content(large))}.String()).wantFailed(t)
		}
		g.open()
		wantContent(t, first[0].file(t), large)
	})
	t.Run("and downloads that failed reserve nothing", func(t *testing.T) {
		rest := filler(400 << 10)
		b := o.batch()
		for i := range 20 {
			b.add(strconv.Itoa(i), cut(1000, content(rest)))
			b.add("chunked "+strconv.Itoa(i), cut(1000, chunked(rest)))
		}
		for _, r := range b.run(t, c, "") {
			r.wantFailed(t)
		}
		wantContent(t, c.fetch(t, o.handle("/rest", content(rest))), rest)
	})
	t.Run("when the file grows from one try to the next", func(t *testing.T) {
		old := edition{body: filler(10_000), etag: `"v1"`}
		grown := edition{body: letters(1 << 20), etag: `"v2"`}
		c := startBot(t, download()+"\ncache {\nmax_size 1MiB\n}")
		o := newOrigin(t)
		c.fetch(t, o.handle("/other", content("other")))
		r := c.post(t, "/download_file", params{"url": o.handle("/grows", steps(cut(5000, old.offer), grown.offer))}.String()).wantFailed(t)
		if !strings.Contains(r.message, "cache") {
			t.Errorf("message is %q", r.message)
		}
		grown.body = grown.body[:1<<19]
		wantContent(t, c.fetch(t, o.handle("/grows", steps(cut(5000, old.offer), grown.offer))), grown.body)
		wantNoParts(t, c.cacheDir("onebot"))
	})
	if use := diskUse(t, c.cacheDir("onebot")); use > 1<<20 {
		t.Errorf("the cache has %d bytes", use)
	}
}

func TestALengthThatNoDiskHasIsAFailure(t *testing.T) {
	c := startBot(t, download("max_size 0", "retries 0")+"\ncache {\nmax_size 0\n}")
	o := newOrigin(t)
	for _, length := range []string{"1000000000000000", "9223372036854775807", "9223372036854775808"} {
		url := o.handle("/a.bin", raw("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: "+length+"\r\n\r\nx", false))
		c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
		wantNothingKept(t, c.cacheDir("onebot"))
	}
}

func TestAReloadChangesTheBounds(t *testing.T) {
	c := startCaddy(t, version(1, caching("max_size 1MiB")))
	o := newOrigin(t)
	path := c.fetch(t, o.handle("/a", kept("a")))
	for n, test := range []struct {
		max string
		ok  bool
	}{{"300KiB", false}, {"2MiB", true}} {
		if output, ok := c.reload(version(n+2, caching("max_size "+test.max))); !ok {
			t.Fatal(output)
		}
		if r := c.again(t, "GET", "/get_status"); r.header.Get("X-Version") != strconv.Itoa(n+2) {
			t.Fatalf("version %s answers", r.header.Get("X-Version"))
		}
		r := c.post(t, "/download_file", params{"url": o.handle("/b", kept("b"))}.String())
		if (r.status == "ok") != test.ok {
			t.Errorf("with %s: %s", test.max, r.body)
		}
		wantContent(t, path, "a"+letters(block-1))
	}
}

func TestAFileThatIsBeingRevalidatedIsInUse(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, caching("max_size 1MiB"), at(home))
	o := newOrigin(t)
	e := edition{body: filler(3 * block), etag: `"v1"`}
	path := c.fetch(t, o.handle("/old", e.offer))
	c.stop()
	aged(t, path, 20*time.Minute)
	c = startBot(t, caching("max_size 1MiB"), at(home))
	defer c.stop()
	g := newGate()
	o.handle("/old", func(w http.ResponseWriter, r *http.Request) {
		g.passed <- struct{}{}
		<-g.closed
		e.offer(w, r)
	})
	call := c.ask(t, 1, params{"url": o.url + "/old"})
	receive(t, g.passed, "the question whether it has changed")
	c.post(t, "/download_file", params{"url": o.handle("/large", content(filler(2*block)))}.String()) // needs its room
	g.open()
	wantContent(t, call[0].file(t), e.body)
}

// reading begins to read a file that is served, and returns what reads the rest
// and checks that it is all of body.
func (c *instance) reading(t *testing.T, url, body string) (finish func()) {
	t.Helper()
	resp, err := c.client.Get(c.client.base + url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	first := make([]byte, 10)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if rest, err := io.ReadAll(resp.Body); err != nil || string(first)+string(rest) != body {
			t.Errorf("what was served is not the file: %v, %d bytes", err, len(rest))
		}
	}
}

func TestAFileThatIsBeingServedIsInUse(t *testing.T) {
	const size = 24 << 20 // more than what is on the way between here and there
	home := t.TempDir()
	options := caching("max_size 32MiB", "serve")
	c := startBot(t, options, at(home))
	o := newOrigin(t)
	body := filler(size)
	path, url := c.post(t, "/download_file", params{"url": o.handle("/old", content(body))}.String()).served(t)
	url = url[strings.Index(url, "/files/"):]
	c.stop()
	aged(t, path, 20*time.Minute)
	c = startBot(t, options, at(home))
	defer c.stop()
	finish := c.reading(t, url, body)
	c.post(t, "/download_file", params{"url": o.handle("/large", content(filler(16<<20)))}.String()).wantFailed(t)
	finish()
	wantContent(t, path, body)
}
