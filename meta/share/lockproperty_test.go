package share

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// want is a call that wants a lock. Times are since everything began.
type want struct {
	Node, Name    int
	Begins, Bound time.Duration
	Holds         time.Duration
	Lands, Leaves time.Duration // 0 if it does not
}

// TestLocksHoldWhateverHappens has calls of some nodes want few locks of a slow
// storage, and leave at any time.
func TestLocksHoldWhateverHappens(t *testing.T) {
	ms := func(t *rapid.T, name string, most int) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Millisecond
	}
	wants := rapid.Custom(func(t *rapid.T) want {
		return want{
			Node:   rapid.IntRange(0, 2).Draw(t, "node"),
			Name:   rapid.IntRange(0, 1).Draw(t, "name"),
			Begins: ms(t, "begins", 5000),
			Bound:  ms(t, "bound", 8000),
			Holds:  ms(t, "holds", 1500),
			Lands:  ms(t, "lands", 3) * 3000,
			Leaves: ms(t, "leaves", 3) * 3000,
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		calls := rapid.SliceOfN(wants, 1, 30).Draw(rt, "calls")
		slow := ms(rt, "slow", 1500)
		var err error
		synctest.Test(t, func(*testing.T) { err = wantTogether(calls, slow) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func wantTogether(calls []want, slow time.Duration) error {
	m := sharetest.NewMemory()
	m.Before = func(string, string) error {
		time.Sleep(rand.N(slow + 1))
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var nodes [3]*Locks
	for i := range nodes {
		nodes[i] = NewLocks(ctx, m, prefix, nil)
	}
	began := time.Now()
	var mu sync.Mutex
	var err error
	var holders [2]int
	hold := func(name, n int) {
		mu.Lock()
		defer mu.Unlock()
		if holders[name] += n; holders[name] > 1 {
			err = fmt.Errorf("%d have one lock", holders[name])
		}
	}
	var wg sync.WaitGroup
	for _, w := range calls {
		wg.Go(func() {
			time.Sleep(w.Begins)
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if w.Leaves > 0 {
				defer time.AfterFunc(time.Until(began.Add(w.Leaves)), cancel).Stop()
			}
			asked := time.Now()
			release := nodes[w.Node].Acquire(ctx, keyOf(w.Name), w.Bound, func(context.Context) bool {
				return w.Lands > 0 && time.Since(began) >= w.Lands
			})
			if took := time.Since(asked); took > w.Bound+slow { // for a probe
				mu.Lock()
				err = fmt.Errorf("it took %v", took)
				mu.Unlock()
			}
			if release != nil {
				hold(w.Name, 1)
				time.Sleep(w.Holds)
				hold(w.Name, -1)
				release()
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Minute)
	if locked := m.Locked(); err == nil && len(locked) > 0 {
		err = fmt.Errorf("left: %v", locked)
	}
	if stray := m.Stray(); err == nil && stray > 0 {
		err = fmt.Errorf("%d locks were released that were not held", stray)
	}
	for _, l := range nodes {
		if n := l.waiting(); n > 0 {
			err = fmt.Errorf("%d turns are left", n)
		}
	}
	cancel()
	time.Sleep(time.Minute)
	return err
}
