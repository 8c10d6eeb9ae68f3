package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// transfer writes the body of an answer to the file, from its beginning or
// where it broke off, in constant memory.
func (d *download) transfer(w *watch, resp *http.Response, rest bool) error {
	if d.opts.MaxSize > 0 && d.part.total > d.opts.MaxSize {
		return d.tooLarge()
	}
	err := d.prepare(rest)
	if err != nil {
		return failedWrite(err)
	}
	d.progress.begin(d.file.Size(), d.part.total)
	err = d.copy(d.file, &body{resp: resp, watch: w, received: d.received}, d.part.total)
	d.part.have = d.file.Size()
	if err != nil {
		return err
	}
	if d.part.total >= 0 && d.part.have != d.part.total {
		if d.part.have > d.part.total {
			d.part = part{} // it is not what was promised from the beginning
		}
		return &Error{Kind: Incomplete, Detail: resp.Request.URL.Hostname(), Err: io.ErrUnexpectedEOF}
	}
	return nil
}

// prepare readies the file for what comes, and makes room for it if its length
// is known.
func (d *download) prepare(rest bool) (err error) {
	if d.file == nil {
		if d.file, err = d.cache.Create(); err != nil {
			return err
		}
	}
	if !rest {
		if err := d.file.Restart(); err != nil {
			return err
		}
	}
	return d.file.Reserve(d.part.total)
}

// copy appends src to the file, of which it will have total bytes if that is
// not negative. The errors of src must be of type [*Error], as those of copy
// are.
func (c *Client) copy(file *diskcache.File, src io.Reader, total int64) error {
	if c.opts.MaxSize > 0 {
		src = io.LimitReader(src, c.opts.MaxSize+1-file.Size())
	}
	pool := &largeBuffers
	if total >= 0 && total <= smallBuffer {
		pool = &smallBuffers
	}
	buffer := pool.Get().(*[]byte)
	defer pool.Put(buffer)
	for {
		n, readErr := io.ReadFull(src, *buffer)
		if _, err := file.Write((*buffer)[:n]); err != nil {
			return failedWrite(err)
		}
		switch {
		case c.opts.MaxSize > 0 && file.Size() > c.opts.MaxSize:
			return c.tooLarge()
		case readErr == io.EOF, readErr == io.ErrUnexpectedEOF:
			return nil
		case readErr != nil:
			return readErr
		}
	}
}

// Large reads and writes keep a fast origin from being limited by the number of
// system calls: with 32 KiB, as [io.Copy] has them, 1 GiB takes twice as long.
// Still larger ones gain nothing, and take pages that virtual machines may have
// to ask their host for.
const (
	smallBuffer = 64 << 10
	largeBuffer = 512 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new(make([]byte, smallBuffer)) }}
	largeBuffers = sync.Pool{New: func() any { return new(make([]byte, largeBuffer)) }}
)

func (c *Client) tooLarge() *Error {
	return &Error{Kind: TooLarge, Detail: humanize.IBytes(uint64(c.opts.MaxSize))}
}

var (
	errTimedOut = errors.New("timed out")
	errStalled  = errors.New("stalled")
)

// watch ends a try for want of a next byte.
type watch struct {
	cancel context.CancelCauseFunc
	next   *time.Timer
	limit  time.Duration
}

// watch returns a context that ends when the next byte does not come in time,
// and what sees to it. Waiting for the first one starts at once.
func (c *Client) watch(ctx context.Context) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	next := time.AfterFunc(c.opts.StallTimeout, func() { cancel(errStalled) })
	return ctx, &watch{cancel: cancel, next: next, limit: c.opts.StallTimeout}
}

func (w *watch) stop() {
	w.next.Stop()
	w.cancel(nil)
}

// blame returns what a download or a try failed of, which is err unless its
// context has ended before.
func (c *Client) blame(ctx context.Context, err error) *Error {
	switch cause := context.Cause(ctx); cause {
	case nil:
		if e, ok := errors.AsType[*Error](err); ok {
			return e
		}
		return &Error{Kind: RequestFailed, Err: err}
	case errTimedOut:
		return &Error{Kind: TimedOut, Detail: c.opts.Timeout.String(), Err: err}
	case errStalled:
		return &Error{Kind: Stalled, Detail: c.opts.StallTimeout.String(), Err: err}
	default:
		return &Error{Kind: Cancelled, Err: cause}
	}
}

// received notes what has come.
func (d *download) received(n int) {
	d.progress.add(n)
	if d.opts.Received != nil {
		d.opts.Received(n)
	}
}

// body reads a response's body under watch.
type body struct {
	resp     *http.Response
	watch    *watch
	received func(n int)
}

func (b *body) Read(p []byte) (int, error) {
	b.watch.next.Reset(b.watch.limit)
	n, err := b.resp.Body.Read(p)
	b.watch.next.Stop()
	b.received(n)
	if err != nil && err != io.EOF {
		err = &Error{Kind: Incomplete, Detail: b.resp.Request.URL.Hostname(), Err: err}
	}
	return n, err
}
