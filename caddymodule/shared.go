package caddymodule

import (
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// maxBackground is how many calls with _async run at a time for one name.
const maxBackground = 256

// bot is what is known of a bot, by its name.
type bot struct {
	name        string
	counters    *meta.Counters
	backend     *meta.Backend
	connections atomic.Int64 // WebSocket connections that are open, ours and relayed
	events      events
}

func newBot(name string) *bot {
	b := &bot{name: name, counters: new(meta.Counters)}
	b.backend = meta.NewBackend(b.counters, b.backendChanged)
	return b
}

// shared is what handlers with one name have in common, across config reloads.
type shared struct {
	*bot
	queue *meta.Queue
}

// store is what handlers with one cache directory have in common, across
// config reloads: the files in it and the downloads that are under way.
type store struct {
	cache    *diskcache.Cache
	flights  *fetch.Flights
	maintain sync.Once
}

var (
	// names holds the [shared] of each name that a config uses, stores the
	// [store] of each cache directory.
	names  = caddy.NewUsagePool()
	stores = caddy.NewUsagePool()

	// bots holds the [bot] of each name that was ever used. They outlive the
	// pool's references because they count since the process began, whatever
	// was reloaded between. Names come from configs only, so there are few.
	bots sync.Map
)

// acquireShared returns what belongs to name. It must be given back with
// releaseShared.
func acquireShared(name string) *shared {
	known, _ := bots.LoadOrStore(name, newBot(name))
	value, _ := names.LoadOrStore(name, &shared{known.(*bot), meta.NewQueue(maxBackground)})
	return value.(*shared)
}

func releaseShared(name string) error {
	_, err := names.Delete(name)
	return err
}

// Destruct ends what runs in the background when the last handler of the name
// is gone: the process is stopping, or the config no longer has the name.
func (s *shared) Destruct() error {
	s.queue.Close()
	s.backend.Forget() // who comes back under the name may be in front of another
	return nil
}

// acquireStore returns what belongs to the directory sub below root. A new one
// has the bounds opts. It must be given back with release.
func acquireStore(root, sub string, opts diskcache.Options) *store {
	cache := diskcache.New(root, sub, opts)
	value, _ := stores.LoadOrStore(cache.Dir(), &store{cache: cache, flights: fetch.NewFlights()})
	s := value.(*store)
	s.maintain.Do(s.cache.Maintain)
	return s
}

func (s *store) release() error {
	_, err := stores.Delete(s.cache.Dir())
	return err
}

// Destruct ends the downloads and closes the cache when no handler uses the
// directory any more.
func (s *store) Destruct() error {
	s.flights.Close()
	return s.cache.Close()
}

// Interface guards
var (
	_ caddy.Destructor = (*shared)(nil)
	_ caddy.Destructor = (*store)(nil)
)
