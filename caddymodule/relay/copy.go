package relay

import (
	"io"
	"sync"
)

// Sizes of what is read at a time: while it is waited for (by a pump, of which
// there is one more than of others), and as long as there is more than fits into
// that. Each piece costs a read and a write, which is most of what a large
// message costs.
const (
	pumpRead  = 1 << 10
	smallRead = 16 << 10
	largeRead = 128 << 10
)

var largeReads = sync.Pool{New: func() any { return new([largeRead]byte) }}

// copyAll copies to the end of from, or until it fails, as [io.Copy] does. While
// nothing comes it keeps a small buffer only, unless what came last filled the
// buffer there was to its end.
func copyAll(to io.Writer, from io.Reader, small []byte) (sum int64, err error) {
	var large *[largeRead]byte
	defer func() {
		if large != nil {
			largeReads.Put(large)
		}
	}()
	for buf := small; ; {
		n, err := from.Read(buf)
		if n > 0 {
			written, err := to.Write(buf[:n])
			sum += int64(written)
			if err != nil {
				return sum, err
			}
		}
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		switch {
		case n == len(buf) && large == nil:
			large = largeReads.Get().(*[largeRead]byte)
			buf = large[:]
		case n < len(buf) && large != nil:
			largeReads.Put(large)
			large, buf = nil, small
		}
	}
}
