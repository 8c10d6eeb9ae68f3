package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/gobwas/ws"
)

func closing(code ws.StatusCode) frame {
	return frame{op: ws.OpClose, payload: string(ws.NewCloseFrameBody(code, ""))}
}

// What no client may send; an 'm' stands for the mask bit, which a server may
// not set.
var badFrames = []struct {
	name    string
	frames  func(m byte) []byte
	deflate bool
}{
	{"a reserved bit", func(m byte) []byte { return []byte{0x80 | 0x40 | 1, m, 0, 0, 0, 0} }, false},
	{"a reserved bit that no extension has", func(m byte) []byte { return []byte{0x80 | 0x20 | 1, m, 0, 0, 0, 0} }, true},
	{"a compressed control frame", func(m byte) []byte { return []byte{0x80 | 0x40 | 9, m, 0, 0, 0, 0} }, true},
	{"a compressed continuation", func(m byte) []byte {
		return append(encode(m != 0, frame{op: ws.OpText, more: true}), 0x80|0x40, m, 0, 0, 0, 0)
	}, true},
	{"a reserved opcode", func(m byte) []byte { return []byte{0x80 | 3, m, 0, 0, 0, 0} }, false},
	{"a control frame that is too long", func(m byte) []byte { return []byte{0x80 | 9, m | 126, 0, 126, 0, 0, 0, 0} }, false},
	{"a control frame in fragments", func(m byte) []byte { return []byte{9, m, 0, 0, 0, 0} }, false},
	{"a length of 2^63", func(m byte) []byte { return []byte{0x82, m | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} }, false},
	{"the wrong masking", func(m byte) []byte { return encode(m == 0, text("hello")) }, false},
	{"a continuation of nothing", func(m byte) []byte { return []byte{0x80, m, 0, 0, 0, 0} }, false},
	{"a message in a message", func(m byte) []byte {
		return encode(m != 0, frame{op: ws.OpText, more: true, payload: `{`}, text("x"))
	}, false},
	{"HTTP", func(byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, false},
}

// The frames that come before pass, then both sides are told, and the
// connection ends.
func TestABadFrameOfTheClientEndsTheConnection(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		for _, bad := range badFrames {
			t.Run(fmt.Sprintf("%s, reverse %v", bad.name, reverse), func(t *testing.T) {
				stream := append(encode(true, text(theirs), ping("p")), bad.frames(0x80)...)
				for i := range len(stream) {
					rec := new(record)
					rl := New(rec.options(reverse, 1000))
					in := cut(stream, i)
					var to bytes.Buffer
					rl.open(peer{deadlines: noDeadlines{}, from: &in, to: &to, close: func() error { return nil }}, agreement{deflate: bad.deflate})
					out, err := io.ReadAll(readerOf(rl))
					if !errors.Is(err, errProtocol) {
						t.Fatalf("reading ends with %v, want %v", err, errProtocol)
					}
					got, rest := decode(t, out, true)
					if len(rest) > 0 || len(got) < 3 || !slices.Equal(got[:2], []frame{text(theirs), ping("p")}) ||
						got[len(got)-1] != closing(ws.StatusProtocolError) {
						t.Fatalf("%q and %q went on", fmt.Sprint(got), rest)
					}
					// nothing of what comes from behind is let through now
					if _, err := rl.down.Write(encode(false, text("x"))); err != nil {
						t.Fatalf("writing to the client: %v", err)
					}
					if !reverse && len(rec.from) > 0 {
						t.Fatalf("told of %q, which the client never got", rec.from)
					}
					if opened, byImplementation := rl.Close(); !opened || byImplementation != reverse {
						t.Errorf("Close() = %v, %v", opened, byImplementation)
					}
					got, rest = decode(t, to.Bytes(), false)
					if len(rest) > 0 || !slices.Equal(got, []frame{closing(ws.StatusProtocolError)}) {
						t.Fatalf("the client got %q and %q", fmt.Sprint(got), rest)
					}
				}
			})
		}
	}
}

func TestABadFrameFromBehindEndsTheConnection(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		for _, bad := range badFrames {
			t.Run(fmt.Sprintf("%s, reverse %v", bad.name, reverse), func(t *testing.T) {
				stream := append(encode(false, text(theirs), ping("p")), bad.frames(0)...)
				for i := range len(stream) {
					rec := new(record)
					rl := New(rec.options(reverse, 1000))
					client, blocked := io.Pipe()
					var to bytes.Buffer
					rl.open(peer{deadlines: noDeadlines{}, from: client, to: &to, close: blocked.Close}, agreement{deflate: bad.deflate})
					_, err := rl.down.Write(stream[:i])
					if err == nil {
						_, err = rl.down.Write(stream[i:])
					}
					if !errors.Is(err, errProtocol) {
						t.Fatalf("writing ends with %v, want %v", err, errProtocol)
					}
					if opened, byImplementation := rl.Close(); !opened || byImplementation == reverse {
						t.Errorf("Close() = %v, %v", opened, byImplementation)
					}
					got, rest := decode(t, to.Bytes(), false)
					if len(rest) > 0 || len(got) < 3 || !slices.Equal(got[:2], []frame{text(theirs), ping("p")}) ||
						got[len(got)-1] != closing(ws.StatusInternalServerError) {
						t.Fatalf("%q and %q went on", fmt.Sprint(got), rest)
					}
				}
			})
		}
	}
}

// When the handlers behind close the connection without a word, the client is
// told, unless that had to be inside a frame or it has ended it itself.
func TestTheClientIsToldThatTheOtherSideIsGone(t *testing.T) {
	whole := encode(false, text("hello"))
	for _, c := range []struct {
		name     string
		from     []byte // the client
		to       []byte
		want     []frame
		rest     string
		byClient bool
	}{
		{name: "at rest", want: []frame{closing(1011)}},
		{name: "after a message", to: whole, want: []frame{text("hello"), closing(1011)}},
		{name: "in a message", to: encode(false, frame{op: ws.OpText, more: true}), want: []frame{{op: ws.OpText, more: true}, closing(1011)}},
		{name: "in a header", to: whole[:1], want: []frame{closing(1011)}},
		{name: "in a frame", to: whole[:3], rest: string(whole[:3])},
		{name: "after a Close frame", to: encode(false, closing(1001)), want: []frame{closing(1001)}},
		{name: "after the client's Close frame", from: encode(true, closing(1000)), byClient: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := new(record)
			rl := New(rec.options(false, 1000))
			var to bytes.Buffer
			rl.open(peer{deadlines: noDeadlines{}, from: bytes.NewReader(c.from), to: &to, close: func() error { return nil }}, agreement{})
			if len(c.from) > 0 {
				if n, err := rl.read(make([]byte, 100)); n != len(c.from) || err != nil {
					t.Fatalf("reading from the client: %d, %v", n, err)
				}
			}
			if _, err := rl.down.Write(c.to); err != nil {
				t.Fatal(err)
			}
			if err := rl.closeClient(); err != nil {
				t.Fatal(err)
			}
			got, rest := decode(t, to.Bytes(), false)
			if !slices.Equal(got, c.want) || string(rest) != c.rest {
				t.Errorf("the client got %q and %q, want %q and %q", fmt.Sprint(got), rest, fmt.Sprint(c.want), c.rest)
			}
			if _, byImplementation := rl.Close(); byImplementation == c.byClient {
				t.Errorf("ended by what is behind: %v", byImplementation)
			}
		})
	}
}

func TestAClientThatIsJustGone(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		rec := new(record)
		rl := New(rec.options(reverse, 1000))
		var to bytes.Buffer
		half := encode(true, text(theirs))[:9]
		rl.open(peer{deadlines: noDeadlines{}, from: bytes.NewReader(half), to: &to, close: func() error { return nil }}, agreement{})
		if out, err := io.ReadAll(readerOf(rl)); err != nil || !bytes.HasPrefix(half, out) {
			t.Errorf("reverse %v: read %q, %v; want a part of %q", reverse, out, err, half)
		}
		if _, byImplementation := rl.Close(); byImplementation != reverse {
			t.Errorf("reverse %v: byImplementation is %v", reverse, byImplementation)
		}
		if to.Len() > 0 {
			t.Errorf("reverse %v: the client got %q", reverse, to.String())
		}
	}
}

func TestARelayThatWasNeverOpened(t *testing.T) {
	if opened, byImplementation := New(new(record).options(false, 1)).Close(); opened || byImplementation {
		t.Errorf("Close() = %v, %v", opened, byImplementation)
	}
}
