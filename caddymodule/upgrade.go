package caddymodule

import (
	"bufio"
	"bytes"
	"crypto/sha1" // the handshake of WebSocket needs it, and not for secrecy
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/onebot-caddy/onebot-meta/meta"
)

const (
	// writePatience is how long a client may take no byte of what is sent.
	writePatience = 10 * time.Second

	// writePiece is how much is written at a time: what is larger may take
	// writePatience several times.
	writePiece = 64 << 10

	// lingerPatience is how long a client may take to end a connection that is
	// closed from here.
	lingerPatience = time.Second

	// idleForever stands in for Caddy's read_idle_timeout, which is made for
	// the bodies of requests: a connection may be silent as long as it likes.
	idleForever = 100 * 365 * 24 * time.Hour
)

var (
	errHandshakeBody = badHandshake("it has a body", "不应带有请求体")
	errHandshakeKey  = badHandshake("Sec-WebSocket-Key is not the base64 of 16 bytes", "Sec-WebSocket-Key 不是 16 字节的 base64")
	// errHandshakeUpgrade is also about HTTP/1.0, which has no upgrades.
	errHandshakeUpgrade = badHandshake("it takes HTTP/1.1 and Connection: Upgrade", "需要 HTTP/1.1 以及 Connection: Upgrade")
	errHandshakeVersion = badHandshake("Sec-WebSocket-Version must be 13", "Sec-WebSocket-Version 必须是 13")
)

func badHandshake(message, wording string) refusal {
	return refusal{status: http.StatusBadRequest, failure: meta.BadRequest(
		"bad WebSocket handshake: "+message, "WebSocket 握手无效: "+wording)}
}

// asksForWebSocket reports whether r asks for a WebSocket connection: by an
// upgrade in HTTP/1, by an extended CONNECT in HTTP/2 (RFC 8441) and HTTP/3
// (RFC 9220).
func asksForWebSocket(r *http.Request) bool {
	switch r.ProtoMajor {
	case 1:
		return r.Method == http.MethodGet && httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket")
	case 2:
		return r.Method == http.MethodConnect && r.Header.Get(":protocol") == "websocket"
	default:
		return r.Method == http.MethodConnect && r.Proto == "websocket"
	}
}

// mayUpgrade reports whether r, which asks for a WebSocket connection, can get
// one: in HTTP/1 it takes a header more, and not HTTP/1.0.
func mayUpgrade(r *http.Request) bool {
	return r.ProtoMajor > 1 || r.ProtoAtLeast(1, 1) && httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade")
}

// isEndpoint reports whether WebSocket connections are accepted at what is
// called action below the route.
func isEndpoint(action string) bool {
	return action == "" || action == "api" || action == "event"
}

// checkHandshake reports whether r, which asks for a WebSocket connection,
// does so as it should, and else why it is refused.
func checkHandshake(r *http.Request) (why refusal, ok bool) {
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		return errHandshakeVersion, false
	}
	if r.ProtoMajor > 1 {
		return refusal{}, true // it needs no key
	}
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case !mayUpgrade(r):
		return errHandshakeUpgrade, false
	case err != nil || len(key) != 16:
		return errHandshakeKey, false
	case r.ContentLength != 0: // which would be taken for frames
		return errHandshakeBody, false
	}
	return refusal{}, true
}

// wire is what a WebSocket connection runs over. Reading is buffered.
type wire interface {
	io.Reader

	// write sends a frame. It fails if the client takes no byte of it for
	// writePatience, and then for good.
	write(frame []byte) error

	// interrupt makes reading fail, now and later. It may be called at any
	// time before finish.
	interrupt()

	// finish ends the connection. If the client was sent a Close frame that it
	// may not expect, it gets the time to read that.
	finish(unexpected bool)
}

// accept completes the handshake that r asks for. The context of r must not
// have ended before finish has been called.
func accept(w http.ResponseWriter, r *http.Request) (wire, error) {
	ctrl := http.NewResponseController(w)
	if r.ProtoMajor > 1 {
		w.WriteHeader(http.StatusOK)
		if err := ctrl.Flush(); err != nil {
			return nil, err
		}
		restore := func() {}
		if idle, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil {
			restore = idle.Override(idleForever, 0)
		}
		// the stream has a buffer of its own
		return &stream{Reader: bufio.NewReaderSize(r.Body, 512), body: r.Body, w: w, ctrl: ctrl, restore: restore}, nil
	}

	accepted := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	// as the RFC writes it, which matters to some clients
	w.Header()["Sec-WebSocket-Accept"] = []string{base64.StdEncoding.EncodeToString(accepted[:])}
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := ctrl.Hijack()
	if err != nil {
		return nil, err
	}
	return newHijacked(conn, buffered.Reader), nil
}

// hijacked is a connection that was HTTP/1.1 until its handshake.
type hijacked struct {
	*bufio.Reader
	conn net.Conn
}

// newHijacked returns a connection that a server has read ahead of. It uses the
// server's buffer, which would not be freed sooner, but nothing below that: the
// server ends the context of the request when reading fails or is interrupted.
func newHijacked(conn net.Conn, buffered *bufio.Reader) *hijacked {
	var from io.Reader = conn
	if ahead, _ := buffered.Peek(buffered.Buffered()); len(ahead) > 0 {
		from = io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), conn)
	}
	buffered.Reset(from)
	return &hijacked{buffered, conn}
}

func (h *hijacked) write(frame []byte) error {
	for len(frame) > 0 {
		piece := frame[:min(len(frame), writePiece)]
		if err := h.conn.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
			return err
		}
		if _, err := h.conn.Write(piece); err != nil {
			return err
		}
		frame = frame[len(piece):]
	}
	return nil
}

func (h *hijacked) interrupt() { _ = h.conn.SetReadDeadline(time.Unix(1, 0)) }

func (h *hijacked) finish(unexpected bool) {
	// A socket that is closed while there is something to read makes the
	// client's system drop what the client has not read yet.
	if unexpected {
		if half, ok := h.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_ = h.conn.SetReadDeadline(time.Now().Add(lingerPatience))
		_, _ = io.Copy(io.Discard, h.conn)
	}
	_ = h.conn.Close()
}

// stream is a stream of an HTTP/2 or HTTP/3 connection. It ends when the
// handler of its request returns.
type stream struct {
	*bufio.Reader
	body    io.Closer
	w       http.ResponseWriter
	ctrl    *http.ResponseController
	restore func()
}

func (s *stream) write(frame []byte) error {
	for len(frame) > 0 {
		piece := frame[:min(len(frame), writePiece)]
		if err := s.ctrl.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
			return err
		}
		if _, err := s.w.Write(piece); err != nil {
			return err
		}
		if err := s.ctrl.Flush(); err != nil {
			return err
		}
		frame = frame[len(piece):]
	}
	// a deadline of HTTP/2 resets the stream even when nothing is written
	return s.ctrl.SetWriteDeadline(time.Time{})
}

func (s *stream) interrupt() {
	if s.ctrl.SetReadDeadline(time.Unix(1, 0)) != nil {
		_ = s.body.Close()
	}
}

func (s *stream) finish(bool) { s.restore() }

// Interface guards
var (
	_ wire = (*hijacked)(nil)
	_ wire = (*stream)(nil)
)
