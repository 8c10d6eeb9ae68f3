package caddymodule

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// socketServer serves WebSocket connections only.
func socketServer(t *testing.T, h *Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.serveWebSocket(w, r, strings.Trim(r.URL.Path, "/"))
	}))
	t.Cleanup(server.Close)
	t.Cleanup(h.sockets.close) // for which a server does not wait
	return server
}

func TestWhatAsksForAWebSocket(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		major        int
		proto        string
		header       http.Header
		want         bool
	}{
		{"an upgrade", "GET", 1, "HTTP/1.1", http.Header{"Upgrade": {"websocket"}}, true},
		{"one of several, in any case", "GET", 1, "HTTP/1.1", http.Header{"Upgrade": {"h2c, WebSocket"}}, true},
		{"another upgrade", "GET", 1, "HTTP/1.1", http.Header{"Upgrade": {"h2c"}}, false},
		{"part of a word", "GET", 1, "HTTP/1.1", http.Header{"Upgrade": {"websockets"}}, false},
		{"none", "GET", 1, "HTTP/1.1", http.Header{}, false},
		{"a POST", "POST", 1, "HTTP/1.1", http.Header{"Upgrade": {"websocket"}}, false},
		{"HTTP/2", "CONNECT", 2, "HTTP/2.0", http.Header{":protocol": {"websocket"}}, true},
		{"HTTP/2 with the header of HTTP/1", "GET", 2, "HTTP/2.0", http.Header{"Upgrade": {"websocket"}}, false},
		{"a tunnel by HTTP/2", "CONNECT", 2, "HTTP/2.0", http.Header{}, false},
		{"HTTP/3", "CONNECT", 3, "websocket", http.Header{}, true},
		{"a tunnel by HTTP/3", "CONNECT", 3, "HTTP/3.0", http.Header{}, false},
		{"a GET by HTTP/3", "GET", 3, "HTTP/3.0", http.Header{}, false},
	} {
		r := &http.Request{Method: tt.method, ProtoMajor: tt.major, Proto: tt.proto, Header: tt.header}
		if got := asksForWebSocket(r); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestABadHandshakeIsRefused(t *testing.T) {
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	const upgrade = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
	const version = "Sec-WebSocket-Version: 13\r\n"
	h := provision(t, nil)
	server := socketServer(t, h)
	for _, tt := range []struct {
		name, proto, header string // and a body
		why                 refusal
	}{
		{"no version", "HTTP/1.1", upgrade + key, errHandshakeVersion},
		{"an old version", "HTTP/1.1", upgrade + key + "Sec-WebSocket-Version: 8\r\n", errHandshakeVersion},
		{"no key", "HTTP/1.1", upgrade + version, errHandshakeKey},
		{"a short key", "HTTP/1.1", upgrade + version + "Sec-WebSocket-Key: dGhl\r\n", errHandshakeKey},
		{"a key that is not base64", "HTTP/1.1", upgrade + version + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ!!\r\n", errHandshakeKey},
		{"no Connection", "HTTP/1.1", "Upgrade: websocket\r\n" + version + key, errHandshakeUpgrade},
		{"HTTP/1.0", "HTTP/1.0", upgrade + version + key, errHandshakeUpgrade},
		{"a body", "HTTP/1.1", upgrade + version + key + "Content-Length: 2\r\n\r\n{}", errHandshakeBody},
		{"a chunked body", "HTTP/1.1", upgrade + version + key + "Transfer-Encoding: chunked\r\n\r\n0\r\n", errHandshakeBody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET /api "+tt.proto+"\r\nHost: bot.example\r\n"+tt.header+"\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if want := string(meta.Failure(tt.why.failure, nil).JSON()); resp.StatusCode != 400 || string(body) != want || err != nil {
				t.Errorf("it is answered by %s %s (%v), want %s", resp.Status, body, err, want)
			}
			want := ""
			if tt.why == errHandshakeVersion {
				want = "13"
			}
			if got := resp.Header.Get("Sec-WebSocket-Version"); got != want {
				t.Errorf("Sec-WebSocket-Version is %q", got)
			}
		})
	}
	if got := h.shared.counters.Stat(); got != (meta.Stat{}) {
		t.Errorf("handshakes are counted: %+v", got)
	}
}

func TestAStreamNeedsNoKeyButTheVersion(t *testing.T) {
	for version, want := range map[string]bool{"13": true, "8": false, "": false} {
		for major, proto := range map[int]string{2: "HTTP/2.0", 3: "websocket"} {
			r := &http.Request{Method: "CONNECT", ProtoMajor: major, Proto: proto, ContentLength: -1, Header: make(http.Header)}
			r.Header.Set("Sec-WebSocket-Version", version)
			if why, ok := checkHandshake(r); ok != want || !ok && why != errHandshakeVersion {
				t.Errorf("version %q by HTTP/%d: %t %v", version, major, ok, why)
			}
		}
	}
}

// A client need not wait for the handshake to succeed.
func TestWhatComesWithTheHandshakeIsRead(t *testing.T) {
	server := socketServer(t, provision(t, nil))
	for name, n := range map[string]int{"some frames": 3, "more than the server's buffer takes": 1000} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			const handshake = "GET /api HTTP/1.1\r\nHost: bot.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
			call := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"action":"set_restart"}`))))
			if _, err := conn.Write(append([]byte(handshake), bytes.Repeat(call, n)...)); err != nil {
				t.Fatal(err)
			}
			from := bufio.NewReader(conn)
			resp, err := http.ReadResponse(from, nil)
			if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Fatalf("the handshake is answered by %v (%v)", resp, err)
			}
			for range n {
				if _, reply, err := nextFrame(from); err != nil || reply != `{"status":"ok","retcode":0,"data":null}` {
					t.Fatalf("a call is answered by %s (%v)", reply, err)
				}
			}
		})
	}
}

func TestOpenConnectionsAreKnownAndClosed(t *testing.T) {
	h := provision(t, every(0))
	server := socketServer(t, h)
	dial := func() *websocket.Conn {
		t.Helper()
		conn, _, err := websocket.Dial(t.Context(), server.URL+"/event", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		if _, _, err := conn.Read(t.Context()); err != nil { // lifecycle
			t.Fatal(err)
		}
		return conn
	}
	conns := []*websocket.Conn{dial(), dial(), dial()}
	if n := h.sockets.count.Load(); n != 3 {
		t.Errorf("%d are open, want 3", n)
	}
	wantAway := func(conn *websocket.Conn) {
		t.Helper()
		if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("a connection ends with %v", err)
		}
	}
	h.sockets.close()
	for _, conn := range conns {
		wantAway(conn)
	}
	wantAway(dial()) // one that was late
}
