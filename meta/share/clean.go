package share

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

const (
	cleanInterval = 10 * time.Minute
	fullInterval  = 10 * time.Second // between two for want of room

	// cleanPatience is how long cleaning waits for a lock: who has it is at
	// work on the same.
	cleanPatience = 500 * time.Millisecond
	purgePatience = 5 * time.Second
)

// cleanUp keeps the copies within their bounds until the background ends.
func (c *Copies) cleanUp() {
	interval := c.cleanInterval()
	regular := time.NewTimer(rand.N(interval)) // nodes that start at a time do not clean at a time
	defer regular.Stop()
	var soon <-chan time.Time
	var last, full time.Time
	for {
		select {
		case <-regular.C:
			_ = c.clean(time.Now().Add(-interval))
			regular.Reset(interval + rand.N(interval/10+1))
		case <-c.full:
			if soon == nil {
				full = time.Now()
				soon = time.After(time.Until(last.Add(fullInterval)))
			}
		case <-soon:
			soon, last = nil, time.Now()
			if err := c.clean(full); errors.Is(err, ErrBusy) || errors.Is(err, ErrDown) {
				soon = time.After(fullInterval)
			} else {
				c.put.Store(0)
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// cleanInterval returns how often is cleaned, by one node or another.
func (c *Copies) cleanInterval() time.Duration {
	if c.opts.MaxAge <= 0 {
		return cleanInterval
	}
	return max(min(c.opts.MaxAge/4, cleanInterval), time.Minute)
}

// grown notes that size bytes were put into the storage.
func (c *Copies) grown(size int64) {
	if limit := c.opts.MaxSize; limit > 0 && c.put.Add(size) > limit/10 {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
}

// Purge removes all copies, except those that are just being made or changed,
// and returns what went, also if it fails: with [ErrBusy] if another node is at
// work on it.
func (c *Copies) Purge(ctx context.Context) (files int, bytes int64, err error) {
	release, err := c.lock(ctx, "clean", purgePatience)
	if err != nil {
		return 0, 0, err
	}
	defer release()
	sweep := sweep{Copies: c, ctx: ctx}
	if err := sweep.survey(); err != nil {
		return 0, 0, err
	}
	for _, f := range sweep.files {
		if err := sweep.remove(f); err != nil {
			return sweep.removed, sweep.freed, err
		}
	}
	return sweep.removed, sweep.freed, sweep.removeRest()
}

// clean cleans up, unless that was begun by a node after since.
func (c *Copies) clean(since time.Time) error {
	err := c.cleanOnce(since)
	switch {
	case err == nil, errors.Is(err, ErrBusy), errors.Is(err, ErrDown), c.ctx.Err() != nil:
	default:
		c.opts.Logger.Warn("cleaning up the shared copies", zap.Error(err))
	}
	return err
}

func (c *Copies) cleanOnce(since time.Time) error {
	release, err := c.lock(c.ctx, "clean", cleanPatience)
	if err != nil {
		return err
	}
	defer release()
	began := time.Now()
	cleaned, err := c.load(c.ctx, c.prefix+"/"+cleanedKey)
	if errors.Is(err, ErrDown) || err == nil && timeOf(cleaned).After(since) {
		return err
	}
	sweep := sweep{Copies: c, ctx: c.ctx}
	if err := sweep.survey(); err != nil {
		return err
	}
	if err := sweep.removeExcess(began); err != nil {
		return err
	}
	if err := sweep.removeRest(); err != nil {
		return err
	}
	c.opts.Logger.Debug("cleaned up the shared copies",
		zap.Int("files", len(sweep.files)), zap.Int("removed", sweep.removed),
		zap.Int64("freed", sweep.freed), zap.Duration("duration", time.Since(began)))
	return c.store(c.ctx, c.prefix+"/"+cleanedKey, formatTime(began))
}

// lock returns what releases a lock. Without it, it returns [ErrBusy] or
// [ErrDown].
func (c *Copies) lock(ctx context.Context, name string, patience time.Duration) (release func(), err error) {
	if release = c.locks.Acquire(ctx, name, patience, nil); release != nil {
		return release, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !c.health.works() {
		return nil, ErrDown
	}
	return nil, ErrBusy
}
