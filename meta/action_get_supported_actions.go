package meta

import (
	"context"
	"slices"
)

// getSupportedActions is an action of OneBot v12 that v11 implementations have
// taken over: the sorted names of the actions that can succeed, those of the
// implementation behind included.
func (d *Dispatcher) getSupportedActions(ctx context.Context, call *Call) (any, error) {
	if call.Ask == nil {
		return d.Supported(), nil
	}
	merging := &merging{done: make(chan struct{}), names: d.Supported()}
	ask := call.Ask("get_supported_actions")
	go func() {
		defer close(merging.done)
		var theirs []string
		if envelope, err := within(ctx, ask); err == nil && dataIn(envelope, &theirs) == nil {
			merging.names = d.merge(theirs)
		}
	}()
	return merging, nil
}

// merge returns what can succeed of our actions and the implementation's. Where
// both have one, ours answers.
func (d *Dispatcher) merge(theirs []string) []string {
	names := slices.DeleteFunc(theirs, d.Knows)
	names = append(names, d.Supported()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// merging is a list of actions for which the implementation has been asked.
type merging struct {
	done  chan struct{}
	names []string // when done is closed
}

func (m *merging) Done() <-chan struct{} { return m.done }

func (m *merging) data(ctx context.Context) (any, error) {
	select {
	case <-m.done:
		return m.names, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
