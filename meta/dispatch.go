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
	opts    Options
	actions map[string]action
}

// Options are what a [Dispatcher] works with.
type Options struct {
	Counters *Counters     // what get_status reports
	Backend  *Backend      // of calls that have an [Ask]
	Files    *fetch.Client // of download_file
	Queue    *Queue        // of what is called with _async
	Logger   *zap.Logger

	// Downloaded, unless it is nil, is told how downloads have ended, before
	// those who wait for them are. It should return at once.
	Downloaded func(Download)
}

type action struct {
	// run returns the data of the reply, already as JSON if it is a
	// [json.RawMessage], or a [later] to wait for it.
	run func(ctx context.Context, call *Call) (data any, err error)

	// never marks an action that exists only to say that it is not supported.
	never bool

	// lasting marks an action whose callers may have to wait for it, even if
	// nobody is asked.
	lasting bool

	// polled marks an action that is called all the time, and so is not logged.
	polled bool
}

// table is every action there is. A new one is a line here and a file of its
// own, action_<name>.go.
func (d *Dispatcher) table() map[string]action {
	return map[string]action{
		"get_status":            {run: d.getStatus, polled: true},
		"get_version_info":      {run: d.getVersionInfo},
		"get_supported_actions": {run: d.getSupportedActions},
		"set_restart":           {run: d.setRestart},
		"clean_cache":           {run: d.cleanCache},
		"reload_event_filter":   {run: d.reloadEventFilter},
		"get_word_slices":       {run: d.getWordSlices, never: true},
		".get_word_slices":      {run: d.getWordSlices, never: true},
		"download_file":         {run: d.downloadFile, lasting: true},
	}
}

// NewDispatcher returns a Dispatcher.
func NewDispatcher(opts Options) *Dispatcher {
	d := &Dispatcher{opts: opts}
	d.actions = d.table()
	return d
}

// Knows reports whether there is an action called name, which may carry a
// suffix.
func (d *Dispatcher) Knows(name string) bool {
	_, ok := d.Base(name)
	return ok
}

// Instant reports whether name is that of an action to whose calls the reply is
// there at once, as long as they have no [Ask].
func (d *Dispatcher) Instant(name string) bool {
	a, ok := d.actions[name]
	return ok && !a.lasting
}

// Base returns the name without a suffix of the action that a call names, if
// there is one.
func (d *Dispatcher) Base(called string) (name string, ok bool) {
	name, _ = CutSuffix(called)
	_, ok = d.actions[name]
	return name, ok
}

// Do carries out a call and returns its reply, for which it waits as long as
// ctx lasts. See Start.
func (d *Dispatcher) Do(ctx context.Context, call *Call) *Reply {
	return d.Start(ctx, call).Reply(ctx)
}

// Start begins to carry out a call. A call with the suffix _async is answered
// at once and carried out in the background; the end of ctx does not stop it.
func (d *Dispatcher) Start(ctx context.Context, call *Call) *Pending {
	name, async := CutSuffix(call.Action)
	a, ok := d.actions[name]
	p := &Pending{logger: d.opts.Logger, action: name, echo: call.Echo}
	if !a.polled && p.logger.Core().Enabled(zap.DebugLevel) {
		p.logged, p.start = true, time.Now()
	}
	if ok && !async {
		p.carryOut(func() (any, error) { return a.run(ctx, call) })
	} else {
		d.startAside(p, a, call)
	}
	return p
}

// startAside is Start for what is not carried out before it returns.
func (d *Dispatcher) startAside(p *Pending, a action, call *Call) {
	switch {
	case a.run == nil:
		p.fail(UnknownAction(call.Action), nil)
	case d.background(p, a, call):
		p.reply.Status, p.reply.Retcode, p.reply.Echo = "async", RetcodeAsync, call.Echo
	default:
		d.opts.Logger.Warn("background queue is full", zap.String("action", p.action))
		p.fail(errBusy, nil)
	}
}

// background has a call carried out to which nobody takes the reply. It
// reports false if too many are already.
func (d *Dispatcher) background(p *Pending, a action, call *Call) bool {
	unanswered := Call{Action: call.Action, Params: call.Params, unanswered: true}
	unheard := *p
	unheard.echo = nil // which may be as large as a body
	return d.opts.Queue.Go(func(ctx context.Context) {
		unheard.carryOut(func() (any, error) { return a.run(ctx, &unanswered) })
		unheard.Reply(ctx)
	})
}

// Supported returns the names of the actions that can succeed, sorted.
func (d *Dispatcher) Supported() []string {
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
