package meta

import "context"

// status is the data of get_status. Standing alone, the module is the whole
// implementation, which is online whenever it can answer.
type status struct {
	AppInitialized bool `json:"app_initialized"`
	AppEnabled     bool `json:"app_enabled"`
	AppGood        bool `json:"app_good"`
	Online         bool `json:"online"`
	Good           bool `json:"good"`
	Stat           Stat `json:"stat"`
}

func (d *Dispatcher) getStatus(context.Context, Call) (any, error) {
	return status{
		AppInitialized: true,
		AppEnabled:     true,
		AppGood:        true,
		Online:         true,
		Good:           true,
		Stat:           d.counters.Stat(),
	}, nil
}
