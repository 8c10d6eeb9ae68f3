package integration

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestABackendThatCannotDoWebSocketDisturbsNothing(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	arrived := make(chan struct{}, 100)
	addr := newBareBackend(t, func(conn net.Conn, r *http.Request) {
		switch r.URL.Path {
		case "/silent": // never answers
			arrived <- struct{}{}
			drain(conn)
		case "/garbage":
			_, _ = io.WriteString(conn, "\x16\x03\x01 what is this\r\n\r\n")
		case "/half":
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switch")
		case "/long":
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nX: "+strings.Repeat("x", 4<<20))
		case "/gone":
		case "/other":
			_, _ = io.WriteString(conn, strings.Replace(switching(r), "websocket", "telnet", 1))
			drain(conn)
		case "/once": // says something at once and leaves
			_, _ = conn.Write(append([]byte(switching(r)), piece{wholeText, "hello"}.encode(false)...))
		case "/get_status":
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+statusIs("true"))
		}
	})
	c := besideIt(t, "", addr)
	c.call(t, "GET", "/get_status", "").wantOK(t)
	before := c.holds(t)
	for _, path := range []string{"/garbage", "/half", "/long", "/gone", "/other"} {
		t.Run(path, func(t *testing.T) {
			status := func(addr string) int {
				conn, err := dialLoopback(t.Context(), "tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				return upgrade(t, conn, "127.0.0.1", path).response.StatusCode
			}
			if got, want := status(c.addr), status(c.other); got != want {
				t.Errorf("the app is told %d, and without the handler %d", got, want)
			}
		})
	}
	for range 10 {
		w := c.dialWire(t, "/once")
		w.want(piece{wholeText, "hello"})
		w.wantGone()
		_ = w.Close()
	}
	for range 10 {
		conn, err := dialLoopback(t.Context(), "tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET /silent HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		receive(t, arrived, "the handshake at the backend")
		c.call(t, "GET", "/get_status", "").wantOK(t)
		_ = conn.Close()
	}
	wantNothingOpen(t, c, before, 6)
}

func TestFramesRightBehindTheHandshakeAreNotLost(t *testing.T) {
	there := slices.Concat(piece{wholeText, ours("get_status", "1")}.encode(true), piece{wholeText, "hello"}.encode(true))
	got := make(chan []byte, 1)
	addr := newBareBackend(t, func(conn net.Conn, r *http.Request) {
		if r.URL.Path == "/get_status" {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+statusIs("true"))
			return
		}
		_, _ = conn.Write(append([]byte(switching(r)), piece{wholeText, message("hi")}.encode(false)...))
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		raw := make([]byte, len(piece{wholeText, "hello"}.encode(true)))
		_, _ = io.ReadFull(conn, raw)
		got <- raw
		drain(conn)
	})
	c := besideIt(t, "", addr)
	conn, err := dialLoopback(t.Context(), "tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := upgrade(t, &eager{Conn: conn, more: there}, "127.0.0.1", "/")
	if raw := receive(t, got, "the frame at the bot"); !bytes.Equal(raw, piece{wholeText, "hello"}.encode(true)) {
		t.Errorf("the bot got %q", raw)
	}
	first, second := w.next(), w.next()
	if first.payload != message("hi") {
		first, second = second, first
	}
	if first != (piece{wholeText, message("hi")}) {
		t.Errorf("the app got %q", first.payload)
	}
	wantEnvelope(t, second.payload, "1").wantOK(t)
}

// eager sends more together with what it is first told to send.
type eager struct {
	net.Conn
	more []byte
}

func (e *eager) Write(b []byte) (int, error) {
	more := e.more
	e.more = nil
	if _, err := e.Conn.Write(slices.Concat(b, more)); err != nil {
		return 0, err
	}
	return len(b), nil
}
