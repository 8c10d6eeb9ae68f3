package fetch

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// download is one file on its way, over all its tries.
type download struct {
	*Client
	req      Request
	progress *progress
	turn     *turn

	file     *diskcache.File // nil until there is something to write
	part     part            // what file has; from there the next try goes on
	source   hop             // where it came from
	status   int             // of the answer that began it
	response stored          // the head that belongs to it
	ext      string          // as far as the head tells it

	// unconditional is set when what is stored turned out to be of no use.
	unconditional bool
}

// download gets a file from its origin, or from the cache if the origin allows
// that. It waits for its turn as long as ctx lasts; the time limits count from
// then.
func (c *Client) download(ctx context.Context, req Request, p *progress, t *turn) (Result, error) {
	if err := c.queue(ctx, t); err != nil {
		return Result{}, &Error{Kind: Cancelled, Err: context.Cause(ctx)}
	}
	itsTurn := true
	defer func() {
		if itsTurn {
			c.slots.Release(1)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout, errTimedOut)
	defer cancel()
	d := &download{Client: c, req: req, progress: p, turn: t}
	defer func() {
		if d.file != nil {
			_ = d.file.Abort() // what is left is swept up later
		}
	}()
	for try := 0; ; try++ {
		result, err := d.try(ctx)
		if err == nil {
			return result, nil
		}
		if try >= c.opts.Retries || !err.transient(d.file != nil) {
			return Result{}, err
		}
		// other downloads of this node may have the room while this one waits
		if d.file != nil {
			_ = d.file.Trim() // if that fails, so will the next try
		}
		c.slots.Release(1)
		itsTurn = false
		if !c.pause(ctx, try, err.retryAfter) || c.slots.Acquire(ctx, 1) != nil {
			return Result{}, c.blame(ctx, err)
		}
		itsTurn = true
	}
}

// queue waits for the turn of a download in this process. If that does not come
// soon, other nodes need not wait for it, too.
func (c *Client) queue(ctx context.Context, t *turn) error {
	if t.lock == nil {
		return c.slots.Acquire(ctx, 1)
	}
	if c.slots.TryAcquire(1) {
		return nil
	}
	acquired := make(chan error, 1)
	go func() { acquired <- c.slots.Acquire(ctx, 1) }()
	patience := time.NewTimer(slotPatience)
	defer patience.Stop()
	select {
	case err := <-acquired:
		return err
	case <-patience.C:
	}
	t.yield() // other nodes may have room
	return <-acquired
}

// try gets the file, or what is missing of it. Its turn must have come.
func (d *download) try(ctx context.Context) (Result, *Error) {
	d.progress.try()
	ctx, w := d.watch(ctx)
	defer w.stop()
	result, err := d.get(ctx, w)
	if err != nil {
		return Result{}, d.blame(ctx, err)
	}
	return result, nil
}

// hop is one request on the way to a file.
type hop struct {
	url       *url.URL
	header    http.Header // of the caller
	key       diskcache.Key
	hit       hit  // what is stored for it
	asked     bool // whether the origin is asked if the hit still holds
	requested time.Time
	received  time.Time
}

// hit is what the cache has for a request.
type hit struct {
	key      diskcache.Key
	entry    diskcache.Entry
	response stored
}

// lookup returns what the cache has for key and may be used again.
func (c *Client) lookup(key diskcache.Key) (hit, bool) {
	entry, ok := c.cache.Get(key)
	return hit{key: key, entry: entry, response: stored(entry.Head)}, ok && !entry.Head.Once
}

// reuse returns what is stored, if it still is there.
func (c *Client) reuse(h hit, source Source) (Result, bool) {
	if c.opts.MaxSize > 0 && h.entry.Size > c.opts.MaxSize || !c.cache.Return(h.entry) {
		return Result{}, false
	}
	if h.entry.Head.Copy != "" && c.opts.Peers != nil && c.opts.Peers.Copies != nil {
		c.opts.Peers.Copies.Used(h.key.String())
	}
	return result(h.entry, source), true
}

func result(entry diskcache.Entry, source Source) Result {
	return Result{Path: entry.Path, Name: entry.Name, Size: entry.Size, Source: source}
}

// confirm handles a 304. It reports false if what is stored is of no use for
// all that.
func (d *download) confirm(h hop, resp *http.Response) (Result, bool) {
	response, ok := h.hit.response.updated(resp.Header, h.requested, h.received)
	if !ok {
		return Result{}, false
	}
	result, ok := d.reuse(h.hit, Revalidated)
	if ok {
		if storable(d.req.Header, http.StatusOK, response.Header) {
			confirmed := h.hit.entry
			response.Copy = confirmed.Head.Copy
			confirmed.Head = diskcache.Head(response)
			d.cache.Update(confirmed, confirmed.Head)
			d.turn.answered(h.key, confirmed)
		} else {
			d.cache.Forget(h.hit.entry)
			d.turn.forbid(h.key)
		}
	}
	return result, ok
}

// take stores the body of an answer, which is the whole file or the rest of it.
func (d *download) take(w *watch, h hop, resp *http.Response, rest bool) (Result, error) {
	defer resp.Body.Close()
	w.next.Stop() // a slow disk is not the origin's fault
	if !rest {
		if resp.StatusCode < 200 || resp.StatusCode > 299 || resp.StatusCode == http.StatusPartialContent {
			return Result{}, &Error{
				Kind: BadStatus, Detail: strconv.Itoa(resp.StatusCode),
				status: resp.StatusCode, retryAfter: retryAfter(resp.Header, time.Now()),
			}
		}
		d.begin(h, resp)
	} else {
		d.goOn(h, resp)
	}
	if err := d.transfer(w, resp, rest); err != nil {
		return Result{}, err
	}
	return d.commit(h)
}

// begin notes what the head of an answer says of the whole file.
func (d *download) begin(h hop, resp *http.Response) {
	d.source, d.status = h, resp.StatusCode
	d.part = part{total: resp.ContentLength, etag: strongETag(resp.Header)}
	d.response = newStored(resp.Header, h.requested, h.received)
	d.ext = extension(d.req, h.url, resp.Header)
	d.turn.expect(resp.ContentLength, forbidden(d.req.Header, resp.Header))
}

// goOn notes what the head of an answer with the rest says of the whole file.
func (d *download) goOn(h hop, resp *http.Response) {
	_, d.part.total, _ = parseContentRange(resp.Header.Get("Content-Range")) // judged already
	if response, ok := d.response.updated(resp.Header, h.requested, h.received); ok {
		d.response = response
	}
}

func (d *download) commit(h hop) (Result, error) {
	if d.ext == "" {
		d.ext = contentExtension(d.file)
	}
	key := h.key
	d.response.Once = !storable(d.req.Header, d.status, d.response.Header)
	if d.response.Once && d.opts.Peers == nil {
		key = diskcache.Key{} // under which nobody finds it
	}
	entry, err := d.file.Commit(key, d.ext, diskcache.Head(d.response))
	if err != nil {
		return Result{}, failedWrite(err)
	}
	d.turn.answered(key, entry)
	return result(entry, Fetched), nil
}
