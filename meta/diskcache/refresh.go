package diskcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Refresh takes in what other processes stored, changed or removed for key, for
// which it reads the names of the one part in 256 of the directory where that
// would be, unless there are no others. What cannot be read is as it was; then it
// is not ok.
func (c *Cache) Refresh(key Key) (ok bool) {
	c.scanOnce()
	alone := c.alone()
	digest := key.digest()
	c.mu.Lock()
	before := c.index.candidates(digest)
	known := alone && !doubted(before)
	c.mu.Unlock()
	if known {
		return true
	}
	shard := digest[:2]
	records, err := readNames(filepath.Join(c.dir, indexDir, shard), digest) // first, as in scanShard
	if err != nil {
		return false
	}
	files, err := readNames(filepath.Join(c.dir, filesDir, shard), digest)
	if err != nil {
		return false
	}
	for name := range files {
		if isName(name) {
			c.refresh(name, records[name+recordExt])
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range before {
		if !files[it.name] && !it.pending && c.index.byName[it.name] == it {
			c.index.remove(it.name)
		}
	}
	return true
}

// refresh takes in a file that is there, which need not be known yet, and what
// has changed of it.
func (c *Cache) refresh(name string, proven bool) {
	c.mu.Lock()
	it := c.index.byName[name]
	if it != nil && it.spent {
		c.mu.Unlock()
		return
	}
	if it != nil && !it.pending {
		it.proven, it.doubted = proven, false
		c.index.setRecord(it, nil) // it is read again when it is asked for
	}
	c.mu.Unlock()
	if it != nil {
		c.catchUp(it)
		return
	}
	info, err := os.Lstat(c.filePath(name))
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	used := make(map[*item]time.Time)
	found, _ := c.found(info, proven, used)
	c.mu.Lock()
	defer c.mu.Unlock()
	if found != nil {
		c.index.addAll([]*item{found})
	}
	c.index.useAll(used) // if somebody else has taken it in meanwhile
}

// catchUp takes over what another process has learned of a file that this one
// has yet to sync.
func (c *Cache) catchUp(it *item) {
	it.recording.Lock()
	defer it.recording.Unlock()
	c.mu.Lock()
	ours, pending := it.record, it.pending
	c.mu.Unlock()
	if !pending || ours == nil {
		return
	}
	theirs, err := c.readRecord(it)
	if err != nil || theirs.Size != it.size || !theirs.Head.Received.After(ours.Head.Received) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.record == ours {
		c.index.setRecord(it, theirs)
		it.written = theirs
	}
}

// readNames returns those names in a directory, which need not be there, that
// begin with prefix.
func readNames(dir, prefix string) (map[string]bool, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	names := make(map[string]bool)
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			names[name] = true
		}
	}
	return names, err
}
