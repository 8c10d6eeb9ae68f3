package diskcache

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// session is the directory in which one process writes its files. Beside it is
// a file that the process keeps locked as long as it lives. Other hosts may not
// see that, so the process also sets its modification time again and again, and
// the name of a session begins with the identity of who has the lock, see host.
type session struct {
	dir   string
	lock  fileLock
	named bool          // the lock says whose it is
	files atomic.Uint64 // that were created
}

// fileLock is a lock on a file, which is made if it is not there.
type fileLock interface {
	Path() string
	TryLock() (bool, error) // the error is for what a file system cannot do, too
	Close() error
}

const lockSuffix = ".lock"

// A process says in each interval that it lives. Other hosts take it for dead
// when it has been silent for so long.
const (
	beatInterval = time.Minute
	silence      = 10 * time.Minute
)

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
		s, err := c.newSession(filepath.Join(temp, c.host()+"-"+strings.ToLower(rand.Text())))
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

func (c *Cache) newSession(dir string) (*session, error) {
	s := &session{dir: dir, lock: c.newLock(dir + lockSuffix)}
	locked, err := s.lock.TryLock()
	if err != nil {
		if _, statErr := os.Stat(s.lock.Path()); statErr != nil {
			return nil, err
		}
		// there are no locks here, but the file is
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if modes { // elsewhere what is locked cannot be written, nor read
		err := os.WriteFile(s.lock.Path(), []byte(filepath.Base(dir)), 0o600)
		if err != nil && !IsFull(err) { // room is yet to be made
			return nil, errors.Join(err, s.close())
		}
		s.named = err == nil
	}
	now := c.now()
	if statErr := os.Chtimes(s.lock.Path(), now, now); errors.Is(statErr, fs.ErrNotExist) || err == nil && !locked {
		return nil, errors.Join(errNoSession, s.close())
	}
	return s, nil
}

// leave notes a file of this process that cannot be removed now, as while its
// directory is read-only. Nobody else would take it for a leftover.
func (c *Cache) leave(path string) {
	c.sessions.Lock()
	defer c.sessions.Unlock()
	c.left = append(c.left, path)
}

// removeLeft removes what was left, as far as that can be done by now.
func (c *Cache) removeLeft() {
	c.sessions.Lock()
	defer c.sessions.Unlock()
	c.left = slices.DeleteFunc(c.left, func(path string) bool {
		err := os.Remove(path)
		return err == nil || errors.Is(err, fs.ErrNotExist)
	})
}

// beat says that this process lives.
func (c *Cache) beat() {
	c.sessions.Lock()
	s := c.session
	c.sessions.Unlock()
	if s != nil {
		now := c.now()
		_ = os.Chtimes(s.lock.Path(), now, now) // others believe it for a while without
	}
}

// sessionLock returns the lock file of this process. It is empty if there is none.
func (c *Cache) sessionLock() string {
	c.sessions.Lock()
	defer c.sessions.Unlock()
	if c.session == nil {
		return ""
	}
	return c.session.lock.Path()
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
			s := &session{dir: filepath.Join(temp, name), lock: c.newLock(filepath.Join(temp, entry.Name()))}
			if c.dead(s, entry) {
				_ = s.close()
			} else {
				_ = s.lock.Close()
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

// dead reports whether the process of a session has ended, as far as that can be
// told from here. It takes the lock of the session if so.
func (c *Cache) dead(s *session, lock fs.DirEntry) bool {
	info, err := lock.Info()
	if err != nil {
		return false
	}
	silent := c.aged(s.lock.Path(), info, silence)
	if !silent && !strings.HasPrefix(lock.Name(), c.host()+"-") {
		return false // who knows what its lock tells us
	}
	locked, err := s.lock.TryLock()
	return locked || err != nil && silent // there may be no locks here
}

func newLock(path string) fileLock {
	return flock.New(path, flock.SetPermissions(0o600))
}

// host returns who can tell which locks below the directory are held: a kernel,
// where the directory is mounted so. Another mount may have locks of its own.
func (c *Cache) host() string { return fmt.Sprintf("%s%x", c.kernel, device(c.dir)) }

// kernel returns the identity of the running kernel, in hexadecimal. What is
// locked with one kernel may not be with another.
func kernel() string {
	id := bootID()
	if id == "" {
		id, _ = os.Hostname()
	}
	if id == "" {
		id = rand.Text()
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}
