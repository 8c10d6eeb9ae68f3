package relay

import (
	"errors"
	"sync"
	"time"
)

// maxAnswering is how many calls of a connection wait to be handed over.
const maxAnswering = 64

// errStalled says that replies cannot be sent, as one side stopped in the middle
// of a message.
var errStalled = errors.New("no reply can be sent")

// answers hands the calls of a connection over, one after the other. It does so
// beside the streams: a call whose reply must wait does not hold up what comes
// behind it. There is a goroutine only while there are calls.
type answers struct {
	relay *Relay

	mu      sync.Mutex
	less    sync.Cond // there are fewer calls, or nobody shall wait
	calls   []call
	size    int64 // of the messages in calls
	running bool
	closed  bool
}

// A call is what Options.Answer is given.
type call struct{ message, echo []byte }

// add adds a call. It waits if there are too many, or if their messages together
// are larger than one may be, but not for long: whoever waits here reads nothing.
func (a *answers) add(message, echo []byte) error {
	size := int64(len(message))
	a.mu.Lock()
	defer a.mu.Unlock()
	full := func() bool {
		return !a.closed && (len(a.calls) >= maxAnswering || len(a.calls) > 0 && a.size+size > a.relay.opts.MaxCall)
	}
	if full() {
		late := false
		timer := time.AfterFunc(a.relay.patience, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			late = true
			a.less.Broadcast()
		})
		defer timer.Stop()
		for full() && !late {
			a.less.Wait()
		}
		if full() {
			return errStalled
		}
	}
	a.calls = append(a.calls, call{message, echo})
	a.size += size
	if !a.running {
		a.running = true
		go a.run()
	}
	return nil
}

func (a *answers) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.calls) > 0 {
		c := a.calls[0]
		a.mu.Unlock()
		a.relay.opts.Answer(c.message, c.echo, a.relay.reply)
		a.mu.Lock()
		a.calls[0] = call{}
		a.calls = a.calls[1:]
		a.size -= int64(len(c.message))
		a.less.Broadcast()
	}
	a.calls = nil
	a.running = false
	a.less.Broadcast()
}

// hurry makes add wait no more.
func (a *answers) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.less.Broadcast()
}

// wait returns when all calls have been handed over.
func (a *answers) wait() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.running {
		a.less.Wait()
	}
}
