package diskcache

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// session is the directory in which one process writes its files. Beside it is
// a file that the process keeps locked as long as it lives: a session whose
// lock can be taken is what a crash left behind.
type session struct {
	dir   string
	lock  *flock.Flock
	files atomic.Uint64 // that were created
}

const lockSuffix = ".lock"

// lostAfter is when something without a lock is taken for a leftover.
const lostAfter = 24 * time.Hour

// errNoSession is the failure to take a lock that nobody else can want.
var errNoSession = errors.New("the temporary directory cannot be locked")

// openSession returns the session of this process. It makes a new one if there
// is none or if it is gone, which somebody else has then removed.
func (c *Cache) openSession(gone *session) (*session, error) {
	c.sessions.Lock()
	defer c.sessions.Unlock()
	if c.ended {
		return nil, fs.ErrClosed
	}
	if c.session != nil && c.session != gone {
		return c.session, nil
	}
	_ = gone.close()
	c.session = nil
	if err := c.makeDir(c.dir, true); err != nil {
		return nil, err
	}
	tagDir(c.dir)
	temp := filepath.Join(c.dir, tempDir)
	if err := c.makeDir(temp, false); err != nil {
		return nil, err
	}
	for range 3 { // a sweep may take the lock between its making and its locking
		s, err := newSession(filepath.Join(temp, strings.ToLower(rand.Text())))
		if err == nil {
			c.session = s
		}
		if !errors.Is(err, errNoSession) {
			return s, err
		}
	}
	return nil, errNoSession
}

// inSession runs do in the session of this process, and once more in a new one
// if somebody has removed the directory.
func (c *Cache) inSession(do func(*session) error) error {
	s, err := c.openSession(nil)
	if err != nil {
		return err
	}
	if err = do(s); errors.Is(err, fs.ErrNotExist) {
		if s, err = c.openSession(s); err == nil {
			err = do(s)
		}
	}
	return err
}

func newSession(dir string) (*session, error) {
	s := &session{dir: dir, lock: newLock(dir + lockSuffix)}
	locked, err := s.lock.TryLock()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if _, statErr := os.Stat(s.lock.Path()); statErr != nil || err == nil && !locked {
		return nil, errors.Join(errNoSession, s.close())
	}
	return s, nil
}

// create creates a file that only its owner can open.
func (s *session) create(ext string) (*os.File, error) {
	name := strconv.FormatUint(s.files.Add(1), 10) + ext
	return os.OpenFile(filepath.Join(s.dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// close removes what is left of a session.
func (s *session) close() error {
	if s == nil {
		return nil
	}
	// the lock last, by which a sweep finds the rest; unlocked before, since
	// Windows removes no file that is open
	err := errors.Join(os.RemoveAll(s.dir), s.lock.Close())
	if lockErr := os.Remove(s.lock.Path()); !errors.Is(lockErr, fs.ErrNotExist) {
		err = errors.Join(err, lockErr)
	}
	return err
}

// sweepSessions removes what processes left behind that ended without closing
// their cache. What cannot be removed is left for the next time.
func (c *Cache) sweepSessions() {
	temp := filepath.Join(c.dir, tempDir)
	entries, err := os.ReadDir(temp)
	if err != nil {
		return
	}
	c.sessions.Lock()
	ours := c.session
	c.sessions.Unlock()
	locked := make(map[string]bool)
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), lockSuffix); ok {
			locked[name] = true
			if ours != nil && ours.dir == filepath.Join(temp, name) {
				continue // some systems let a process lock what it has locked
			}
			dead := &session{dir: filepath.Join(temp, name), lock: newLock(filepath.Join(temp, entry.Name()))}
			if ok, err := dead.lock.TryLock(); ok && err == nil {
				_ = dead.close()
			} else {
				_ = dead.lock.Close()
			}
		}
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), lockSuffix)
		info, err := entry.Info()
		if err == nil && !locked[name] && (ours == nil || entry.Name() != filepath.Base(ours.dir)) && c.now().Sub(info.ModTime()) > lostAfter {
			_ = os.RemoveAll(filepath.Join(temp, entry.Name()))
		}
	}
}

func newLock(path string) *flock.Flock {
	return flock.New(path, flock.SetPermissions(0o600))
}
