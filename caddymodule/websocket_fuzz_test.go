package caddymodule

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// FuzzCall sends a message as a call. Whatever it is, there is one reply, an
// envelope with the echo that was sent.
func FuzzCall(f *testing.F) {
	for _, seed := range []string{
		`{"action":"get_status","params":{},"echo":1}`, `{"action":"nonsense","echo":{"a": [1,2]}}`, `{"action":".get_word_slices","params":{"content":"x"}}`,
		`null`, `{"params":"x","echo":"\ud800"}`, `[]`, `{"action":{},"echo":null}`, "\ufeff{}", `{"echo":1,"echo":2,"action":"set_restart_rate_limited"}`,
	} {
		f.Add([]byte(seed))
	}
	h := provision(f, nil)
	f.Fuzz(func(t *testing.T, message []byte) {
		var sent map[string]json.RawMessage
		var action string
		if json.Unmarshal(message, &sent) == nil && json.Unmarshal(sent["action"], &action) == nil && strings.HasPrefix(action, "download_file") {
			return // it might name what can be fetched
		}
		c := newTaken(t, h)
		c.take(append([]byte{}, message...), nil, c.send)
		<-c.drained()
		if len(c.replies) != 1 {
			t.Fatalf("there are %d replies", len(c.replies))
		}
		reply := []byte(c.next(t))
		var envelope struct {
			Status  string
			Retcode *int
			Echo    json.RawMessage
		}
		if err := json.Unmarshal(reply, &envelope); err != nil || !utf8.Valid(reply) || envelope.Status == "" || envelope.Retcode == nil {
			t.Fatalf("the reply is no envelope (%v): %s", err, reply)
		}
		if sent != nil && utf8.Valid(message) && string(envelope.Echo) != string(sent["echo"]) {
			t.Errorf("the echo is %q, not %q", envelope.Echo, sent["echo"])
		}
	})
}

// script is a wire by which a client sends some bytes and goes.
type script struct {
	io.Reader
	written bytes.Buffer
}

func (s *script) write(frame []byte) error { s.written.Write(frame); return nil }
func (s *script) interrupt()               {}
func (s *script) finish(bool)              {}

// FuzzFrames has a client send some bytes. Whatever they are, what it gets are
// proper frames, of which a Close is the last, and one reply for each message.
func FuzzFrames(f *testing.F) {
	frame := func(head byte, payload string) []byte {
		masked := ws.MaskFrameWith(ws.NewFrame(ws.OpCode(head&0xf), head&0x80 != 0, []byte(payload)), [4]byte{})
		return ws.MustCompileFrame(masked)
	}
	for _, seed := range [][]byte{
		frame(0x81, `{"action":"get_status"}`),
		slices.Concat(frame(0x01, `{"action"`), frame(0x89, "ping"), frame(0x00, ``), frame(0x80, `:"é"}`), frame(0x88, "\x03\xe8bye")),
		slices.Concat(frame(0x82, `{}`), frame(0x8a, ""), frame(0x88, "")),
		frame(0x81, "\xff"), {0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x81, 0xfe, 0x01}, {0xc1, 0x80},
	} {
		f.Add(seed)
	}
	h := provision(f, func(h *Handler) { h.MaxBody = 1000 })
	f.Fuzz(func(t *testing.T, sent []byte) {
		before := h.shared.counters.Stat()
		wire := &script{Reader: bytes.NewReader(sent)}
		s := h.newSocket(wire, httptest.NewRequest(http.MethodGet, "/event", nil))
		s.calls.refuse = errEventsOnly // so that nothing is carried out
		fault := s.serve(false)

		replies, closed := int64(0), false
		for wire.written.Len() > 0 {
			header, err := ws.ReadHeader(&wire.written)
			payload := wire.written.Next(int(header.Length))
			if err != nil || ws.CheckHeader(header, ws.StateClientSide) != nil || !header.Fin || int64(len(payload)) != header.Length {
				t.Fatalf("a bad frame: %+v %q (%v)", header, payload, err)
			}
			if closed {
				t.Errorf("after the close comes %+v %q", header, payload)
			}
			switch header.OpCode {
			case ws.OpText:
				replies++
				if !json.Valid(payload) || !utf8.Valid(payload) {
					t.Errorf("the reply is %q", payload)
				}
			case ws.OpClose:
				closed = true
				code, reason := ws.ParseCloseFrameData(payload)
				if err := ws.CheckCloseFrameData(code, reason); len(payload) > 0 && err != nil {
					t.Errorf("the close is %q: %v", payload, err)
				}
			case ws.OpPong:
			default:
				t.Errorf("got %+v %q", header, payload)
			}
		}
		if fault != "" && !closed {
			t.Errorf("%q is the client's secret", fault)
		}
		want := before
		want.PacketReceived += replies
		want.PacketSent += replies
		if got := h.shared.counters.Stat(); got != want {
			t.Errorf("the counters are %+v, want %+v", got, want)
		}
	})
}
