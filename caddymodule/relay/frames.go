package relay

import (
	"bytes"
	"errors"

	"github.com/gobwas/ws"
)

// Of what [ws.CheckHeader] leaves to those who know the extensions.
var (
	errReservedBits = errors.New("reserved bits that mean nothing here")
	errCompressed   = errors.New("a frame that may not be compressed claims to be")
)

// frames finds the frames in a stream of bytes that comes in pieces.
type frames struct {
	state   ws.State // which side reads, and whether a message is unfinished
	deflate bool     // permessage-deflate was agreed on
	lenient bool     // an unknown extension was, so that nothing is an error

	head  [ws.MaxHeaderSize]byte // of a header: what has come
	have  int
	src   bytes.Reader // head, for the library
	plain [ws.MaxHeaderSize]byte

	header ws.Header
	inside bool  // the header is known, and not all of the payload has come
	done   int64 // of the payload
}

// readHeader reads on in a header. It returns how many bytes of p belong to it
// and whether it is complete. It reads nothing after it.
func (f *frames) readHeader(p []byte) (n int, complete bool, err error) {
	for need := f.headerSize(); f.have < need; need = f.headerSize() {
		if n == len(p) {
			return n, false, nil
		}
		c := copy(f.head[f.have:need], p[n:])
		f.have += c
		n += c
	}
	f.src.Reset(f.head[:f.have])
	f.header, err = ws.ReadHeaderBuffer(&f.src, f.plain[:])
	if err == nil && !f.lenient {
		err = f.check()
	}
	if err != nil {
		return n, false, err
	}
	if f.header.OpCode.IsData() {
		if f.header.Fin {
			f.state = f.state.Clear(ws.StateFragmented)
		} else {
			f.state = f.state.Set(ws.StateFragmented)
		}
	}
	f.have, f.done, f.inside = 0, 0, true
	return n, true, nil
}

// headerSize is how long the header is, as far as that is known.
func (f *frames) headerSize() int {
	if f.have < ws.MinHeaderSize {
		return ws.MinHeaderSize
	}
	return sizeOfHeader(f.head[1])
}

// sizeOfHeader is how long the header is that has b as its second byte.
func sizeOfHeader(b byte) int {
	size := ws.MinHeaderSize
	switch b & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if b&0x80 != 0 {
		size += 4
	}
	return size
}

func (f *frames) check() error {
	h := f.header
	if f.deflate {
		// RFC 7692, section 6: the bit says of a message that it is compressed
		// and stands in its first frame only.
		if h.Rsv2() || h.Rsv3() {
			return errReservedBits
		}
		if h.Rsv1() && h.OpCode != ws.OpText && h.OpCode != ws.OpBinary {
			return errCompressed
		}
	}
	return ws.CheckHeader(h, f.state)
}

// readPayload returns how many bytes of p are of the frame's payload.
func (f *frames) readPayload(p []byte) int {
	n := int(min(f.header.Length-f.done, int64(len(p))))
	f.done += int64(n)
	return n
}

// ended reports whether the frame has, which it then leaves.
func (f *frames) ended() bool {
	if f.done < f.header.Length {
		return false
	}
	f.inside = false
	return true
}
