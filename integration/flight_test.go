package integration

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// waiting is a call of download_file that is under way.
type waiting struct {
	answer chan reply // receives it unless the caller gives up
	giveUp context.CancelFunc
}

// ask makes n identical calls and returns when all of them wait for the download,
// or have been answered.
func (c *instance) ask(t testing.TB, n int, call params) []waiting {
	t.Helper()
	before := c.stat(t, "/get_status")["PacketReceived"]
	calls := make([]waiting, n)
	for i := range calls {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		calls[i] = waiting{make(chan reply, 1), cancel}
		go func() {
			req, err := http.NewRequestWithContext(ctx, "POST", c.client.base+"/download_file", strings.NewReader(call.String()))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := c.client.Do(req)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			r, err := parseReply(resp)
			if err != nil {
				t.Error(err)
			}
			calls[i].answer <- r
		}()
	}
	own := int64(0)
	eventually(t, "all calls to arrive", func() bool {
		own++
		now := c.stat(t, "/get_status")
		underWay := now["PacketReceived"] - now["PacketSent"] - now["PacketLost"] - 1 // this one
		return now["PacketReceived"] >= before+int64(n)+own && int64(c.callers(t)) >= underWay
	})
	return calls
}

// callers returns how many calls of download_file wait.
func (c *instance) callers(t testing.TB) (n int) {
	t.Helper()
	for _, h := range c.handlers(t) {
		for _, d := range h.Downloads {
			n += d.Callers
		}
	}
	return n
}

// leave makes callers give up and returns when Caddy has seen it.
func (c *instance) leave(t testing.TB, calls []waiting) {
	t.Helper()
	before := c.stat(t, "/get_status")["PacketLost"]
	for _, call := range calls {
		call.giveUp()
	}
	eventually(t, "Caddy to see that callers have left", func() bool {
		return c.stat(t, "/get_status")["PacketLost"] >= before+int64(len(calls))
	})
}

// file waits for the answer to a call and returns the path in it.
func (w waiting) file(t testing.TB) string {
	t.Helper()
	return receive(t, w.answer, "the answer to a call").file(t)
}

func TestIdenticalCallsShareOneTransfer(t *testing.T) {
	c := startBot(t, download("max_concurrent 1"))
	o := newOrigin(t)
	body := filler(200_000)
	for name, e := range map[string]edition{
		"of what may be used again":     {body: body, header: []string{"Cache-Control", "max-age=60"}},
		"of what may not be used again": {body: body, header: []string{"Cache-Control", "no-store"}},
		"of unknown length":             {body: body, chunked: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			path := "/" + strings.ReplaceAll(name, " ", "-")
			call := params{"url": o.handle(path, g.after(1000, e.offer)), "headers": "X-A: b"}
			first := c.ask(t, 1, call)
			receive(t, g.passed, "the transfer to begin")
			calls := append(first, c.ask(t, 49, call)...)
			g.open()
			file := calls[0].file(t)
			wantContent(t, file, body)
			for _, other := range calls[1:] {
				if got := other.file(t); got != file {
					t.Errorf("one caller got %s and another %s", file, got)
				}
			}
			if n := len(o.asked(path)); n != 1 {
				t.Errorf("the origin had %d requests", n)
			}
		})
	}
}

func TestDifferentCallsDoNotShareATransfer(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	g := newGate()
	url := o.handle("/a.png", func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		g.after(0, content(r.URL.RawQuery+" "+r.Header.Get("X-Key")+" "+user))(w, r)
	})
	calls := make(map[string][]waiting)
	for want, call := range map[string]params{
		"  ":   {"url": url},
		"x  ":  {"url": url + "?x"},
		" k ":  {"url": url, "headers": "X-Key: k"},
		" K ":  {"url": url, "headers": "X-Key: K"},
		"  u":  {"url": strings.Replace(url, "://", "://u:p@", 1)},
		"  me": {"url": strings.Replace(url, "://", "://me:p@", 1)},
	} {
		calls[want] = c.ask(t, 2, call)
		receive(t, g.passed, "a transfer of its own")
	}
	g.open()
	for want, both := range calls {
		file := both[0].file(t)
		wantContent(t, file, want)
		if other := both[1].file(t); other != file {
			t.Errorf("%q: one caller got %s and the other %s", want, file, other)
		}
	}
	if n := o.count(); n != len(calls) {
		t.Errorf("the origin had %d requests, want %d", n, len(calls))
	}
}

func TestACallerThatGivesUpTakesNothingFromOthers(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	g := newGate()
	body := filler(100_000)
	call := params{"url": o.handle("/a.bin", g.after(50_000, content(body)))}
	first := c.ask(t, 1, call)
	receive(t, g.passed, "the transfer to begin")
	impatient, patient := c.ask(t, 5, call), c.ask(t, 5, call)
	c.leave(t, append(impatient, first...)) // with the one that began it
	late := c.ask(t, 1, call)
	g.open()
	for _, call := range append(patient, late...) {
		wantContent(t, call.file(t), body)
	}
	if n := o.count(); n != 1 {
		t.Errorf("the origin had %d requests", n)
	}
}

func TestATransferGoesOnWhenAllCallersGiveUp(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	body := filler(100_000)
	for name, header := range map[string][]string{
		"that may be used again":            {"Cache-Control", "max-age=60"},
		"that says nothing of being used":   nil,
		"that must be asked for every time": {"Cache-Control", "no-cache"},
	} {
		for then, done := range map[string]bool{"joins it": false, "finds it done": true} {
			t.Run("and the next call "+then+", for a file "+name, func(t *testing.T) {
				g := newGate()
				path := "/" + strings.ReplaceAll(then+name, " ", "-")
				call := params{"url": o.handle(path, g.after(50_000, edition{body: body, header: header}.offer))}
				all := c.ask(t, 3, call)
				receive(t, g.passed, "the transfer to begin")
				c.leave(t, all)
				kept := len(cacheFiles(t, c.cacheDir("onebot"), "files"))
				if done {
					g.open()
					eventually(t, "the file to be whole", func() bool {
						return len(cacheFiles(t, c.cacheDir("onebot"), "files")) > kept
					})
				}
				next := c.ask(t, 1, call)
				g.open()
				wantContent(t, next[0].file(t), body)
				if n := len(o.asked(path)); n != 1 {
					t.Errorf("the origin had %d requests", n)
				}
			})
		}
	}
}

func TestAnAbandonedTransferHasItsTurnUntilItEnds(t *testing.T) {
	c := startBot(t, download("max_concurrent 1", "stall_timeout 1s", "retries 0"))
	o := newOrigin(t)
	all := c.ask(t, 3, params{"url": o.handle("/stuck", stuck(10, content("this never ends")))})
	o.await(t)
	c.leave(t, all)
	// it is bounded by its own limits, and then it is another one's turn
	wantContent(t, c.fetch(t, o.handle("/a.png", content("a picture"))), "a picture")
}

func TestAnErrorReachesAllAndTheNextCallTriesAfresh(t *testing.T) {
	c := startBot(t, download("retries 0"))
	o := newOrigin(t)
	o.server.Config.SetKeepAlivesEnabled(false) // see TestADownloadIsTriedAsOftenAsRetriesSays
	for name, answer := range map[string]http.HandlerFunc{
		"a status":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) },
		"a broken body":  cut(10, content("too short by some")),
		"no answer":      raw("", false),
		"a status to be": with(status(410), "Cache-Control", "max-age=3600"), // and yet asked again
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			path := "/" + strings.ReplaceAll(name, " ", "-")
			held := func(w http.ResponseWriter, r *http.Request) {
				g.passed <- struct{}{}
				<-g.closed
				answer(w, r)
			}
			call := params{"url": o.handle(path, steps(held, content("at last")))}
			calls := c.ask(t, 20, call)
			receive(t, g.passed, "a request at the origin")
			g.open()
			var message string
			for _, call := range calls {
				r := receive(t, call.answer, "the answer to a call").wantFailed(t)
				if message == "" {
					message = r.message
				}
				if r.message != message {
					t.Errorf("one message is %q and another %q", message, r.message)
				}
			}
			if n := len(o.asked(path)); n != 1 {
				t.Errorf("the origin had %d requests", n)
			}
			wantContent(t, c.post(t, "/download_file", call.String()).file(t), "at last")
			if n := len(o.asked(path)); n != 2 {
				t.Errorf("the origin had %d requests with the next call", n)
			}
		})
	}
}
