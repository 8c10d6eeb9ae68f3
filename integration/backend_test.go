package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// backend is a model of a OneBot implementation on loopback, or of the app that
// a reverse WebSocket or an event post leads to: it answers calls and takes
// events over HTTP and WebSocket, below any path. It notes everything that
// reaches it and misbehaves as a test wants it to.
//
// All of its methods may be called at any time and from any goroutine.
type backend struct {
	url, addr string             // http://127.0.0.1:<port> and 127.0.0.1:<port>
	arrived   chan *seen         // every HTTP request that is no upgrade, as its head arrives
	server    *httptest.Server   // has started
	life      context.Context    // ends with release
	release   context.CancelFunc // what waits goes on or ends
	accept    websocket.AcceptOptions
	silent    bool // answers no call over WebSocket by itself
	deaf      bool // reads no WebSocket before listen
	opened    chan *socket

	messages atomic.Int64 // that were sent, which numbers them

	mu      sync.Mutex
	answers map[string]func(call) string // by action: the envelope
	handler map[string]http.HandlerFunc  // by action: instead of the envelope
	seen    []*seen
	sockets []*socket
}

// seen is an HTTP request as it came to a backend.
type seen struct {
	method, uri, host, proto string
	header                   http.Header
	length                   int64    // -1 if it was not told
	encoding                 []string // Transfer-Encoding

	// These are there when whole is closed. An answer that is set with handle
	// reads what it wants of the body; then only that is here, up to maxNoted.
	body    []byte
	trailer http.Header
	err     error // of reading the body
	whole   chan struct{}
}

// noted is the beginning of a body. It takes everything that is written to it.
type noted []byte

// maxNoted is how much of a body is noted: it may be one that never ends.
const maxNoted = 4 << 20

func (n *noted) Write(p []byte) (int, error) {
	*n = append(*n, p[:min(len(p), maxNoted-len(*n))]...)
	return len(p), nil
}

// call is a call of an action, in whatever form it came.
type call struct {
	action       string // with its suffix
	params, echo json.RawMessage
}

// withCompression makes a backend offer permessage-deflate.
func withCompression(mode websocket.CompressionMode) func(*backend) {
	return func(b *backend) { b.accept.CompressionMode, b.accept.CompressionThreshold = mode, 1 }
}

// silent makes a backend answer no call over WebSocket by itself: the test
// does, with socket.send.
func silent(b *backend) { b.silent = true }

// deaf makes a backend read nothing from a WebSocket before socket.listen.
func deaf(b *backend) { b.deaf = true }

// newBackend starts a backend. It is started before the Caddy in front of it,
// which needs its address, and so stops after it: whoever starts Caddy defers
// release to after that, as startFront does, or what waits here keeps Caddy
// from stopping.
func newBackend(t testing.TB, opts ...func(*backend)) *backend {
	t.Helper()
	b := &backend{
		arrived: make(chan *seen, 100_000),
		opened:  make(chan *socket, 10_000),
		answers: make(map[string]func(call) string),
		handler: make(map[string]http.HandlerFunc),
	}
	b.life, b.release = context.WithCancel(context.Background())
	for _, opt := range opts {
		opt(b)
	}
	b.server = httptest.NewServer(b)
	b.url, b.addr = b.server.URL, b.server.Listener.Addr().String()
	t.Cleanup(func() {
		b.release()
		b.server.CloseClientConnections()
		b.server.Close()
	})
	b.answer("get_status", func(call) string { return statusIs("true") })
	b.answer("get_supported_actions", func(call) string {
		return ok(`["send_group_msg","get_login_info","get_status","send_private_msg"]`)
	})
	return b
}

// front runs Caddy with the handler, in front of backends. See startFront.
func front(handlerOptions string, backends ...*backend) string {
	var to strings.Builder
	for _, b := range backends {
		to.WriteString(" " + b.addr)
	}
	return "onebot_meta {\n pass_thru\n" + handlerOptions + "\n}\nreverse_proxy" + to.String() + "\n"
}

// startFront runs Caddy with the handler in front of a backend, with pass_thru
// and some more options. At <OTHER> the backend is reached without the handler.
func startFront(t testing.TB, b *backend, handlerOptions string, opts ...option) *instance {
	t.Helper()
	c := startCaddy(t, "http://<SITE> {\n"+front(handlerOptions, b)+"}\nhttp://<OTHER> {\n reverse_proxy "+b.addr+"\n}\n", opts...)
	t.Cleanup(b.release) // before Caddy is stopped
	return c
}

// answer sets the envelope that calls of an action get, over HTTP and over
// WebSocket. The empty one means: never.
func (b *backend) answer(action string, envelope func(call) string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[action] = envelope
	delete(b.handler, action)
}

// handle sets what answers calls of an action over HTTP, or event posts if
// action is "event", or everything that is not set otherwise if it is "". If it
// is a path, it is for that alone.
func (b *backend) handle(action string, handler http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handler[action] = handler
}

// requests returns the HTTP requests that have arrived, in order. If an action
// is given, only the calls of it by path.
func (b *backend) requests(action ...string) []*seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.Clone(b.seen)
	if len(action) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(s *seen) bool { return s.action() != action[0] })
}

// await returns the next request that arrives.
func (b *backend) await(t testing.TB) *seen {
	t.Helper()
	return receive(t, b.arrived, "a request at the backend")
}

// action returns what the path of a request ends with.
func (s *seen) action() string {
	p, _, _ := strings.Cut(s.uri, "?")
	return strings.Trim(path.Base(strings.TrimSuffix(p, "/")), "/.")
}

// ServeHTTP notes a request and answers it.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		b.serveSocket(w, r)
		return
	}
	s := &seen{
		method: r.Method, uri: r.RequestURI, host: r.Host, proto: r.Proto, header: r.Header.Clone(),
		length: r.ContentLength, encoding: r.TransferEncoding, whole: make(chan struct{}),
	}
	b.mu.Lock()
	b.seen = append(b.seen, s)
	handler := b.handler[s.action()]
	if only := b.handler[r.URL.Path]; only != nil {
		handler = only
	}
	b.mu.Unlock()
	b.arrived <- s
	done := sync.OnceFunc(func() {
		s.trailer = r.Trailer
		close(s.whole)
	})
	defer done()
	if handler != nil {
		r.Body = io.NopCloser(io.TeeReader(r.Body, (*noted)(&s.body)))
		handler(w, r)
		return
	}
	raw, err := io.ReadAll(r.Body)
	s.body, s.err = raw, err
	done()
	if s.err != nil {
		panic(http.ErrAbortHandler)
	}
	b.serveBody(w, r, s.action(), raw)
}

// serveBody answers a request whose whole body is read.
func (b *backend) serveBody(w http.ResponseWriter, r *http.Request, action string, raw []byte) {
	var sent struct {
		PostType     string `json:"post_type"`
		Action       string
		Params, Echo json.RawMessage
	}
	_ = json.Unmarshal(raw, &sent) // what is no JSON has nothing
	c := call{action, raw, sent.Echo}
	if sent.Action != "" {
		c = call{sent.Action, sent.Params, sent.Echo}
	}
	b.mu.Lock()
	handler := b.handler[c.action]
	if sent.PostType != "" {
		handler = b.handler["event"]
	}
	if handler == nil {
		handler = b.handler[""]
	}
	b.mu.Unlock()
	switch {
	case handler != nil:
		r.Body = io.NopCloser(bytes.NewReader(raw))
		handler(w, r)
	case sent.PostType != "":
		w.WriteHeader(http.StatusNoContent)
	default:
		body := b.envelope(c)
		if body == "" {
			b.never(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, body)
	}
}

// shutDown makes the backend's address one where nobody listens. Connections
// that are open end.
func (b *backend) shutDown() {
	_ = b.server.Listener.Close()
	b.server.CloseClientConnections()
	for _, s := range b.open() {
		s.cut()
	}
}

// startAgain undoes shutDown.
func (b *backend) startAgain(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewUnstartedServer(b)
	_ = again.Listener.Close()
	again.Listener = listener
	again.Start()
	t.Cleanup(func() {
		b.release()
		again.CloseClientConnections()
		again.Close()
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server = again
}

// headerOf returns a header given as names and values.
func headerOf(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}
