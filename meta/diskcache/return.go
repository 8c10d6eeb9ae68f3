package diskcache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// Get returns the file that was last stored for key, if it is still there.
// Before its path is given away it must be returned; see [Cache.Return].
func (c *Cache) Get(key Key) (Entry, bool) {
	c.scanOnce()
	c.mu.Lock()
	candidates := c.index.candidates(key.String())
	c.mu.Unlock()
	var newest *item
	var rec *record
	for _, it := range candidates {
		other := c.recordOf(it)
		if other == nil || other.Key != key.String() {
			continue
		}
		if newest == nil {
			newest, rec = it, other
			continue
		}
		superseded := it
		if other.Stored.After(rec.Stored) {
			superseded, newest, rec = newest, it, other
		}
		c.mu.Lock()
		c.index.supersede(superseded)
		c.mu.Unlock()
	}
	if newest == nil {
		return Entry{}, false
	}
	return c.entry(newest, rec), true
}

func (c *Cache) entry(it *item, rec *record) Entry {
	return Entry{Name: it.name, Path: c.filePath(it.name), Size: it.size, Head: rec.Head}
}

// recordOf returns the record of a file, which is read from disk when it is
// first asked for. It is nil if it is missing or doubtful.
func (c *Cache) recordOf(it *item) *record {
	c.mu.Lock()
	rec := it.record
	c.mu.Unlock()
	if rec != nil {
		return rec
	}
	rec, err := readRecord(c.indexPath(it.name))
	if err != nil || rec.Size != it.size {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.record != nil {
		return it.record // a newer one than was on disk
	}
	if c.index.byName[it.name] == it {
		c.index.setRecord(it, rec)
	}
	return rec
}

// Return notes that the path of a file is about to be returned, so that it
// stays for a while. It reports false if the file is gone or not whole.
func (c *Cache) Return(e Entry) bool {
	info, err := os.Lstat(e.Path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() != e.Size) || errors.Is(err, fs.ErrNotExist) {
		c.drop(e.Name)
		return false
	}
	if err != nil {
		return false // which says nothing about the file
	}
	if mode := c.options().Mode; modes && info.Mode().Perm() != mode {
		_ = c.makeDir(filepath.Dir(e.Path), true)
		_ = os.Chmod(e.Path, mode) // which the configuration has changed
	}
	now := c.now()
	if age := now.Sub(info.ModTime()); age < 0 || age >= touchInterval {
		if err := c.touch(e.Path, now); errors.Is(err, fs.ErrNotExist) {
			c.drop(e.Name)
			return false
		} else if errors.Is(err, errLocked) {
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.use(e.Name, now)
	return true
}

// touch sets when a file was last returned. No process can be about to evict
// the file, since that needs the lock too.
func (c *Cache) touch(path string, now time.Time) error {
	unlock, err := c.lockDir()
	if err != nil {
		return err
	}
	defer unlock()
	return os.Chtimes(path, now, now)
}

// errLocked means that another process holds the lock and does not go on.
var errLocked = errors.New("the cache is locked by another process")

// lockDir keeps other processes from touching and evicting files and returns
// what ends that. Where the file system has no locks, there is one process.
func (c *Cache) lockDir() (unlock func(), err error) {
	const interval = 10 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	c.touching.Lock()
	locked, _ := c.lock.TryLockContext(ctx, interval)
	if ctx.Err() != nil && !locked {
		c.touching.Unlock()
		return nil, errLocked
	}
	return func() {
		if locked {
			_ = c.lock.Unlock()
		}
		c.touching.Unlock()
	}, nil
}

// drop removes a file that is not whole, and forgets it then.
func (c *Cache) drop(name string) {
	if _, err := c.remove(name); err != nil {
		c.options().Logger.Warn("removing a downloaded file", zap.String("file", name), zap.Error(err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.remove(name)
}

// remove deletes a file, and reports whether it was there. Its record goes
// first: a file without one is swept up some time, a record without a file would
// be in the way.
func (c *Cache) remove(name string) (gone bool, err error) {
	recordErr := os.Remove(c.indexPath(name))
	fileErr := os.Remove(c.filePath(name))
	for _, removed := range []error{recordErr, fileErr} {
		if !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return fileErr == nil, err
}
