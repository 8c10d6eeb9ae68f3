package caddymodule

import (
	"context"
	"errors"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// The events that are emitted through Caddy's events app. Each has the data
// "name", which is that of the bot.
const (
	// eventDownload says that a download has ended, well or not. It has the
	// data of [meta.Download], with its duration in seconds.
	eventDownload = "download_finished"

	// These say that the implementation behind pass_thru is logged in now, or
	// is not.
	eventOnline  = "backend_online"
	eventOffline = "backend_offline"
)

// maxEvents is how many events of a bot wait for slow subscribers.
const maxEvents = 1024

// events are those of a bot that are still to be emitted, in order. Who makes
// them does not wait for subscribers.
type events struct {
	mu        sync.Mutex // also guards what emitters have
	waiting   []event
	forgotten int // because too many were waiting
}

type event struct {
	name string
	data map[string]any
}

// emitter emits the events of a bot to the subscribers of a config, from a
// handler of that which speaks for the bot.
type emitter struct {
	app     *caddyevents.App // nil outside of the http app
	started bool             // the config has: subscribers are known only then
	busy    bool             // a goroutine is there that emits
}

func (b *bot) backendChanged(online bool) {
	e := event{eventOffline, map[string]any{"name": b.name}}
	if online {
		e.name = eventOnline
	}
	b.emit(e)
}

func (b *bot) downloaded(d meta.Download) {
	if d.URL != "" {
		measureDownload(b.name, d.Result)
	}
	if d.Result == string(fetch.Fresh) { // nothing was downloaded
		return
	}
	data := map[string]any{"name": b.name, "result": d.Result, "duration": d.Duration.Seconds()}
	if d.URL != "" {
		data["url"], data["tries"] = d.URL, d.Tries
	}
	if d.Reason != "" {
		data["reason"] = d.Reason
	} else {
		data["file"], data["size"] = d.File, d.Size
	}
	b.emit(event{eventDownload, data})
}

// emit has an event emitted soon. If no config has a handler of the bot any
// more, nobody is told.
func (b *bot) emit(e event) {
	q := &b.events
	q.mu.Lock()
	defer q.mu.Unlock()
	speaker := provisioned.of(b.name)
	if speaker == nil || speaker.emitter.app == nil {
		return
	}
	if len(q.waiting) == maxEvents {
		if q.forgotten == 0 {
			speaker.logger.Warn("events are not emitted because a subscriber is too slow", zap.Int("waiting", maxEvents))
		}
		q.forgotten++
		return
	}
	q.waiting = append(q.waiting, e)
	b.emitWaiting()
}

// emitWaiting has the events that wait emitted by whichever handler speaks for
// the bot by now. b.events.mu is held.
func (b *bot) emitWaiting() {
	q := &b.events
	speaker := provisioned.of(b.name)
	if speaker == nil {
		q.waiting, q.forgotten = nil, 0
		return
	}
	if to := speaker.emitter; to.started && !to.busy && len(q.waiting) > 0 {
		to.busy = true
		go speaker.emitAll()
	}
}

// passOn has the events that wait emitted by another handler than the one that
// has gone, or by none.
func (b *bot) passOn() {
	b.events.mu.Lock()
	defer b.events.mu.Unlock()
	b.emitWaiting()
}

// emitAll emits the events that wait, and those that come meanwhile, as long as
// the handler speaks for its bot. One of another config may do so when a
// subscriber returns: that need not wait for it.
func (h *Handler) emitAll() {
	for {
		e, forgotten, ok := h.nextEvent()
		if !ok {
			return
		}
		if forgotten > 0 {
			h.logger.Warn("events were not emitted because a subscriber was too slow", zap.Int("events", forgotten))
		}
		h.emit(e)
	}
}

// nextEvent takes out the event that waits longest, and says how many were
// forgotten since the one before.
func (h *Handler) nextEvent() (e event, forgotten int, ok bool) {
	q := &h.shared.events
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || provisioned.of(h.Name) != h {
		h.emitter.busy = false
		h.shared.emitWaiting()
		return event{}, 0, false
	}
	e, forgotten = q.waiting[0], q.forgotten
	q.waiting, q.forgotten = q.waiting[1:], 0
	return e, forgotten, true
}

// emit hands an event to its subscribers, of which none may end the process.
func (h *Handler) emit(e event) {
	defer func() {
		if reason := recover(); reason != nil {
			h.logger.Error("event subscriber panicked", zap.String("event", e.name), zap.Any("panic", reason), zap.Stack("stack"))
		}
	}()
	h.emitter.app.Emit(h.ctx, e.name, e.data)
}

// newEmitter returns what emits through the events app, which the http app has
// loaded for its handlers.
func (h *Handler) newEmitter() (*emitter, error) {
	app, err := h.ctx.AppIfConfigured("events")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return new(emitter), nil
	}
	if err != nil {
		return nil, err
	}
	to := &emitter{app: app.(*caddyevents.App)}
	return to, to.app.On("started", starter{h})
}

// starter is told by Caddy that the config of a handler has started. Caddy logs
// what is exported of it, which must not be the handler's tokens.
type starter struct{ handler *Handler }

// Handle implements [caddyevents.Handler].
func (s starter) Handle(context.Context, caddy.Event) error {
	q := &s.handler.shared.events
	q.mu.Lock()
	defer q.mu.Unlock()
	s.handler.emitter.started = true
	s.handler.shared.emitWaiting()
	return nil
}

// Interface guards
var _ caddyevents.Handler = starter{}
