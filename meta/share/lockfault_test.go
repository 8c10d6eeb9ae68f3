package share

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

func TestWhatCannotBeUnlockedIsUnlockedLater(t *testing.T) {
	for name, fault := range map[string]func(m *sharetest.Memory){
		"it fails": func(m *sharetest.Memory) { m.Fail(errors.New("refused")) },
		"it hangs": func(m *sharetest.Memory) { m.Hang() },
	} {
		inBubble(t, name, func(t *testing.T) {
			m := sharetest.NewMemory()
			m.TTL = time.Hour
			n := newNode(t, m, Options{})
			release := n.acquire(t, keyOf(0))
			fault(m)
			began := time.Now()
			release()
			if took := time.Since(began); took > smallPatience {
				t.Errorf("it took %v", took)
			}
			if len(m.Locked()) != 1 {
				t.Error("it is unlocked")
			}
			m.Heal()
			time.Sleep(smallPatience)
			wantNothingLeft(t, m)
			n.acquire(t, keyOf(0))()
			wantNothingLeft(t, m)
		})
	}
}

func TestLocksAreSharedAgainAfterAnOutage(t *testing.T) {
	for name, tt := range map[string]struct {
		fault func(m *sharetest.Memory)
		calls int // until it is noticed
	}{
		"it failed":   {func(m *sharetest.Memory) { m.Fail(errors.New("refused")) }, maxFailures},
		"it was full": {func(m *sharetest.Memory) { m.Fill() }, maxFailures},
		"it hung":     {func(m *sharetest.Memory) { m.Hang() }, 1},
	} {
		for _, state := range []string{"free", "held"} {
			inBubble(t, name+", and the lock is "+state, func(t *testing.T) {
				m := sharetest.NewMemory()
				n, other := newNode(t, m, Options{}), newNode(t, m, Options{})
				tt.fault(m)
				for range tt.calls {
					if n.locks.Acquire(t.Context(), keyOf(0), time.Minute, nil) != nil {
						t.Error("it is locked")
					}
				}
				n.wantLogs(t, warning)
				m.Heal()
				synctest.Wait()
				time.Sleep(lastPause)
				hold := func() {}
				if state == "held" {
					hold = other.acquire(t, keyOf(0))
				}
				time.AfterFunc(10*time.Second, hold)
				var wg sync.WaitGroup
				wg.Go(func() { n.acquire(t, keyOf(0))() })
				time.Sleep(2 * smallPatience) // time to see that somebody has it
				n.acquire(t, keyOf(1))()
				wg.Wait()
				hold()
				n.wantLogs(t, allWell)
				wantNothingLeft(t, m)
			})
		}
	}
}

func TestALockThatHangsIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Fill()
		for range maxFailures {
			n.locks.Acquire(t.Context(), keyOf(0), time.Minute, nil)
		}
		m.Heal()
		time.Sleep(firstPause)
		come := make(chan struct{})
		m.Intercept(func(op, key string) error {
			if key == lockPath+keyOf(0) {
				<-come
			}
			return nil
		})
		if n.locks.Acquire(t.Context(), keyOf(0), time.Second, nil) != nil {
			t.Error("it has the lock")
		}
		n.acquire(t, keyOf(1))() // it can be tried again
		n.wantLogs(t, warning, allWell)
		close(come)
		wantNothingLeft(t, m)
	})
}

// locker has locks and nothing else.
type locker struct{ Locker }

func TestLocksNeedNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a, b := NewLocks(ctx, locker{m}, prefix, nil), NewLocks(ctx, locker{m}, prefix, nil)
		first := a.Acquire(t.Context(), keyOf(0), time.Minute, nil)
		if first == nil || b.Acquire(t.Context(), keyOf(0), time.Minute, nil) != nil {
			t.Fatal("not one of both has the lock")
		}
		time.AfterFunc(30*time.Second, first)
		first = b.Acquire(t.Context(), keyOf(0), time.Minute, nil)
		m.Fail(errors.New("refused"))
		for range maxFailures {
			if b.Acquire(t.Context(), keyOf(1), time.Minute, nil) != nil {
				t.Error("it is locked")
			}
		}
		m.Counts()
		if b.Acquire(t.Context(), keyOf(1), time.Minute, nil) != nil || len(m.Counts()) > 0 {
			t.Error("it is not left alone")
		}
		m.Heal()
		time.Sleep(firstPause)
		for _, release := range []func(){first, b.Acquire(t.Context(), keyOf(1), time.Minute, nil)} {
			if release == nil {
				t.Fatal("it is left alone for ever")
			}
			release()
		}
		wantNothingLeft(t, m)
	})
}

func TestNoLockIsLeftBehindByAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n, other := newNode(t, m, Options{}), newNode(t, m, Options{})
		release := other.acquire(t, keyOf(0))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			n.locks.Acquire(t.Context(), keyOf(0), time.Minute, func(context.Context) bool { panic("at sea") })
		}()
		release()
		wantNothingLeft(t, m)
		n.acquire(t, keyOf(0))()
	})
}

// forgetful is a storage that keeps up a lock as long as the context lasts with
// which it was asked for.
type forgetful struct{ *sharetest.Memory }

func (f forgetful) Lock(ctx context.Context, name string) error {
	err := f.Memory.Lock(ctx, name)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = f.Unlock(context.Background(), name) })
	}
	return err
}

func TestALockLastsLongerThanTheWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, forgetful{m}, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		release := n.locks.Acquire(ctx, keyOf(0), time.Second, nil)
		cancel()
		time.Sleep(time.Minute)
		if locked := fmt.Sprint(m.Locked()); locked != "["+lockPath+keyOf(0)+"]" {
			t.Errorf("locked: %v", locked)
		}
		release()
		synctest.Wait()
		if len(m.Locked()) > 0 {
			t.Error("it is still locked")
		}
	})
}
