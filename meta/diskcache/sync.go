package diskcache

import (
	"errors"
	"io/fs"
	"time"

	"go.uber.org/zap"
)

// syncDelay is how long a new file waits to be made safe from a power cut. By
// then a burst of downloads is over, and the disk has written much of it.
const syncDelay = 2 * time.Second

// maxFailures is how often a file that cannot be opened is tried again.
const maxFailures = 10

// closingTime is how long closing a cache may take to sync. What it does not
// come to has no record, as after a crash.
const closingTime = 10 * time.Second

// syncLater has a file synced and then its record written.
func (c *Cache) syncLater(it *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.pending = true
	if !it.queued {
		it.queued = true
		c.unsynced = append(c.unsynced, it)
	}
	if c.syncing || c.closed {
		return
	}
	c.syncing = true
	c.background.Go(c.syncLoop)
}

// syncLoop syncs files, one after the other, until there are none.
func (c *Cache) syncLoop() {
	delay := time.NewTimer(syncDelay)
	defer delay.Stop()
	for {
		select {
		case <-delay.C:
		case <-c.closing: // which syncs the rest
			return
		}
		c.syncAll(func() bool {
			select {
			case <-c.closing:
				return true
			default:
				return false
			}
		})
		// by now it is known who else is there: not only when it is looked next
		if !c.options().Private && c.hasNews(c.lookForOthers()) {
			c.scan(false)
		}
		c.mu.Lock()
		if len(c.unsynced) == 0 {
			c.syncing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		delay.Reset(syncDelay)
	}
}

// syncAll syncs the files that wait for it, until it is to stop.
func (c *Cache) syncAll(stop func() bool) {
	c.mu.Lock()
	todo := c.unsynced
	c.unsynced = nil
	c.mu.Unlock()
	for i, it := range todo {
		if stop() {
			c.mu.Lock()
			c.unsynced = append(todo[i:], c.unsynced...)
			c.mu.Unlock()
			return
		}
		c.syncItem(it)
	}
}

func (c *Cache) syncItem(it *item) {
	c.mu.Lock()
	it.queued = false
	known, rec := c.index.byName[it.name] == it, it.record
	c.mu.Unlock()
	if !known || rec == nil { // removed meanwhile
		c.mu.Lock()
		it.pending = false
		c.mu.Unlock()
		return
	}
	f, err := openShared(c.filePath(it.name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.drop(it.name)
		return
	case err != nil && it.failed < maxFailures: // which may pass
		it.failed++
		c.options().Logger.Warn("syncing a downloaded file", zap.String("file", it.name), zap.Error(err))
		c.syncLater(it)
		return
	case err != nil:
		c.mu.Lock()
		it.pending = false // it is as after a crash
		c.mu.Unlock()
		return
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		c.drop(it.name) // it may be torn
	} else {
		c.at("synced")
		rec, err = c.prove(it)
		c.at("proven")
	}
	if err != nil {
		c.options().Logger.Error("keeping a downloaded file", zap.String("file", it.name), zap.Error(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	it.proven = it.proven || err == nil && rec != nil
	if it.record == rec { // and not a newer one
		it.pending, it.written = false, nil
	}
}
