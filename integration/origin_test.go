package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// origin is an HTTP server on loopback that files are downloaded from. It
// behaves as badly as a test wants it to.
type origin struct {
	url  string // http://127.0.0.1:<port>
	port string

	server   *httptest.Server
	conns    atomic.Int64       // that were ever made
	arrived  chan *http.Request // every request, as it arrives
	left     chan string        // the path of every request, as its handler ends
	released chan struct{}      // what stalls goes on when it is closed
	release  func()

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc
	requests []*http.Request
}

// newOrigin starts an origin. It must be started after the Caddy that calls it:
// it then stops first, and no download keeps Caddy from stopping.
func newOrigin(t testing.TB) *origin {
	t.Helper()
	o := &origin{
		arrived:  make(chan *http.Request, 10_000),
		left:     make(chan string, 10_000),
		released: make(chan struct{}),
		handlers: make(map[string]http.HandlerFunc),
	}
	o.release = sync.OnceFunc(func() { close(o.released) })
	o.server = httptest.NewUnstartedServer(o)
	o.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			o.conns.Add(1)
		}
	}
	o.server.Start()
	t.Cleanup(func() {
		o.release()
		o.server.CloseClientConnections()
		o.server.Close()
	})
	o.url = o.server.URL
	_, o.port, _ = net.SplitHostPort(o.server.Listener.Addr().String())
	return o
}

// ServeHTTP notes a request and lets the handler of its path answer it.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := r.Clone(context.Background())
	o.mu.Lock()
	o.requests = append(o.requests, seen)
	handler, ok := o.handlers[r.URL.Path]
	o.mu.Unlock()
	o.arrived <- seen
	defer func() { o.left <- r.URL.Path }()
	if !ok {
		handler = http.NotFound
	}
	handler(w, r)
}

// handle sets what answers a path and returns its URL.
func (o *origin) handle(path string, handler http.HandlerFunc) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handlers[path] = handler
	return o.url + path
}

// count returns how many requests there were.
func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.requests)
}

// last returns the newest request.
func (o *origin) last(t testing.TB) *http.Request {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.requests) == 0 {
		t.Fatal("the origin was never asked")
	}
	return o.requests[len(o.requests)-1]
}

// await returns the next request as it arrives.
func (o *origin) await(t testing.TB) *http.Request {
	t.Helper()
	return receive(t, o.arrived, "a request at the origin")
}

// receive returns the next value of a channel, or fails the test if it takes
// too long.
func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// content answers with a body of known length.
func content(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, body)
	}
}

// chunked answers with a body whose length nobody is told before.
func chunked(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, body)
	}
}

// typed answers with a media type, and a Content-Disposition if there is one.
func typed(mediaType, disposition, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		if disposition != "" {
			w.Header().Set("Content-Disposition", disposition)
		}
		_, _ = io.WriteString(w, body)
	}
}

func redirect(code int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to) // as it is: http.Redirect would mend it
		w.WriteHeader(code)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "not the file")
	}
}

// raw answers with bytes that no server would send, and closes the connection;
// with a reset if it is cut.
func raw(response string, cut bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, response)
		if tcp, ok := conn.(*net.TCPConn); ok && cut {
			_ = tcp.SetLinger(0)
		}
	}
}

// rawBody is raw with the head of a response of some length.
func rawBody(length int, body string, cut bool) http.HandlerFunc {
	return raw(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, body), cut)
}

// stall answers with the first bytes of a file and with the rest when it is
// released. It ends early if the client goes away.
func (o *origin) stall(first, rest string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(first)+len(rest)))
		if first != "" {
			_, _ = io.WriteString(w, first)
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-o.released:
			_, _ = io.WriteString(w, rest)
		case <-r.Context().Done():
		}
	}
}

// stallHead answers with the head of a file alone.
func (o *origin) stallHead(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "4")
	_ = http.NewResponseController(w).Flush()
	o.stall("", "rest")(w, r)
}

// drip answers with a body byte by byte. The pauses are what it is about.
func drip(body string, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		ticks := time.NewTicker(pause)
		defer ticks.Stop()
		for _, b := range []byte(body) {
			select {
			case <-ticks.C:
			case <-r.Context().Done():
				return
			}
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// filler returns n bytes that do not repeat soon.
func filler(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%08d ", i)
	}
	return b.String()[:n]
}
