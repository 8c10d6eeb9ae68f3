package diskcache

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Update replaces what is remembered of a file.
func (c *Cache) Update(e Entry, head Head) {
	c.amend(e, func(rec *record) { rec.Head = head })
}

// Forget keeps a file from being reused. It stays as long as others do.
func (c *Cache) Forget(e Entry) {
	c.amend(e, func(rec *record) { rec.Key, rec.Head = "", Head{} })
}

func (c *Cache) amend(e Entry, change func(*record)) {
	c.mu.Lock()
	it := c.index.byName[e.Name]
	c.mu.Unlock()
	if it == nil || c.recordOf(it) == nil {
		return
	}
	c.mu.Lock()
	if c.index.byName[e.Name] != it || it.record == nil {
		c.mu.Unlock()
		return
	}
	changed := *it.record // which may be being written
	rec := &changed
	change(rec)
	it.pending = true // so that it is not forgotten before it is written
	c.index.setRecord(it, rec)
	c.mu.Unlock()
	if !c.options().Private {
		_ = c.publish(it) // others can do without
	}
	c.at("published")
	c.mu.Lock()
	later := it.ours || it.proven
	if !later && it.record == rec {
		it.pending, it.written = false, nil // who has written the file syncs it
	}
	c.mu.Unlock()
	if later {
		c.syncLater(it)
	}
}

// attach has other processes find a new file, from when on it has its name. To
// make one more file for its record takes the disk much longer: as long as
// making and writing the file itself, if that is small.
func (c *Cache) attach(temp string, rec *record) error {
	if !c.allNear() {
		return errors.ErrUnsupported
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return c.attribute(temp, data)
}

// announce has other processes find a new file. It costs no more than it saves
// prove: what a crash leaves of the record does not parse.
func (c *Cache) announce(name string, rec *record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	path := c.newPath(name)
	create := func() (*os.File, error) { return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) }
	f, err := create()
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = create()
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// publish has other processes see the record of a file as it is now.
func (c *Cache) publish(it *item) error {
	it.recording.Lock()
	defer it.recording.Unlock()
	rec, written, proven := c.recordState(it)
	if rec == nil || rec == written {
		return nil
	}
	path := c.newPath(it.name)
	if proven {
		path = c.indexPath(it.name)
	}
	err := c.inSession(func(s *session) error { return s.writeRecord(path, rec) })
	if err == nil && !proven {
		if _, statErr := os.Lstat(c.indexPath(it.name)); statErr == nil {
			// another process has proven it meanwhile, by an older record
			err = rename(path, c.indexPath(it.name))
			proven = err == nil
		}
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	it.written, it.proven = rec, it.proven || proven
	return nil
}

// prove says in the record of a file that it is safe, and returns that record,
// or nil if the file was removed meanwhile. Its directory need not be synced: a
// name that is lost is a file that is not there.
func (c *Cache) prove(it *item) (*record, error) {
	it.recording.Lock()
	defer it.recording.Unlock()
	rec, written, proven := c.recordState(it)
	if rec == nil {
		return nil, nil
	}
	if rec == written && proven {
		return rec, nil
	}
	if rec == written && rename(c.newPath(it.name), c.indexPath(it.name)) == nil {
		c.detach(it)
		return rec, nil
	}
	err := c.inSession(func(s *session) error { return s.writeRecord(c.indexPath(it.name), rec) })
	if err != nil {
		return rec, err
	}
	c.at("wrote the record")
	switch written {
	case nil:
	case rec: // another process may have published more meanwhile, see there
		_ = rename(c.newPath(it.name), c.indexPath(it.name))
	default:
		_ = os.Remove(c.newPath(it.name)) // an older one
	}
	c.detach(it)
	return rec, nil
}

// detach takes the early record from a file that has a final one: who has the
// file has no need of it.
func (c *Cache) detach(it *item) {
	c.mu.Lock()
	attached := it.attached
	it.attached = false
	c.mu.Unlock()
	if attached {
		_ = removeAttribute(c.filePath(it.name))
	}
}

// recordState returns the record of a file, what this process has put on disk of
// it, and whether that is final.
func (c *Cache) recordState(it *item) (rec, written *record, proven bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return it.record, it.written, it.proven
}
