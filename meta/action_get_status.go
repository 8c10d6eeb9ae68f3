package meta

import (
	"context"
	"encoding/json"
	"strconv"
)

// getStatus tells of the implementation behind, if there is one. Standing
// alone, the module is the whole implementation, which is online whenever it
// can answer.
func (d *Dispatcher) getStatus(_ context.Context, call *Call) (any, error) {
	if call.Ask == nil {
		return d.status(true), nil
	}
	online, asked := d.opts.Backend.Online(call.Ask)
	if asked == nil {
		return d.status(online), nil
	}
	return askedStatus{d, asked}, nil
}

// status returns the data of get_status for a bot whose login state is online.
// It is written by hand because encoding/json takes longer than everything else
// that a call costs here.
func (d *Dispatcher) status(online bool) json.RawMessage {
	b := make([]byte, 0, 288) // more than it takes, unless the counters are large
	b = append(b, `{"app_initialized":true,"app_enabled":true,"app_good":`...)
	b = strconv.AppendBool(b, online)
	b = append(b, `,"online":`...)
	b = strconv.AppendBool(b, online)
	b = append(b, `,"good":`...)
	b = strconv.AppendBool(b, online)
	b = append(b, `,"stat":`...)
	b = d.opts.Counters.Stat().appendJSON(b)
	return append(b, '}')
}

// askedStatus is a status for which the implementation has been asked.
type askedStatus struct {
	dispatcher *Dispatcher
	*question
}

func (s askedStatus) Done() <-chan struct{} { return s.done }

func (s askedStatus) data(ctx context.Context) (any, error) {
	select {
	case <-s.done:
		return s.dispatcher.status(s.online), nil
	case <-ctx.Done():
		return s.dispatcher.status(false), nil
	}
}
