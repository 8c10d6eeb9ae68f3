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
// use too, or reads all of it. It removes records and marks that a crash has left.
func (c *Cache) scan(all bool) {
	c.scanning.Lock()
	defer c.scanning.Unlock()
	c.lookAgain()
	others, read := c.lookForOthers(), true
	changed := c.dirTime
	if c.hasNews(others) { // which are not missed for a while only, but for good
		changed = func(dir string) time.Time {
			at, err := modified(dir)
			read = read && (err == nil || errors.Is(err, fs.ErrNotExist))
			return at
		}
	}
	before := sync.OnceValue(c.namesByShard) // mostly not needed
	var items []*item
	used := make(map[*item]time.Time)
	for i := range shards {
		shard := fmt.Sprintf("%02x", i)
		times := shardTimes{
			files: changed(filepath.Join(c.dir, filesDir, shard)),
			index: changed(filepath.Join(c.dir, indexDir, shard)),
		}
		if !all && times == c.seen[shard] {
			continue
		}
		found, settled, err := c.scanShard(shard, before()[shard], used)
		items = append(items, found...)
		if err != nil {
			c.options().Logger.Warn("reading the cache", zap.Error(err))
			delete(c.seen, shard) // it may be readable next time
			read = false
			continue
		}
		if recent := c.now().Add(-2 * time.Second); !settled || times.files.After(recent) || times.index.After(recent) {
			delete(c.seen, shard) // another change could have the same time
		} else {
			c.seen[shard] = times
		}
	}
	c.mu.Lock()
	c.index.addAll(items)
	c.index.useAll(used)
	c.mu.Unlock()
	if read {
		c.hasRead(others)
	}
}

// orphanAge is how long a record may be there without its file. Another host may
// see the two in another order.
const orphanAge = time.Minute

// scanShard reads one shard, of which the index has had the files in before,
// and returns the files that are to be added to that. It sets used for those
// that another process has returned. What cannot be read is as it was. If it is
// not settled, some of it is to be looked at again when time has passed.
func (c *Cache) scanShard(shard string, before []string, used map[*item]time.Time) (items []*item, settled bool, err error) {
	// Records are read first, since they are written last: none is taken for
	// one without a file because the two come in between.
	indexShard := filepath.Join(c.dir, indexDir, shard)
	records, err := readDir(indexShard)
	if err != nil {
		return nil, false, err
	}
	proven := make(map[string]bool)
	for _, entry := range records {
		if name, ok := strings.CutSuffix(entry.Name(), recordExt); ok {
			proven[name] = true
		}
	}
	entries, err := readDir(filepath.Join(c.dir, filesDir, shard))
	if err != nil {
		return nil, false, err
	}
	found := make(map[string]bool)
	settled = true
	for _, entry := range entries {
		info, err := entry.Info()
		name := entry.Name()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			found[name] = true // who knows
			continue
		}
		if err != nil || !info.Mode().IsRegular() || name[:min(2, len(name))] != shard {
			continue
		}
		if marked, ok := strings.CutSuffix(name, markExt); ok && isName(marked) {
			if mark := filepath.Join(c.dir, filesDir, shard, name); c.aged(mark, info, markAge) {
				_ = os.Remove(mark)
			} else {
				settled = false
			}
		}
		if isName(name) {
			found[name] = true
			it, now := c.found(info, proven[name], used)
			if it != nil {
				items = append(items, it)
			}
			settled = settled && now
		}
	}
	for _, entry := range records {
		name, ok := strings.CutSuffix(entry.Name(), recordExt)
		if !ok {
			name, ok = strings.CutSuffix(entry.Name(), newExt)
		}
		if !ok || !isName(name) || found[name] {
			continue
		}
		orphan := filepath.Join(indexShard, entry.Name())
		if info, err := entry.Info(); err == nil && c.aged(orphan, info, orphanAge) {
			_ = os.Remove(orphan)
		} else if err == nil {
			settled = false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range before {
		if it := c.index.byName[name]; !found[name] && it != nil && !it.pending {
			c.index.remove(name)
		}
	}
	return items, settled, nil
}

// aged reports whether a file is older than age. One from the future, which the
// clock has been set back from, is as old as it is new from now on.
func (c *Cache) aged(path string, info fs.FileInfo, age time.Duration) bool {
	now := c.now()
	if info.ModTime().After(now.Add(touchInterval)) {
		_ = os.Chtimes(path, now, now)
		return false
	}
	return now.Sub(info.ModTime()) > age
}

// found takes in a file of the directory and returns what is to be added to
// the index, if anything. One that is not proven may be torn if it is from
// before the machine's start, or another host's; it is never trusted, counts,
// and goes when it may. Nobody knows which it is if it is from the future: then
// its time is yet to come.
func (c *Cache) found(info fs.FileInfo, proven bool, moved map[*item]time.Time) (new *item, settled bool) {
	name, now, used := info.Name(), c.now(), info.ModTime()
	c.mu.Lock()
	known := c.index.byName[name]
	whole := proven || known != nil && known.pending
	c.mu.Unlock()
	if used.After(now.Add(touchInterval)) {
		if !whole && known == nil {
			return nil, false
		}
		if whole { // the clock was set back
			_ = os.Chtimes(c.filePath(name), now, now)
		}
	}
	used = earlier(used, now)
	if known == nil {
		return &item{name: name, size: info.Size(), used: used, proven: proven}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known.proven = proven
	if d := known.used.Sub(used); d < 0 || d > touchInterval {
		moved[known] = used // as another process has it
	}
	return nil, true
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
