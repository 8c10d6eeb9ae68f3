package relay

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"testing"
)

// measured reads so many bytes at a time, at most, and tells what room it was given.
type measured struct {
	io.Reader
	sizes []int
	rooms []int
}

func (p *measured) Read(b []byte) (int, error) {
	p.rooms = append(p.rooms, len(b))
	if len(p.sizes) == 0 {
		return 0, io.EOF
	}
	n, err := io.ReadFull(p.Reader, b[:min(len(b), p.sizes[0])])
	p.sizes = p.sizes[1:]
	return n, err
}

// What waits holds no large buffer, however much came before.
func TestRoomThatIsWaitedWith(t *testing.T) {
	for _, c := range []struct {
		name         string
		sizes, rooms []int
	}{
		{"nothing comes", nil, []int{smallRead}},
		{"small pieces", []int{1, smallRead - 1}, []int{smallRead, smallRead, smallRead}},
		{"a piece that may go on, and does not", []int{smallRead, 1}, []int{smallRead, largeRead, smallRead}},
		{"a piece that goes on", []int{smallRead, largeRead - 1}, []int{smallRead, largeRead, smallRead}},
		{"a stream", []int{smallRead, largeRead, largeRead, 5, 5}, []int{smallRead, largeRead, largeRead, largeRead, smallRead, smallRead}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := 0
			for _, size := range c.sizes {
				all += size
			}
			in := make([]byte, all)
			rand.Read(in)
			from := &measured{Reader: bytes.NewReader(in), sizes: c.sizes}
			var out bytes.Buffer
			n, err := copyAll(&out, from, make([]byte, smallRead))
			if err != nil || n != int64(all) || !bytes.Equal(out.Bytes(), in) {
				t.Errorf("copied %d of %d bytes, which are the same: %v; %v", n, all, bytes.Equal(out.Bytes(), in), err)
			}
			if !slices.Equal(from.rooms, c.rooms) {
				t.Errorf("read with room for %d, want %d", from.rooms, c.rooms)
			}
		})
	}
}

// full takes no more than so many bytes.
type full int

func (f *full) Write(p []byte) (int, error) {
	n := min(int(*f), len(p))
	*f -= full(n)
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

var errFull = errors.New("full")

func TestCopyingFails(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		from io.Reader
		to   full
		n    int64
		err  error
	}{
		{"reading", io.MultiReader(bytes.NewReader(make([]byte, 100_000)), failingReader{broken}), 1 << 20, 100_000, broken},
		{"writing", bytes.NewReader(make([]byte, 100_000)), 50_000, 50_000, errFull},
	} {
		if n, err := copyAll(&c.to, c.from, make([]byte, smallRead)); n != c.n || err != c.err {
			t.Errorf("%s: copied %d bytes, %v, want %d, %v", c.name, n, err, c.n, c.err)
		}
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
