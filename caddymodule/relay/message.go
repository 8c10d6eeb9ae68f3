package relay

import (
	"bytes"
	"errors"
	"sync"

	"github.com/gobwas/ws"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// maxDeflated is how much of a compressed message is kept to be looked at, in
// bytes, where calls do not come, and maxInflated how much it may say.
const (
	maxDeflated = 1 << 20
	maxInflated = 64 << 20
)

// scratchSize is how much is unmasked or inflated at a time.
const scratchSize = 4 << 10

var scratches = sync.Pool{New: func() any { return new([scratchSize]byte) }}

// buffers has empty buffers for payloads. Those of most messages are small.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is how large a buffer may be that is kept for later.
const maxPooled = 64 << 10

func putBuffer(b *[]byte) {
	if cap(*b) > maxPooled {
		return
	}
	*b = (*b)[:0]
	buffers.Put(b)
}

// readPiece looks at a piece of the message that was just read.
func (f *flow) readPiece(piece []byte) {
	h := &f.frames.header
	switch {
	case f.compressed:
		// calls are held, which is enough
		if !f.calls {
			f.gather(h, f.offset(piece), piece, maxDeflated)
		}
	case !h.Masked:
		f.scan.Write(piece)
	default:
		scratch := scratches.Get().(*[scratchSize]byte)
		for at := f.offset(piece); len(piece) > 0; {
			n := copy(scratch[:], piece)
			ws.Cipher(scratch[:n], h.Mask, int(at%4))
			f.scan.Write(scratch[:n])
			piece = piece[n:]
			at += int64(n)
		}
		scratches.Put(scratch)
	}
}

// endMessage ends the message.
func (f *flow) endMessage() error {
	if f.compressed && !f.unreadable {
		f.inflate()
	}
	if f.fate == holding {
		if err := f.decide(); err != nil {
			return err
		}
	}
	switch {
	case f.fate == cutting:
		f.fate = passing
		return f.answer()
	case !f.calls:
		f.ended = true
	case !f.muted:
		f.relay.opts.Watch.ToImplementation(f.packet())
	}
	f.fate = passing
	return nil
}

// inflate looks at a compressed message as a whole.
func (f *flow) inflate() {
	if f.calls {
		f.extract()
	}
	if f.payload == nil {
		f.unreadable = true // too much
		return
	}
	limit := f.relay.opts.MaxCall
	if !f.calls {
		limit = maxInflated // of which nothing is kept
	}
	err := inflate(&f.scan, *f.payload, limit)
	f.unreadable = err != nil && !errors.Is(err, errInflated)
	f.forget()
}

// packet is what the message says of itself.
func (f *flow) packet() *packet.Packet {
	if f.unreadable || !f.scan.Whole() {
		return &packet.Packet{}
	}
	return f.scan.Packet()
}

// packets are those of messages that have passed in one piece.
type packets struct {
	n   int
	all [64]packet.Packet
}

var packetLists = sync.Pool{New: func() any { return new(packets) }}

// remember keeps in mind that the message of scan is to be told of, if there is
// room.
func (f *flow) remember() bool {
	if f.told == nil {
		f.told = packetLists.Get().(*packets)
	}
	if f.told.n == len(f.told.all) {
		return false
	}
	f.told.all[f.told.n] = *f.packet()
	f.told.n++
	f.ended = false
	return true
}

// tell tells of the messages that have ended.
func (f *flow) tell(delivered bool) {
	watch := f.relay.opts.Watch
	if told := f.told; told != nil {
		for i := range told.n {
			if !f.muted {
				watch.FromImplementation(&told.all[i], delivered)
			}
		}
		clear(told.all[:told.n])
		told.n = 0
		packetLists.Put(told)
		f.told = nil
	}
	if f.ended && !f.muted {
		watch.FromImplementation(f.packet(), delivered)
	}
	f.ended = false
}

// answer hands over the call that was taken out.
func (f *flow) answer() error {
	if f.muted {
		return nil
	}
	message, echo := f.takePayload(), []byte(nil)
	if message == nil {
		echo = f.scan.Packet().Echo
	}
	err := f.relay.answers.add(message, echo)
	if err != nil {
		f.relay.endedBy(f.source.other())
	}
	return err
}

// takePayload returns the payload that was kept, inflated, or nil if there is
// none because it would be too large.
func (f *flow) takePayload() (message []byte) {
	defer f.forget()
	switch {
	case f.payload == nil:
		return nil
	case f.compressed:
		var inflated bytes.Buffer
		if inflate(&inflated, *f.payload, f.relay.opts.MaxCall) != nil {
			return nil
		}
		return inflated.Bytes()
	case cap(*f.payload) > maxPooled:
		message, *f.payload = *f.payload, nil
		return message
	}
	return bytes.Clone(*f.payload)
}
