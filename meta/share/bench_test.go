package share

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// A storage that takes no time shows what is added to the time that one takes.

func BenchmarkFind(b *testing.B) {
	m := sharetest.NewMemory()
	copies := NewCopies(b.Context(), m, prefix, NewLocks(b.Context(), m, prefix, nil), Options{MaxObject: 1 << 30})
	if _, err := copies.Put(b.Context(), keyOf(0), bytes.NewReader(nil), 0, nil, time.Time{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := copies.Find(b.Context(), keyOf(0)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	m := sharetest.NewMemory()
	locks := NewLocks(b.Context(), m, prefix, nil)
	for b.Loop() {
		locks.Acquire(b.Context(), keyOf(0), lastPause, func(context.Context) bool { return false })()
	}
}

func BenchmarkTransfer(b *testing.B) {
	for _, kib := range []int64{64, 4 << 10, 64 << 10} {
		m := sharetest.NewMemory()
		copies := NewCopies(b.Context(), m, prefix, NewLocks(b.Context(), m, prefix, nil), Options{MaxObject: 1 << 30})
		content := make([]byte, kib<<10)
		var copy Copy
		b.Run(fmt.Sprintf("put/size-%dKiB", kib), func(b *testing.B) {
			b.SetBytes(kib << 10)
			for b.Loop() {
				var err error
				if copy, err = copies.Put(b.Context(), keyOf(0), bytes.NewReader(content), kib<<10, nil, time.Time{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("load/size-%dKiB", kib), func(b *testing.B) {
			b.SetBytes(kib << 10)
			for b.Loop() {
				if err := copies.Load(b.Context(), keyOf(0), copy, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
