package diskcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A directory is read part by part: a shard is files/<hh> and index/<hh>.
const shards = 256

// shardTimes are the modification times of a shard's directories when they
// were last read. As long as they stay, nothing has come or gone.
type shardTimes struct{ files, index time.Time }

// scanOnce returns when the directory has been read at least once, and what
// crashes left there is gone.
func (c *Cache) scanOnce() {
	c.scanned.Do(func() {
		c.sweepSessions()
		c.scan(false)
		close(c.first)
	})
}

// scan takes in what has changed in the directory, which other processes may
// use too, or reads all of it. It removes what a crash has left there.
func (c *Cache) scan(all bool) {
	c.scanning.Lock()
	defer c.scanning.Unlock()
	before := sync.OnceValue(c.namesByShard) // mostly not needed
	var items []*item
	used := make(map[*item]time.Time)
	for i := range shards {
		shard := fmt.Sprintf("%02x", i)
		times := shardTimes{
			files: modTime(filepath.Join(c.dir, filesDir, shard)),
			index: modTime(filepath.Join(c.dir, indexDir, shard)),
		}
		if !all && times == c.seen[shard] {
			continue
		}
		found, err := c.scanShard(shard, before()[shard], used)
		items = append(items, found...)
		if err != nil {
			c.options().Logger.Warn("reading the cache", zap.Error(err))
			delete(c.seen, shard) // it may be readable next time
			continue
		}
		if recent := c.now().Add(-2 * time.Second); times.files.After(recent) || times.index.After(recent) {
			delete(c.seen, shard) // another change could have the same time
		} else {
			c.seen[shard] = times
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.addAll(items)
	c.index.useAll(used)
}

// scanShard reads one shard, of which the index has had the files in before,
// and returns the files that are to be added to that. It sets used for those
// that another process has returned. What cannot be read is as it was.
func (c *Cache) scanShard(shard string, before []string, used map[*item]time.Time) ([]*item, error) {
	// Records are read first, since they are written last: none is taken for
	// one without a file because the two come in between.
	records := make(map[string]bool)
	indexShard := filepath.Join(c.dir, indexDir, shard)
	entries, err := readDir(indexShard)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), recordExt); ok {
			records[name] = true
		}
	}
	found := make(map[string]bool)
	var items []*item
	if entries, err = readDir(filepath.Join(c.dir, filesDir, shard)); err != nil {
		return nil, err
	}
	boot, known := c.boot()
	for _, entry := range entries {
		info, err := entry.Info()
		name := entry.Name()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			found[name] = true // who knows
			continue
		}
		if err == nil && info.Mode().IsRegular() && isName(name) && name[:2] == shard {
			found[name] = true
			if it := c.found(info, records[name], known && info.ModTime().Before(boot.Add(-bootSlack)), used); it != nil {
				items = append(items, it)
			}
		}
	}
	for name := range records {
		if !found[name] {
			_ = os.Remove(filepath.Join(indexShard, name+recordExt))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range before {
		if it := c.index.byName[name]; !found[name] && it != nil && !it.pending {
			c.index.remove(name)
		}
	}
	return items, nil
}

// found takes in a file of the directory and returns what is to be added to
// the index, if anything. One without a record may be torn if it is from before
// the machine's start, and if the clock was set back nobody knows.
func (c *Cache) found(info fs.FileInfo, proven, old bool, moved map[*item]time.Time) *item {
	name, now, used := info.Name(), c.now(), info.ModTime()
	c.mu.Lock()
	known := c.index.byName[name]
	c.mu.Unlock()
	if known == nil && !proven && (old || used.After(now.Add(touchInterval))) {
		_ = os.Remove(c.filePath(name))
		return nil
	}
	if used.After(now) { // the clock was set back
		used = now
		_ = os.Chtimes(c.filePath(name), now, now)
	}
	if known == nil {
		return &item{name: name, size: info.Size(), used: used, proven: proven}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known.proven = proven
	if d := known.used.Sub(used); d < 0 || d > touchInterval {
		moved[known] = used // as another process has it
	}
	return nil
}

// bootSlack is how exactly the time of the machine's start is known.
const bootSlack = time.Minute

// boot returns when the machine was started, if that is known.
func (c *Cache) boot() (time.Time, bool) {
	up, ok := c.uptime()
	return c.now().Add(-up), ok
}

func (c *Cache) namesByShard() map[string][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make(map[string][]string)
	for name := range c.index.byName {
		names[name[:2]] = append(names[name[:2]], name)
	}
	return names
}

// readDir returns what is in a directory, which need not be there.
func readDir(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

func modTime(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
