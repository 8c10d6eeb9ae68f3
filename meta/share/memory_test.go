package share

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// gauge counts the parts that are in memory.
type gauge struct {
	mu        sync.Mutex
	now, most int
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.most = max(g.most, g.now)
}

// gauged is a storage that counts parts, from when they are read from a file
// until they are stored, and from when they are asked for until they are
// written to one.
type gauged struct {
	*sharetest.Memory
	*gauge
}

func (g gauged) Store(ctx context.Context, key string, value []byte) error {
	if strings.Contains(key, "/part/") {
		defer g.add(-1)
	}
	return g.Memory.Store(ctx, key, value)
}

func (g gauged) Load(ctx context.Context, key string) ([]byte, error) {
	if strings.Contains(key, "/part/") {
		g.add(1)
	}
	return g.Memory.Load(ctx, key)
}

type gaugedFile struct {
	io.ReaderAt
	*gauge
	written int64
}

func (f *gaugedFile) ReadAt(b []byte, at int64) (int, error) {
	f.add(1)
	return f.ReaderAt.ReadAt(b, at)
}

func (f *gaugedFile) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond / 2) // disks take their time
	f.add(-1)
	f.written += int64(len(b))
	return len(b), nil
}

func TestFewPartsAreInMemoryAtATime(t *testing.T) {
	for name, tt := range map[string]struct {
		transfers int
		size      int64
		most      int
	}{
		"one large transfer": {1, 64 << 20, transferParts},
		"many transfers":     {10, 8 << 20, maxParts},
	} {
		inBubble(t, name, func(t *testing.T) {
			m := sharetest.NewMemory()
			m.Latency = time.Millisecond
			g := new(gauge)
			n := newNode(t, gauged{m, g}, Options{})
			content := make([]byte, tt.size)
			var copies [10]Copy
			each := func(do func(i int) error) {
				t.Helper()
				var wg sync.WaitGroup
				for i := range tt.transfers {
					wg.Go(func() {
						if err := do(i); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if g.now != 0 || g.most != tt.most {
					t.Errorf("%d parts were in memory, want %d; %d are", g.most, tt.most, g.now)
				}
				g.most = 0
			}
			each(func(i int) (err error) {
				copies[i], err = n.Put(t.Context(), keyOf(i), &gaugedFile{ReaderAt: bytes.NewReader(content), gauge: g}, tt.size, nil, time.Time{})
				return err
			})
			each(func(i int) error {
				f := &gaugedFile{gauge: g}
				err := n.Load(t.Context(), keyOf(i), copies[i], f)
				if f.written != tt.size {
					t.Errorf("%d bytes were written", f.written)
				}
				return err
			})
		})
	}
}

func TestFewPartsHangAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		content := make([]byte, 4<<20)
		proceed := make(chan struct{})
		var hanging atomic.Int32
		m.Intercept(func(op, key string) error {
			if op == "store" {
				hanging.Add(1)
				<-proceed
				hanging.Add(-1)
			}
			return nil
		})
		for i := range 10 { // one after another is given up
			if _, err := n.Put(t.Context(), keyOf(i), bytes.NewReader(content), int64(len(content)), nil, time.Time{}); err == nil {
				t.Error("it was put")
			}
			time.Sleep(lastPause)
		}
		if got := hanging.Load(); got != maxParts {
			t.Errorf("%d parts hang, want %d", got, maxParts)
		}
		close(proceed)
		synctest.Wait()
		n.puts(t, keyOf(0), content)
		n.wants(t, keyOf(0), content)
	})
}
