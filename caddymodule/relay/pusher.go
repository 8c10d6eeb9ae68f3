package relay

import (
	"errors"
	"io"
	"sync"
)

var errEnded = errors.New("the WebSocket connection has ended")

// pusher is a flow that is written to by the one side and writes to the other.
// Frames of our own are put in where they may stand.
type pusher struct {
	mu sync.Mutex
	flow
	to    io.Writer
	flush func() error // to, if it must be
	mask  bool         // frames that go this way are masked

	err    error // nothing can be written any more, and why
	hungUp bool  // a Close frame of ours was the last one: the rest is left out
	inserts
}

// Write lets bytes through. It fails after a protocol error, and when they
// cannot be written.
func (w *pusher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return 0, w.err
	case w.hungUp:
		return len(p), nil
	}
	err := w.feed(p)
	if errors.Is(err, errProtocol) {
		w.relay.endedBy(w.source)
		if w.betweenFrames() {
			w.sayGoodbye(compile(closeFrame(w.source.fault()), w.mask))
		}
	}
	if err != nil {
		w.fail(err)
		return 0, err
	}
	return len(p), nil
}

func (w *pusher) pass(part []byte) error { return w.write(part) }

func (w *pusher) passKept(kept []byte) error { return w.write(kept) }

func (w *pusher) write(b []byte) error {
	if w.hungUp {
		return nil
	}
	_, err := w.to.Write(b)
	if err != nil {
		w.relay.endedBy(w.source.other())
	}
	return err
}

// Flush flushes what was written.
func (w *pusher) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flush == nil || w.err != nil {
		return w.err
	}
	return w.flush()
}

// fail makes everything fail from now on.
func (w *pusher) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.refuse()
}

// end makes everything fail from now on.
func (w *pusher) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(err)
}

// stop ends the flow: nothing is written or told any more.
func (w *pusher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted = true
	w.fail(errEnded)
}
