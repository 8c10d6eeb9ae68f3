// Package share lets several processes that have a storage in common, called
// nodes, agree on who downloads a file, and keep copies of files in the storage
// for each other.
//
// A storage takes small values only and does not stream, so a copy is stored in
// parts, and a manifest that describes it comes last:
//
//	<prefix>/manifest/<key>       what the copy is, see [Copy]
//	<prefix>/part/<key>-<id>/<n>  its parts, from 0
//	<prefix>/used/<key>           when a node returned the file, about
//	<prefix>/cleaned              when a node began to clean up last
//	<prefix>/lock/<key>           a lock: who has it asks the origin
//	<prefix>/lock/clean           a lock: who has it cleans up
//
// Nodes can do without the storage, so nothing waits for one that fails: it is
// left alone for a while. Whatever comes from it may be damaged, and nobody
// relies on a lock for more than to save work.
package share

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
)

// Storage is what is needed of a storage. A certmagic.Storage has it, and its
// documentation says what the methods do, in which storages differ: List may
// return keys of deeper levels in any case, Delete may leave what is below a
// key, and contexts may be ignored.
type Storage interface {
	Locker
	Store(ctx context.Context, key string, value []byte) error
	Load(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, path string, recursive bool) ([]string, error)
}

// Locker is what is needed of a storage for locks alone.
type Locker interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

var (
	// ErrDown says that the storage failed lately and is left alone for a
	// while, that it did not answer in time, or that it is no longer to be used.
	ErrDown = errors.New("the shared storage is down")

	// ErrDamaged says that a copy is not what was stored.
	ErrDamaged = errors.New("the shared copy is damaged")

	// ErrBusy says that another node is cleaning up.
	ErrBusy = errors.New("another node is cleaning up the shared copies")

	// ErrTooLarge says that a file is larger than MaxObject.
	ErrTooLarge = errors.New("too large to be shared")
)

// Options are the bounds of copies.
type Options struct {
	MaxObject int64         // bytes of a file that is copied
	MaxSize   int64         // bytes of all copies; 0 is no limit
	MaxAge    time.Duration // since a node last returned the file; 0 is no limit
	Logger    *zap.Logger
}

// Copy describes a file in the storage.
type Copy struct {
	ID     string          `json:"id"`             // random, in lower case hexadecimal
	Size   int64           `json:"size"`           // in bytes
	Sum    string          `json:"sum"`            // SHA-256, in lower case hexadecimal
	Part   int64           `json:"part"`           // bytes of each part but the last
	Stored time.Time       `json:"stored"`         // when Put was called
	Until  time.Time       `json:"until,omitzero"` // when it is of no use any more; zero if ever
	Meta   json.RawMessage `json:"meta"`           // the caller's
}

// Copies are the files in a storage. It is safe for concurrent use, and so are
// several of them, of different processes, with one prefix. Keys are strings of
// lower case hexadecimal digits.
type Copies struct {
	prefix  string
	storage Storage
	health  *health
	locks   *Locks
	opts    Options
	part    int64               // bytes of a part
	slots   *semaphore.Weighted // one for each part in memory

	put  atomic.Int64  // bytes, since this node last cleaned up for them
	full chan struct{} // has one when that is much

	usesMu sync.Mutex
	used   map[string]time.Time // when uses were noted
	uses   chan string          // keys that are to be noted

	ctx        context.Context // of the background
	cancel     context.CancelFunc
	background sync.WaitGroup
}

// NewCopies returns the copies below prefix, a path without a slash at the end.
// The locks have the same storage and prefix. When ctx ends, storage is no
// longer used.
func NewCopies(ctx context.Context, storage Storage, prefix string, locks *Locks, opts Options) *Copies {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	c := &Copies{
		prefix:  prefix,
		storage: storage,
		health:  locks.health, // what one of them suffers the other is spared
		locks:   locks,
		opts:    opts,
		part:    partSize,
		slots:   semaphore.NewWeighted(maxParts),
		full:    make(chan struct{}, 1),
		used:    make(map[string]time.Time),
		uses:    make(chan string, 1024),
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// MaxObject returns how many bytes a file may have that is copied.
func (c *Copies) MaxObject() int64 { return c.opts.MaxObject }

// Maintain notes uses and cleans up in the background, until Close is called.
func (c *Copies) Maintain() {
	c.background.Go(c.noteUses)
	c.background.Go(c.cleanUp)
}

// Close ends what runs in the background, and waits for it, but for a storage
// that hangs only a moment. Copies can still be put and loaded.
func (c *Copies) Close() {
	c.cancel()
	c.background.Wait()
}

// Names of what is below a prefix.
const (
	manifestDir = "manifest"
	partDir     = "part"
	usedDir     = "used"
	lockDir     = "lock"
	cleanedKey  = "cleaned"
	probeKey    = "probe" // never stored
)

func (c *Copies) path(dir, key string) string { return c.prefix + "/" + dir + "/" + key }

// isHex reports whether s consists of lower case hexadecimal digits.
func isHex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return s != ""
}

// isSum reports whether s is a SHA-256 sum in lower case hexadecimal.
func isSum(s string) bool { return len(s) == hex.EncodedLen(32) && isHex(s) }
