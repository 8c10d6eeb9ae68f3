package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// ServeHTTP answers what is below the route and passes the rest on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	action, ours := h.match(r.URL.Path)
	if !ours {
		return next.ServeHTTP(w, r)
	}
	if why, ok := h.tokens.authorize(r); !ok {
		h.measureCall(action, why.failure.Retcode, time.Now())
		h.refuse(w, r, why)
		return nil
	}
	h.serving()
	if name, ok := h.servedName(r.URL.Path); ok {
		h.serveFile(w, r, name)
		return nil
	}
	switch {
	case h.PassThru && asksForWebSocket(r) && mayUpgrade(r):
		return h.relay(w, r, next)
	case h.PassThru:
		return h.answerOrPass(w, r, next, action)
	case asksForWebSocket(r) && isEndpoint(action):
		h.serveWebSocket(w, r, action)
	default:
		h.answerHere(w, r, action, behind{})
	}
	return nil
}

// match returns what a path says behind the route, and whether it is below the
// route at all. Slashes around an action do not matter.
func (h *Handler) match(path string) (action string, ours bool) {
	rest, ok := strings.CutPrefix(path, h.route)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return strings.Trim(rest, "/"), true
}

// behind is what a call has to do with the implementation behind, if there is
// one: the action by which it was found to be none of its own, and how to ask it.
type behind struct {
	action string
	ask    meta.Ask
}

// answerHere carries out the call that r makes of action, or of what its body
// names if that is empty.
func (h *Handler) answerHere(w http.ResponseWriter, r *http.Request, action string, b behind) {
	counters := h.shared.counters
	counters.PacketsReceived.Add(1)
	status, reply := h.answer(w, r, action, b)
	counters.Settle(deliver(w, r, status, reply))
}

// answer returns the HTTP status and the reply, for which it has waited.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, action string, b behind) (status int, reply *meta.Reply) {
	start := time.Now()
	var pending *meta.Pending
	var refused *refusedCall
	if b.ask == nil && h.dispatcher.Instant(action) {
		pending, refused = h.begin(w, r, action, b)
	} else {
		pending, refused = h.beginApart(w, r, action, b)
	}
	if refused != nil {
		h.measureCall(refused.action, refused.why.failure.Retcode, start)
		return h.prepareRefusal(w, r, refused.why, refused.echo)
	}
	pending.Wait(r.Context())
	reply = pending.Reply(r.Context())
	h.measureCall(pending.Action(), reply.Retcode, start)
	return http.StatusOK, reply
}

// refusedCall is a call that is not carried out.
type refusedCall struct {
	action string
	echo   json.RawMessage
	why    refusal
}

// begin begins to carry out the call that r makes, unless it is refused. It is
// read even then, for its echo.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, action string, b behind) (*meta.Pending, *refusedCall) {
	call, err := h.readCall(w, r, action)
	call.Action, call.Ask, call.FileURL = cmp.Or(b.action, call.Action), b.ask, h.fileURLs(r)
	if err := h.check(r, call, err); err != nil {
		return nil, &refusedCall{call.Action, call.Echo, asRefusal(err)}
	}
	return h.dispatcher.Start(r.Context(), call), nil
}

// check returns why a call is refused that was read with err.
func (h *Handler) check(r *http.Request, call *meta.Call, err error) error {
	unread := call.Action == "" && err != nil // it might have named one
	switch {
	case !h.dispatcher.Knows(call.Action) && !unread:
		return refusal{status: http.StatusNotFound, failure: meta.UnknownAction(call.Action)}
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return errMethod
	}
	return err
}

// beginApart is begin for a call that may wait, in a goroutine of its own. A
// goroutine keeps the largest stack that it ever needed: without this, each of
// many calls that wait for a download would hold 8 KiB more, as
// BenchmarkWaitingCalls shows. It costs a few microseconds, so what never waits
// does without.
func (h *Handler) beginApart(w http.ResponseWriter, r *http.Request, action string, b behind) (*meta.Pending, *refusedCall) {
	type result struct {
		pending  *meta.Pending
		refused  *refusedCall
		panicked any
	}
	results := make(chan result, 1)
	go func() {
		var got result
		defer func() {
			got.panicked = recover()
			if got.panicked != nil && got.panicked != http.ErrAbortHandler {
				got.panicked = fmt.Sprintf("%v\n%s", got.panicked, debug.Stack())
			}
			results <- got
		}()
		got.pending, got.refused = h.begin(w, r, action, b)
	}()
	got := <-results
	if got.panicked != nil {
		panic(got.panicked) // as if it had happened here: the server catches it
	}
	return got.pending, got.refused
}

// refuse answers a request that is no call, or not let in.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, why refusal) {
	status, reply := h.prepareRefusal(w, r, why, nil)
	deliver(w, r, status, reply)
}

// prepareRefusal logs a refusal, sets the headers that belong to it, and returns
// the HTTP status and the reply.
func (h *Handler) prepareRefusal(w http.ResponseWriter, r *http.Request, why refusal, echo json.RawMessage) (status int, reply *meta.Reply) {
	message := "refused call"
	if why == errUnauthorized || why == errForbidden {
		message = "refused token" // sampled apart, so that one does not hide the other
	}
	h.refusals().Warn(message,
		zap.Int("status", why.status),
		zap.String("reason", why.failure.Message),
		clientIP(r))
	switch why.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", why.allow)
	}
	return why.status, meta.Failure(why.failure, echo)
}

// clientIP is the field of a log line that says who sent r.
func clientIP(r *http.Request) zap.Field {
	return zap.Any("client_ip", caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey))
}

// bodies are the buffers of replies, as far as they are small.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

const maxPooled = 16 << 10

// deliver sends a reply. It reports false if nobody is there to take it.
func deliver(w http.ResponseWriter, r *http.Request, status int, reply *meta.Reply) bool {
	buf := bodies.Get().(*[]byte)
	defer bodies.Put(buf)
	body := reply.AppendJSON((*buf)[:0])
	if cap(body) <= maxPooled {
		*buf = body
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err == nil && r.Context().Err() == nil
}
