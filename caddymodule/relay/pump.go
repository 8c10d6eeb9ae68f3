package relay

import (
	"errors"
	"io"
)

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
	_, err := copyAll(p.up, p.relay.client.from, make([]byte, pumpRead))
	p.relay.endedBy(client)
	if errors.Is(err, errProtocol) {
		p.relay.refuseClient()
		p.relay.linger()
	}
	p.up.end(errEnded)
	p.in.CloseWithError(err) // or else with EOF
}

// abort makes whoever waits for the pipe wait no more.
func (p *pump) abort() {
	p.out.CloseWithError(errEnded)
	p.up.end(errEnded)
}
