package caddymodule

import (
	"context"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// maxWaiting is how many calls of one connection wait at a time for what takes
// a while. Together they may be as large as one message.
const maxWaiting = 256

var (
	errCrowded = meta.BadRequest("too many calls of this connection are waiting; try again later",
		"此连接上等待中的调用过多，请稍后再试")
	errEventsOnly = meta.BadRequest("this connection is for events only; calls go to the route itself or to /api below it",
		"此连接仅用于推送事件，请连接路由本身或其下的 /api 调用 API")
)

func errMessageTooLarge(limit int64) *meta.Error {
	size := humanize.IBytes(uint64(limit))
	return meta.BadRequest("the message is larger than "+size, "消息超过 "+size)
}

// calls are the calls that come by one WebSocket connection. They are answered
// independently of each other, each as soon as its reply is there.
type calls struct {
	handler *Handler
	ctx     context.Context     // ends with the connection
	fileURL func(string) string // of [meta.Call]
	ask     meta.Ask            // of [meta.Call]
	refuse  *meta.Error         // fails every call, if it is not nil

	mu      sync.Mutex
	waiting int
	size    int64         // of the messages that the waiting calls came in
	idle    chan struct{} // closed when no call waits, if anybody wants to know
}

// newCalls returns the calls of the connection that r has opened. Who waits for
// a reply gives up when ctx ends. It asks the implementation behind by ask,
// which is nil if there is none.
func (h *Handler) newCalls(ctx context.Context, r *http.Request, ask meta.Ask) *calls {
	return &calls{handler: h, ctx: ctx, ask: ask, fileURL: h.fileURLs(r)}
}

// take carries out the call in a message, which it does not keep, or, if that
// is nil because it was too large, fails the call that has the echo. The reply
// goes to send, before take returns or later; send reports whether it was
// delivered.
func (c *calls) take(message, echo []byte, send func(reply []byte) (delivered bool)) {
	c.handler.shared.counters.PacketsReceived.Add(1)
	start := time.Now()
	action, reply, pending := c.begin(message, echo)
	deliver := func(reply *meta.Reply) {
		c.handler.measureCall(action, reply.Retcode, start)
		c.handler.shared.counters.Settle(send(reply.JSON()))
	}
	if pending == nil {
		deliver(reply)
		return
	}
	size := int64(len(message)) // and not message itself, which would be kept
	// a goroutine of its own is small as long as it waits, see beginApart
	go func() {
		defer c.leave(size)
		pending.Wait(c.ctx)
		deliver(pending.Reply(c.ctx))
	}()
}

// begin begins to carry out a call, of action. It returns the reply, or what
// there is to wait for, and then leave must be called.
func (c *calls) begin(message, echo []byte) (action string, reply *meta.Reply, pending *meta.Pending) {
	if message == nil {
		if !utf8.Valid(echo) {
			echo = nil // a reply is text
		}
		return "", meta.Failure(errMessageTooLarge(c.handler.MaxBody), echo), nil
	}
	envelope, err := meta.ParseObject(message)
	if err != nil {
		return "", meta.Failure(err, nil), nil
	}
	call, err := meta.EnvelopeCall(envelope)
	size := int64(len(message))
	switch {
	case c.refuse != nil:
		return call.Action, meta.Failure(c.refuse, call.Echo), nil
	case err != nil:
		return call.Action, meta.Failure(err, call.Echo), nil
	case !c.enter(size):
		return call.Action, meta.Failure(errCrowded, call.Echo), nil
	}
	call.FileURL, call.Ask = c.fileURL, c.ask
	pending = c.handler.dispatcher.Start(c.ctx, call)
	select {
	case <-pending.Done():
		c.leave(size)
		return call.Action, pending.Reply(c.ctx), nil
	default:
		return call.Action, nil, pending
	}
}

// enter reports whether one more call may wait that came in a message of size
// bytes.
func (c *calls) enter(size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == maxWaiting || c.waiting > 0 && c.size+size > c.handler.MaxBody {
		return false
	}
	c.waiting++
	c.size += size
	return true
}

func (c *calls) leave(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	c.size -= size
	if c.waiting == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// drained returns a channel that is closed when no call waits. No call may be
// taken any more.
func (c *calls) drained() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.idle
	if idle == nil {
		idle = make(chan struct{})
		if c.waiting > 0 {
			c.idle = idle
		} else {
			close(idle)
		}
	}
	return idle
}

// drain waits until no call waits, or patience or the connection has ended, or
// hurry is closed. No call may be taken any more.
func (c *calls) drain(patience time.Duration, hurry <-chan struct{}) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.drained():
	case <-timer.C:
	case <-hurry:
	case <-c.ctx.Done():
	}
}
