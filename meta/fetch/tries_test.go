package fetch

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
)

// reported keeps what is reported of downloads.
type reported struct {
	Result
	err error
	n   int
}

func (r *reported) report(result Result, err error) { r.Result, r.err, r.n = result, err, r.n+1 }

func TestTheTriesOfADownloadAreReported(t *testing.T) {
	busy := func(int) int { return http.StatusServiceUnavailable }
	for name, tt := range map[string]struct {
		origin flaky
		change func(*Options)
		earlier,
		tries int
		source Source // "" if it fails
		kind   Kind
	}{
		"a file that comes at once":           {origin: flaky{}, tries: 1, source: Fetched},
		"a file that breaks off twice":        {origin: flaky{cuts: []int{1, 1}, etag: always(`"a"`)}, tries: 3, source: Fetched},
		"a file that starts over":             {origin: flaky{cuts: []int{5}}, tries: 2, source: Fetched},
		"a file that is confirmed":            {origin: flaky{etag: always(`"a"`)}, earlier: 1, tries: 1, source: Revalidated},
		"a file that is confirmed in the end": {origin: flaky{etag: always(`"a"`), status: func(try int) int { return []int{0, 500, 502, 0}[try] }}, earlier: 1, tries: 3, source: Revalidated},
		"one that breaks off all the time":    {origin: flaky{cuts: []int{1, 1, 1}}, tries: 3, kind: Incomplete},
		"one that never comes":                {origin: flaky{status: busy}, tries: 3, kind: BadStatus},
		"one that need not be tried again":    {origin: flaky{status: func(int) int { return 404 }}, tries: 1, kind: BadStatus},
		"one that is never tried again":       {origin: flaky{status: busy}, change: func(o *Options) { o.Retries = 0 }, tries: 1, kind: BadStatus},
		"one that is too large":               {origin: flaky{}, change: func(o *Options) { o.MaxSize = 1 }, tries: 1, kind: TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			tt.origin.content = "the content"
			u := mustParse(serve(t, tt.origin.ServeHTTP))
			c := newClient(t, func(o *Options) {
				o.Retries = 2
				if tt.change != nil {
					tt.change(o)
				}
			})
			for range tt.earlier {
				if _, err := c.Fetch(t.Context(), Request{URL: u}, ignore); err != nil {
					t.Fatal(err)
				}
			}
			var told reported
			got, err := c.Fetch(t.Context(), Request{URL: u}, told.report)
			if told.n != 1 || told.Result != got || told.err != err {
				t.Errorf("got %+v, %v; reported %d times, %+v", got, err, told.n, told)
			}
			if told.Tries != tt.tries || told.Source != tt.source || tt.earlier+told.Tries != len(tt.origin.requests) {
				t.Errorf("reported %+v after %d requests, want %d tries that made it %q", told.Result, len(tt.origin.requests), tt.tries, tt.source)
			}
			if e, _ := err.(*Error); (err != nil || tt.kind != 0) && (e == nil || e.Kind != tt.kind) {
				t.Errorf("failed: %v, want kind %d", err, tt.kind)
			}
		})
	}
}

func TestNothingIsTriedThatNobodyIsAskedFor(t *testing.T) {
	g := newGate()
	close(g.through)
	u := mustParse(serve(t, g.ServeHTTP))
	c := newClient(t, nil)
	if _, err := c.Fetch(t.Context(), Request{URL: u}, ignore); err != nil {
		t.Fatal(err)
	}
	var told reported
	if got, err := c.Fetch(t.Context(), Request{URL: u}, told.report); err != nil || got.Source != Fresh || got.Tries != 0 || told.Result != got {
		t.Errorf("from the cache: %+v, %v, reported %+v", got, err, told)
	}
	if got, err := c.Keep("aGVsbG8=", ""); err != nil || got.Tries != 0 {
		t.Errorf("sent by the caller: %+v, %v", got, err)
	}
	c.slots.TryAcquire(4) // so that its turn does not come
	_, waiting, err := c.Start(Request{URL: u, Header: http.Header{"Cache-Control": {"no-cache"}}}, told.report)
	if err != nil {
		t.Fatal(err)
	}
	c.flights.Close()
	_, err = waiting.Result(t.Context())
	checkFailure(t, err, Error{Kind: Cancelled})
	if checkFailure(t, told.err, Error{Kind: Cancelled}); told.Tries != 0 || told.n != 2 {
		t.Errorf("while it waits for its turn: %+v", told)
	}
	_, _, err = c.Start(Request{URL: u, Header: http.Header{"Cache-Control": {"no-cache"}}}, told.report)
	checkFailure(t, err, Error{Kind: Cancelled})
	if checkFailure(t, told.err, Error{Kind: Cancelled}); told.Tries != 0 || told.n != 3 {
		t.Errorf("when it is too late: %+v", told)
	}
}

func TestEveryByteOfAFileIsCountedThatComes(t *testing.T) {
	const content = "0123456789"
	redirect := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/" {
			w.Header().Set("Location", "/file")
			w.WriteHeader(http.StatusFound)
			io.WriteString(w, "look there")
		}
		return r.URL.Path == "/"
	}
	for name, tt := range map[string]struct {
		origin   flaky
		redirect bool
		calls    int // 1 unless set
		fails    bool
		want     int64
	}{
		"of one that comes at once":             {want: 10},
		"of one that breaks off":                {origin: flaky{cuts: []int{3, 4}, etag: always(`"a"`)}, want: 10},
		"of one that starts over":               {origin: flaky{cuts: []int{3, 4}}, want: 17},
		"of one that fails":                     {origin: flaky{cuts: []int{3, 4, 5}}, fails: true, want: 12},
		"of one that is fetched twice":          {calls: 2, want: 20},
		"but none of one that is confirmed":     {origin: flaky{etag: always(`"a"`)}, calls: 3, want: 10},
		"but none of what a redirect says":      {redirect: true, want: 10},
		"but none of what a failure comes with": {origin: flaky{status: func(int) int { return 500 }}, fails: true, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			tt.origin.content = content
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if !tt.redirect || !redirect(w, r) {
					tt.origin.ServeHTTP(w, r)
				}
			})
			var received atomic.Int64
			c := newClient(t, func(o *Options) {
				o.Retries = 2
				o.Received = func(n int) { received.Add(int64(n)) }
			})
			for range max(tt.calls, 1) {
				if _, err := fetch(t, c, url); (err != nil) != tt.fails {
					t.Errorf("failed: %v", err)
				}
			}
			if got := received.Load(); got != tt.want {
				t.Errorf("counted %d bytes, want %d", got, tt.want)
			}
		})
	}
}

// Bytes are counted when they come, not when the file is there.
func TestBytesAreCountedAsTheyCome(t *testing.T) {
	half := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		send(w, 1000)
		select {
		case <-half:
			send(w, 1000)
		case <-r.Context().Done():
		}
	})
	counted := make(chan int, 100)
	c := newClient(t, func(o *Options) { o.Received = func(n int) { counted <- n } })
	failed := start(t.Context(), t, c, url)
	for sum := 0; sum < 1000; {
		sum += <-counted
	}
	close(half)
	for sum := 0; sum < 1000; {
		sum += <-counted
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
