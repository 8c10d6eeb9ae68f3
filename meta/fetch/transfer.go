package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/dustin/go-humanize"
)

// store writes src into the cache, in constant memory. The errors of src must
// be of type [*Error].
func (c *Client) store(src io.Reader, ext func(content io.ReaderAt) string) (Result, error) {
	file, err := c.cache.Create()
	if err != nil {
		return Result{}, failedWrite(err)
	}
	defer file.Abort() // what is left is swept up later

	if c.opts.MaxSize > 0 {
		src = io.LimitReader(src, c.opts.MaxSize+1)
	}
	size, err := io.Copy(file, src)
	if e, ok := errors.AsType[*Error](err); ok {
		return Result{}, e
	}
	if err != nil {
		return Result{}, failedWrite(err)
	}
	if c.opts.MaxSize > 0 && size > c.opts.MaxSize {
		return Result{}, c.tooLarge()
	}
	path, err := file.Commit(ext(file))
	if err != nil {
		return Result{}, failedWrite(err)
	}
	return Result{Path: path, Size: size}, nil
}

func (c *Client) tooLarge() *Error {
	return &Error{Kind: TooLarge, Detail: humanize.IBytes(uint64(c.opts.MaxSize))}
}

var (
	errTimedOut = errors.New("timed out")
	errStalled  = errors.New("stalled")
)

// watch ends a download that takes too long, in all or for its next byte.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	total  *time.Timer
	next   *time.Timer
	opts   *Options
}

// watch returns a context that ends when one of the limits is reached, and
// what reaches them. Waiting for the first byte starts at once.
func (c *Client) watch(ctx context.Context) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watch{
		ctx:    ctx,
		cancel: cancel,
		total:  time.AfterFunc(c.opts.Timeout, func() { cancel(errTimedOut) }),
		next:   time.AfterFunc(c.opts.StallTimeout, func() { cancel(errStalled) }),
		opts:   &c.opts,
	}
}

// blame returns what ended the download, which is err unless the watch or the
// caller did.
func (w *watch) blame(err error) error {
	switch cause := context.Cause(w.ctx); cause {
	case nil:
		return err
	case errTimedOut:
		return &Error{Kind: TimedOut, Detail: w.opts.Timeout.String(), Err: err}
	case errStalled:
		return &Error{Kind: Stalled, Detail: w.opts.StallTimeout.String(), Err: err}
	default:
		return &Error{Kind: Cancelled, Err: cause}
	}
}

func (w *watch) stop() {
	w.total.Stop()
	w.next.Stop()
	w.cancel(nil)
}

// body reads a response's body under watch, to exactly the length that was
// promised.
type body struct {
	resp  *http.Response
	watch *watch
	n     int64
}

func (b *body) Read(p []byte) (int, error) {
	b.watch.next.Reset(b.watch.opts.StallTimeout)
	n, err := b.resp.Body.Read(p)
	b.watch.next.Stop() // a slow disk is not the origin's fault
	b.n += int64(n)
	if err == io.EOF && b.resp.ContentLength >= 0 && b.n != b.resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = b.watch.blame(&Error{Kind: Incomplete, Detail: b.resp.Request.URL.Hostname(), Err: err})
	}
	return n, err
}
