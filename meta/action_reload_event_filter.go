package meta

import "context"

// reloadEventFilter succeeds and does nothing: there is no event filter.
func (d *Dispatcher) reloadEventFilter(context.Context, *Call) (any, error) {
	return nil, nil
}
