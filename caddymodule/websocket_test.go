package caddymodule

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// peer is the client's end of a connection.
type peer struct {
	net.Conn
	*socket
	fault chan string // of the connection, when it has ended
}

// connect has a connection served. It is to be called in a bubble of
// [synctest], by whose clock it lives.
func connect(t *testing.T, h *Handler, events bool) *peer {
	t.Helper()
	client, server := net.Pipe()
	r := httptest.NewRequest(http.MethodGet, "http://bot.example/", nil)
	p := &peer{client, h.newSocket(newHijacked(server, bufio.NewReader(server)), r), make(chan string, 1)}
	go func() { p.fault <- p.serve(events) }()
	t.Cleanup(func() {
		_ = client.Close()
		<-p.ended
	})
	return p
}

// next returns the next frame as its opcode and its payload, or an error when
// there are no more.
func (p *peer) next() (ws.OpCode, string, error) { return nextFrame(p.Conn) }

func nextFrame(from io.Reader) (ws.OpCode, string, error) {
	header, err := ws.ReadHeader(from)
	if err != nil {
		return 0, "", err
	}
	payload := make([]byte, header.Length)
	_, err = io.ReadFull(from, payload)
	return header.OpCode, string(payload), err
}

func (p *peer) send(t *testing.T, op ws.OpCode, payload string) {
	t.Helper()
	frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, true, []byte(payload))))
	if _, err := p.Conn.Write(frame); err != nil {
		t.Fatal(err)
	}
}

// wantClose fails the test if the next frame does not close the connection with
// a code, or the connection does not end then.
func (p *peer) wantClose(t *testing.T, code ws.StatusCode) {
	t.Helper()
	op, payload, err := p.next()
	got, _ := ws.ParseCloseFrameData([]byte(payload))
	if op != ws.OpClose || got != code {
		t.Errorf("got %x %q (%v), want the code %d", op, payload, err, code)
	}
	if op, payload, err := p.next(); !errors.Is(err, io.EOF) {
		t.Errorf("then came %x %q (%v)", op, payload, err)
	}
}

func every(interval time.Duration) func(*Handler) {
	return func(h *Handler) {
		h.SelfID = 10001
		h.Heartbeat = new(caddy.Duration(interval))
	}
}

func TestEventsComeFirstAndThenHeartbeats(t *testing.T) {
	for _, tt := range []struct {
		name     string
		events   bool
		interval time.Duration
		beats    int
	}{
		{"events and heartbeats", true, 1500 * time.Millisecond, 3},
		{"no heartbeats", true, 0, 0},
		{"no events", false, time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := provision(t, every(tt.interval))
			synctest.Test(t, func(t *testing.T) {
				p := connect(t, h, tt.events)
				if tt.events {
					op, event, err := p.next()
					if want := string(meta.Connected(10001, time.Now())); op != ws.OpText || event != want || err != nil {
						t.Fatalf("first comes %x %s (%v), want %s", op, event, err, want)
					}
				}
				start := time.Now()
				for n := range tt.beats {
					op, event, err := p.next()
					if want := string(h.dispatcher.Heartbeat(10001, tt.interval, time.Now())); op != ws.OpText || event != want || err != nil {
						t.Fatalf("got %x %s (%v), want %s", op, event, err, want)
					}
					if got, want := time.Since(start), time.Duration(n+1)*tt.interval; got != want {
						t.Errorf("heartbeat %d comes after %v, want %v", n+1, got, want)
					}
				}
				if tt.beats == 0 {
					time.Sleep(time.Hour)
				}
				p.send(t, ws.OpClose, string(ws.NewCloseFrameBody(ws.StatusNormalClosure, "bye")))
				p.wantClose(t, ws.StatusNormalClosure)
			})
			if got := h.shared.counters.Stat(); got != (meta.Stat{}) {
				t.Errorf("events are counted: %+v", got)
			}
		})
	}
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	for _, tt := range []struct {
		name     string
		interval time.Duration // of heartbeats
		prelude  func(p *peer)
	}{
		{"from the beginning", 0, func(*peer) {}},
		{"after a call", 0, func(p *peer) { _, _, _ = p.next(); p.send(t, ws.OpText, `{"action":"get_status"}`) }},
		{"in a long reply", 0, func(p *peer) { p.longReply(t); _, _ = io.ReadFull(p.Conn, make([]byte, 3*writePiece)) }},
		{"when a heartbeat comes", time.Second, func(p *peer) { _, _, _ = p.next(); time.Sleep(time.Second) }},
		{"when a ping is answered", 0, func(p *peer) { _, _, _ = p.next(); p.send(t, ws.OpPing, "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := provision(t, every(tt.interval))
			synctest.Test(t, func(t *testing.T) {
				p := connect(t, h, true)
				tt.prelude(p)
				start := time.Now()
				fault := <-p.fault
				if got := time.Since(start); got != writePatience || !strings.Contains(fault, "takes nothing") {
					t.Errorf("it ends after %v because of %q, want %v", got, fault, writePatience)
				}
			})
			if got := h.shared.counters.Stat(); got.PacketSent != 0 || got.PacketReceived != got.PacketLost {
				t.Errorf("the counters are %+v", got)
			}
		})
	}
}

// longReply asks for a reply that takes many writes, and reads the event before
// it.
func (p *peer) longReply(t *testing.T) {
	_, _, _ = p.next()
	p.send(t, ws.OpText, `{"action":"set_restart","echo":"`+strings.Repeat("x", 10*writePiece)+`"}`)
}

func TestASlowClientIsNotCutOffAsLongAsItTakesSomething(t *testing.T) {
	h := provision(t, every(0))
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, h, true)
		p.longReply(t)
		for range 10 {
			time.Sleep(writePatience - time.Nanosecond)
			if _, err := io.ReadFull(p.Conn, make([]byte, writePiece)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAReloadWaitsForCallsAndClosesThen(t *testing.T) {
	for _, tt := range []struct {
		name     string
		waiting  bool // a call
		answered bool // before the patience ends
		hurry    bool // later
		after    time.Duration
	}{
		{"no call", false, false, false, 0},
		{"a call that is answered", true, true, false, time.Second},
		{"a call that takes too long", true, false, false, drainPatience},
		{"a call, and the process exits meanwhile", true, false, true, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := provision(t, every(0))
			synctest.Test(t, func(t *testing.T) {
				p := connect(t, h, false)
				if tt.waiting {
					p.calls.enter(1)
				}
				start := time.Now()
				p.stop(false)
				time.AfterFunc(time.Second, func() {
					if tt.answered {
						p.write(ws.OpText, []byte("{}"))
						p.calls.leave(1)
					}
					if tt.hurry {
						p.stop(true)
					}
				})
				if tt.answered {
					if op, reply, err := p.next(); op != ws.OpText || reply != "{}" || err != nil {
						t.Errorf("the reply is %x %q (%v)", op, reply, err)
					}
				}
				op, payload, err := p.next()
				if code, _ := ws.ParseCloseFrameData([]byte(payload)); op != ws.OpClose || code != ws.StatusGoingAway {
					t.Errorf("got %x %q (%v)", op, payload, err)
				}
				if got := time.Since(start); got != tt.after {
					t.Errorf("it is closed after %v, want %v", got, tt.after)
				}
				if tt.waiting && !tt.answered {
					p.calls.leave(1)
				}
			})
		})
	}
}

func TestAStoppedConnectionTakesNoMoreCalls(t *testing.T) {
	h := provision(t, every(0))
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, h, false)
		call := ws.MaskFrame(ws.NewTextFrame([]byte(`{"action":"set_restart"}`)))
		two := append(ws.MustCompileFrame(call), ws.MustCompileFrame(call)...)
		if _, err := p.Conn.Write(two); err != nil { // into one buffer
			t.Fatal(err)
		}
		synctest.Wait() // it writes the first reply
		p.stop(false)
		if op, reply, err := p.next(); op != ws.OpText || err != nil {
			t.Errorf("the first call is answered by %x %s (%v)", op, reply, err)
		}
		p.wantClose(t, ws.StatusGoingAway)
	})
	if got := h.shared.counters.Stat(); got != (meta.Stat{PacketReceived: 1, PacketSent: 1}) {
		t.Errorf("the counters are %+v", got)
	}
}

func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	h := provision(t, every(time.Second))
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, h, false)
		p.send(t, ws.OpClose, "")
		if op, payload, err := p.next(); op != ws.OpClose || payload != "" || err != nil {
			t.Errorf("got %x %q (%v)", op, payload, err)
		}
		<-p.ended
		if p.write(ws.OpText, []byte("late")) {
			t.Error("a frame was written")
		}
		p.stop(true) // and has nothing to do
	})
}

func TestHowAConnectionIsClosed(t *testing.T) {
	h := provision(t, func(h *Handler) { h.MaxBody = 10 })
	for _, tt := range []struct {
		err  error
		code ws.StatusCode
	}{
		{io.EOF, 0},
		{io.ErrUnexpectedEOF, 0},
		{net.ErrClosed, 0},
		{ws.ErrProtocolMaskRequired, 1002},
		{ws.ErrHeaderLengthMSB, 1002},
		{wsutil.ErrInvalidUTF8, 1007},
		{wsutil.ErrMessageTooLarge, 1009},
		{closedBy(ws.NewCloseFrameBody(3000, "bye")), 3000},
		{closedBy(ws.NewCloseFrameBody(4999, "")), 4999},
		{closedBy(nil), ws.StatusNoStatusRcvd},
		{closedBy([]byte{3}), 1002},
		{closedBy(ws.NewCloseFrameBody(999, "")), 1002},
		{closedBy(ws.NewCloseFrameBody(1005, "")), 1002},
		{closedBy(ws.NewCloseFrameBody(2999, "")), 1002},
		{closedBy(ws.NewCloseFrameBody(5000, "")), 1002},
		{closedBy(ws.NewCloseFrameBody(1000, "\xff")), 1002},
	} {
		s := &socket{handler: h}
		if got := s.closing(tt.err).code; got != tt.code {
			t.Errorf("after %v it is closed with %d, want %d", tt.err, got, tt.code)
		}
	}
}
