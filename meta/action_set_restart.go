package meta

import "context"

// setRestart succeeds and does nothing: no caller restarts the bot through it.
// Its parameter delay, in milliseconds, is accepted and unused.
func (d *Dispatcher) setRestart(context.Context, *Call) (any, error) {
	return nil, nil
}
