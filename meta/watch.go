package meta

import (
	"strings"
	"sync"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// maxRemembered is how many calls of one connection are remembered until they
// are answered, at least. Of those that are forgotten, the oldest, the messages
// among them are not counted as sent.
const maxRemembered = 1024

// Watch counts the packets that pass through one connection between an app and
// an implementation.
type Watch struct {
	backend *Backend
	dialed  bool

	mu         sync.Mutex
	pending    int64 // calls that are not answered yet
	old, young calls // those of them that are remembered
}

// calls are calls that wait for an answer.
type calls struct {
	n     int
	sends map[string][]bool // whether they send messages, by their echo, oldest first
}

func (c *calls) add(echo string, sends bool) {
	if c.sends == nil {
		c.sends = make(map[string][]bool)
	}
	c.sends[echo] = append(c.sends[echo], sends)
	c.n++
}

func (c *calls) take(echo string) (sends, ok bool) {
	waiting := c.sends[echo]
	if len(waiting) == 0 {
		return false, false
	}
	c.n--
	if len(waiting) == 1 {
		delete(c.sends, echo)
	} else {
		c.sends[echo] = waiting[1:]
	}
	return waiting[0], true
}

// NewWatch returns a Watch for a new connection, which the implementation has
// dialed or the app. It must be closed.
func (b *Backend) NewWatch(dialed bool) *Watch { return &Watch{backend: b, dialed: dialed} }

// SendsMessage reports whether an action, with any suffix, sends a message.
func SendsMessage(action string) bool {
	action, _ = CutSuffix(action)
	return strings.HasPrefix(action, "send_") && strings.HasSuffix(action, "msg")
}

// Accepted reports whether a response says that its call was accepted.
func Accepted(response *packet.Packet) bool {
	return response.Status == "ok" || response.Status == "async"
}

// ToImplementation counts a packet that was handed on to the implementation.
func (w *Watch) ToImplementation(p *packet.Packet) {
	counters := w.backend.counters
	counters.PacketsReceived.Add(1)
	if p.Kind() != packet.Call {
		counters.Settle(true)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending++
	if w.young.n == maxRemembered {
		w.old, w.young = w.young, calls{}
	}
	w.young.add(packet.EchoKey(p.Echo), SendsMessage(p.Action))
}

// FromImplementation counts a packet that came from the implementation, and
// whether it was handed on to the app.
func (w *Watch) FromImplementation(p *packet.Packet, delivered bool) {
	counters := w.backend.counters
	if p.Kind() == packet.Response {
		if sent, ok := w.answered(p); ok {
			if sent && Accepted(p) {
				counters.MessagesSent.Add(1)
			}
			counters.Settle(delivered)
			return
		}
	}
	counters.PacketsReceived.Add(1)
	if p.Kind() == packet.Event {
		w.backend.heard(p, w, w.dialed)
	}
	counters.Settle(delivered)
}

// answered takes out the call that a response answers, if there is one, and
// returns whether it sent a message.
func (w *Watch) answered(response *packet.Packet) (sent, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := packet.EchoKey(response.Echo)
	if sent, ok = w.old.take(key); !ok {
		sent, ok = w.young.take(key)
	}
	// what nobody is known to wait for may be for one that was forgotten
	if ok || int64(w.old.n+w.young.n) < w.pending {
		w.pending--
		return sent, true
	}
	return false, false
}

// Close says that the connection has ended, and whether it was the
// implementation that ended it, unasked. What was not answered never will be.
func (w *Watch) Close(lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backend.counters.PacketsLost.Add(w.pending)
	w.pending, w.old, w.young = 0, calls{}, calls{}
	w.backend.left(w, lost)
}
