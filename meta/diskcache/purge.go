package diskcache

import (
	"io/fs"
	"time"
)

// Usage is how much there is of some files.
type Usage struct {
	Files int
	Bytes int64
}

// lookPatience is how long is waited for a disk to tell what is in the cache.
const lookPatience = time.Second

// Usage returns how much is known to be in the cache, without what is being
// written. It waits for a moment if the directory has not been read yet, but a
// disk that hangs holds nobody up.
func (c *Cache) Usage() Usage {
	select {
	case <-c.first:
	default:
		c.look()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return Usage{Files: len(c.index.byName), Bytes: c.index.size}
}

// look has the directory read for the first time.
func (c *Cache) look() {
	c.mu.Lock()
	if !c.looking && !c.closed {
		c.looking = true
		c.background.Go(c.scanOnce)
	}
	c.mu.Unlock()
	patience := time.NewTimer(lookPatience)
	defer patience.Stop()
	select {
	case <-c.first:
	case <-c.closing:
	case <-patience.C:
	}
}

// MaxSize returns how many bytes the cache may hold; 0 is no limit.
func (c *Cache) MaxSize() int64 { return c.options().MaxSize }

// Purge removes every file that may go: those that were returned in the last
// minutes stay, and those that are in use. It returns what went, also if it
// fails with [fs.ErrClosed] because the cache is closed.
func (c *Cache) Purge() (freed Usage, err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return freed, fs.ErrClosed
	}
	c.background.Add(1) // Close waits for it
	c.mu.Unlock()
	defer c.background.Done()

	c.scanOnce()
	c.scan(false) // what other processes have stored since
	for _, it := range c.purgeable() {
		select {
		case <-c.closing:
			return freed, fs.ErrClosed
		default:
		}
		if c.evict(it) {
			freed.Files++
			freed.Bytes += it.size
		}
	}
	return freed, nil
}

// purgeable returns the files that may go, the least recently returned first.
func (c *Cache) purgeable() []*item {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var items []*item
	for e := c.index.recent.Front(); e != nil; e = e.Next() {
		it := e.Value.(*item)
		if !mayEvict(it.used, now) {
			break
		}
		items = append(items, it)
	}
	return items
}
