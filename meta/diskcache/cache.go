// Package diskcache keeps downloaded files in a directory, within bounds.
//
// A file appears under its name only when it is whole, and never changes after
// that. What was lately returned to somebody stays; of the rest the least
// recently returned goes first when room is needed.
//
// Below the directory of a cache are
//
//	files/<hh>/<name>          the files, where <hh> begins <name>
//	files/<hh>/<name>.evicting says that somebody is removing a file, see evict
//	index/<hh>/<name>.json     a record of each file that is safely on disk
//	index/<hh>/<name>.new      a record of a file that is not, yet, unless an
//	                           attribute of the file is its record
//	tmp/<process>/             files being written, see session
//	locks/                     see Cache.Lock
//
// A file can be returned as soon as it is there, but a power cut could still
// tear it. It is synced a little later, and only then its record is final: after
// the machine was started anew, what has no final record is not trusted.
//
// Processes on several hosts may use one directory of a network file system.
// They rely on what such a system promises of its directories, that a file is
// made, renamed or removed once, and on clocks that differ by no more than half
// a minute; not on locks, which may be those of a host alone. Where a directory's
// modification time does not tell that something has come or gone, they find what
// others have stored up to a minute later.
package diskcache

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	filesDir = "files"
	indexDir = "index"
	tempDir  = "tmp"
	locksDir = "locks"

	recordExt = ".json"
	newExt    = ".new"
	markExt   = ".evicting"

	// Keep is how long a file stays after it was returned, at least.
	Keep = 10 * time.Minute

	// touchInterval is how exactly a file's modification time says when it was
	// last returned. Setting it at every call would cost more than the call.
	touchInterval = time.Minute

	// touchAfter is how old that time may be when the file is returned again.
	// What is left of touchInterval is for hosts whose clocks differ.
	touchAfter = touchInterval / 2

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
	Private bool          // nobody else looks for files here, so they need not be found at once
	Logger  *zap.Logger
}

// Cache is a directory of files. It is safe for concurrent use, and several
// processes may use one directory.
type Cache struct {
	root, dir string
	now       func() time.Time
	uptime    func() (time.Duration, bool)         // of the machine
	kernel    string                               // that runs on it, as names of sessions have it
	newLock   func(path string) fileLock           // of a session
	exclusive func(path string) error              // makes an empty file, of which there is none
	dirTime   func(path string) time.Time          // a modification time, which may be an old one
	attribute func(path string, data []byte) error // gives a file its early record
	at        func(step string)                    // where tests have other processes get in between

	// Each lock may be taken while those above it are held.

	evicting sync.Mutex // by who makes room, for all that wait for it
	looked   time.Time  // when the whole directory was last read for want of room

	scanned  sync.Once
	first    chan struct{} // closed when the directory has been read once
	scanning sync.Mutex
	seen     map[string]shardTimes

	company company

	sessions sync.Mutex
	session  *session
	ended    bool     // no session is opened any more
	left     []string // paths of files of the session that could not be removed yet

	mu       sync.Mutex
	opts     Options
	index    index
	unsynced []*item // in the order of their commit
	syncing  bool    // whether syncLoop runs
	looking  bool    // whether Usage has the directory read
	closed   bool

	locking sync.Mutex
	locks   map[string]*dirLock  // by name, those that this process has
	had     map[string]time.Time // by path, those that it released lately
	beating *time.Timer          // until beatLocks; nil if that is not needed

	closing    chan struct{}
	background sync.WaitGroup
}

// New returns the cache in the directory sub below root, an absolute path. It
// touches no file: the directory is made when the first file is, so that
// loading a configuration, perhaps as another user, leaves nothing behind.
func New(root, sub string, opts Options) *Cache {
	dir := filepath.Join(root, sub)
	c := &Cache{
		root:      root,
		dir:       dir,
		now:       time.Now,
		uptime:    uptime,
		kernel:    kernel(),
		newLock:   newLock,
		exclusive: createExclusive,
		dirTime:   modTime,
		attribute: setAttribute,
		at:        func(string) {},
		seen:      make(map[string]shardTimes),
		locks:     make(map[string]*dirLock),
		had:       make(map[string]time.Time),
		first:     make(chan struct{}),
		index:     newIndex(),
		closing:   make(chan struct{}),
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
	c.each(maintainInterval, func() {
		c.scanOnce()
		c.removeLeft()
		c.sweepSessions()
		c.sweepLocks()
		c.scan(false)
		c.expire()
	})
	c.each(beatInterval, c.beat) // even if a slow disk makes the rest take long
}

// each does something in the background until the cache is closed.
func (c *Cache) each(interval time.Duration, do func()) {
	c.background.Go(func() {
		timer := time.NewTimer(maintainDelay)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-c.closing:
				return
			}
			do()
			timer.Reset(interval)
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
	err := c.session.close()
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

	Stored time.Time // by the clock of the host that did
}

func (c *Cache) filePath(name string) string {
	return filepath.Join(c.dir, filesDir, name[:2], name)
}

func (c *Cache) indexPath(name string) string {
	return filepath.Join(c.dir, indexDir, name[:2], name+recordExt)
}

func (c *Cache) newPath(name string) string {
	return filepath.Join(c.dir, indexDir, name[:2], name+newExt)
}

func (c *Cache) markPath(name string) string { return c.filePath(name) + markExt }
