package share

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const prefix = "onebot_meta/test"

// keyOf returns one of 10 keys.
func keyOf(n int) string { return strings.Repeat("0123456789"[n:n+1], 64) }

// node is one of those that share a storage.
type node struct {
	*Copies
	logs *observer.ObservedLogs
	end  context.CancelFunc // of its use of the storage
}

func newNode(t *testing.T, storage Storage, opts Options) *node {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	ctx, end := context.WithCancel(context.Background())
	opts.Logger = zap.New(core)
	if opts.MaxObject == 0 {
		opts.MaxObject = 1 << 30
	}
	locks := NewLocks(ctx, storage, prefix, opts.Logger)
	n := &node{NewCopies(ctx, storage, prefix, locks, opts), logs, end}
	t.Cleanup(func() {
		n.Close()
		end()
	})
	return n
}

// acquire gets a lock that is free.
func (n *node) acquire(t *testing.T, name string) (release func()) {
	t.Helper()
	release = n.locks.Acquire(t.Context(), name, time.Minute, nil)
	if release == nil {
		t.Fatalf("the lock of %.8s is not to be had", name)
	}
	return release
}

// puts puts a copy, as one does, with the lock.
func (n *node) puts(t *testing.T, key string, content []byte) Copy {
	t.Helper()
	defer n.acquire(t, key)()
	copy, err := n.Put(t.Context(), key, bytes.NewReader(content), int64(len(content)), []byte(`{"a":1}`), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return copy
}

// gets returns the content of a copy.
func (n *node) gets(ctx context.Context, key string) ([]byte, error) {
	copy, err := n.Find(ctx, key)
	if err != nil {
		return nil, err
	}
	var got bytes.Buffer
	err = n.Load(ctx, key, copy, &got)
	return got.Bytes(), err
}

func (n *node) wants(t *testing.T, key string, content []byte) {
	t.Helper()
	if got, err := n.gets(t.Context(), key); err != nil || !bytes.Equal(got, content) {
		t.Errorf("there are %d bytes, want %d: %v", len(got), len(content), err)
	}
}

// random returns bytes that no other seed gives.
func random(seed uint64, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

// inBubble runs a test with a clock of its own, which goes on when all wait.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// wantNothingLeft checks that nobody holds a lock, and that nobody released one
// that he did not hold.
func wantNothingLeft(t *testing.T, m *sharetest.Memory) {
	t.Helper()
	synctest.Wait()
	if locked, stray := m.Locked(), m.Stray(); len(locked) > 0 || stray > 0 {
		t.Errorf("locks that are left: %v, locks released in vain: %d", locked, stray)
	}
}

var _ Storage = (*sharetest.Memory)(nil)
