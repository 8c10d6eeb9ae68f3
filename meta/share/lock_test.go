package share

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

const lockPath = prefix + "/lock/"

// waiting returns for how many locks there are calls.
func (l *Locks) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.turns)
}

func TestOneOfManyNodesHasALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, calls = 20, 5
		m := sharetest.NewMemory()
		m.Latency = 3 * time.Millisecond
		var wg sync.WaitGroup
		var holders, turns atomic.Int32
		for range nodes {
			n := newNode(t, m, Options{})
			for range calls {
				wg.Go(func() {
					release := n.locks.Acquire(t.Context(), keyOf(0), time.Hour, func(context.Context) bool { return false })
					if release == nil {
						t.Error("it has no turn")
						return
					}
					if holders.Add(1) > 1 {
						t.Error("it has company")
					}
					turns.Add(1)
					time.Sleep(10 * time.Millisecond)
					holders.Add(-1)
					release()
				})
			}
		}
		wg.Wait()
		if turns.Load() != nodes*calls {
			t.Errorf("%d turns, want %d", turns.Load(), nodes*calls)
		}
		wantNothingLeft(t, m)
	})
}

func TestAWaitForALockEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		bound  time.Duration
		event  func(m *sharetest.Memory, waiter, holder *node, release, cancel func())
		landed time.Duration // when something does, after the event
		locked bool
		after  time.Duration // it ends at the latest
	}{
		"when the lock is released": {
			bound: time.Minute, locked: true, after: time.Second, // Redis is polled
			event: func(_ *sharetest.Memory, _, _ *node, release, _ func()) { release() },
		},
		"when the holder is killed": {
			bound: time.Minute, locked: true, after: 6 * time.Second,
			event: func(m *sharetest.Memory, _, _ *node, _, _ func()) { m.Abandon(lockPath + keyOf(0)) },
		},
		"when the holder uses the storage no longer": {
			bound: time.Minute, locked: true, after: time.Second,
			event: func(_ *sharetest.Memory, _, holder *node, _, _ func()) { holder.end() },
		},
		"when something has landed":        {bound: time.Minute, landed: 10 * time.Second, after: 11 * time.Second},
		"when its bound is over":           {bound: 20 * time.Second, after: 20 * time.Second},
		"when the caller is gone":          {bound: time.Minute, event: func(_ *sharetest.Memory, _, _ *node, _, cancel func()) { cancel() }},
		"when the storage is used no more": {bound: time.Minute, event: func(_ *sharetest.Memory, waiter, _ *node, _, _ func()) { waiter.end() }},
		"when a storage that hangs is used no more": {
			bound: time.Minute, after: 600 * time.Millisecond, // less than until the next look
			event: func(m *sharetest.Memory, waiter, _ *node, _, _ func()) {
				m.Hang()
				time.AfterFunc(600*time.Millisecond, waiter.end)
			},
		},
		"when the storage hangs":            {bound: time.Minute, event: func(m *sharetest.Memory, _, _ *node, _, _ func()) { m.Hang() }, after: 2*smallPatience + 2*lastPoll},
		"when the storage fails":            {bound: time.Minute, event: func(m *sharetest.Memory, _, _ *node, _, _ func()) { m.Fail(errors.New("gone")) }, after: lastPoll},
		"when the storage is full by now":   {bound: time.Minute, event: func(m *sharetest.Memory, _, _ *node, _, _ func()) { m.Fill() }, after: lastPoll},
		"before it begins if there is none": {bound: 0},
	} {
		inBubble(t, name, func(t *testing.T) {
			m := sharetest.NewMemory()
			holder, waiter := newNode(t, m, Options{}), newNode(t, m, Options{})
			release := holder.acquire(t, keyOf(0))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			const first = 3600 * time.Millisecond // between two polls
			began := time.Now()
			if tt.event != nil {
				time.AfterFunc(first, func() { tt.event(m, waiter, holder, release, cancel) })
			}
			got := waiter.locks.Acquire(ctx, keyOf(0), tt.bound, func(context.Context) bool {
				return tt.landed > 0 && time.Since(began) >= tt.landed
			})
			took := time.Since(began)
			if (got != nil) != tt.locked {
				t.Errorf("locked: %t, want %t", got != nil, tt.locked)
			}
			if tt.event != nil {
				took -= first
			}
			if took < 0 || took > tt.after {
				t.Errorf("it took %v, want %v at most", took, tt.after)
			}
			m.Heal()
			if got != nil {
				got()
			}
			if !strings.Contains(name, "killed") {
				release()
			}
			wantNothingLeft(t, m)
		})
	}
}

func TestWhatHasLandedIsLookedForLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		holder, waiter := newNode(t, m, Options{}), newNode(t, m, Options{})
		defer holder.acquire(t, keyOf(0))()
		began := time.Now()
		var looks []time.Duration
		waiter.locks.Acquire(t.Context(), keyOf(0), 5*time.Second, func(context.Context) bool {
			looks = append(looks, time.Since(began)/time.Millisecond)
			return false
		})
		if want := []time.Duration{100, 300, 700, 1500, 2500, 3500, 4500}; !slices.Equal(looks, want) {
			t.Errorf("looked after %d ms, want %d", looks, want)
		}
	})
}

func TestALockThatComesLateIsUnlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		slow, other := newNode(t, m, Options{}), newNode(t, m, Options{})
		come := make(chan struct{})
		m.Intercept(func(op, _ string) error {
			if op == "lock" {
				<-come
			}
			return nil
		})
		if slow.locks.Acquire(t.Context(), keyOf(0), time.Second, nil) != nil {
			t.Fatal("it has the lock before it comes")
		}
		if slow.locks.Acquire(t.Context(), keyOf(0), time.Second, nil) != nil {
			t.Fatal("it has the lock before it comes")
		}
		if asked := m.Counts()[sharetest.Kind{Op: "lock", Of: "lock"}].Ops; asked != 1 {
			t.Errorf("the storage was asked %d times at a time", asked)
		}
		close(come)
		synctest.Wait()
		wantNothingLeft(t, m)
		other.acquire(t, keyOf(0))()
		slow.acquire(t, keyOf(0))()
		wantNothingLeft(t, m)
		if turns := slow.locks.waiting() + other.locks.waiting(); turns > 0 {
			t.Errorf("%d turns are remembered", turns)
		}
	})
}

func TestCallsOfOneProcessAskForOneLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 50
		m := sharetest.NewMemory()
		holder, waiter := newNode(t, m, Options{}), newNode(t, m, Options{})
		release := holder.acquire(t, keyOf(0))
		m.Counts()
		landed := make(chan struct{})
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				got := waiter.locks.Acquire(t.Context(), keyOf(0), time.Minute, func(context.Context) bool {
					select {
					case <-landed:
						return true
					default:
						return false
					}
				})
				if got != nil {
					t.Error("it has the lock")
				}
			})
		}
		time.Sleep(10 * time.Second)
		if asked := m.Counts()[sharetest.Kind{Op: "lock", Of: "lock"}].Ops; asked != 1 {
			t.Errorf("the storage was asked %d times", asked)
		}
		close(landed)
		wg.Wait()
		release()
		wantNothingLeft(t, m)
	})
}

func TestALockIsReleasedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n, other := newNode(t, m, Options{}), newNode(t, m, Options{})
		first := n.acquire(t, keyOf(0))
		first()
		first()
		second := other.acquire(t, keyOf(0))
		first()
		n.end() // which releases what n still has
		synctest.Wait()
		if locked := m.Locked(); len(locked) != 1 {
			t.Errorf("locked: %v", locked)
		}
		second()
		other.end()
		wantNothingLeft(t, m)
	})
}
