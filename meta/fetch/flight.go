package fetch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// maxFlights is how many downloads run or wait for their turn at a time.
const maxFlights = 4096

// errClosing is why downloads end when their [Flights] are closed.
var errClosing = errors.New("the server is stopping, or nothing uses the cache any more")

// Flights are the downloads that are under way. Calls for the same thing at
// one time share one of them. It belongs to no caller: it goes on when all of
// them have left, until Close, and then its file waits for the next one.
type Flights struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	running map[route]*flight
	landed  map[route]landed
	ended   sync.WaitGroup
}

// route tells flights apart: those for the same thing must have the same limit,
// by which they may fail.
type route struct {
	key     diskcache.Key
	maxSize int64
}

type flight struct {
	progress *progress
	waiting  int           // callers, guarded by Flights.mu
	done     chan struct{} // closed when the others are set
	result   Result
	err      error
}

// landed is what a flight brought that nobody waited for. Whatever its origin
// says of reuse, it has not been used yet.
type landed struct {
	result Result
	at     time.Time
}

// NewFlights returns Flights that have to be closed.
func NewFlights() *Flights {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Flights{
		ctx:     ctx,
		cancel:  cancel,
		running: make(map[route]*flight),
		landed:  make(map[route]landed),
	}
}

// Close ends what is under way and returns when all of it has ended.
func (f *Flights) Close() {
	f.mu.Lock()
	f.cancel(errClosing)
	f.mu.Unlock()
	f.ended.Wait()
}

// Waiting is a call that waits for a flight. Its Result must be asked for.
type Waiting struct {
	flights *Flights
	key     route
	flight  *flight
	useful  bool
}

// Done is closed when the flight has landed.
func (w *Waiting) Done() <-chan struct{} { return w.flight.done }

// Result waits for the flight, but no longer than ctx lasts. Its errors are of
// type [*Error].
func (w *Waiting) Result(ctx context.Context) (Result, error) {
	select {
	case <-w.flight.done:
		return w.flight.result, w.flight.err
	case <-ctx.Done():
		if w.useful {
			w.flights.leave(w.key, w.flight)
		}
		return Result{}, &Error{Kind: Cancelled, Err: context.Cause(ctx)}
	}
}

// join returns what waits for the flight of key, which it starts with run if
// there is none, from a place that may be shown. If the result is useful to
// nobody it is left to the next call.
func (f *Flights) join(key route, place string, useful bool, run func(context.Context, *progress) (Result, error)) (*Waiting, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	current, ok := f.running[key]
	if !ok {
		if err := context.Cause(f.ctx); err != nil {
			return nil, &Error{Kind: Cancelled, Err: err}
		}
		if len(f.running) >= maxFlights {
			return nil, &Error{Kind: Busy}
		}
		current = &flight{progress: newProgress(place), done: make(chan struct{})}
		f.running[key] = current
		f.ended.Go(func() {
			current.result, current.err = recovered(func() (Result, error) { return run(f.ctx, current.progress) })
			f.land(key, current)
		})
	}
	if useful {
		current.waiting++
	}
	return &Waiting{flights: f, key: key, flight: current, useful: useful}, nil
}

// land ends a flight.
func (f *Flights) land(key route, current *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, key)
	close(current.done)
	f.keep(key, current)
}

// leave takes a caller away that has given up.
func (f *Flights) leave(key route, current *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	current.waiting--
	select {
	case <-current.done:
		f.keep(key, current) // it gave up at the last moment
	default:
	}
}

// keep keeps the result of a flight that has landed, if nobody waits for it.
func (f *Flights) keep(key route, current *flight) {
	if current.waiting > 0 || current.err != nil {
		return
	}
	now, oldest := time.Now(), key
	for other, l := range f.landed {
		if now.Sub(l.at) > diskcache.Keep {
			delete(f.landed, other)
		} else if first, ok := f.landed[oldest]; !ok || l.at.Before(first.at) {
			oldest = other
		}
	}
	if len(f.landed) >= maxFlights {
		delete(f.landed, oldest)
	}
	f.landed[key] = landed{current.result, now}
}

// claim returns what a flight brought that nobody has waited for, once.
func (f *Flights) claim(key route) (Result, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.landed[key]
	delete(f.landed, key)
	return l.result, ok && time.Since(l.at) <= diskcache.Keep
}

// recovered runs a download. One that panics fails alone, since no server is
// there to catch it.
func recovered(run func() (Result, error)) (result Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &Error{Kind: Panicked, Err: &panicError{fmt.Sprintf("%v\n%s", r, debug.Stack())}}
		}
	}()
	return run()
}

// panicError is a bug of ours.
type panicError struct{ text string }

func (e *panicError) Error() string { return "panic: " + e.text }
