package relay

import (
	"bytes"
	"time"

	"github.com/gobwas/ws"
)

// inserts are frames of our own that wait until they may stand in a stream.
type inserts struct {
	replies []*insert // between two messages
	goodbye *insert   // between two frames; the last one
}

type insert struct {
	frame   []byte
	written chan bool // has room for one
}

func newInsert(frame []byte) *insert { return &insert{frame, make(chan bool, 1)} }

func (i *inserts) waiting() bool { return len(i.replies) > 0 || i.goodbye != nil }

// refuse says that none of them will be written.
func (i *inserts) refuse() {
	if i.goodbye != nil {
		i.goodbye.written <- false
	}
	for _, r := range i.replies {
		r.written <- false
	}
	*i = inserts{}
}

// putIn writes what may stand here.
func (w *pusher) putIn() error {
	if w.goodbye != nil && w.err == nil && !w.hungUp && w.betweenFrames() {
		w.goodbye.written <- w.sayGoodbye(w.goodbye.frame)
		w.goodbye = nil
	}
	if w.err != nil || w.hungUp || w.closed {
		w.refuse()
		return nil
	}
	for len(w.replies) > 0 && w.betweenMessages() {
		r := w.replies[0]
		if err := w.write(r.frame); err != nil {
			return err
		}
		w.replies = w.replies[1:]
		r.written <- true
	}
	if len(w.replies) == 0 {
		w.replies = nil
	}
	return nil
}

// putInNow writes what may stand where the stream is at rest.
func (w *pusher) putInNow() {
	err := w.putIn()
	if err == nil && w.flush != nil && w.err == nil {
		err = w.flush()
	}
	if err != nil {
		w.fail(err)
	}
}

// sayGoodbye writes the last frame.
func (w *pusher) sayGoodbye(frame []byte) bool {
	err := w.write(frame)
	if err == nil && w.flush != nil {
		err = w.flush()
	}
	w.hungUp = true
	return err == nil
}

// reply puts a text message in as soon as it may stand there. It says whether
// it was written, once that is known.
func (w *pusher) reply(message []byte) (written <-chan bool) {
	r := newInsert(compile(ws.NewTextFrame(message), w.mask))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replies = append(w.replies, r)
	w.putInNow()
	return r.written
}

// hangUp puts a Close frame in, and lets nothing through after it. It gives up
// if there is no place for one within patience. What is written to must not
// block for long.
func (w *pusher) hangUp(code ws.StatusCode, patience time.Duration) {
	g := newInsert(compile(closeFrame(code), w.mask))
	w.mu.Lock()
	if w.goodbye != nil {
		w.mu.Unlock()
		return
	}
	w.goodbye = g
	w.putInNow()
	w.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-g.written:
		return
	case <-timer.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.goodbye == g {
		w.goodbye = nil
	}
}

func closeFrame(code ws.StatusCode) ws.Frame {
	return ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))
}

func compile(f ws.Frame, mask bool) []byte {
	if mask {
		f = ws.MaskFrame(f)
	}
	var b bytes.Buffer
	b.Grow(ws.MaxHeaderSize + len(f.Payload))
	ws.WriteFrame(&b, f) // a Buffer never fails
	return b.Bytes()
}
