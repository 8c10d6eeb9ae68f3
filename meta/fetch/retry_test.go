package fetch

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

func TestTriesAreCounted(t *testing.T) {
	for _, retries := range []int{0, 1, 3} {
		o := &flaky{content: "content", cuts: []int{1, 1, 1, 1, 1, 1}, etag: always(`"a"`)}
		c := newClient(t, func(o *Options) { o.Retries = retries })
		_, err := fetch(t, c, serve(t, o.ServeHTTP))
		checkFailure(t, err, Error{Kind: Incomplete, Detail: "127.0.0.1"})
		checkNothingLeft(t, c)
		if len(o.requests) != retries+1 {
			t.Errorf("with %d retries there were %d requests", retries, len(o.requests))
		}
	}
}

func TestOnlyWhatMayPassIsTriedAgain(t *testing.T) {
	for status, want := range map[int]int{400: 1, 403: 1, 404: 1, 408: 3, 410: 1, 416: 1, 429: 3, 500: 3, 501: 1, 502: 3, 503: 3, 504: 3} {
		o := &flaky{status: func(int) int { return status }}
		c := newClient(t, func(o *Options) { o.Retries = 2 })
		_, err := fetch(t, c, serve(t, o.ServeHTTP))
		checkFailure(t, err, Error{Kind: BadStatus, Detail: fmt.Sprint(status)})
		if len(o.requests) != want {
			t.Errorf("after %d there were %d requests, want %d", status, len(o.requests), want)
		}
	}
}

func TestAnOriginIsLeftAloneAsLongAsItAsks(t *testing.T) {
	for after, want := range map[string]int{
		"":                     3,
		"0":                    3,
		"-1":                   3,
		"soon":                 3,
		"3600":                 1, // longer than the download may take
		"999999":               1,
		"99999999999999999999": 1,
		"99999999999 minutes":  3, // which is no number
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat):  1,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 3,
	} {
		var requests int
		c := newClient(t, func(o *Options) { o.Retries = 2 })
		_, err := fetch(t, c, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("Retry-After", after)
			w.WriteHeader(503)
		}))
		checkFailure(t, err, Error{Kind: BadStatus, Detail: "503"})
		if requests != want {
			t.Errorf("Retry-After: %s: %d requests, want %d", after, requests, want)
		}
	}
	now := time.Now()
	for value, want := range map[string]time.Duration{"1": time.Second, " 120 ": 2 * time.Minute, "1.5": 0, "": 0} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func TestAnotherMayHaveTheTurnWhileOneWaits(t *testing.T) {
	tried := make(chan struct{}, 10)
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			tried <- struct{}{}
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(503)
			return
		}
		io.WriteString(w, "content")
	})
	c := newClient(t, func(o *Options) { o.Retries, o.MaxConcurrent = 1, 1 })
	failed := start(t.Context(), t, c, o+"/busy")
	<-tried
	if _, err := fetch(t, c, o+"/other"); err != nil {
		t.Error(err)
	}
	c.flights.Close()
	var e *Error
	if err := <-failed; !errors.As(err, &e) || e.Kind != Cancelled {
		t.Errorf("got %v", err)
	}
}

func TestAPausingDownloadTakesNoRoom(t *testing.T) {
	tried := make(chan struct{}, 10)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		switch {
		case r.URL.Path == "/other":
			w.Write(make([]byte, 8<<10))
		case r.Header.Get("Range") != "":
			tried <- struct{}{}
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(503)
		default:
			http.ServeContent(&cutBody{w, 1}, r, "", time.Time{}, strings.NewReader(strings.Repeat("x", 8<<10)))
		}
	})
	c := newClient(t, func(o *Options) { o.Retries = 2 })
	c.cache.Configure(diskcache.Options{Mode: 0o600, MaxSize: 10 << 10})
	failed := start(t.Context(), t, c, origin+"/pausing")
	<-tried
	for !c.slots.TryAcquire(4) { // until it has given its turn back
		runtime.Gosched()
	}
	c.slots.Release(4)
	if _, err := fetch(t, c, origin+"/other"); err != nil {
		t.Error(err)
	}
	c.flights.Close()
	checkFailure(t, <-failed, Error{Kind: Cancelled})
}

// relay stands before an origin and can fall silent, as a path does on which
// packets are lost.
type relay struct {
	net.Listener
	made   atomic.Int32
	silent atomic.Bool
}

func (r *relay) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &relayed{Conn: conn, relay: r, deaf: r.made.Add(1) == 1}, nil
}

// relayed is a connection that passes nothing on while it is deaf and the relay
// is silent.
type relayed struct {
	net.Conn
	relay *relay
	deaf  bool
}

func (c *relayed) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.deaf || !c.relay.silent.Load() {
			return n, err
		}
	}
}

func (c *relayed) Write(p []byte) (int, error) {
	if c.deaf && c.relay.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func TestADeadHTTP2ConnectionIsGivenUp(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "content")
	}))
	r := &relay{Listener: server.Listener}
	server.Listener, server.EnableHTTP2, server.Config.ErrorLog = r, true, discardLog
	server.StartTLS()
	defer server.Close()
	c := newClient(t, func(o *Options) { o.Retries, o.StallTimeout = 3, 300*time.Millisecond })
	c.transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := fetch(t, c, server.URL+"/first"); err != nil {
		t.Fatal(err)
	}
	r.silent.Store(true)
	if _, err := fetch(t, c, server.URL+"/second"); err != nil {
		t.Errorf("over %d connections: %v", r.made.Load(), err)
	}
}
