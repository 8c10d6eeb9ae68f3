// Package diskcache keeps downloaded files in a directory, within bounds.
//
// A file appears under its name only when it is whole, and never changes after
// that. What was lately returned to somebody stays; of the rest the least
// recently returned goes first when room is needed.
//
// Below the directory of a cache are
//
//	files/<hh>/<name>      the files, where <hh> begins <name>
//	index/<hh>/<name>.json a record of each file that is safely on disk
//	tmp/<process>/         files being written, see session
//
// A file can be returned as soon as it is there, but a power cut could still
// tear it. It is synced a little later, and only then gets its record: after a
// crash, what has no record is not trusted.
package diskcache

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/zap"
)

const (
	filesDir = "files"
	indexDir = "index"
	tempDir  = "tmp"

	recordExt = ".json"

	// Keep is how long a file stays after it was returned, at least.
	Keep = 10 * time.Minute

	// touchInterval is how exactly a file's modification time says when it was
	// last returned. Setting it at every call would cost more than the call.
	touchInterval = time.Minute

	maintainDelay    = 5 * time.Second
	maintainInterval = time.Minute
)

// The signature that tells backup programs to leave a directory out; see
// https://bford.info/cachedir/.
const cacheDirTag = "Signature: 8a477f597d28d172789f06886806bc55\n" +
	"# This directory holds files downloaded by onebot-meta.\n"

// ErrNoRoom is the failure to make room within MaxSize, because everything that
// is there was returned too lately.
var ErrNoRoom = errors.New("no room in the cache")

// Options are the bounds of a cache.
type Options struct {
	MaxSize int64         // of all files, in bytes; 0 is no limit
	MaxAge  time.Duration // of a file since it was last returned; 0 is no limit
	Mode    fs.FileMode   // of files; directories are searchable by who may read
	Logger  *zap.Logger
}

// Cache is a directory of files. It is safe for concurrent use, and several
// processes may use one directory.
type Cache struct {
	root, dir string
	now       func() time.Time
	uptime    func() (time.Duration, bool) // of the machine
	patience  time.Duration                // with other processes that hold lock

	// Each lock may be taken while those above it are held.

	evicting sync.Mutex // by who makes room, for all that wait for it
	looked   time.Time  // when the whole directory was last read for want of room

	scanned  sync.Once
	first    chan struct{} // closed when the directory has been read once
	scanning sync.Mutex
	seen     map[string]shardTimes

	sessions sync.Mutex
	session  *session
	ended    bool // no session is opened any more

	touching sync.Mutex // with lock, by who touches or evicts
	lock     *flock.Flock

	mu       sync.Mutex
	opts     Options
	index    index
	unsynced []*item // in the order of their commit
	syncing  bool    // whether syncLoop runs
	looking  bool    // whether Usage has the directory read
	closed   bool

	closing    chan struct{}
	background sync.WaitGroup
}

// New returns the cache in the directory sub below root, an absolute path. It
// touches no file: the directory is made when the first file is, so that
// loading a configuration, perhaps as another user, leaves nothing behind.
func New(root, sub string, opts Options) *Cache {
	dir := filepath.Join(root, sub)
	c := &Cache{
		root:     root,
		dir:      dir,
		now:      time.Now,
		uptime:   uptime,
		patience: 2 * time.Second,
		lock:     newLock(filepath.Join(dir, "lock")),
		seen:     make(map[string]shardTimes),
		first:    make(chan struct{}),
		index:    newIndex(),
		closing:  make(chan struct{}),
	}
	c.Configure(opts)
	return c
}

// Dir returns the directory of the cache.
func (c *Cache) Dir() string { return c.dir }

// Configure sets the bounds anew. What is beyond them goes within a minute.
func (c *Cache) Configure(opts Options) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts = opts
}

func (c *Cache) options() Options {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts
}

// Maintain keeps the cache within its bounds until it is closed, also when
// nobody uses it. It returns at once, and begins a little later: a process that
// only looks whether a configuration is valid changes nothing.
func (c *Cache) Maintain() {
	c.background.Go(func() {
		timer := time.NewTimer(maintainDelay)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-c.closing:
				return
			}
			c.scanOnce()
			c.sweepSessions()
			c.scan(false)
			c.expire()
			timer.Reset(maintainInterval)
		}
	})
}

// Close makes the files that are there safe from a power cut and ends what
// runs in the background. No other method may be called any more, except Usage,
// MaxSize, Purge and those of files that are still open.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.closing)
	c.background.Wait()
	deadline := time.Now().Add(closingTime)
	c.syncAll(func() bool { return time.Now().After(deadline) })
	c.sessions.Lock()
	defer c.sessions.Unlock()
	c.ended = true
	err := errors.Join(c.session.close(), c.lock.Close())
	c.session = nil
	return err
}

// Key tells what a file can be reused for: a digest of everything that decides
// about its content.
type Key [32]byte

// Entry is a file in a cache.
type Entry struct {
	Name string // unguessable, with an extension
	Path string // absolute
	Size int64  // in bytes
	Head Head   // as it was given last
}

func (c *Cache) filePath(name string) string {
	return filepath.Join(c.dir, filesDir, name[:2], name)
}

func (c *Cache) indexPath(name string) string {
	return filepath.Join(c.dir, indexDir, name[:2], name+recordExt)
}
