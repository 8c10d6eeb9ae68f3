package meta

import (
	"context"
	"encoding/json"
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
	files    *fetch.Client
	queue    *Queue
	logger   *zap.Logger
	actions  map[string]action
}

type action struct {
	run func(ctx context.Context, p Params) (data any, err error)

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

// NewDispatcher returns a Dispatcher that reads its status from counters,
// keeps downloads in files and runs what is called with _async on queue.
func NewDispatcher(counters *Counters, files *fetch.Client, queue *Queue, logger *zap.Logger) *Dispatcher {
	d := &Dispatcher{counters: counters, files: files, queue: queue, logger: logger}
	d.actions = d.table()
	return d
}

// Knows reports whether there is an action called name, which may carry a
// suffix.
func (d *Dispatcher) Knows(name string) bool {
	name, _ = cutSuffix(name)
	_, ok := d.actions[name]
	return ok
}

// Do carries out a call. It returns when the action is done, except that a
// call with the suffix _async is answered at once and carried out in the
// background; the end of ctx does not stop it.
func (d *Dispatcher) Do(ctx context.Context, call Call) Reply {
	name, async := cutSuffix(call.Action)
	a, ok := d.actions[name]
	if !ok {
		return Failure(UnknownAction(call.Action), call.Echo)
	}
	if !async {
		return d.run(ctx, name, a, call)
	}
	if !d.queue.Go(func(ctx context.Context) { d.run(ctx, name, a, call) }) {
		d.logger.Warn("background queue is full", zap.String("action", name))
		return Failure(errBusy, call.Echo)
	}
	return Reply{Status: "async", Retcode: RetcodeAsync, Echo: call.Echo}
}

// run carries out an action. One that panics fails alone: it may run where no
// server would catch it.
func (d *Dispatcher) run(ctx context.Context, name string, a action, call Call) (reply Reply) {
	start := time.Now()
	defer func() {
		if r := recover(); r != nil {
			d.logger.Error("action panicked", zap.String("action", name), zap.Any("panic", r), zap.Stack("stack"))
			reply = Failure(errInternal, call.Echo)
		}
		if c := d.logger.Check(zap.DebugLevel, "served action"); c != nil {
			c.Write(zap.String("action", name), zap.Int("retcode", reply.Retcode), zap.Duration("duration", time.Since(start)))
		}
	}()

	result, err := a.run(ctx, call.Params)
	var data json.RawMessage
	if result != nil {
		var encodeErr error
		if data, encodeErr = marshal(result); encodeErr != nil {
			d.logger.Error("encoding reply", zap.String("action", name), zap.Error(encodeErr))
			err = errInternal
		}
	}
	if err != nil {
		reply = Failure(err, call.Echo)
		reply.Data = data
		return reply
	}
	return Reply{Status: "ok", Retcode: RetcodeOK, Data: data, Echo: call.Echo}
}

// supported returns the names of the actions that can succeed, sorted.
func (d *Dispatcher) supported() []string {
	names := slices.Sorted(maps.Keys(d.actions))
	return slices.DeleteFunc(names, func(name string) bool { return d.actions[name].never })
}

// cutSuffix returns the name of the action that a call names, and whether it
// is to run in the background. OneBot v11 lets any action be called with
// _async or _rate_limited behind its name; nothing here is limited by rate.
func cutSuffix(called string) (name string, async bool) {
	called = strings.TrimSuffix(called, "_rate_limited")
	return strings.CutSuffix(called, "_async")
}
