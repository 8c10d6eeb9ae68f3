package fetch

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

const (
	// turnPatience is how long a node that has got something waits for the lock
	// that it needs to pass it on.
	turnPatience = 2 * time.Second

	// copyPatience is how long passing something on may take, or as long as it
	// took to get it.
	copyPatience = 10 * time.Second

	// slotPatience is how long a node keeps others waiting before it begins.
	slotPatience = 5 * time.Second

	// onceFor is how long a copy is kept that is only for those who wait for it.
	onceFor = time.Minute
)

// turn is when it is for this node, and no other one, to ask the origin.
type turn struct {
	*Client
	ctx   context.Context // of the download
	key   diskcache.Key
	began time.Time
	lock  func()        // releases the lock of key; nil if that is not held
	news  diskcache.Key // of the request that was answered
	got   diskcache.Entry

	forbidden bool // to keep what there is for key
	yielded   bool // so that others may have got it meanwhile
}

// wait waits for the turn, but no longer than it takes until another node has
// something else than before, or its turn is over without that: otherwise all
// would have their turns one by one, each as soon as it finds the lock free.
// When half of the time is over that a download may take, the origin is rather
// asked twice.
func (t *turn) wait(before found) {
	t.lock = t.opts.Peers.Locks.Acquire(t.ctx, t.key.String(), t.opts.Timeout/2, func(ctx context.Context) bool {
		now := t.lookWhose(ctx, t.key)
		switch {
		case now.unknown:
			return false // the wait has a bound
		case before.unknown:
			before = now
			return false
		}
		if now.version != before.version {
			return true
		}
		if before.turn == "" && t.opts.Peers.Copies == nil {
			before.turn = now.turn // there it is whose turn it is, and not whose it was
			return false
		}
		return now.turn != before.turn
	})
}

// try begins the turn at once if that costs nothing but a look at the directory
// that all nodes have.
func (t *turn) try() (ok bool) {
	if t.opts.Peers.Copies == nil {
		t.lock, ok = t.opts.Peers.tryLock(t.cache, t.key.String())
	}
	return ok
}

// end lets another node have its turn.
func (t *turn) end() {
	if t.lock != nil {
		t.lock()
		t.lock = nil
	}
}

// yield ends the turn of a node that has no room for it.
func (t *turn) yield() {
	if t.opts.Peers.Copies != nil {
		t.pass()
	}
	t.end()
	t.yielded = true
}

// copies reports whether files of size bytes, or -1, are copied.
func (t *turn) copies(size int64) bool {
	return t.opts.Peers.Copies != nil && size <= t.opts.Peers.Copies.MaxObject()
}

// expect ends the turn at once if others need not wait for what is to come: a
// file of size bytes, or -1, which it may be forbidden to store.
func (t *turn) expect(size int64, forbidden bool) {
	if t.lock == nil || t.opts.Peers.Copies == nil {
		return // others find what they may not use again, too
	}
	if forbidden || !t.copies(size) {
		t.forbidden = forbidden
		t.pass()
		t.end()
	}
}

// forbid notes that what there is for key must not be kept any more.
func (t *turn) forbid(key diskcache.Key) { t.forbidden = key == t.key }

// answered notes what the origin has sent, or confirmed, for key.
func (t *turn) answered(key diskcache.Key, entry diskcache.Entry) { t.news, t.got = key, entry }

// finish passes on what has come of the turn, before that is returned: who asks
// another node after that finds what there is. Without the lock another node may
// be doing the same, and better.
func (t *turn) finish(err error) {
	if t.lock == nil || t.opts.Peers.Copies == nil || err != nil && ownFault(err) {
		return
	}
	patience := max(copyPatience, time.Since(t.began))
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	t.ctx = ctx
	copied := t.got.Name != "" && t.copies(t.got.Size) && t.copy()
	if t.news != t.key || !copied {
		t.pass()
	}
}

// pass tells those that wait that nothing comes of the turn that they could use.
func (t *turn) pass() {
	copies, key, note := t.opts.Peers.Copies, t.key.String(), rand.Text()
	var with described
	known, err := copies.Find(t.ctx, key)
	if inDoubt(err) {
		return // there may be a copy
	}
	if err == nil && !t.forbidden && json.Unmarshal(known.Meta, &with) == nil {
		with.Passed = note
		if with.Extension == "" { // it is a note, too
			known.Until = time.Now().Add(onceFor).UTC()
		}
		if known.Meta, err = json.Marshal(with); err == nil {
			_ = copies.Amend(t.ctx, key, known)
		}
		return
	}
	if meta, err := json.Marshal(described{Passed: note}); err == nil {
		_, _ = copies.Put(t.ctx, key, bytes.NewReader(nil), 0, meta, time.Now().Add(onceFor))
	}
}

// copy copies the file, or, where that has been done, what is known of it. That
// is for the other nodes: if it fails this one can do without.
func (t *turn) copy() (ok bool) {
	if t.news != t.key { // it was redirected
		release := t.opts.Peers.Locks.Acquire(t.ctx, t.news.String(), turnPatience, nil)
		if release == nil {
			return false
		}
		defer release()
	}
	key, copies := t.news.String(), t.opts.Peers.Copies
	head := t.got.Head
	head.Copy = ""
	meta, err := json.Marshal(described{Extension: strings.TrimPrefix(filepath.Ext(t.got.Name), "."), Head: head})
	if err != nil {
		return false
	}
	if known, err := copies.Find(t.ctx, key); err == nil && known.ID == t.got.Head.Copy {
		known.Meta = meta
		return copies.Amend(t.ctx, key, known) == nil
	}
	file, err := t.cache.Open(t.got.Name)
	if err != nil {
		return false
	}
	defer file.Close()
	var until time.Time
	if head.Once {
		until = time.Now().Add(onceFor)
	}
	copy, err := copies.Put(t.ctx, key, file, t.got.Size, meta, until)
	if err != nil {
		return false
	}
	head.Copy = copy.ID
	t.cache.Update(t.got, head)
	return true
}
