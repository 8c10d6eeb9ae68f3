package share

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// partSize is what every storage takes as a value: 400 KB are the most for
	// DynamoDB, 512 KiB for Consul, and some encode values in base64.
	partSize = 256 << 10

	maxParts      = 8 // in memory
	transferParts = 4 // of one transfer in memory

	slotPatience    = 30 * time.Second // with others that have parts in memory
	discardPatience = 30 * time.Second
)

// Put stores a copy of what r has, with meta, and then removes the one that was
// there. It is found only if nothing fails, and until a time unless that is
// zero. The caller holds the lock of key.
func (c *Copies) Put(ctx context.Context, key string, r io.ReaderAt, size int64, meta json.RawMessage, until time.Time) (Copy, error) {
	if size > c.opts.MaxObject {
		return Copy{}, ErrTooLarge
	}
	var id [16]byte
	rand.Read(id[:]) // never fails
	copy := Copy{ID: hex.EncodeToString(id[:]), Size: size, Sum: emptySum, Part: c.part, Stored: time.Now().UTC(), Until: until.UTC(), Meta: meta}
	if _, err := formatManifest(key, copy); err != nil { // better now than after the parts
		return Copy{}, err
	}
	old, err := c.find(ctx, key)
	if errors.Is(err, ErrDown) {
		return Copy{}, err
	}
	if copy.Sum, err = c.storeParts(ctx, key, copy, r); err != nil {
		if !errors.Is(err, ErrDown) && ctx.Err() == nil {
			c.discard(ctx, key, copy)
		}
		return Copy{}, err
	}
	value, _ := formatManifest(key, copy) // as before, but for the sum
	// If it fails it may be stored all the same, or only just not yet.
	if err := c.store(ctx, c.path(manifestDir, key), value); err != nil {
		return Copy{}, err
	}
	c.noted(key, copy.Stored)
	c.grown(size)
	if old.ID != "" {
		c.discard(ctx, key, old)
	}
	return copy, nil
}

// discard removes the parts of what is no copy any more, or else leaves that to
// the next cleaning.
func (c *Copies) discard(ctx context.Context, key string, copy Copy) {
	ctx, cancel := context.WithTimeout(ctx, discardPatience)
	defer cancel()
	_ = c.removeParts(ctx, key, copy)
}

// storeParts stores what r has and returns the sum of it.
func (c *Copies) storeParts(ctx context.Context, key string, copy Copy, r io.ReaderAt) (sum string, err error) {
	// What is under way when a part fails is not given up: it might be stored
	// after it was removed.
	group, going := errgroup.WithContext(ctx)
	room := make(chan struct{}, transferParts)
	hash := sha256.New()
	for n := range copy.parts() {
		room <- struct{}{} // nothing hangs for ever
		slot, err := c.slot(going, true)
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		part := make([]byte, copy.length(n))
		if read, err := r.ReadAt(part, n*copy.Part); read < len(part) {
			slot.drop()
			group.Go(func() error { return fmt.Errorf("reading a file to be shared: %w", err) })
			break
		}
		hash.Write(part) // never fails
		group.Go(func() error {
			defer func() { <-room }()
			return c.health.do(ctx, operation{
				name:     "store",
				of:       &c.health.writes,
				patience: partPatience,
				run:      func(ctx context.Context) error { return c.storage.Store(ctx, c.partPath(key, copy, n), part) },
				ended:    slot.drop,
			})
		})
	}
	return hex.EncodeToString(hash.Sum(nil)), group.Wait()
}

// emptySum is the sum of nothing.
var emptySum = hex.EncodeToString(sha256.New().Sum(nil))

// Load writes what copy is of to w, in order. It returns [ErrDamaged] if a part
// is missing or is not what was stored; whatever it returns but nil, w may have
// got anything. An error of w is returned as it is.
func (c *Copies) Load(ctx context.Context, key string, copy Copy, w io.Writer) error {
	if !copy.valid() {
		return ErrDamaged
	}
	ctx, cancel := context.WithCancel(ctx)
	var ahead []*loading // from the next one to be written on
	defer func() {
		cancel()
		for _, part := range ahead {
			<-part.done
			part.slot.drop()
		}
	}()
	hash := sha256.New()
	next, parts := int64(0), copy.parts()
	for n := range parts {
		for next < parts && len(ahead) < transferParts {
			// to wait for it while others are there to be written would be to
			// wait for oneself
			slot, err := c.slot(ctx, len(ahead) == 0)
			if err != nil {
				return err
			}
			if slot == nil {
				break
			}
			ahead = append(ahead, c.loadPart(ctx, c.partPath(key, copy, next), slot))
			next++
		}
		part := ahead[0]
		<-part.done
		if err := part.err; errors.Is(err, fs.ErrNotExist) || err == nil && int64(len(part.value)) != copy.length(n) {
			return fmt.Errorf("%w: part %d is", ErrDamaged, n)
		} else if err != nil {
			return err
		}
		hash.Write(part.value) // never fails
		if _, err := w.Write(part.value); err != nil {
			return err
		}
		ahead[0] = nil
		ahead = ahead[1:]
		part.slot.drop()
	}
	if hex.EncodeToString(hash.Sum(nil)) != copy.Sum {
		return fmt.Errorf("%w: its sum is another", ErrDamaged)
	}
	c.noted(key, past(copy.Stored)) // which was a use
	return nil
}

// loading is a part on its way.
type loading struct {
	slot  *slot
	done  chan struct{} // closed when the rest is there
	value []byte
	err   error
}

func (c *Copies) loadPart(ctx context.Context, path string, s *slot) *loading {
	s.uses.Add(1) // by the storage, even if it is given up
	l := &loading{slot: s, done: make(chan struct{})}
	op := operation{name: "load", of: &c.health.reads, patience: partPatience, ended: s.drop}
	go func() {
		defer close(l.done)
		l.value, l.err = ask(ctx, c.health, op, func(ctx context.Context) ([]byte, error) { return c.storage.Load(ctx, path) })
	}()
	return l
}

// slot is the right to have a part in memory.
type slot struct {
	copies *Copies
	uses   atomic.Int32
}

// slot returns one, which has one use. If there is none it returns nil, unless
// it may wait for it.
func (c *Copies) slot(ctx context.Context, wait bool) (*slot, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !c.slots.TryAcquire(1) {
		if !wait {
			return nil, nil
		}
		ctx, cancel := context.WithTimeoutCause(ctx, slotPatience, ErrDown)
		defer cancel()
		if c.slots.Acquire(ctx, 1) != nil {
			return nil, context.Cause(ctx)
		}
	}
	s := &slot{copies: c}
	s.uses.Store(1)
	return s, nil
}

// drop ends a use.
func (s *slot) drop() {
	if s.uses.Add(-1) == 0 {
		s.copies.slots.Release(1)
	}
}

// removeParts removes the parts of a copy.
func (c *Copies) removeParts(ctx context.Context, key string, copy Copy) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(transferParts)
	for n := range copy.parts() {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return c.remove(ctx, c.partPath(key, copy, n)) })
	}
	return group.Wait()
}

func (c *Copies) partPath(key string, copy Copy, n int64) string {
	return c.path(partDir, key+"-"+copy.ID) + "/" + strconv.FormatInt(n, 10)
}
