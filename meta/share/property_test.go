package share

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// step is something that a node does, or that happens to the storage.
type step struct {
	What string
	Key  int
	Size int
	Seed uint64
}

var (
	deeds = []string{"put", "put without a lock", "load", "put", "load", "put", "load", "clean", "amend", "load", "load"}
	harms = []string{"cut", "extend", "flip", "remove", "swap", "fail", "heal", "heal", "purge"}
)

// TestNobodyLoadsWhatNobodyPut lets some nodes do things at the same time while
// what they store is damaged. They may lose copies, but whatever is loaded
// without an error was put for that key.
func TestNobodyLoadsWhatNobodyPut(t *testing.T) {
	const keys = 2
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{
			What: rapid.SampledFrom(slices.Concat(deeds, deeds, harms)).Draw(t, "what"),
			Key:  rapid.IntRange(0, keys-1).Draw(t, "key"),
			Size: rapid.SampledFrom([]int{0, 1, 63, 64, 65, 700, 2000}).Draw(t, "size"),
			Seed: rapid.Uint64Range(0, 1<<16-1).Draw(t, "seed"),
		}
	})
	loads := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs := rapid.SliceOfN(rapid.SliceOfN(steps, 1, 20), 1, 4).Draw(rt, "nodes")
		var n int
		var err error
		synctest.Test(t, func(*testing.T) { n, err = together(runs) })
		if err != nil {
			rt.Fatal(err)
		}
		loads += n
	})
	if loads < 20 {
		t.Errorf("only %d copies were loaded, which shows little", loads)
	}
}

// together lets each node take its steps, all at the same time, and returns how
// often something was loaded.
func together(runs [][]step) (loads int, err error) {
	put := make(map[string]bool) // what may be loaded
	for _, run := range runs {
		for _, s := range run {
			put[fmt.Sprint(s.Key, random(s.Seed, s.Size))] = true
		}
	}
	m := sharetest.NewMemory()
	m.Latency = time.Millisecond // so that others come in between
	ctx, cancel := context.WithCancel(context.Background())
	defer time.Sleep(time.Minute) // for what was given up
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, run := range runs {
		locks := NewLocks(ctx, m, prefix, nil)
		n := &node{Copies: NewCopies(ctx, m, prefix, locks, Options{MaxObject: 1 << 20, MaxSize: 1500})}
		n.part = 64
		wg.Go(func() {
			for _, s := range run {
				got, failed := n.take(ctx, m, s)
				if s.What != "load" || failed != nil {
					continue
				}
				mu.Lock()
				loads++
				if !put[fmt.Sprint(s.Key, got)] {
					err = fmt.Errorf("%d bytes that nobody put for key %d", len(got), s.Key)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return loads, err
}

// take takes a step.
func (n *node) take(ctx context.Context, m *sharetest.Memory, s step) ([]byte, error) {
	key, content := keyOf(s.Key), random(s.Seed, s.Size)
	put := func() error {
		_, err := n.Put(ctx, key, bytes.NewReader(content), int64(s.Size), nil, time.Time{})
		return err
	}
	all := m.Keys(prefix)
	if len(all) == 0 {
		all = []string{prefix + "/x"}
	}
	one, another := all[s.Seed%uint64(len(all))], all[s.Seed/7%uint64(len(all))]
	switch s.What {
	case "put":
		release := n.locks.Acquire(ctx, key, 20*time.Millisecond, nil)
		if release == nil {
			return nil, nil
		}
		defer release()
		return nil, put()
	case "put without a lock": // as it is when a lock is lost
		return nil, put()
	case "load":
		return n.gets(ctx, key)
	case "clean":
		return nil, n.clean(time.Now().Add(time.Hour))
	case "purge":
		_, _, err := n.Purge(ctx)
		return nil, err
	case "amend":
		copy, err := n.Find(ctx, key)
		if err != nil {
			return nil, err
		}
		return nil, n.Amend(ctx, key, copy)
	case "cut":
		m.Damage(func(b []byte) []byte { return b[:len(b)/2] }, one)
	case "extend":
		m.Damage(func(b []byte) []byte { return append(b, 'x') }, one)
	case "flip":
		m.Damage(func(b []byte) []byte {
			if len(b) > 0 {
				b[s.Seed%uint64(len(b))] ^= 1
			}
			return b
		}, one)
	case "remove":
		m.Remove(one)
	case "swap":
		a, _ := m.Get(one)
		b, _ := m.Get(another)
		m.Set(one, b)
		m.Set(another, a)
	case "fail":
		m.Fail(context.DeadlineExceeded)
	case "heal":
		m.Heal()
	}
	return nil, nil
}
