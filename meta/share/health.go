package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	smallPatience = 2 * time.Second // with operations on small values
	partPatience  = 5 * time.Second

	maxFailures = 3 // in a row, until a storage is taken to be down
	firstPause  = time.Second
	lastPause   = 30 * time.Second

	// sameOutage is how soon after an outage another one is taken for the same.
	sameOutage = 5 * time.Minute

	// maxStuck bounds how many operations may hang, each of which has a
	// goroutine and perhaps a part in memory. Until one of them ends no other
	// one is begun.
	maxStuck = 64
)

// health watches how a storage does, and keeps everybody from it while it does
// badly.
type health struct {
	ctx     context.Context // ends when the storage is no longer to be used
	storage Storage         // nil if there are only locks
	probeAt string          // a key that nothing is stored at
	logger  *zap.Logger

	mu     sync.Mutex
	reads  state     // if they fail nothing else is tried
	writes state     // which a full storage refuses, while it can be read
	stuck  int       // operations that took too long and have not ended yet
	heard  time.Time // when an operation succeeded last, or a probe was sent
	outage bool      // something has failed
	quiet  bool      // it is the same as shortly before, and was logged
	healed time.Time // when the last outage ended
}

// state tells how operations of a kind do.
type state struct {
	failures int // in a row
	down     bool
	trying   bool // one of them is tried, while it is down
	pause    time.Duration
	last     time.Duration // the pause before it worked again
	retry    time.Time     // when the next one may be tried
}

// attempt is an operation under way.
type attempt struct {
	name  string
	of    *state // nil if it tells nothing about the storage
	trial bool
	over  bool // it is known how it ended, or was given up
	stuck bool
}

// operation is something that is done to a storage.
type operation struct {
	name     string
	of       *state // nil if it tells nothing about the storage
	patience time.Duration
	run      func(context.Context) error

	// ended is called, unless it is nil, when run has returned, which may be
	// long after it was given up, or is not going to be called.
	ended func()
}

var errTimedOut = errors.New("it took too long")

// do carries out an operation, unless the storage is down. It gives it up when
// its patience is over or ctx ends, even if the storage does not, and then
// returns [ErrDown] or the error of ctx.
func (h *health) do(ctx context.Context, op operation) error {
	a, err := h.begin(ctx, op.name, op.of)
	if err != nil {
		if op.ended != nil {
			op.ended()
		}
		return err
	}
	within, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.ctx, func() { cancel(ErrDown) })
	timer := time.AfterFunc(op.patience, func() {
		h.giveUp(a)
		cancel(fmt.Errorf("%w: %s: %w", ErrDown, op.name, errTimedOut))
	})
	done := make(chan error, 1)
	go func() {
		if op.ended != nil {
			defer op.ended()
		}
		err := safely(func() error { return op.run(within) })
		switch {
		case failed(err) && within.Err() != nil:
			h.end(a, errGivenUp)
		case failed(err) && h.doubts(a) && !failed(h.probe(within)):
			h.end(a, nil) // it is just this value that cannot be read
		default:
			h.end(a, err)
		}
		timer.Stop()
		stop()
		switch {
		case err != nil && within.Err() != nil:
			done <- context.Cause(within)
		case err != nil:
			done <- fmt.Errorf("%s: %w", op.name, err)
		default:
			done <- nil
		}
		cancel(nil)
	}()
	select {
	case err := <-done:
		return err
	case <-within.Done():
	}
	select {
	case err := <-done:
		return err
	default:
		return context.Cause(within)
	}
}

// ask carries out an operation that brings something, which is what get returns.
func ask[T any](ctx context.Context, h *health, op operation, get func(context.Context) (T, error)) (value T, err error) {
	got := make(chan T, 1) // for get may return long after it was given up
	op.run = func(ctx context.Context) error {
		value, err := get(ctx)
		got <- value
		return err
	}
	if err := h.do(ctx, op); err != nil {
		return value, err
	}
	return <-got, nil
}

// errGivenUp is the verdict on an operation that nobody waits for any more.
var errGivenUp = errors.New("given up")

// failed reports whether err says something about the storage.
func failed(err error) bool { return err != nil && !errors.Is(err, fs.ErrNotExist) }

// safely calls f, which is somebody else's.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// begin admits an operation, or returns why it is not.
func (h *health) begin(ctx context.Context, name string, of *state) (*attempt, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.stuck >= maxStuck {
		return nil, ErrDown
	}
	if of != &h.reads && h.reads.down {
		return nil, ErrDown
	}
	a := &attempt{name: name, of: of}
	if of != nil && of.down {
		if of.trying || time.Now().Before(of.retry) {
			return nil, ErrDown
		}
		of.trying, a.trial = true, true
	}
	return a, nil
}

// end takes in how an operation went. Only the first time counts.
func (h *health) end(a *attempt, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.stuck {
		a.stuck = false
		h.stuck--
	}
	if a.over {
		return
	}
	a.over = true
	switch {
	case errors.Is(err, errGivenUp):
		if a.trial {
			a.of.trying = false
		}
	case failed(err):
		h.fail(a, err, false)
	default:
		h.succeed(a)
	}
}

// giveUp takes in that an operation takes too long.
func (h *health) giveUp(a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.over {
		return
	}
	a.over, a.stuck = true, true
	h.stuck++
	h.fail(a, errTimedOut, true)
}

func (h *health) fail(a *attempt, err error, hangs bool) {
	s := a.of
	if s == nil || h.ctx.Err() != nil {
		return
	}
	s.failures++
	switch {
	case a.trial:
		s.trying = false
		s.pause = min(2*s.pause, lastPause)
	case !s.down && (hangs || s.failures >= maxFailures):
		s.down, s.pause = true, firstPause
		if h.lately() {
			s.pause = max(firstPause, min(2*s.last, lastPause))
		}
	default:
		return
	}
	s.retry = time.Now().Add(s.pause)
	if told := h.outage && !h.quiet; told {
		return
	}
	h.outage, h.quiet = true, h.lately()
	if !h.quiet {
		h.logger.Warn("the shared storage fails; going on without it", zap.String("operation", a.name), zap.Error(err))
	}
}

// lately reports whether the last outage ended only just now. What fails again
// then is taken for the same: a storage may take small values and no large ones.
func (h *health) lately() bool { return !h.healed.IsZero() && time.Since(h.healed) < sameOutage }

func (h *health) succeed(a *attempt) {
	h.heard = time.Now()
	s := a.of
	if s == nil || s.down && !a.trial { // as slow as it was begun
		return
	}
	back := s.down
	last := s.last
	if back {
		last = s.pause
	}
	*s = state{last: last}
	if back && s == &h.reads {
		h.writes.retry, h.writes.pause = time.Time{}, firstPause
	}
	if h.outage && !h.reads.down && !h.writes.down {
		h.outage, h.healed = false, time.Now()
		if !h.quiet {
			h.logger.Info("the shared storage works again")
		}
	}
}

// doubts reports whether one more failure makes the difference. Values that
// cannot be read are failures, too, of which a few may be damaged.
func (h *health) doubts(a *attempt) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return a.of == &h.reads && (a.trial || !a.of.down && a.of.failures+1 >= maxFailures)
}

// probe asks the storage for nothing in particular.
func (h *health) probe(ctx context.Context) error {
	if h.storage == nil {
		return nil
	}
	return safely(func() error {
		_, err := h.storage.Load(ctx, h.probeAt)
		return err
	})
}

// check returns nil if the storage works, as far as is known. If it was down it
// is tried when it is time to, and also if it has said nothing for a while.
func (h *health) check(ctx context.Context, quiet time.Duration) error {
	h.mu.Lock()
	ask := h.reads.down || quiet > 0 && time.Since(h.heard) >= quiet
	if ask {
		h.heard = time.Now() // one asks for all
	}
	h.mu.Unlock()
	if !ask {
		return nil
	}
	return h.ask(ctx)
}

// ask returns nil if the storage answers.
func (h *health) ask(ctx context.Context) error {
	err := h.do(ctx, operation{name: "load", of: &h.reads, patience: smallPatience, run: h.probe})
	if !failed(err) {
		return nil
	}
	return err
}

// works reports whether nothing is known to be wrong with the storage.
func (h *health) works() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ctx.Err() == nil && !h.reads.down && !h.writes.down && h.stuck < maxStuck
}
