package relay

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// failingEnd fails to be read from or written to.
type failingEnd struct{ err error }

func (f failingEnd) Read([]byte) (int, error)  { return 0, f.err }
func (f failingEnd) Write([]byte) (int, error) { return 0, f.err }

// Only what is read comes to an end, as [io.Copy] has it: what cannot be written
// is lost, even if that is said by the same error.
func TestTheEndOfACopy(t *testing.T) {
	broken := errors.New("broken")
	hello := encode(false, text("hello"))
	open := func(to io.Writer, from io.Reader) *conn {
		rl := New(benchOptions(false))
		rl.open(peer{deadlines: noDeadlines{}, from: from, to: to, close: func() error { return nil }}, agreement{})
		t.Cleanup(func() { rl.Close() })
		return &conn{relay: rl}
	}
	for _, c := range []struct {
		name string
		copy func() (int64, error)
		want error
	}{
		{"from behind, which ends", func() (int64, error) {
			return open(io.Discard, nil).ReadFrom(bytes.NewReader(hello))
		}, nil},
		{"from behind, which breaks", func() (int64, error) {
			return open(io.Discard, nil).ReadFrom(failingEnd{broken})
		}, broken},
		{"from behind, to a client that is gone", func() (int64, error) {
			return open(failingEnd{io.EOF}, nil).ReadFrom(bytes.NewReader(hello))
		}, io.EOF},
		{"from the client, which ends", func() (int64, error) {
			return open(io.Discard, bytes.NewReader(encode(true, text("hello")))).WriteTo(io.Discard)
		}, nil},
		{"from the client, to what is gone", func() (int64, error) {
			return open(io.Discard, bytes.NewReader(encode(true, text("hello")))).WriteTo(failingEnd{io.EOF})
		}, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n, err := c.copy(); err != c.want {
				t.Errorf("copied %d bytes, %v, want %v", n, err, c.want)
			}
		})
	}
}
