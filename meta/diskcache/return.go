package diskcache

import (
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
	return Entry{Name: it.name, Path: c.filePath(it.name), Size: it.size, Head: rec.Head, Stored: rec.Stored}
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
	rec, err := c.readRecord(it)
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

// readRecord reads the record of a file, which is not final if the file is not
// safe from a power cut yet.
func (c *Cache) readRecord(it *item) (*record, error) {
	rec, err := readRecord(c.indexPath(it.name))
	if !errors.Is(err, fs.ErrNotExist) {
		return rec, err
	}
	if rec, err = readRecord(c.newPath(it.name)); errors.Is(err, fs.ErrNotExist) {
		rec, err = readAttached(c.filePath(it.name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return readRecord(c.indexPath(it.name)) // final since
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(c.filePath(it.name))
	if err == nil && !c.trusts(info) {
		err = errors.New("a power cut may have torn it")
	}
	return rec, err
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
	now, used := c.now(), info.ModTime()
	if recent(used, now) && c.claimed(e.Name, now) {
		return true
	}
	if !c.claim(e, used, now) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.use(e.Name, now)
	if it := c.index.byName[e.Name]; it != nil {
		it.claimed = now.UnixNano()
	}
	return true
}

// claimed reports whether this process has lately seen to it that a file stays,
// and notes that the file is returned again if so.
func (c *Cache) claimed(name string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.index.byName[name]
	if it == nil {
		return false
	}
	age := now.UnixNano() - it.claimed
	if age < 0 || age >= int64(touchAfter) {
		return false
	}
	c.index.use(name, now)
	return true
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
	newErr := os.Remove(c.newPath(name)) // before it can become the other one
	recordErr := os.Remove(c.indexPath(name))
	_ = removeAttribute(c.filePath(name)) // should the file stay, as it may after a sync that has failed
	c.at("removed its records")
	fileErr := os.Remove(c.filePath(name))
	c.at("removed it")
	for _, removed := range []error{newErr, recordErr, fileErr} {
		if !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return fileErr == nil, err
}
