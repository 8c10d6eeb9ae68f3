package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/share"
)

// Peers are other processes that download the same things. They agree who asks
// the origin, and the others take what that one got: from the directory, if all
// have the same one, or else from a copy.
type Peers struct {
	Locks *share.Locks

	// Copies are kept in a storage that all nodes have, because each has a
	// directory of its own. It is nil if they have the same directory.
	Copies *share.Copies

	tried func() // where tests see that a lock was free
}

// tryLock takes a lock of a directory that all have, if nobody has it.
func (p *Peers) tryLock(cache *diskcache.Cache, name string) (release func(), ok bool) {
	if release, ok = cache.TryLock(name); ok && p.tried != nil {
		p.tried()
	}
	return release, ok
}

// found is what the nodes have for a key.
type found struct {
	version version
	turn    string // see turn.wait
	head    stored
	copy    share.Copy // of a file, if they are copied
	ext     string     // of the file
	stored  time.Time  // when the file was
	unknown bool       // it could not be told
}

// version tells one thing found from another. Its zero value is nothing.
type version struct {
	id       string // of a file
	received int64  // when its head was, which an origin may confirm
}

// described is what is kept with the copy of a file.
type described struct {
	Extension string         `json:"ext,omitempty"` // of the file; without it there is none
	Head      diskcache.Head `json:"head,omitzero"`
	Passed    string         `json:"passed,omitempty"` // see turn.pass
}

// obtain gets a file that is not at hand, or is not fresh: from another node if
// one has it, or is getting it just now, and else from its origin.
func (c *Client) obtain(ctx context.Context, key diskcache.Key, req Request, p *progress) (Result, error) {
	t := &turn{Client: c, ctx: ctx, key: key, began: time.Now()}
	if c.opts.Peers == nil {
		return c.download(ctx, req, p, t)
	}
	defer t.end()
	if t.try() { // nobody else is at it, so what there is has been there before
		if now := c.look(ctx, key); now.fresh(req) {
			if result, ok := c.fresh(key, req); ok {
				return result, nil
			}
		}
		return c.download(ctx, req, p, t)
	}
	before := c.lookWhose(ctx, key)
	if before.fresh(req) && c.adopt(ctx, key, before, p) {
		if result, ok := c.fresh(key, req); ok {
			return result, nil
		}
	}
	t.wait(before)
	now := c.look(ctx, key)
	switch {
	case now.newer(before, t.began):
		// as of a download in this process, those that waited for it take what
		// has come, whether or not it may be used again
		if c.adopt(ctx, key, now, p) {
			if result, ok := c.landed(key, now); ok {
				return result, nil
			}
		}
	case now.fresh(req), now.validates():
		c.adopt(ctx, key, now, p)
	}
	result, err := c.download(ctx, req, p, t)
	t.finish(err)
	return result, err
}

// consult sees to it that the cache has what the nodes have for a key that it is
// not the turn of this one for, such as that of the target of a redirect.
func (d *download) consult(ctx context.Context, key diskcache.Key) {
	if d.opts.Peers == nil || d.unconditional || key == d.turn.key && !d.turn.yielded {
		return
	}
	if f := d.look(ctx, key); f.fresh(d.req) || f.validates() {
		d.adopt(ctx, key, f, d.progress)
	}
}

// lookWhose is look for who waits, who has to know whose turn it is.
func (c *Client) lookWhose(ctx context.Context, key diskcache.Key) found {
	f := c.look(ctx, key)
	if c.opts.Peers.Copies == nil {
		f.turn = c.cache.Turn(key.String())
	}
	return f
}

// look returns what the nodes have for key, as far as that can be told.
func (c *Client) look(ctx context.Context, key diskcache.Key) found {
	copies := c.opts.Peers.Copies
	if copies == nil {
		f := found{unknown: !c.cache.Refresh(key)}
		if entry, ok := c.cache.Get(key); ok {
			f.set(entry.Name, entry.Head, entry.Stored)
		}
		return f
	}
	copy, err := copies.Find(ctx, key.String())
	if err != nil {
		return found{unknown: inDoubt(err)}
	}
	var with described
	if err := json.Unmarshal(copy.Meta, &with); err != nil || fileExtension("."+with.Extension) != with.Extension {
		return found{} // any doubt is a miss
	}
	f := found{turn: with.Passed, copy: copy, ext: with.Extension}
	if f.ext != "" {
		with.Head.Copy = copy.ID
		f.set(copy.ID, with.Head, copy.Stored)
	}
	return f
}

// inDoubt reports whether there may be a copy that was not found.
func inDoubt(err error) bool {
	return err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, share.ErrDamaged)
}

func (f *found) set(id string, head diskcache.Head, at time.Time) {
	f.version.id, f.version.received, f.head, f.stored = id, head.Received.UnixNano(), stored(head), at
}

// file reports whether a file was found.
func (f found) file() bool { return f.version.id != "" }

// clockSlack is by how much the clocks of nodes may differ.
const clockSlack = 30 * time.Second

// newer reports whether f has come since before was found, which was no earlier
// than began: what is old may have been out of sight for a moment. A clock that
// is behind may hide that, which costs a request.
func (f found) newer(before found, began time.Time) bool {
	since := began.Add(-clockSlack)
	return f.file() && !before.unknown && f.version != before.version &&
		f.head.Received.After(before.head.Received) && (f.stored.After(since) || f.head.Received.After(since))
}

func (f found) fresh(req Request) bool {
	return f.file() && !f.head.Once && f.head.fresh(req.Header, time.Now())
}

// validates reports whether the origin can be asked if what was found still
// holds.
func (f found) validates() bool {
	return f.file() && !f.head.Once && f.head.conditions(make(http.Header))
}

// adopt sees to it that what was found is in the cache, and reports whether it
// is.
func (c *Client) adopt(ctx context.Context, key diskcache.Key, f found, p *progress) bool {
	if !f.file() || c.opts.Peers.Copies == nil {
		return f.file()
	}
	if entry, ok := c.cache.Get(key); ok {
		newer := f.head.Received.After(entry.Head.Received)
		switch {
		case entry.Head.Copy == f.copy.ID && newer:
			c.cache.Update(entry, diskcache.Head(f.head))
			return true
		case entry.Head.Copy == f.copy.ID, !newer && !entry.Head.Once:
			return true
		}
	}
	return c.load(ctx, key, f, p) == nil
}

// load stores what a copy is of in the cache. Whatever it fails of, the origin
// is left to be asked.
func (c *Client) load(ctx context.Context, key diskcache.Key, f found, p *progress) error {
	if f.copy.Size > c.opts.Peers.Copies.MaxObject() || c.opts.MaxSize > 0 && f.copy.Size > c.opts.MaxSize {
		return c.tooLarge()
	}
	file, err := c.cache.Create()
	if err != nil {
		return err
	}
	defer file.Abort() // what is left is swept up later
	if err := file.Reserve(f.copy.Size); err != nil {
		return err
	}
	// a storage that is slower than this is rather not waited for
	patience := copyPatience + time.Duration(f.copy.Size>>20)*time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.begin(0, f.copy.Size)
	if err := c.opts.Peers.Copies.Load(ctx, key.String(), f.copy, counted{file, p}); err != nil {
		return err
	}
	_, err = file.Commit(key, f.ext, diskcache.Head(f.head))
	return err
}

// counted notes what is written to it.
type counted struct {
	io.Writer
	progress *progress
}

func (w counted) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.progress.add(n)
	return n, err
}

// landed returns what another node has got while this one waited.
func (c *Client) landed(key diskcache.Key, now found) (Result, bool) {
	entry, ok := c.cache.Get(key)
	if !ok || entry.Head.Copy != now.copy.ID && c.opts.Peers.Copies != nil {
		return Result{}, false
	}
	return c.reuse(hit{key: key, entry: entry}, Fresh)
}
