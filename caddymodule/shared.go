package caddymodule

import (
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// maxBackground is how many calls with _async run at a time for one name.
const maxBackground = 256

// shared is what handlers with one name have in common, across config reloads.
type shared struct {
	counters *meta.Counters
	queue    *meta.Queue
}

var (
	// pool holds the [shared] of each name that a config uses.
	pool = caddy.NewUsagePool()

	// allCounters holds the counters of each name that was ever used. They
	// outlive the pool's references because they count since the process
	// began, whatever was reloaded between. Names come from configs only, so
	// there are few.
	allCounters sync.Map
)

// acquireShared returns what belongs to name. It must be given back with
// releaseShared.
func acquireShared(name string) *shared {
	counters, _ := allCounters.LoadOrStore(name, new(meta.Counters))
	value, _ := pool.LoadOrStore(name, &shared{
		counters: counters.(*meta.Counters),
		queue:    meta.NewQueue(maxBackground),
	})
	return value.(*shared)
}

func releaseShared(name string) error {
	_, err := pool.Delete(name)
	return err
}

// Destruct ends what runs in the background when the last handler of the name
// is gone: the process is stopping, or the config no longer has the name.
func (s *shared) Destruct() error {
	s.queue.Close()
	return nil
}

// Interface guards
var _ caddy.Destructor = (*shared)(nil)
