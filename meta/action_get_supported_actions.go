package meta

import "context"

// getSupportedActions is an action of OneBot v12 that v11 implementations have
// taken over: the sorted names of the actions that can succeed.
func (d *Dispatcher) getSupportedActions(context.Context, Call) (any, error) {
	return d.supported(), nil
}
