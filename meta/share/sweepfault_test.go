package share

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// Whichever operation of a cleaning comes to nothing, what is to be kept is
// kept, and the next cleaning removes what this one left.
func TestACleaningThatEndsAnywhereIsMadeUpForByTheNext(t *testing.T) {
	opts := Options{MaxAge: time.Hour}
	for name, how := range map[string]func(m *sharetest.Memory, give context.CancelFunc) error{
		"it fails": func(*sharetest.Memory, context.CancelFunc) error { return errors.New("connection reset") },
		"it hangs": func(m *sharetest.Memory, _ context.CancelFunc) error {
			m.Hang()
			return nil
		},
		"nobody wants it any more": func(_ *sharetest.Memory, give context.CancelFunc) error {
			give()
			return nil
		},
	} {
		for purge, clean := range map[string]func(*node, context.Context) error{
			"cleaning": func(n *node, _ context.Context) error { return n.clean(time.Now()) },
			"a purge": func(n *node, ctx context.Context) error {
				_, _, err := n.Purge(ctx)
				return err
			},
		} {
			for at, reached := int64(1), true; reached; at++ {
				inBubble(t, fmt.Sprintf("at %d of %s %s", at, purge, name), func(t *testing.T) {
					m := sharetest.NewMemory()
					n, cleaner := newNode(t, m, opts), newNode(t, m, opts)
					n.part = 10 // bytes
					for i := range 3 {
						n.puts(t, keyOf(i), random(1, 20))
					}
					m.Set(n.path(usedDir, keyOf(0)), formatTime(time.Now()))
					m.Set(n.path(usedDir, keyOf(4)), formatTime(time.Now()))  // of no copy
					m.Set(n.path(partDir, keyOf(5))+"-00ff/0", random(1, 10)) // as well
					m.Set(n.path(partDir, keyOf(5))+"-00ff/1", random(1, 10))
					time.Sleep(opts.MaxAge)
					n.puts(t, keyOf(1), random(2, 11))
					kept := []int{1}
					if purge == "a purge" {
						kept = nil
					}

					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					var done atomic.Int64
					m.Intercept(func(_, _ string) error {
						if done.Add(1) != at {
							return nil
						}
						return how(m, func() {
							cancel()
							cleaner.end()
						})
					})
					err := clean(cleaner, ctx)
					m.Intercept(nil)
					m.Heal()
					reached = done.Load() >= at
					if !reached && err != nil {
						t.Errorf("it fails though nothing does: %v", err)
					}
					if kept != nil {
						n.wants(t, keyOf(1), random(2, 11))
					}

					time.Sleep(lastPause) // until the storage is tried again, and locks that were left have ended
					synctest.Wait()
					if err := clean(n, t.Context()); err != nil {
						t.Errorf("the next one: %v", err)
					}
					wantCopies(t, m, n, kept...)
				})
			}
		}
	}
}
