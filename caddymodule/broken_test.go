package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// panicking is a body whose reader is broken.
type panicking struct{ reason any }

func (p panicking) Read([]byte) (int, error) { panic(p.reason) }

// Whoever serves a request has to see its panic, though that is not where it is
// carried out.
func TestAPanicOfACallReachesTheServer(t *testing.T) {
	h := provision(t, nil)
	for name, tt := range map[string]struct {
		reason any
		want   func(reason any) bool
	}{
		"with where it was": {"a bug", func(reason any) bool {
			text, ok := reason.(string)
			return ok && strings.HasPrefix(text, "a bug\n") && strings.Contains(text, "panicking.Read")
		}},
		"as what aborts a response": {http.ErrAbortHandler, func(reason any) bool { return reason == http.ErrAbortHandler }},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if reason := recover(); !tt.want(reason) {
					t.Errorf("got %v", reason)
				}
			}()
			r := httptest.NewRequest("POST", "/download_file", panicking{tt.reason})
			_ = h.ServeHTTP(httptest.NewRecorder(), r, next)
			t.Error("it is answered")
		})
	}
}

func TestAConnectionThatCannotBeTakenOverIsToldOf(t *testing.T) {
	h := provision(t, nil)
	core, logs := observer.New(zapcore.WarnLevel)
	h.refusals = func() *zap.Logger { return zap.New(core) }
	for name, r := range map[string]*http.Request{
		"HTTP/1.1": {Method: "GET", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}},
		"HTTP/2":   {Method: "CONNECT", ProtoMajor: 2, Header: http.Header{":protocol": {"websocket"}}},
	} {
		t.Run(name, func(t *testing.T) {
			sent := httptest.NewRequest(r.Method, "http://bot.example/", http.NoBody)
			sent.ProtoMajor, sent.ProtoMinor, sent.Header = r.ProtoMajor, r.ProtoMinor, r.Header
			sent.URL.Path = "/"
			sent.Header.Set("Sec-WebSocket-Version", "13")
			sent.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
			w := httptest.NewRecorder()
			if err := h.ServeHTTP(struct{ http.ResponseWriter }{w}, sent, next); err != nil {
				t.Error(err)
			}
			if told := logs.TakeAll(); len(told) != 1 || told[0].Message != "accepting websocket" {
				t.Errorf("logged %v", told)
			}
			if n := h.shared.connections.Load(); n != 0 || w.Body.Len() > 0 {
				t.Errorf("%d connections are open, and %q was sent", n, w.Body)
			}
		})
	}
}

// A limit below that of control frames, which have one of their own.
func TestASmallMessageIsTooLargeWhereLessIsAllowed(t *testing.T) {
	h := provision(t, func(h *Handler) { h.MaxBody = 10 })
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, h, false)
		p.send(t, ws.OpPing, "more than 10 bytes")
		if op, payload, err := p.next(); op != ws.OpPong || payload != "more than 10 bytes" {
			t.Errorf("got %x %q (%v)", op, payload, err)
		}
		p.send(t, ws.OpText, `{"action":1}`)
		p.wantClose(t, ws.StatusMessageTooBig)
	})
}

func TestAClientThatGoesInTheMiddleOfAFrameIsNoFault(t *testing.T) {
	h := provision(t, nil)
	synctest.Test(t, func(t *testing.T) {
		for _, op := range []ws.OpCode{ws.OpPing, ws.OpText} {
			p := connect(t, h, false)
			frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, true, []byte("hello"))))
			if _, err := p.Conn.Write(frame[:len(frame)-2]); err != nil {
				t.Fatal(err)
			}
			if err := p.Conn.Close(); err != nil {
				t.Fatal(err)
			}
			if fault := <-p.fault; fault != "" {
				t.Errorf("in %x: %s", op, fault)
			}
			if _, err := io.ReadAll(p.wire); err == nil {
				t.Error("the connection is still open")
			}
		}
	})
}
