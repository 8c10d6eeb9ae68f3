package meta

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// Dispatcher answers calls of the meta actions. It is safe for concurrent use.
type Dispatcher struct {
	counters *Counters
	backend  *Backend
	files    *fetch.Client
	queue    *Queue
	logger   *zap.Logger
	actions  map[string]action
}

type action struct {
	// run returns the data of the reply, or a [later] to wait for it.
	run func(ctx context.Context, call Call) (data any, err error)

	// never marks an action that exists only to say that it is not supported.
	never bool
}

// table is every action there is. A new one is a line here and a file of its
// own, action_<name>.go.
func (d *Dispatcher) table() map[string]action {
	return map[string]action{
		"get_status":            {run: d.getStatus},
		"get_version_info":      {run: d.getVersionInfo},
		"get_supported_actions": {run: d.getSupportedActions},
		"set_restart":           {run: d.setRestart},
		"clean_cache":           {run: d.cleanCache},
		"reload_event_filter":   {run: d.reloadEventFilter},
		"get_word_slices":       {run: d.getWordSlices, never: true},
		".get_word_slices":      {run: d.getWordSlices, never: true},
		"download_file":         {run: d.downloadFile},
	}
}

// NewDispatcher returns a Dispatcher that reads its status from counters and
// backend, keeps downloads in files and runs what is called with _async on
// queue.
func NewDispatcher(counters *Counters, backend *Backend, files *fetch.Client, queue *Queue, logger *zap.Logger) *Dispatcher {
	d := &Dispatcher{counters: counters, backend: backend, files: files, queue: queue, logger: logger}
	d.actions = d.table()
	return d
}

// Knows reports whether there is an action called name, which may carry a
// suffix.
func (d *Dispatcher) Knows(name string) bool {
	name, _ = CutSuffix(name)
	_, ok := d.actions[name]
	return ok
}

// Do carries out a call and returns its reply, for which it waits as long as
// ctx lasts. See Start.
func (d *Dispatcher) Do(ctx context.Context, call Call) Reply {
	return d.Start(ctx, call).Reply(ctx)
}

// Start begins to carry out a call. A call with the suffix _async is answered
// at once and carried out in the background; the end of ctx does not stop it.
func (d *Dispatcher) Start(ctx context.Context, call Call) *Pending {
	name, async := CutSuffix(call.Action)
	p := &Pending{logger: d.logger, action: name, echo: call.Echo, start: time.Now()}
	a, ok := d.actions[name]
	switch {
	case !ok:
		p.reply = Failure(UnknownAction(call.Action), call.Echo)
	case !async:
		p.carryOut(func() (any, error) { return a.run(ctx, call) })
	case d.background(p, a, call):
		p.reply = Reply{Status: "async", Retcode: RetcodeAsync, Echo: call.Echo}
	default:
		d.logger.Warn("background queue is full", zap.String("action", name))
		p.reply = Failure(errBusy, call.Echo)
	}
	return p
}

// background has a call carried out to which nobody takes the reply. It
// reports false if too many are already.
func (d *Dispatcher) background(p *Pending, a action, call Call) bool {
	call.FileURL, call.Ask, call.unanswered = nil, nil, true
	unheard := *p
	return d.queue.Go(func(ctx context.Context) {
		unheard.carryOut(func() (any, error) { return a.run(ctx, call) })
		unheard.Reply(ctx)
	})
}

// supported returns the names of the actions that can succeed, sorted.
func (d *Dispatcher) supported() []string {
	names := slices.Sorted(maps.Keys(d.actions))
	return slices.DeleteFunc(names, func(name string) bool { return d.actions[name].never })
}

// CutSuffix returns the name of the action that a call names, and whether it
// is to run in the background. OneBot v11 lets any action be called with
// _async or _rate_limited behind its name; nothing here is limited by rate.
func CutSuffix(called string) (name string, async bool) {
	called = strings.TrimSuffix(called, "_rate_limited")
	return strings.CutSuffix(called, "_async")
}
