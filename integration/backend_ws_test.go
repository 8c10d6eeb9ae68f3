package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// socket is the end of a WebSocket connection that a backend has: one that was
// opened to it, or by it (see dial). Calls that come are answered as over HTTP,
// in order, unless the backend is silent.
type socket struct {
	backend *backend
	path    string          // of the request that opened it
	header  http.Header     // of that
	conn    *websocket.Conn // for what is not here; listen reads from it
	tcp     net.Conn        // below the frames, for what no library would send

	received chan frame    // every data message that came, in order, calls too
	ended    chan struct{} // closed when nothing can be read any more, with err set
	err      error         // why; websocket.CloseStatus tells the code

	listening sync.Once
}

// frame is a data message of a WebSocket connection.
type frame struct {
	kind websocket.MessageType
	text string
}

// text is a text message.
func text(s string) frame { return frame{websocket.MessageText, s} }

// socket returns the next connection that is opened to the backend.
func (b *backend) socket(t testing.TB) *socket {
	t.Helper()
	return receive(t, b.opened, "a WebSocket at the backend")
}

// open returns the connections that are open, in the order they came.
func (b *backend) open() []*socket {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.sockets)
}

// push sends an event to all open connections that take events.
func (b *backend) push(t testing.TB, event string) {
	t.Helper()
	for _, s := range b.open() {
		if !strings.HasSuffix(strings.TrimSuffix(s.path, "/"), "/api") {
			s.send(t, event)
		}
	}
}

// serveSocket accepts an upgrade, at any path.
func (b *backend) serveSocket(w http.ResponseWriter, r *http.Request) {
	opts := b.accept
	opts.InsecureSkipVerify = true // of the Origin header
	under := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(under, r, &opts)
	if err != nil {
		return // it has answered
	}
	s := b.newSocket(conn, under.conn, r.URL.Path, r.Header.Clone())
	b.opened <- s
	select {
	case <-s.ended:
	case <-b.life.Done():
	}
	_ = conn.CloseNow()
}

// dial opens a connection as an implementation does in reverse WebSocket, to an
// app that is reached by url (ws:// or http://). Calls that come by it are
// answered as those are that come to the backend.
func (b *backend) dial(t testing.TB, url string, header ...string) *socket {
	t.Helper()
	s, resp, err := b.tryDial(url, header...)
	if err != nil {
		t.Fatalf("opening %s: %v (%v)", url, err, resp)
	}
	t.Cleanup(func() { _ = s.conn.CloseNow() })
	return s
}

// tryDial is dial for what may fail. The response is the handshake's.
func (b *backend) tryDial(url string, header ...string) (*socket, *http.Response, error) {
	var tcp net.Conn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		tcp, err = dialLoopback(ctx, network, addr)
		return tcp, err
	}}
	ctx, cancel := context.WithTimeout(b.life, patience)
	defer cancel()
	opts := &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: headerOf(header...),
		CompressionMode: b.accept.CompressionMode, CompressionThreshold: b.accept.CompressionThreshold,
	}
	conn, resp, err := websocket.Dial(ctx, url, opts)
	if err != nil {
		return nil, resp, err
	}
	return b.newSocket(conn, tcp, resp.Request.URL.Path, opts.HTTPHeader), resp, nil
}

func (b *backend) newSocket(conn *websocket.Conn, tcp net.Conn, path string, header http.Header) *socket {
	conn.SetReadLimit(-1)
	s := &socket{
		backend: b, path: path, header: header, conn: conn, tcp: tcp,
		received: make(chan frame, 10_000), ended: make(chan struct{}),
	}
	b.mu.Lock()
	b.sockets = append(b.sockets, s)
	b.mu.Unlock()
	if !b.deaf {
		s.listen()
	}
	return s
}

// hijacked remembers the connection that is taken from a server.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) {
	conn, rw, err = http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// listen begins to read, if that has not begun.
func (s *socket) listen() { s.listening.Do(func() { go s.read() }) }

func (s *socket) read() {
	defer func() {
		b := s.backend
		b.mu.Lock()
		b.sockets = slices.DeleteFunc(b.sockets, func(other *socket) bool { return other == s })
		b.mu.Unlock()
		close(s.ended)
	}()
	for {
		kind, data, err := s.conn.Read(s.backend.life)
		if err != nil {
			s.err = err
			return
		}
		if !s.backend.silent {
			s.answer(kind, data)
		}
		select {
		case s.received <- frame{kind, string(data)}:
		case <-s.backend.life.Done():
		}
	}
}

// answer answers a message if it is a call.
func (s *socket) answer(kind websocket.MessageType, data []byte) {
	var sent struct {
		PostType     string `json:"post_type"`
		Action       string
		Params, Echo json.RawMessage
	}
	if json.Unmarshal(data, &sent) != nil || sent.PostType != "" || sent.Action == "" {
		return
	}
	if body := s.backend.envelope(call{sent.Action, sent.Params, sent.Echo}); body != "" {
		_ = s.conn.Write(s.backend.life, kind, []byte(body)) // if it fails, read does
	}
}

// next returns the next message that came.
func (s *socket) next(t testing.TB) frame {
	t.Helper()
	select {
	case f := <-s.received:
		return f
	default:
	}
	select {
	case f := <-s.received:
		return f
	case <-s.ended:
		select {
		case f := <-s.received:
			return f
		default:
		}
		t.Fatalf("the connection ended with %v while a message was awaited", s.err)
		panic("unreachable")
	case <-time.After(patience):
		t.Fatal("waited in vain for a message")
		panic("unreachable")
	}
}

// send sends a text message.
func (s *socket) send(t testing.TB, message string) {
	t.Helper()
	s.sendPieces(t, websocket.MessageText, message)
}

// sendPieces sends a message, each piece in a frame of its own. A message of
// several pieces ends with an empty frame.
func (s *socket) sendPieces(t testing.TB, kind websocket.MessageType, pieces ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.backend.life, patience)
	defer cancel()
	if len(pieces) == 1 {
		if err := s.conn.Write(ctx, kind, []byte(pieces[0])); err != nil {
			t.Fatalf("sending a message: %v", err)
		}
		return
	}
	w, err := s.conn.Writer(ctx, kind)
	for _, piece := range pieces {
		if err == nil {
			_, err = w.Write([]byte(piece))
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatalf("sending a message in pieces: %v", err)
	}
}

// sendRaw sends bytes that need not be frames, such as half of one before cut.
func (s *socket) sendRaw(t testing.TB, b []byte) {
	t.Helper()
	if _, err := s.tcp.Write(b); err != nil {
		t.Fatalf("sending %d bytes: %v", len(b), err)
	}
}

// ping sends a ping and returns when it was answered.
func (s *socket) ping(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.backend.life, patience)
	defer cancel()
	if err := s.conn.Ping(ctx); err != nil {
		t.Fatalf("a ping: %v", err)
	}
}

// close says goodbye with a code and waits for the answer.
func (s *socket) close(code websocket.StatusCode, reason string) error {
	return s.conn.Close(code, reason)
}

// cut ends the connection without a word.
func (s *socket) cut() { _ = s.tcp.Close() }

// awaitEnd returns the code with which the other side closed the connection, or
// -1 if it did not say one.
func (s *socket) awaitEnd(t testing.TB) websocket.StatusCode {
	t.Helper()
	receive(t, s.ended, "the end of a connection")
	return websocket.CloseStatus(s.err)
}
