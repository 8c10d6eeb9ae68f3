package share

import (
	"time"
)

// Used notes that a file was returned of which there is a copy. It is cheap and
// does not block: a use is stored by and by, and again only an hour later, or a
// tenth of MaxAge.
func (c *Copies) Used(key string) {
	if c.opts.MaxAge <= 0 && c.opts.MaxSize <= 0 || !isHex(key) {
		return // no copy is ever removed
	}
	now := time.Now()
	c.usesMu.Lock()
	defer c.usesMu.Unlock()
	if at, ok := c.used[key]; ok && now.Sub(at) < c.useInterval() {
		return
	}
	select {
	case c.uses <- key:
		c.used[key] = now
	default: // the next use is as good
	}
}

// noted says that a use need not be noted for now.
func (c *Copies) noted(key string, at time.Time) {
	c.usesMu.Lock()
	defer c.usesMu.Unlock()
	c.used[key] = at
}

// useInterval returns how long a use is as good as a later one.
func (c *Copies) useInterval() time.Duration {
	if c.opts.MaxAge <= 0 {
		return time.Hour
	}
	return max(min(c.opts.MaxAge/10, time.Hour), time.Minute)
}

// noteUses stores uses until the background ends.
func (c *Copies) noteUses() {
	forget := time.NewTicker(c.useInterval())
	defer forget.Stop()
	for {
		select {
		case key := <-c.uses:
			if c.store(c.ctx, c.path(usedDir, key), formatTime(time.Now())) != nil {
				c.usesMu.Lock()
				delete(c.used, key) // the next use is as good
				c.usesMu.Unlock()
			}
		case <-forget.C:
			c.forgetUses()
		case <-c.ctx.Done():
			return
		}
	}
}

// forgetUses forgets what makes no difference any more. The others are not more
// than this node has files.
func (c *Copies) forgetUses() {
	c.usesMu.Lock()
	defer c.usesMu.Unlock()
	for key, at := range c.used {
		if time.Since(at) >= c.useInterval() {
			delete(c.used, key)
		}
	}
}
