package relay

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/gobwas/ws"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// errProtocol is what came that no WebSocket endpoint may send.
var errProtocol = errors.New("WebSocket protocol error")

// An outlet takes what a flow lets through, in order.
type outlet interface {
	// pass takes a part of what the flow is being fed, which lies behind all
	// parts before it.
	pass(part []byte) error

	// passKept takes what the flow has kept from earlier, for good.
	passKept(kept []byte) error

	// putIn puts in what waits for a place like the one that the flow has come
	// to, if waiting says that something does.
	waiting() bool
	putIn() error
}

// What becomes of the message that a flow is in.
type fate uint8

const (
	passing fate = iota // also if it is in none
	holding             // until it is known whose it is
	cutting             // it is answered here
)

// flow is one direction of a connection: a stream of frames that comes in
// pieces of any size. It keeps no more of it than a part of a header and what
// it holds. It locks nothing.
type flow struct {
	relay  *Relay
	out    outlet
	source side
	calls  bool // calls come this way, and else what answers them and events
	opaque bool // a compressed message cannot be read without those before it
	muted  bool // nothing is told any more
	frames frames

	fate       fate
	compressed bool // the message is
	unreadable bool // the message is, and counts as a packet of no known kind
	closed     bool // a Close frame has passed
	raw        bool // there are no frames any more: what comes passes
	held       []byte
	payload    *[]byte // of a message that is taken out or compressed
	oversized  bool    // payload was, and is not kept

	scan  packet.Scanner
	ended bool     // the message of scan has, and is to be told
	told  *packets // those before it

	// While a piece is being fed: up to from it is dealt with, from mark on it
	// is held, if anything is, and up to at it is read.
	in             []byte
	from, mark, at int
}

func (f *flow) init(rl *Relay, out outlet, source side, agreed agreement) {
	f.relay, f.out, f.source = rl, out, source
	// calls come from the app
	f.calls = (source == client) != rl.opts.Reverse
	f.frames.state = ws.StateServerSide
	if source == behind {
		f.frames.state = ws.StateClientSide
		f.opaque = agreed.chained
	}
	if agreed.deflate {
		f.frames.deflate = true
		f.frames.state = f.frames.state.Set(ws.StateExtended)
	}
	f.frames.lenient = agreed.unknown
}

// feed lets a piece of the stream through. It keeps nothing of in.
func (f *flow) feed(in []byte) error {
	f.in, f.from, f.mark, f.at = in, 0, 0, 0
	err := f.read()
	switch {
	case err == nil:
		err = f.flush()
	case errors.Is(err, errProtocol):
		// what is held belongs to a message that never will be whole
		if broken := f.passRun(); broken != nil {
			err = broken
		}
		f.held = nil
	}
	if err != nil {
		f.tell(false)
	}
	f.in = nil
	return err
}

// flush passes or holds what was read.
func (f *flow) flush() error {
	if err := f.passRun(); err != nil {
		return err
	}
	if f.fate == holding {
		f.held = append(f.held, f.in[f.mark:f.at]...)
	}
	return nil
}

// passRun passes what was read and is not held.
func (f *flow) passRun() error {
	end := f.at
	if f.fate == holding {
		end = f.mark
	}
	if f.from < end {
		if err := f.out.pass(f.in[f.from:end]); err != nil {
			return err
		}
		f.from = end
	}
	f.tell(true)
	return nil
}

// drop leaves out what was read since start.
func (f *flow) drop(start int) error {
	if f.from < start {
		if err := f.out.pass(f.in[f.from:start]); err != nil {
			return err
		}
	}
	f.from = f.at
	return nil
}

func (f *flow) read() error {
	for f.at < len(f.in) {
		if f.raw {
			f.at = len(f.in)
			return nil
		}
		if !f.frames.inside {
			if more, err := f.readHeader(); !more {
				return err
			}
		}
		start := f.at
		f.at += f.frames.readPayload(f.in[start:])
		if f.frames.header.OpCode.IsData() {
			if err := f.readBody(start); err != nil {
				return err
			}
		}
		if err := f.limit(); err != nil {
			return err
		}
		if f.frames.ended() {
			if err := f.endFrame(); err != nil {
				return err
			}
		}
	}
	return nil
}

// readHeader reads on in a header and reports whether the frame's payload
// follows. Until the header is complete it is kept back, so that another frame
// may stand in its place if it is bad.
func (f *flow) readHeader() (more bool, err error) {
	start, have := f.at, f.frames.have
	n, complete, err := f.frames.readHeader(f.in[start:])
	kept := f.frames.head[:have]
	switch {
	case err != nil && f.frames.lenient:
		f.raw, f.at = true, len(f.in)
		return false, f.passHeader(kept)
	case err != nil:
		return false, fmt.Errorf("%w: %w", errProtocol, err)
	case !complete:
		f.in = f.in[:start]
		return false, nil
	}
	f.at += n
	header := f.frames.header
	if header.OpCode.IsData() {
		if header.OpCode != ws.OpContinuation {
			if err := f.begin(start); err != nil {
				return false, err
			}
		}
		if f.fate == cutting {
			return true, f.drop(start)
		}
	}
	if f.fate == holding {
		f.held = append(f.held, kept...)
		return true, nil
	}
	return true, f.passHeader(kept)
}

func (f *flow) passHeader(kept []byte) error {
	if len(kept) == 0 {
		return nil
	}
	return f.out.passKept(bytes.Clone(kept))
}

// begin begins a message.
func (f *flow) begin(start int) error {
	if f.ended && !f.remember() {
		// pass what comes before this one, and tell
		at := f.at
		f.at = start
		err := f.passRun()
		f.at = at
		if err != nil {
			return err
		}
	}
	f.scan.Reset()
	f.compressed = f.frames.header.Rsv1()
	f.unreadable = f.frames.lenient || f.compressed && f.opaque
	f.oversized = false
	f.fate = passing
	if f.calls && !f.unreadable {
		f.fate = holding
		f.mark = start
	}
	return nil
}

// endFrame ends a frame, and a message if it is the last one of it.
func (f *flow) endFrame() error {
	switch header := f.frames.header; {
	case header.OpCode == ws.OpClose:
		f.closed, f.raw = true, true
		f.relay.endedBy(f.source)
		if f.fate == holding { // it never will be whole
			return f.release()
		}
	case header.OpCode.IsData() && header.Fin:
		if err := f.endMessage(); err != nil {
			return err
		}
	}
	if !f.out.waiting() {
		return nil
	}
	if err := f.passRun(); err != nil {
		return err
	}
	return f.out.putIn()
}

// betweenFrames reports whether a control frame may be put in.
func (f *flow) betweenFrames() bool {
	if f.raw {
		return false
	}
	// of a frame that is held or taken out nothing has passed
	return !f.frames.inside || f.fate == holding || f.fate == cutting && f.frames.header.OpCode.IsData()
}

// betweenMessages reports whether a message may be put in, where calls do not
// come.
func (f *flow) betweenMessages() bool {
	return !f.raw && !f.frames.inside && !f.frames.state.Fragmented()
}
