// Package relay stands in a WebSocket connection that passes between a client
// and the handlers behind: it takes the calls out that are answered here, puts
// their answers in, and watches the rest, which it passes on unchanged and in
// order. It holds back no more than is needed to know whose a call is.
package relay

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// Options say what a [Relay] does with what passes.
type Options struct {
	// Reverse says that the client is the OneBot implementation and the
	// handlers behind lead to the app, as in OneBot's reverse WebSocket. Calls
	// then come from behind, and events from the client.
	Reverse bool

	// MaxCall is the largest call that is answered here, in bytes. It also
	// bounds what is held back of a message until its action is known.
	MaxCall int64

	// Mine reports whether an action, with any suffix, is answered here.
	Mine func(action string) bool

	// Answer is given every call that is answered here: the whole message, or
	// nil and its echo if it is larger than MaxCall. It is given one at a time,
	// in order, and should return soon, for the others and [Relay.Close] wait.
	// The reply is put into the stream by send, once, before Answer returns or
	// later and from any goroutine; send waits until a message may stand there
	// and reports whether it was written.
	Answer func(message, echo []byte, send func(reply []byte) bool)

	// Watch is told of everything else that passes.
	Watch Watcher

	// Opened, unless it is nil, is called when the connection is opened.
	Opened func()
}

// Watcher is told of the messages that pass. It is called from two goroutines,
// one for each direction, and must not wait for a reply to be sent. A packet is
// valid until the call returns, the values in it forever; of what is no whole
// JSON object, and of a compressed message that cannot be read, it is empty.
type Watcher interface {
	// ToImplementation is called for a message that is handed on to the
	// implementation, before its end is.
	ToImplementation(*packet.Packet)

	// FromImplementation is called for a message that came from the
	// implementation, and whether it was handed on to the app.
	FromImplementation(p *packet.Packet, delivered bool)
}

// stallPatience is how long calls may wait for a place where their replies may
// stand, once so many wait that no more are read.
const stallPatience = 10 * time.Second

// farewell is how long is waited for what a peer must do so that it learns why
// the connection ends, and half a connection lasts at most lastWords.
const (
	farewell  = time.Second
	lastWords = 10 * time.Second
)

// Relay stands in one connection.
type Relay struct {
	opts     Options
	answers  answers
	patience time.Duration   // stallPatience, but for tests
	first    atomic.Int32    // the side that ended the connection
	request  context.Context // that asked for it

	// What follows is set when the connection is opened, and stays.
	down   *pusher // from behind to the client
	pull   *puller // from the client to what is behind
	pump   *pump   // the same, if Reverse
	client peer
}

// peer is the connection to the client.
type peer struct {
	deadlines
	from       io.Reader
	to         io.Writer
	flush      func() error // to, or nil
	close      func() error
	closeWrite func() error // or nil
}

type deadlines interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// New returns a Relay for one request that asks for a WebSocket connection.
func New(opts Options) *Relay {
	rl := &Relay{opts: opts, patience: stallPatience}
	rl.answers.relay = rl
	rl.answers.less.L = &rl.answers.mu
	return rl
}

// open opens the connection.
func (rl *Relay) open(c peer, agreed agreement) {
	rl.client = c
	rl.down = &pusher{to: c.to, flush: c.flush}
	rl.down.flow.init(rl, rl.down, behind, agreed)
	if rl.opts.Opened != nil {
		rl.opts.Opened()
	}
	if rl.opts.Reverse {
		rl.pump = newPump(rl, agreed)
		go rl.pump.run()
		return
	}
	rl.pull = &puller{src: c.from}
	rl.pull.flow.init(rl, rl.pull, client, agreed)
}

// read reads what goes on from the client.
func (rl *Relay) read(p []byte) (int, error) {
	if rl.pump != nil {
		return rl.pump.out.Read(p)
	}
	return rl.pull.Read(p)
}

// reply sends a reply to the app and reports whether that was possible.
func (rl *Relay) reply(message []byte) bool {
	if rl.pump != nil {
		return <-rl.pump.up.reply(message)
	}
	return <-rl.down.reply(message)
}

// Close says that the handlers behind have returned. Replies that were not
// written by then never will be. When it returns the Watcher is not told of
// anything any more, and every call has been given to Answer. It reports
// whether the connection was opened at all, and whether it was the
// implementation that ended it.
func (rl *Relay) Close() (opened, byImplementation bool) {
	if rl.down == nil {
		return false, false
	}
	rl.answers.hurry()
	rl.closeClient()
	if rl.pump != nil {
		<-rl.pump.done
		rl.pump.up.stop()
	} else {
		rl.pull.stop()
	}
	rl.down.stop()
	rl.answers.wait()
	implementation := behind
	if rl.opts.Reverse {
		implementation = client
	}
	return true, rl.first.Load() == int32(implementation)
}
