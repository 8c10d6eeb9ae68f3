package relay

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// held is how much a flow keeps of a stream.
func (f *flow) keeps() int {
	n := len(f.held) + f.frames.have
	if f.payload != nil {
		n += len(*f.payload)
	}
	return n
}

// FuzzFilter sends any bytes through a relay, in pieces of the size that step
// says, and checks that nothing but calls of ours is missing, that no more is
// kept than may be, and that a stream that is no good ends with a Close frame.
func FuzzFilter(f *testing.F) {
	for _, c := range callCases {
		stream := encode(true, c.in...)
		f.Add(stream[:min(len(stream), 2000)], uint8(3), c.deflate, false)
		stream = encode(false, c.in...)
		f.Add(stream[:min(len(stream), 2000)], uint8(200), c.deflate, true)
	}
	for _, bad := range badFrames {
		f.Add(append(encode(true, text(theirs)), bad.frames(0x80)...), uint8(1), bad.deflate, false)
		f.Add(append(encode(false, text(theirs)), bad.frames(0)...), uint8(7), bad.deflate, true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, step uint8, deflate, fromBehind bool) {
		const maxCall = 500
		var all pieces
		for rest := stream; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			all = append(all, rest[:n])
			rest = rest[n:]
		}
		for _, reverse := range []bool{false, true} {
			rec := new(record)
			rl := New(rec.options(reverse, maxCall))
			in := bytes.Clone(stream) // must stay as it is
			var to bytes.Buffer
			from, gone := io.Pipe()
			c := peer{deadlines: noDeadlines{}, from: from, to: &to, close: gone.Close}
			feed := append(pieces(nil), all...)
			if !fromBehind {
				c.from = &feed
			}
			rl.open(c, agreement{deflate: deflate})
			var out []byte
			var err error
			if fromBehind {
				for _, p := range all {
					if _, err = rl.down.Write(p); err != nil {
						break
					}
					checkKept(t, &rl.down.flow, maxCall, len(p))
				}
				rl.down.stop()
				out = to.Bytes()
			} else {
				p := make([]byte, 64)
				for err == nil {
					var n int
					n, err = rl.read(p)
					out = append(out, p[:n]...)
					if rl.pull != nil {
						checkKept(t, &rl.pull.flow, maxCall, len(p))
					}
				}
				if err == io.EOF {
					err = nil
				}
			}
			if !bytes.Equal(in, stream) {
				t.Fatal("the input was written to")
			}
			rl.Close()
			seen := &rl.down.flow
			switch {
			case rl.pull != nil && !fromBehind:
				seen = &rl.pull.flow
			case !fromBehind:
				seen = &rl.pump.up.flow
			}
			isCut := len(rec.calls) > 0 || seen.fate == cutting
			code := ws.StatusProtocolError
			if fromBehind {
				code = ws.StatusInternalServerError
			}
			if err != nil {
				if !errors.Is(err, errProtocol) {
					t.Fatalf("the stream ends with %v", err)
				}
				goodbye := compile(closeFrame(code), false)
				if !fromBehind {
					n := len(goodbye) + 4
					if len(out) < n || out[len(out)-n] != goodbye[0] {
						t.Fatalf("%q has no Close frame at its end", out)
					}
					out = out[:len(out)-n]
				} else if !bytes.HasSuffix(out, goodbye) {
					t.Fatalf("%q has no Close frame at its end", out)
				} else {
					out = out[:len(out)-len(goodbye)]
				}
			}
			if !isCut && !bytes.HasPrefix(stream, out) {
				t.Fatalf("%q became %q", stream, out)
			}
			if !isCut && err == nil && len(stream)-len(out) > maxCall+300 {
				t.Fatalf("of %d bytes %d are missing", len(stream), len(stream)-len(out))
			}
			if !isSubsequence(out, stream) {
				t.Fatalf("%q is not a part of %q", out, stream)
			}
		}
	})
}

func checkKept(t *testing.T, f *flow, maxCall, piece int) {
	t.Helper()
	limit := maxCall + piece + ws.MaxHeaderSize
	if !f.calls {
		limit = ws.MaxHeaderSize
		if f.compressed {
			limit += maxDeflated
		}
	}
	if f.keeps() > limit {
		t.Fatalf("%d bytes are kept", f.keeps())
	}
}

func isSubsequence(part, whole []byte) bool {
	for _, c := range part {
		i := bytes.IndexByte(whole, c)
		if i < 0 {
			return false
		}
		whole = whole[i+1:]
	}
	return true
}
