package relay

import (
	"errors"
	"io"
	"sync"
)

// Sizes of what is read at a time: while nothing much comes, and otherwise.
const (
	smallRead = 1 << 10
	largeRead = 32 << 10
)

var largeReads = sync.Pool{New: func() any { return new([largeRead]byte) }}

// pump reads from the client and writes to a pipe that is read behind, so that
// a reply can get there while nothing comes from the client.
type pump struct {
	relay *Relay
	up    *pusher
	in    *io.PipeWriter // of up
	out   *io.PipeReader
	done  chan struct{} // is closed when run has returned
}

func newPump(rl *Relay, agreed agreement) *pump {
	p := &pump{relay: rl, done: make(chan struct{})}
	p.out, p.in = io.Pipe()
	p.up = &pusher{to: p.in, mask: true}
	p.up.flow.init(rl, p.up, client, agreed)
	return p
}

func (p *pump) run() {
	defer close(p.done)
	err := p.copy()
	p.relay.endedBy(client)
	if errors.Is(err, errProtocol) {
		p.relay.refuseClient()
		p.relay.linger()
	}
	p.up.end(err)
	p.in.CloseWithError(err) // an EOF, too
}

// copy copies until it fails, if only with EOF.
func (p *pump) copy() error {
	small := make([]byte, smallRead)
	var large *[largeRead]byte
	defer func() {
		if large != nil {
			largeReads.Put(large)
		}
	}()
	for buf := small; ; {
		n, err := p.relay.client.from.Read(buf)
		if n > 0 {
			if _, err := p.up.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		switch {
		case n == len(small) && large == nil:
			large = largeReads.Get().(*[largeRead]byte)
			buf = large[:]
		case n < len(small) && large != nil:
			largeReads.Put(large)
			large, buf = nil, small
		}
	}
}

// abort makes whoever waits for the pipe wait no more.
func (p *pump) abort() {
	p.out.CloseWithError(errEnded)
	p.up.end(errEnded)
}
