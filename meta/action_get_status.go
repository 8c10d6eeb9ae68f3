package meta

import "context"

// status is the data of get_status.
type status struct {
	AppInitialized bool `json:"app_initialized"`
	AppEnabled     bool `json:"app_enabled"`
	AppGood        bool `json:"app_good"`
	Online         bool `json:"online"`
	Good           bool `json:"good"`
	Stat           Stat `json:"stat"`
}

// getStatus tells of the implementation behind, if there is one. Standing
// alone, the module is the whole implementation, which is online whenever it
// can answer.
func (d *Dispatcher) getStatus(_ context.Context, call Call) (any, error) {
	if call.Ask == nil {
		return d.status(true), nil
	}
	online, asked := d.opts.Backend.Online(call.Ask)
	if asked == nil {
		return d.status(online), nil
	}
	return askedStatus{d, asked}, nil
}

// status returns how a bot is whose login state is online.
func (d *Dispatcher) status(online bool) status {
	return status{
		AppInitialized: true,
		AppEnabled:     true,
		AppGood:        online,
		Online:         online,
		Good:           online,
		Stat:           d.opts.Counters.Stat(),
	}
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
