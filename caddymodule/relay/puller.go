package relay

import (
	"errors"
	"io"
	"sync"

	"github.com/gobwas/ws"
)

// puller is a flow that the one side reads, from the other.
type puller struct {
	mu sync.Mutex // of the flow
	flow
	src io.Reader

	p       []byte // what the reader gave, while it is filled
	n       int    // of p, how much is
	pending []byte // what did not go there
	err     error  // what comes after pending

	lingered bool
}

// Read returns what the flow lets through. Most often that is what was read,
// where it was read to. After a protocol error it returns a Close frame, and
// then fails. Only one goroutine may read.
func (r *puller) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if len(r.pending) > 0 {
			n := copy(p, r.pending)
			if r.pending = r.pending[n:]; len(r.pending) == 0 {
				r.pending = nil
			}
			return n, nil
		}
		if r.err != nil {
			if errors.Is(r.err, errProtocol) && !r.lingered {
				r.lingered = true
				r.relay.linger()
			}
			return 0, r.err
		}
		n, err := r.src.Read(p)
		if err != nil {
			r.err = err
		}
		n, err = r.take(p[:n])
		switch {
		case errors.Is(err, errProtocol):
			r.err = err
			r.relay.endedBy(client)
			r.relay.refuseClient()
			r.pending = append(r.pending, compile(closeFrame(ws.StatusProtocolError), true)...)
		case err != nil:
			r.err = err
			r.relay.goneBehind()
		case r.err != nil:
			r.relay.endedBy(client)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, nil
}

// take feeds the flow what is in p, and returns how much of p is to be returned.
func (r *puller) take(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p, r.n = p, 0
	err := r.feed(p)
	r.p = nil
	return r.n, err
}

func (r *puller) pass(part []byte) error {
	if len(r.pending) > 0 {
		r.pending = append(r.pending, part...)
		return nil
	}
	// part is of p, at r.n or behind it
	r.n += copy(r.p[r.n:], part)
	return nil
}

func (r *puller) passKept(kept []byte) error {
	if len(r.pending) > 0 {
		r.pending = append(r.pending, kept...)
	} else {
		r.pending = kept
	}
	return nil
}

func (r *puller) waiting() bool { return false }

func (r *puller) putIn() error { return nil }

// stop ends the flow: nothing is told any more.
func (r *puller) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.muted = true
}
