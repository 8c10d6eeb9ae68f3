package diskcache

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"
)

// markAge is when a mark is taken for what a crash has left.
const markAge = time.Hour

// evict removes a file, unless somebody returns or uses it just now or evicts it
// too, and reports whether it went.
//
// Those who use the directory have no lock in common. Instead, who evicts a file
// marks it first and looks then when it was last returned, and who returns it
// touches it first and looks then for a mark. So one of them at least sees what
// the other does (Dekker). If both do, a file that could have been returned is
// not, and one that could have gone is still there, which hurts nobody. Who finds
// no mark because all is done already finds no file either, so that is looked for
// last; see claim.
//
// The mark goes when the file has gone. One that a crash has left, after which
// the file is as it was before, keeps it from being returned or evicted for
// markAge. Who is held up for that long in the midst of it has no mark any more.
func (c *Cache) evict(it *item) (gone bool) {
	now, path := c.now(), c.filePath(it.name)
	// a file that others have returned, as is often found only now, is not even
	// marked: as long as it is, nobody can return it
	if used, err := modified(path); err == nil && !mayEvict(used, now) {
		c.keep(it, used, now)
		return false
	}
	if !c.mark(it, now) {
		return false
	}
	defer func() { _ = os.Remove(c.markPath(it.name)) }()
	c.at("marked")
	used, err := modified(path)
	c.at("looked when it was returned")
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		c.spare(it, now, err)
		return false
	case err == nil && !mayEvict(used, now):
		c.keep(it, used, now)
		return false
	}
	c.mu.Lock()
	if it.pins > 0 || c.index.byName[it.name] != it { // which somebody else has removed
		c.mu.Unlock()
		return false
	}
	c.index.remove(it.name)
	c.mu.Unlock()
	if gone, err = c.remove(it.name); err == nil {
		return gone
	}
	// Windows, for one, removes no file that somebody reads: it is still there
	c.mu.Lock()
	it.used, it.pending = now, false
	c.index.addAll([]*item{it})
	c.mu.Unlock()
	c.spare(it, now, err)
	return false
}

// keep notes that a file was last returned at used, which is too lately for it to
// go.
func (c *Cache) keep(it *item, used, now time.Time) {
	c.mu.Lock()
	whole := it.proven || it.pending
	c.index.use(it.name, earlier(used, now))
	c.mu.Unlock()
	if whole && used.After(now.Add(touchInterval)) { // the clock was set back
		_ = os.Chtimes(c.filePath(it.name), now, now)
	}
}

// spare keeps a file that cannot be evicted from being tried again soon.
func (c *Cache) spare(it *item, now time.Time, err error) {
	c.options().Logger.Warn("removing a downloaded file", zap.String("file", it.name), zap.Error(err))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.use(it.name, now)
}

// mark says on disk that a file is to be evicted. It reports false if somebody
// else has said so, or if it cannot be said.
func (c *Cache) mark(it *item, now time.Time) bool {
	path := c.markPath(it.name)
	err := c.exclusive(path)
	if IsFull(err) { // another name for a file that is there needs no room
		for _, there := range []string{c.indexPath(it.name), c.newPath(it.name), c.sessionLock()} {
			if err = os.Link(there, path); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
	}
	if err == nil {
		_ = os.Chtimes(path, now, now) // the clock of a server may be wrong
		return true
	}
	taken := errors.Is(err, fs.ErrExist)
	_, statErr := os.Lstat(c.filePath(it.name))
	gone := errors.Is(statErr, fs.ErrNotExist)
	c.mu.Lock()
	if taken {
		it.shunned = now.Add(lookInterval).UnixNano()
	}
	if gone && c.index.byName[it.name] == it {
		c.index.remove(it.name) // whoever has removed it
	}
	c.mu.Unlock()
	if !gone && !taken {
		c.spare(it, now, err)
	}
	return false
}

// claim sees to it that a file that was last returned at used stays for a while.
// It reports false if somebody is evicting it or has done so.
func (c *Cache) claim(e Entry, used, now time.Time) bool {
	if !recent(used, now) {
		if err := os.Chtimes(e.Path, now, now); errors.Is(err, fs.ErrNotExist) {
			c.drop(e.Name)
			return false
		}
	}
	c.at("touched")
	if c.marked(e.Name) {
		return false
	}
	c.at("looked for a mark")
	if _, err := modified(e.Path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			c.drop(e.Name)
		}
		return false
	}
	return true
}

// marked reports whether somebody is evicting a file, or may be.
func (c *Cache) marked(name string) bool {
	path := c.markPath(name)
	// when a directory is opened, a network file system asks its server whether
	// what it remembers of it still holds
	if dir, err := os.Open(path[:len(path)-len(name)-len(markExt)]); err == nil {
		_ = dir.Close()
	}
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// recent reports whether a file that was last returned at used need not be
// touched to be returned now. It may have been by a host whose clock is ahead.
func recent(used, now time.Time) bool {
	age := now.Sub(used)
	return age > -touchInterval && age < touchAfter
}

// modified returns the modification time of a file, and has a network file
// system ask its server for that.
func modified(path string) (time.Time, error) {
	at, err := statServer(path)
	if !errors.Is(err, errors.ErrUnsupported) {
		return at, err
	}
	f, err := openShared(path) // which makes it ask, too
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func createExclusive(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
