package diskcache

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	lockBeat = 3 * time.Second
	lockPoll = 100 * time.Millisecond

	// lockLost is how long a lock may show no sign of life, as that of a
	// certmagic.FileStorage may.
	lockLost = 10 * time.Second
)

// dirLock is a lock that this process has: a file that says whose it is, and
// whose modification time changes as long as its process lives.
type dirLock struct {
	path  string
	owner string
	since time.Time
	own   bool // the file is not another name for that of the session
	over  bool // it is released, as soon as the file can be removed
}

// Lock waits for a lock that all who use the directory have in common. The last
// element of name becomes that of a file. It satisfies share.Locker.
//
// The locks of Caddy's own file_system storage would not do for what is locked
// often: the file of each is kept fresh for as long as there is one of its name,
// also when it is another process's, and that process dead.
func (c *Cache) Lock(ctx context.Context, name string) error {
	path := c.lockPath(name)
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	var seen sighting
	for {
		l, err := c.take(path, "")
		if err == nil {
			c.hold(name, l)
			return nil
		}
		// Windows denies access to what is just being removed
		if !errors.Is(err, fs.ErrExist) && (modes || !errors.Is(err, fs.ErrPermission)) {
			return err
		}
		// whether it changes is judged by the clock of this host alone
		if now := sight(path); seen.at.IsZero() || now.id != seen.id || !now.modified.Equal(seen.modified) {
			seen = now
		} else if now.at.Sub(seen.at) >= lockLost {
			if c.breakLock(path, seen.id); seen.id != "" {
				if l, err := c.take(path, seen.turn()); err == nil {
					c.hold(name, l)
					return nil
				}
			}
			seen = sighting{}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryLock takes a lock as Lock does, if nobody has it. It reports false, too, if
// that cannot be told. Whoever then calls release need not look whether that
// succeeds: it is tried again.
func (c *Cache) TryLock(name string) (release func(), ok bool) {
	l, err := c.take(c.lockPath(name), "")
	if err != nil {
		return nil, false
	}
	c.hold(name, l)
	return sync.OnceFunc(func() {
		if c.Unlock(context.Background(), name) != nil {
			c.locking.Lock()
			defer c.locking.Unlock()
			l.over = true
		}
	}), true
}

// Unlock releases a lock, unless that was lost.
func (c *Cache) Unlock(_ context.Context, name string) error {
	c.locking.Lock()
	l, ok := c.locks[name]
	delete(c.locks, name)
	if ok {
		c.had[l.path] = time.Now()
	}
	if c.beating == nil {
		c.beating = time.AfterFunc(lockBeat, c.beatLocks)
	}
	c.locking.Unlock()
	if !ok {
		return nil
	}
	if time.Since(l.since) >= lockLost/2 { // before, it cannot have been lost
		if s := sight(l.path); s.known && s.owner() != l.owner {
			return nil
		}
	}
	err := os.Remove(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.hold(name, l) // it can be tried again
	}
	return err
}

func (c *Cache) lockPath(name string) string {
	return filepath.Join(c.dir, locksDir, path.Base(name))
}

// take makes the file of a lock. It fails with [fs.ErrExist] if there is one.
// Another name for a file that is there costs much less than a new file, which
// is for file systems that have no such names, and to take over a turn.
func (c *Cache) take(path, turn string) (l *dirLock, err error) {
	err = c.inSession(func(s *session) error {
		l = &dirLock{path: path, owner: filepath.Base(s.dir), since: time.Now(), own: turn != "" || !s.named || c.again(path)}
		if !l.own {
			err := os.Link(s.lock.Path(), path)
			if errors.Is(err, fs.ErrNotExist) {
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					return err
				}
				err = os.Link(s.lock.Path(), path)
			}
			if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
				return err
			}
			l.own = true
		}
		return l.create(cmp.Or(turn, rand.Text()))
	})
	return l, err
}

// again reports whether this process has had a lock lately, from which its next
// turn is to be told.
func (c *Cache) again(path string) bool {
	c.locking.Lock()
	defer c.locking.Unlock()
	at, ok := c.had[path]
	return ok && time.Since(at) < lockLost
}

func (l *dirLock) create(turn string) error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(turn + " " + l.owner)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(l.path)
	}
	return err
}

// hold keeps up a lock until it is released.
func (c *Cache) hold(name string, l *dirLock) {
	c.locking.Lock()
	defer c.locking.Unlock()
	c.locks[name] = l
	if c.beating == nil {
		c.beating = time.AfterFunc(lockBeat, c.beatLocks)
	}
}

// beatLocks shows that the owner of the locks that are held lives.
func (c *Cache) beatLocks() {
	c.locking.Lock()
	defer c.locking.Unlock()
	for path, at := range c.had {
		if time.Since(at) >= lockLost {
			delete(c.had, path)
		}
	}
	if len(c.locks) == 0 {
		if c.beating = nil; len(c.had) > 0 {
			c.beating = time.AfterFunc(lockBeat, c.beatLocks)
		}
		return
	}
	c.beat()
	now := time.Now()
	for name, l := range c.locks {
		if l.over {
			s := sight(l.path)
			if s.known && (s.owner() != l.owner || os.Remove(l.path) == nil) {
				delete(c.locks, name)
			}
			continue
		}
		// one that was lost may be somebody else's
		if l.own && sight(l.path).owner() == l.owner {
			_ = os.Chtimes(l.path, now, now)
		}
	}
	c.beating.Reset(lockBeat)
}

// breakLock removes the lock that has the given id. Others may be about to do
// the same, and one of them may have a new lock by now, which stays.
func (c *Cache) breakLock(path, id string) {
	broken := path + "." + rand.Text() // a name that nobody else has
	if os.Rename(path, broken) != nil {
		return
	}
	if sight(broken).id != id {
		_ = os.Link(broken, path)
	}
	_ = os.Remove(broken)
}

// sighting is what a lock looked like.
type sighting struct {
	at       time.Time // when it was looked at
	id       string    // whose it is, after whose turn that is
	modified time.Time
	known    bool // nothing kept it from being looked at
}

// turn is whose turn it was before the lock was taken over, if it was.
func (s sighting) turn() string {
	turn, _, _ := strings.Cut(s.id, " ")
	return turn
}

func (s sighting) owner() string { return s.id[strings.LastIndexByte(s.id, ' ')+1:] }

func sight(path string) sighting {
	s := sighting{at: time.Now()}
	f, err := openShared(path)
	if err != nil {
		s.known = errors.Is(err, fs.ErrNotExist)
		return s
	}
	defer f.Close()
	var id [256]byte
	n, err := f.Read(id[:])
	s.id, s.known = string(id[:n]), err == nil || err == io.EOF
	if info, err := f.Stat(); err == nil {
		s.modified = info.ModTime()
	}
	return s
}

// Turn tells apart the processes that have had a lock. It is "" if none has it.
// One that takes it over from a dead process has the turn of that.
func (c *Cache) Turn(name string) string {
	return sight(c.lockPath(name)).turn()
}

// sweepLocks removes locks that are old, which nobody waits for any more.
func (c *Cache) sweepLocks() {
	dir := filepath.Join(c.dir, locksDir)
	entries, err := readDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := entry.Info(); err == nil && c.aged(path, info, markAge) {
			_ = os.Remove(path)
		}
	}
}
