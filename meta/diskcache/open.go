package diskcache

import (
	"io/fs"
	"os"
)

// Served is a file that is open for reading. This process does not evict it
// before it is closed.
type Served struct {
	*os.File
	unpin func()
}

// Open opens a file by its name. The error is [fs.ErrNotExist] if there is
// none, or if no file could have that name.
func (c *Cache) Open(name string) (*Served, error) {
	if !isName(name) {
		return nil, &fs.PathError{Op: "open", Path: "file", Err: fs.ErrNotExist}
	}
	c.scanOnce() // which removes what a power cut may have torn
	unpin := c.Pin(name)
	f, err := os.Open(c.filePath(name))
	if err != nil {
		unpin()
		return nil, err
	}
	served := &Served{File: f, unpin: unpin}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || !c.trusts(info) || !c.Return(Entry{Name: name, Path: f.Name(), Size: info.Size()}) {
		_ = served.Close()
		return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: fs.ErrNotExist}
	}
	return served, nil
}

// trusts reports whether a file is whole for sure: it has a record, or the
// machine has run ever since it was written.
func (c *Cache) trusts(info fs.FileInfo) bool {
	c.mu.Lock()
	it := c.index.byName[info.Name()]
	safe := it != nil && (it.proven || it.pending)
	c.mu.Unlock()
	if safe {
		return true
	}
	if _, err := os.Stat(c.indexPath(info.Name())); err == nil {
		return true
	}
	boot, known := c.boot()
	written := info.ModTime()
	return known && written.After(boot.Add(bootSlack)) && !written.After(c.now().Add(touchInterval))
}

// Close closes the file.
func (s *Served) Close() error {
	s.unpin()
	return s.File.Close()
}

// Pin keeps a file from being evicted and returns what ends that. A file that
// is not known yet is another process's, and new.
func (c *Cache) Pin(name string) (unpin func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.index.byName[name]
	if it == nil {
		return func() {}
	}
	it.pins++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		it.pins--
	}
}
