package fetch

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// gate is an origin that holds its answers back until they are let through.
type gate struct {
	requests atomic.Int32
	arrived  chan struct{}
	through  chan struct{}
	status   int
	header   string // Cache-Control
}

// underWay returns how many downloads there are.
func (f *Flights) underWay() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.running)
}

func newGate() *gate {
	return &gate{arrived: make(chan struct{}, 100), through: make(chan struct{}), status: http.StatusOK, header: "max-age=60"}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	g.arrived <- struct{}{}
	select {
	case <-g.through:
		w.Header().Set("Cache-Control", g.header)
		w.WriteHeader(g.status)
		io.WriteString(w, "content")
	case <-r.Context().Done():
	}
}

// start calls for a file in the background.
func start(ctx context.Context, t *testing.T, c *Client, rawURL string) <-chan error {
	t.Helper()
	u, err := ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := c.Fetch(ctx, Request{URL: u}, ignore)
		failed <- err
	}()
	return failed
}

func TestCallsForTheSameShareOneTransfer(t *testing.T) {
	g := newGate()
	url := serve(t, g.ServeHTTP)
	c := newClient(t, nil)
	var calls sync.WaitGroup
	paths := make([]string, 50)
	for i := range paths {
		calls.Go(func() {
			result, err := fetch(t, c, url)
			if err != nil {
				t.Error(err)
			}
			paths[i] = result.Path
		})
	}
	<-g.arrived
	close(g.through)
	calls.Wait()
	for _, path := range paths {
		if path != paths[0] {
			t.Errorf("paths differ: %s, %s", path, paths[0])
		}
	}
	if n := g.requests.Load(); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
}

func TestATransferGoesOnWhenItsCallersGiveUp(t *testing.T) {
	g := newGate()
	url := serve(t, g.ServeHTTP)
	c := newClient(t, nil)
	for range 2 { // the second one joins
		ctx, giveUp := context.WithCancel(t.Context())
		failed := start(ctx, t, c, url)
		if g.requests.Load() == 0 {
			<-g.arrived
		}
		giveUp()
		checkFailure(t, <-failed, Error{Kind: Cancelled})
	}
	failed := start(t.Context(), t, c, url)
	close(g.through)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if n := g.requests.Load(); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
}

func TestWhatNobodyTookIsLeftToTheNextCallOnce(t *testing.T) {
	for name, unclaimed := range map[string]bool{"its caller gave up": false, "its caller did not wait for it": true} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			g.header = "no-store" // of no use for anything else
			u, err := ParseURL(serve(t, g.ServeHTTP))
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, nil)
			ended := make(chan Result, 1)
			ctx, giveUp := context.WithCancel(t.Context())
			if !unclaimed {
				giveUp()
			}
			started := make(chan struct{})
			go func() {
				defer close(started)
				_, _ = c.Fetch(ctx, Request{URL: u, Unclaimed: unclaimed}, func(r Result, _ error) { ended <- r })
			}()
			<-g.arrived
			close(g.through)
			first := <-ended
			<-started
			giveUp()
			for c.flights.underWay() > 0 {
				runtime.Gosched()
			}
			for i, same := range []bool{true, false} {
				r, err := c.Fetch(t.Context(), Request{URL: u}, ignore)
				if err != nil || (r.Path == first.Path) != same || int(g.requests.Load()) != i+1 {
					t.Errorf("call %d: %+v, %v after %d requests", i, r, err, g.requests.Load())
				}
			}
		})
	}
}

func TestAFailureReachesAllAndTheNextCallTriesAfresh(t *testing.T) {
	g := newGate()
	g.status = http.StatusNotFound
	url := serve(t, g.ServeHTTP)
	c := newClient(t, nil)
	first, second := start(t.Context(), t, c, url), start(t.Context(), t, c, url)
	<-g.arrived
	close(g.through)
	checkFailure(t, <-first, Error{Kind: BadStatus, Detail: "404"})
	checkFailure(t, <-second, Error{Kind: BadStatus, Detail: "404"})
	before := g.requests.Load()
	g.status = http.StatusOK
	if _, err := fetch(t, c, url); err != nil || g.requests.Load() != before+1 {
		t.Errorf("asked %d times more: %v", g.requests.Load()-before, err)
	}
}

func TestTheOutcomeOfADownloadIsReportedOnce(t *testing.T) {
	g := newGate()
	u, err := ParseURL(serve(t, g.ServeHTTP))
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nil)
	reports := make(chan Result, 10)
	report := func(r Result, _ error) { reports <- r }
	ctx, giveUp := context.WithCancel(t.Context())
	giveUp()
	for range 3 {
		_, err := c.Fetch(ctx, Request{URL: u}, report)
		checkFailure(t, err, Error{Kind: Cancelled})
	}
	close(g.through)
	if r := <-reports; r.Source != Fetched || r.Size != 7 {
		t.Errorf("reported %+v", r)
	}
	if r, err := c.Fetch(t.Context(), Request{URL: u}, report); err != nil || r.Source != Fresh || (<-reports).Source != Fresh {
		t.Errorf("from the cache: %+v, %v", r, err)
	}
	c.flights.Close()
	if n := len(reports); n != 0 {
		t.Errorf("%d more reports", n)
	}
}

func TestClosingEndsWhatIsUnderWay(t *testing.T) {
	g := newGate()
	url := serve(t, g.ServeHTTP)
	c := newClient(t, func(o *Options) { o.MaxConcurrent = 1 })
	running := start(t.Context(), t, c, url+"/running")
	<-g.arrived
	waiting := start(t.Context(), t, c, url+"/waiting")
	for c.flights.underWay() < 2 {
		runtime.Gosched()
	}
	c.flights.Close()
	checkFailure(t, <-running, Error{Kind: Cancelled})
	checkFailure(t, <-waiting, Error{Kind: Cancelled})
	checkNothingLeft(t, c)
	_, err := fetch(t, c, url)
	checkFailure(t, err, Error{Kind: Cancelled})
}

func TestADownloadThatPanicsFailsAlone(t *testing.T) {
	c := newClient(t, func(o *Options) {
		o.Proxy, o.Check = mustParse("http://127.0.0.1:1"), func(context.Context, string) error { panic("oops") }
	})
	_, err := fetch(t, c, "http://127.0.0.1:1")
	checkFailure(t, err, Error{Kind: Panicked})
	if !c.slots.TryAcquire(4) {
		t.Error("a slot was lost")
	}
}

func TestTooManyDownloadsAreRefused(t *testing.T) {
	g := newGate()
	c := newClient(t, nil)
	for i := range maxFlights {
		_, _ = c.flights.join(route{maxSize: int64(i)}, "", true, func(ctx context.Context, _ *progress) (Result, error) {
			<-ctx.Done()
			return Result{}, ctx.Err()
		})
	}
	u, err := ParseURL(serve(t, g.ServeHTTP))
	if err != nil {
		t.Fatal(err)
	}
	var reported error
	_, err = c.Fetch(t.Context(), Request{URL: u}, func(_ Result, err error) { reported = err })
	checkFailure(t, err, Error{Kind: Busy})
	checkFailure(t, reported, Error{Kind: Busy})
}
