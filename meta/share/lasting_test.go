package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// A storage that takes small values only (a limit below 256 KiB, or one that is
// nearly full) is an outage for each file anew.
func TestALastingFaultIsToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		core, logs := observer.New(zap.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		locks := NewLocks(ctx, m, "p", zap.New(core))
		c := NewCopies(ctx, m, "p", locks, Options{MaxObject: 1 << 30, Logger: zap.New(core)})
		m.Intercept(func(op, key string) error {
			if op == "store" && strings.Contains(key, "/part/") {
				return errors.New("value too large")
			}
			return nil
		})
		for i := range 50 {
			key := fmt.Sprintf("%064x", i)
			if release := locks.Acquire(ctx, key, time.Minute, nil); release != nil {
				_, _ = c.Put(ctx, key, bytes.NewReader(make([]byte, 2<<20)), 2<<20, nil, time.Time{})
				release()
			}
			time.Sleep(10 * time.Second)
		}
		if n := logs.Len(); n > 2 {
			t.Errorf("%d lines of log for one lasting fault", n)
			for _, l := range logs.All()[:4] {
				t.Log(l.Time.Unix(), l.Level, l.Message, l.ContextMap())
			}
		}
	})
}

// An Unlock that hangs (ignores its context) blocks its key in this process.
func TestAnUnlockThatHangsHoldsUpNoFurtherLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		locks := NewLocks(ctx, m, "p", nil)
		hang := make(chan struct{})
		var first atomic.Bool
		m.Intercept(func(op, key string) error {
			if op == "unlock" && first.CompareAndSwap(false, true) {
				<-hang
			}
			return nil
		})
		locks.Acquire(ctx, "ab", time.Minute, nil)()
		m.Abandon("p/lock/ab")
		time.Sleep(time.Minute) // the storage has long let it go
		at := time.Now()
		release := locks.Acquire(ctx, "ab", 15*time.Minute, nil)
		if d := time.Since(at); d > 10*time.Second {
			t.Errorf("waited %v for a lock that nobody has; got it: %v", d, release != nil)
		}
		if release != nil {
			release()
		}
		close(hang)
		cancel()
	})
}

// A caller waits for no more than it has time for, whatever is left behind.
func TestAPutTakesNoLongerThanItMay(t *testing.T) {
	for slow, name := range map[string]string{"store": "storing", "delete": "removing the last one"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := sharetest.NewMemory()
				n := newNode(t, m, Options{MaxObject: 64 << 20})
				content := random(1, 200*partSize)
				n.puts(t, keyOf(0), content)
				m.Intercept(func(op, key string) error {
					if op == slow && strings.Contains(key, "/part/") {
						time.Sleep(500 * time.Millisecond)
					}
					return nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				_, _ = n.Put(ctx, keyOf(0), bytes.NewReader(content), int64(len(content)), nil, time.Time{})
				if took := time.Since(began); took > 11*time.Second { // of the bubble
					t.Errorf("it took %s", took)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// Silence is for what fails again and again, not for what goes on failing.
func TestALongOutageIsToldOfEvenSoonAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		for _, phase := range []struct {
			fails    bool
			duration time.Duration
			lines    int
		}{{true, 10 * time.Second, 1}, {false, 2 * time.Minute, 1}, {true, time.Hour, 1}, {false, time.Minute, 1}} {
			m.Heal()
			if phase.fails {
				m.Fail(errors.New("gone"))
			}
			for end := time.Now().Add(phase.duration); time.Now().Before(end); time.Sleep(time.Second) {
				n.find(t)
			}
			if lines := n.logs.TakeAll(); len(lines) != phase.lines {
				t.Errorf("fails %t for %s: %d lines, want %d", phase.fails, phase.duration, len(lines), phase.lines)
			}
		}
	})
}
