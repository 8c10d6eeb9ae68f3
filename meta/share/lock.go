package share

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	firstPoll = 100 * time.Millisecond
	lastPoll  = time.Second
)

// Locks are the locks of nodes that share a storage. It is safe for concurrent
// use.
type Locks struct {
	ctx     context.Context
	prefix  string
	storage Locker
	health  *health

	mu    sync.Mutex
	turns map[string]*turn
}

// turn is for the calls of this process that want a lock: one at a time asks
// the storage for it or has it.
type turn struct {
	calls int
	taken chan struct{} // has room for one
}

// NewLocks returns the locks of the nodes that have storage and prefix in
// common. When ctx ends, storage is no longer used, and what is still locked is
// unlocked. A nil logger is fine.
func NewLocks(ctx context.Context, storage Locker, prefix string, logger *zap.Logger) *Locks {
	if logger == nil {
		logger = zap.NewNop()
	}
	whole, _ := storage.(Storage)
	return &Locks{
		ctx:     ctx,
		prefix:  prefix,
		storage: storage,
		health:  &health{ctx: ctx, storage: whole, probeAt: prefix + "/" + probeKey, logger: logger},
		turns:   make(map[string]*turn),
	}
}

// Acquire waits for the lock of name until it has it, landed reports true, the
// storage fails, bound is over or ctx ends. The lock is held if release is not
// nil, and until that is called; once more does no harm. Calls of one process
// wait for each other without asking the storage.
//
// While it waits, landed, unless that is nil, is called after 100 ms, 200 ms,
// 400 ms and so on, and then every second.
func (l *Locks) Acquire(ctx context.Context, name string, bound time.Duration, landed func(context.Context) bool) (release func()) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if l.health.check(ctx, 0) != nil {
		return nil
	}
	t := l.enter(name)
	defer l.leave(name, t)
	var asked *request
	defer func() {
		if asked != nil && release == nil {
			asked.drop()
		}
	}()
	poll := firstPoll
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for {
		var free chan<- struct{}
		var answer <-chan error
		if asked == nil {
			free = t.taken
		} else {
			answer = asked.answer
		}
		select {
		case free <- struct{}{}:
			if asked = l.ask(ctx, name, t); asked == nil {
				return nil
			}
		case err := <-answer:
			if err != nil {
				asked = nil
				return nil
			}
			return asked.hold()
		case <-timer.C:
			if landed != nil && landed(ctx) || l.health.check(ctx, smallPatience) != nil {
				return nil
			}
			if asked != nil {
				asked.pend()
			}
			poll = min(2*poll, lastPoll)
			timer.Reset(poll)
		case <-ctx.Done():
			return nil
		case <-l.ctx.Done():
			return nil
		}
	}
}

func (l *Locks) enter(name string) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.turns[name]
	if !ok {
		t = &turn{taken: make(chan struct{}, 1)}
		l.turns[name] = t
	}
	t.calls++
	return t
}

func (l *Locks) leave(name string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.calls--; t.calls == 0 {
		delete(l.turns, name)
	}
}

// request is a lock that the storage is asked for, and then perhaps has given.
type request struct {
	*Locks
	name    string
	turn    *turn
	began   time.Time
	attempt *attempt
	cancel  context.CancelFunc // of the storage's work for it
	answer  chan error         // takes the storage's answer only from who waits
	dropped chan struct{}
}

// ask asks the storage for a lock, for a call that has its turn. It returns nil
// if that is in vain.
func (l *Locks) ask(ctx context.Context, name string, t *turn) *request {
	a, err := l.health.begin(ctx, "lock", &l.health.writes)
	if err != nil {
		<-t.taken
		return nil
	}
	// a storage may keep up the lock as long as this lasts
	within, cancel := context.WithCancel(l.ctx)
	r := &request{
		Locks:   l,
		name:    name,
		turn:    l.enter(name),
		began:   time.Now(),
		attempt: a,
		cancel:  cancel,
		answer:  make(chan error),
		dropped: make(chan struct{}),
	}
	go r.wait(within)
	return r
}

// wait waits for the answer of the storage, which may come when nobody wants it
// any more.
func (r *request) wait(ctx context.Context) {
	err := safely(func() error { return r.storage.Lock(ctx, r.path()) })
	if err != nil && ctx.Err() != nil {
		r.health.end(r.attempt, errGivenUp)
	} else {
		r.health.end(r.attempt, err)
	}
	select {
	case r.answer <- err:
		if err != nil {
			r.free()
		}
	case <-r.dropped:
		if err == nil {
			r.unlock()
		}
		r.free()
	}
}

// pend notes that there is no answer yet. A lock that somebody has is no
// failure of the storage, which answers as far as it is read.
func (r *request) pend() {
	if time.Since(r.began) >= smallPatience {
		r.health.end(r.attempt, nil)
	}
}

// drop says that the lock is not wanted any more.
func (r *request) drop() {
	r.health.end(r.attempt, errGivenUp)
	r.cancel()
	close(r.dropped)
}

// hold returns what releases the lock.
func (r *request) hold() (release func()) {
	unlocked := make(chan struct{})
	unlock := sync.OnceFunc(func() {
		go func() {
			defer close(unlocked)
			defer r.free()
			r.unlock()
		}()
	})
	stop := context.AfterFunc(r.ctx, unlock)
	return func() {
		stop()
		unlock()
		timer := time.NewTimer(smallPatience)
		defer timer.Stop()
		select {
		case <-unlocked:
		case <-timer.C:
		}
	}
}

// unlock gives the lock back. That is tried even if the storage is down or not
// to be used any more, and again if it fails, because a storage may keep up a
// lock until it is.
func (r *request) unlock() {
	for _, pause := range []time.Duration{time.Second, 3 * time.Second, 0} {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), smallPatience)
		defer cancel()
		answer := make(chan error, 1)
		go func() { answer <- safely(func() error { return r.storage.Unlock(ctx, r.path()) }) }()
		var err error
		select {
		case err = <-answer:
		case <-ctx.Done(): // which the storage may not heed
			return
		}
		if !failed(err) {
			return
		}
		r.health.logger.Debug("unlocking in the shared storage", zap.String("key", r.name), zap.Error(err))
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// free lets another call of this process have its turn.
func (r *request) free() {
	r.cancel()
	<-r.turn.taken
	r.leave(r.name, r.turn)
}

func (r *request) path() string { return r.prefix + "/" + lockDir + "/" + r.name }
