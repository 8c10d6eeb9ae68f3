package relay

import "github.com/gobwas/ws"

// readBody reads what came of a data frame's payload since start.
func (f *flow) readBody(start int) error {
	piece := f.in[start:f.at]
	if !f.unreadable {
		f.readPiece(piece)
	}
	switch f.fate {
	case cutting:
		f.gather(&f.frames.header, f.offset(piece), piece, f.relay.opts.MaxCall)
		return f.drop(start)
	case holding:
		if !f.compressed && f.scan.Decided() {
			return f.decide()
		}
	}
	return nil
}

// limit lets a message go of which too much would be held. Nobody says so much
// before the action.
func (f *flow) limit() error {
	if f.fate != holding || int64(len(f.held)+f.at-f.mark) <= f.relay.opts.MaxCall {
		return nil
	}
	f.unreadable = f.compressed
	return f.release()
}

// offset is where in its frame a piece is that was just read.
func (f *flow) offset(piece []byte) int64 { return f.frames.done - int64(len(piece)) }

// decide decides what becomes of the message that is held.
func (f *flow) decide() error {
	p := f.scan.Packet()
	if !f.unreadable && p.Action != "" && p.PostType == "" && f.relay.opts.Mine(p.Action) {
		return f.cut()
	}
	return f.release()
}

// release passes what is held, and lets the rest of the message pass.
func (f *flow) release() error {
	f.fate = passing
	held := f.held
	f.held = nil
	if len(held) == 0 {
		return nil
	}
	return f.out.passKept(held)
}

// cut takes the message that is held out of the stream. The control frames in
// it go on.
func (f *flow) cut() error {
	if err := f.passRun(); err != nil {
		return err
	}
	f.fate = cutting
	f.from = f.at
	control := f.extract()
	f.held = nil
	if len(control) == 0 {
		return nil
	}
	return f.out.passKept(control)
}

// extract gathers the payload of what is held and returns the control frames in
// it.
func (f *flow) extract() (control []byte) {
	x := frames{lenient: true} // it was found good before
	for _, p := range [][]byte{f.held, f.in[f.mark:f.at]} {
		for len(p) > 0 {
			if !x.inside {
				n, complete, _ := x.readHeader(p)
				p = p[n:]
				if !complete {
					break
				}
				if x.header.OpCode.IsControl() {
					control = append(control, x.head[:sizeOfHeader(x.head[1])]...)
				}
			}
			offset := x.done
			n := x.readPayload(p)
			if x.header.OpCode.IsControl() {
				control = append(control, p[:n]...)
			} else {
				f.gather(&x.header, offset, p[:n], f.relay.opts.MaxCall)
			}
			p = p[n:]
			x.ended()
		}
	}
	return control
}

// gather adds a piece to the payload that is kept, unless that were more than
// limit.
func (f *flow) gather(h *ws.Header, offset int64, piece []byte, limit int64) {
	if f.payload == nil {
		f.payload = buffers.Get().(*[]byte)
	}
	if f.oversized || int64(len(*f.payload)+len(piece)) > limit {
		f.oversized = true
		f.forget()
		return
	}
	*f.payload = append(*f.payload, piece...)
	if h.Masked {
		ws.Cipher((*f.payload)[len(*f.payload)-len(piece):], h.Mask, int(offset%4))
	}
}

// forget gives the payload back.
func (f *flow) forget() {
	if f.payload != nil {
		putBuffer(f.payload)
		f.payload = nil
	}
}
