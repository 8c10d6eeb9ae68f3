package relay

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A frame as the tests write it.
type frame struct {
	op      ws.OpCode
	more    bool // not the last frame of its message
	deflate bool
	payload string
}

func text(payload string) frame { return frame{op: ws.OpText, payload: payload} }
func ping(payload string) frame { return frame{op: ws.OpPing, payload: payload} }

func (f frame) header() ws.Header {
	return ws.Header{Fin: !f.more, OpCode: f.op, Rsv: ws.Rsv(f.deflate, false, false), Length: int64(len(f.payload))}
}

// fragments returns a message in as many frames as there are payloads.
func fragments(payloads ...string) []frame {
	var all []frame
	for i, p := range payloads {
		f := frame{op: ws.OpContinuation, more: i < len(payloads)-1, payload: p}
		if i == 0 {
			f.op = ws.OpText
		}
		all = append(all, f)
	}
	return all
}

func encode(masked bool, all ...frame) []byte {
	var b bytes.Buffer
	for i, f := range all {
		h := f.header()
		payload := []byte(f.payload)
		if masked {
			h.Masked, h.Mask = true, [4]byte{byte(i), 0xa5, byte(i * 7), 0x3c}
			ws.Cipher(payload, h.Mask, 0)
		}
		if err := ws.WriteHeader(&b, h); err != nil {
			panic(err)
		}
		b.Write(payload)
	}
	return b.Bytes()
}

// failing is what [testing.T] and [pgregory.net/rapid.T] have in common.
type failing interface {
	Helper()
	Fatalf(format string, args ...any)
}

// decode reads frames until there are no more, and returns what remains. All
// must be masked, or none.
func decode(t failing, stream []byte, masked bool) (all []frame, rest []byte) {
	t.Helper()
	for {
		f, h, rest := decodeOne(stream)
		if rest == nil {
			return all, stream
		}
		if h.Masked != masked {
			t.Fatalf("frame %v: masked is %v", h, h.Masked)
		}
		all = append(all, f)
		stream = rest
	}
}

// decodeOne reads the first frame. It returns nil if there is none.
func decodeOne(stream []byte) (f frame, h ws.Header, rest []byte) {
	r := bytes.NewReader(stream)
	h, err := ws.ReadHeader(r)
	if err != nil || int64(r.Len()) < h.Length {
		return frame{}, h, nil
	}
	payload := make([]byte, h.Length)
	io.ReadFull(r, payload)
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
	return frame{h.OpCode, !h.Fin, h.Rsv1(), string(payload)}, h, stream[len(stream)-r.Len():]
}

func deflated(payload string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	io.WriteString(w, payload)
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// calls collects what a relay says.
type record struct {
	mu    sync.Mutex
	calls []string // the messages of, or "too large: " and the echo
	to    []string // see describe
	from  []string
	lost  int
	reply func(message string) string // if it is to be replied to
	sent  []bool
}

func describe(p *packet.Packet) string {
	switch p.Kind() {
	case packet.Call:
		return "call " + p.Action + " " + string(p.Echo)
	case packet.Response:
		return "response " + string(p.Echo)
	case packet.Event:
		return "event " + p.PostType
	}
	return "unknown"
}

func (r *record) ToImplementation(p *packet.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = append(r.to, describe(p))
}

func (r *record) FromImplementation(p *packet.Packet, delivered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from = append(r.from, describe(p))
	if !delivered {
		r.lost++
	}
}

func (r *record) answer(message, echo []byte, send func([]byte) bool) {
	said := string(message)
	if message == nil {
		said = "too large: " + string(echo)
	}
	r.mu.Lock()
	r.calls = append(r.calls, said)
	reply := r.reply
	r.mu.Unlock()
	if reply == nil {
		return
	}
	ok := send([]byte(reply(said)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, ok)
}

func (r *record) options(reverse bool, maxCall int64) Options {
	return Options{
		Reverse: reverse,
		MaxCall: maxCall,
		Mine:    func(action string) bool { return strings.HasPrefix(action, "mine") },
		Answer:  r.answer,
		Watch:   r,
	}
}

type noDeadlines struct{}

func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

// pieces reads what it has one piece at a time.
type pieces [][]byte

func (p *pieces) Read(b []byte) (int, error) {
	for len(*p) > 0 {
		n := copy(b, (*p)[0])
		if (*p)[0] = (*p)[0][n:]; len((*p)[0]) == 0 {
			*p = (*p)[1:]
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// cut cuts a stream at ascending positions.
func cut(stream []byte, at ...int) pieces {
	var all pieces
	from := 0
	for _, to := range append(at, len(stream)) {
		all = append(all, stream[from:to])
		from = to
	}
	return all
}

func everyByte(stream []byte) pieces {
	var all pieces
	for i := range stream {
		all = append(all, stream[i:i+1])
	}
	return all
}

// through sends pieces through a relay in the direction in which calls go, and
// returns what came out.
func through(rec *record, reverse bool, maxCall int64, agreed agreement, in pieces) []byte {
	rl := New(rec.options(reverse, maxCall))
	var toClient bytes.Buffer
	c := peer{deadlines: noDeadlines{}, from: strings.NewReader(""), to: &toClient, close: func() error { return nil }}
	if !reverse {
		c.from = &in
	}
	rl.open(c, agreed)
	var out []byte
	if reverse {
		for _, p := range in {
			if _, err := rl.down.Write(p); err != nil {
				break
			}
		}
		rl.pump.abort()
		<-rl.pump.done
		out = toClient.Bytes()
	} else {
		out, _ = io.ReadAll(struct{ io.Reader }{readerOf(rl)})
	}
	rl.answers.wait()
	return bytes.Clone(out)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func readerOf(rl *Relay) io.Reader { return readerFunc(rl.read) }
