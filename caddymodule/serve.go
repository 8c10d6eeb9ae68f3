package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
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
		h.refuse(w, r, why, nil)
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
	h.shared.counters.PacketsReceived.Add(1)
	h.shared.counters.Settle(h.answer(w, r, action, b))
}

// answer reports whether the reply was delivered.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, action string, b behind) (delivered bool) {
	start := time.Now()
	call := h.beginSmall(w, r, action, b)
	if call.err != nil {
		why := asRefusal(call.err)
		h.measureCall(call.action, why.failure.Retcode, start)
		return h.refuse(w, r, why, call.echo)
	}
	select {
	case <-call.pending.Done():
	case <-r.Context().Done():
	}
	reply := call.pending.Reply(r.Context())
	h.measureCall(call.action, reply.Retcode, start)
	return deliver(w, r, http.StatusOK, reply)
}

// begun is a call that is being carried out, or why it is not.
type begun struct {
	action  string
	pending *meta.Pending
	echo    json.RawMessage
	err     error
}

// begin begins to carry out the call that r makes. It is read even if it will
// be refused, for its echo.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, action string, b behind) begun {
	call, err := h.readCall(w, r, action)
	call.Action, call.Ask, call.FileURL = cmp.Or(b.action, call.Action), b.ask, h.fileURLs(r)
	unread := call.Action == "" && err != nil // it might have named one
	switch {
	case !h.dispatcher.Knows(call.Action) && !unread:
		err = refusal{status: http.StatusNotFound, failure: meta.UnknownAction(call.Action)}
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		err = errMethod
	}
	if err != nil {
		return begun{action: call.Action, echo: call.Echo, err: err}
	}
	return begun{action: call.Action, pending: h.dispatcher.Start(r.Context(), call)}
}

// beginSmall is begin for a call that may wait, in a goroutine of its own. A
// goroutine keeps the largest stack that it ever needed: without this, each of
// many calls that wait for a download would hold 8 KiB more, as
// BenchmarkWaitingCalls shows. It costs a few microseconds, so what never waits
// does without.
func (h *Handler) beginSmall(w http.ResponseWriter, r *http.Request, action string, b behind) begun {
	if b.ask == nil && h.dispatcher.Instant(action) {
		return h.begin(w, r, action, b)
	}
	type result struct {
		call     begun
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
		got.call = h.begin(w, r, action, b)
	}()
	got := <-results
	if got.panicked != nil {
		panic(got.panicked) // as if it had happened here: the server catches it
	}
	return got.call
}

// refuse answers a call that is not carried out.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, why refusal, echo json.RawMessage) (delivered bool) {
	message := "refused call"
	if why == errUnauthorized || why == errForbidden {
		message = "refused token" // sampled apart, so that one does not hide the other
	}
	h.refusals.Warn(message,
		zap.Int("status", why.status),
		zap.String("reason", why.failure.Message),
		clientIP(r))
	switch why.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", why.allow)
	}
	return deliver(w, r, why.status, meta.Failure(why.failure, echo))
}

// clientIP is the field of a log line that says who sent r.
func clientIP(r *http.Request) zap.Field {
	return zap.Any("client_ip", caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey))
}

// deliver sends a reply. It reports false if nobody is there to take it.
func deliver(w http.ResponseWriter, r *http.Request, status int, reply meta.Reply) bool {
	body := reply.JSON()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err == nil && r.Context().Err() == nil
}
