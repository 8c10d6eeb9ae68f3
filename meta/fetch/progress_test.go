package fetch

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is an origin that is connected to without a network, so that time
// stands still in a bubble as long as anybody has something to do.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return new(net.TCPAddr) }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// newPipedClient returns a client, in a bubble, for whom every URL is one of
// origin.
func newPipedClient(t *testing.T, origin http.HandlerFunc, change func(*Options)) *Client {
	t.Helper()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	var running sync.WaitGroup
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		origin(w, r)
	})}
	running.Go(func() { _ = server.Serve(p) }) // which only ever ends because it is closed
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return newClient(t, func(o *Options) {
		o.Dial = p.dial
		if change != nil {
			change(o)
		}
	})
}

// send sends a part of a body at once.
func send(w http.ResponseWriter, n int) {
	_, _ = w.Write(make([]byte, n))
	_ = http.NewResponseController(w).Flush()
}

// statusOf returns the status of the only download that is under way, as soon
// as nobody has anything to do.
func statusOf(t *testing.T, c *Client) Status {
	t.Helper()
	synctest.Wait()
	all := c.flights.Status()
	if len(all) != 1 || c.flights.Running() != 1 {
		t.Fatalf("%d downloads are under way, %d are running: %+v", len(all), c.flights.Running(), all)
	}
	return all[0]
}

func TestStatusTellsOfTheDownloadsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := newPipedClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			send(w, 400)
			<-release
			send(w, 600)
		}, func(o *Options) { o.MaxConcurrent = 1 })
		check := func(when string, want ...Status) {
			t.Helper()
			synctest.Wait()
			got := c.flights.Status()
			for i := range got {
				got[i].Rate = 0
			}
			if !slices.Equal(got, want) || got == nil || c.flights.Running() != len(want) {
				t.Errorf("%s there are %+v, want %+v; %d are running", when, got, want, c.flights.Running())
			}
		}
		check("before the first")

		began := time.Now()
		const secret = "http://SECRET:SECRET@127.0.0.1/a%20b?SECRET=SECRET#SECRET"
		firstDone := start(t.Context(), t, c, secret)
		id := statusOf(t, c).ID
		first := Status{ID: id, URL: "http://127.0.0.1/a%20b", Started: began, Tries: 1, Callers: 1, Done: 400, Total: 1000}
		check("with one", first)

		time.Sleep(time.Minute / 2)
		secondDone := start(t.Context(), t, c, "http://127.0.0.1/second")
		second := Status{ID: id + 1, URL: "http://127.0.0.1/second", Started: began.Add(time.Minute / 2), Callers: 1, Total: -1}
		check("with another that waits for its turn", first, second)

		ctx, giveUp := context.WithCancel(t.Context())
		otherDone := start(ctx, t, c, secret)
		first.Callers = 2
		check("with another caller", first, second)
		u, err := ParseURL(secret)
		if err != nil {
			t.Fatal(err)
		}
		_, unclaimed, err := c.Start(Request{URL: u, Unclaimed: true}, ignore)
		if err != nil {
			t.Fatal(err)
		}
		check("with one who does not want the file", first, second)
		giveUp()
		checkFailure(t, <-otherDone, Error{Kind: Cancelled})
		first.Callers = 1
		check("when a caller has left", first, second)

		release <- struct{}{}
		if err := <-firstDone; err != nil {
			t.Error(err)
		}
		if _, err := unclaimed.Result(t.Context()); err != nil {
			t.Error(err)
		}
		second.Tries, second.Done, second.Total = 1, 400, 1000
		check("when the turn of the other has come", second)
		release <- struct{}{}
		if err := <-secondDone; err != nil {
			t.Error(err)
		}
		check("after the last")
	})
}

func TestADownloadThatEveryoneHasLeftIsStillUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPipedClient(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil)
		ctx, giveUp := context.WithCancel(t.Context())
		failed := start(ctx, t, c, "http://127.0.0.1/")
		before := statusOf(t, c)
		giveUp()
		checkFailure(t, <-failed, Error{Kind: Cancelled})
		if after := statusOf(t, c); before.Callers != 1 || after.Callers != 0 || after.ID != before.ID {
			t.Errorf("before %+v, after %+v", before, after)
		}
		c.flights.Close()
		if all := c.flights.Status(); len(all) != 0 || c.flights.Running() != 0 {
			t.Errorf("after Close: %+v", all)
		}
	})
}

func TestDoneAndTotalAreThoseOfTheFile(t *testing.T) {
	// The first try sends 300 bytes and breaks, the second 100 and goes on.
	type answer struct {
		status  int
		header  http.Header
		chunked bool
	}
	type at struct {
		tries       int
		done, total int64
	}
	whole, tagged := http.Header{"Content-Length": {"1000"}}, http.Header{"Content-Length": {"1000"}, "Etag": {`"a"`}}
	for name, tt := range map[string]struct {
		first, second answer
		paused, then  at
	}{
		"it goes on where it stopped": {
			answer{200, tagged, false}, answer{206, http.Header{"Content-Length": {"700"}, "Content-Range": {"bytes 300-999/1000"}, "Etag": {`"a"`}}, false},
			at{1, 300, 1000}, at{2, 400, 1000},
		},
		"it starts over": {
			answer{200, whole, false}, answer{200, http.Header{"Content-Length": {"900"}}, false},
			at{1, 300, 1000}, at{2, 100, 900},
		},
		"it starts over, and nobody says any more how long it is": {
			answer{200, whole, false}, answer{200, nil, true},
			at{1, 300, 1000}, at{2, 100, -1},
		},
		"it is only said with the rest how long it is": {
			answer{200, http.Header{"Etag": {`"a"`}}, true}, answer{206, http.Header{"Content-Length": {"700"}, "Content-Range": {"bytes 300-999/1000"}, "Etag": {`"a"`}}, false},
			at{1, 300, -1}, at{2, 400, 1000},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := newPipedClient(t, func(w http.ResponseWriter, r *http.Request) {
					a := []answer{tt.first, tt.second}[tries]
					for name, values := range a.header {
						w.Header()[name] = values
					}
					w.WriteHeader(a.status)
					tries++
					if tries == 1 {
						send(w, 300)
						panic(http.ErrAbortHandler)
					}
					send(w, 100)
					<-r.Context().Done()
				}, func(o *Options) { o.Retries = 1 })
				c.backoff = 10 * time.Second
				failed := start(t.Context(), t, c, "http://127.0.0.1/")
				for i, want := range []at{tt.paused, tt.then} {
					s := statusOf(t, c)
					if got := (at{s.Tries, s.Done, s.Total}); got != want {
						t.Errorf("in or after try %d: %+v, want %+v", i+1, got, want)
					}
					time.Sleep(c.backoff)
				}
				c.flights.Close()
				checkFailure(t, <-failed, Error{Kind: Cancelled})
			})
		})
	}
}

func TestStatusCanBeAskedForWhileDownloadsComeAndGo(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		body := &cutBody{w, -1}
		if r.Header.Get("Range") == "" {
			body.left = 1 << 9
		}
		http.ServeContent(body, r, "", time.Time{}, strings.NewReader(strings.Repeat("x", 1<<10)))
	})
	c := newClient(t, func(o *Options) { o.Retries, o.Received = 1, func(int) {} })
	const downloads = 30
	left := make(chan error, downloads)
	for i := range downloads {
		go func() {
			_, err := fetch(t, c, fmt.Sprint(url, "/", i))
			left <- err
		}()
	}
	for n := 0; n < downloads; {
		select {
		case err := <-left:
			if err != nil {
				t.Error(err)
			}
			n++
		default:
		}
		all := c.flights.Status()
		if !slices.IsSortedFunc(all, func(a, b Status) int { return int(int64(a.ID) - int64(b.ID)) }) || len(all) > downloads {
			t.Fatalf("not the oldest first: %+v", all)
		}
		for _, s := range all {
			if s.Done < 0 || s.Done > 1<<10 || s.Total != -1 && s.Total != 1<<10 || s.Tries > 2 || s.Rate < 0 {
				t.Fatalf("got %+v", s)
			}
		}
	}
	if n := len(c.flights.Status()); n > 0 || c.flights.Running() > 0 {
		t.Errorf("%d are still under way", n)
	}
}
