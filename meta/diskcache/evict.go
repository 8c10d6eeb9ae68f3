package diskcache

import (
	"errors"
	"fmt"
	"time"
)

// lookInterval is how often the whole directory is read for want of room.
const lookInterval = 10 * time.Second

// reserve makes room for n more bytes of a file that has whole in all.
func (c *Cache) reserve(n, whole int64) error {
	c.scanOnce()
	if _, err := c.tryReserve(n, whole); err == nil {
		return nil
	}
	c.evicting.Lock()
	defer c.evicting.Unlock()
	evictable := int64(-1) // bytes, for which it is known that they may go
	for {
		short, err := c.tryReserve(n, whole)
		if err == nil || errors.Is(err, ErrTooLarge) {
			return err
		}
		c.mu.Lock()
		if short > evictable && c.index.evictable(short, c.now()) {
			evictable = short
		}
		it := c.index.victim(c.now())
		c.mu.Unlock()
		switch {
		case short <= evictable && it != nil:
			c.evict(it)
		case c.now().Sub(c.looked) < lookInterval:
			return err
		default: // another process may have taken the room, or given it back
			c.looked = c.now()
			c.scan(true)
		}
	}
}

// ErrTooLarge is the [ErrNoRoom] of a file that is larger than MaxSize.
var ErrTooLarge = fmt.Errorf("%w: larger than all of it", ErrNoRoom)

// tryReserve reserves n bytes if there is room for them, and else says how much
// is missing.
func (c *Cache) tryReserve(n, whole int64) (short int64, err error) {
	free, known := freeSpace(c.dir)
	c.mu.Lock()
	defer c.mu.Unlock()
	x, limit := &c.index, c.opts.MaxSize
	if limit > 0 && whole > limit {
		return n, ErrTooLarge
	}
	if limit > 0 && n > limit-x.size-x.reserved {
		short, err = n-(limit-x.size-x.reserved), ErrNoRoom
	}
	if known && n > free-x.unwritten && n-(free-x.unwritten) > short {
		short, err = n-(free-x.unwritten), errFull
	}
	if err == nil {
		x.reserved += n
		x.unwritten += n
	}
	return short, err
}

// expire removes the files that nobody has asked for in a long time or can find
// any more, those that a crash has left without a record, and what is beyond a
// limit that was lowered.
func (c *Cache) expire() {
	now := c.now()
	c.mu.Lock()
	var expired []*item
	excess := int64(0)
	if c.opts.MaxSize > 0 {
		excess = c.index.size + c.index.reserved - c.opts.MaxSize
	}
	for e := c.index.recent.Front(); e != nil; e = e.Next() {
		it := e.Value.(*item)
		if !mayEvict(it.used, now) {
			break
		}
		old := c.opts.MaxAge > 0 && now.Sub(it.used) >= c.opts.MaxAge
		if it.evictable(now) && (old || excess > 0 || it.spent || !it.proven && !it.pending) {
			expired = append(expired, it)
			excess -= it.size
		}
	}
	c.mu.Unlock()
	for _, it := range expired {
		select {
		case <-c.closing:
			return
		default:
		}
		c.evict(it)
	}
}
