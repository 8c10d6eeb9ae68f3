package meta

import (
	"strings"
	"sync"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// maxRemembered is how many calls of one connection are remembered until they
// are answered. Of more, the messages among them are not counted as sent.
const maxRemembered = 1024

// Watch counts the packets that pass through one connection between an app and
// an implementation.
type Watch struct {
	backend *Backend
	dialed  bool

	mu         sync.Mutex
	pending    int64             // calls that are not answered yet
	remembered int               // of them, in sends
	sends      map[string][]bool // whether calls send messages, by their echo, oldest first
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
	if w.remembered < maxRemembered {
		if w.sends == nil {
			w.sends = make(map[string][]bool)
		}
		key := packet.EchoKey(p.Echo)
		w.sends[key] = append(w.sends[key], SendsMessage(p.Action))
		w.remembered++
	}
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
	calls := w.sends[key]
	if len(calls) == 0 {
		if int64(w.remembered) == w.pending {
			return false, false
		}
		w.pending-- // one that was not remembered
		return false, true
	}
	w.pending--
	w.remembered--
	if len(calls) == 1 {
		delete(w.sends, key)
	} else {
		w.sends[key] = calls[1:]
	}
	return calls[0], true
}

// Close says that the connection has ended, and whether it was the
// implementation that ended it, unasked. What was not answered never will be.
func (w *Watch) Close(lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backend.counters.PacketsLost.Add(w.pending)
	w.pending, w.sends = 0, nil
	w.backend.left(w, lost)
}
