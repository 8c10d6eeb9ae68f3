package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// maxAnswer is the largest answer that is taken from the implementation.
const maxAnswer = 1 << 20

var (
	errAnswerTooLarge = errors.New("the answer is too large")
	errNoAnswer       = errors.New("no answer of an implementation")
)

// asker returns what asks the implementation that the next handlers reach, as
// if the caller of r did: with its headers, and so with its token.
func (h *Handler) asker(r *http.Request, next caddyhttp.Handler) meta.Ask {
	return func(action string) func(context.Context) ([]byte, error) {
		req := h.question(r, action)
		return func(ctx context.Context) ([]byte, error) {
			envelope, err := ask(ctx, req, next)
			if err != nil {
				if c := h.logger.Check(zap.DebugLevel, "backend gave no answer"); c != nil {
					c.Write(zap.String("action", action), zap.Error(err))
				}
			}
			return envelope, err
		}
	}
}

// ask gives a request to the next handlers and returns what they answer, for as
// long as ctx lasts.
func ask(ctx context.Context, req *http.Request, next caddyhttp.Handler) (envelope []byte, err error) {
	values, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	defer func() {
		if reason := recover(); reason != nil { // reverse_proxy does when an answer breaks off
			err = fmt.Errorf("it broke off: %v", reason)
		}
	}()
	var to answer
	if err := next.ServeHTTP(&to, req.WithContext(values)); err != nil {
		return nil, err
	}
	switch status := to.status; {
	case status == http.StatusOK:
		return to.body.Bytes(), ctx.Err()
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		err = meta.ErrCallerRefused
	case status >= 400 && status < 500 || status == http.StatusNotImplemented:
		err = meta.ErrNotSpoken
	default:
		err = errNoAnswer
	}
	return nil, fmt.Errorf("status %d: %w", to.status, err)
}

// question returns a request that calls an action, on behalf of the caller of r
// but apart from r, which may be over when it is made.
func (h *Handler) question(r *http.Request, action string) *http.Request {
	path := h.route + "/" + action
	query := ""
	if token := r.URL.Query().Get("access_token"); token != "" {
		query = url.Values{"access_token": {token}}.Encode()
	}
	req := r.Clone(context.WithoutCancel(r.Context()))
	req.Method = http.MethodPost
	req.URL = &url.URL{Path: path, RawQuery: query}
	req.RequestURI = req.URL.RequestURI()
	req.Trailer, req.TransferEncoding = nil, nil
	for name := range req.Header {
		if ofOneRequest(name) {
			delete(req.Header, name)
		}
	}
	const noParams = "{}"
	req.Header.Set("Content-Type", typeJSON)
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(noParams)), int64(len(noParams))

	// As far as the handlers before this one have come with r: variables,
	// placeholders, and which of the handle blocks were entered.
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	repl := caddy.NewReplacer()
	req = caddyhttp.PrepareRequest(req, repl, new(answer), server)
	copyInto[any](req, r, caddyhttp.VarsCtxKey)
	copyInto[struct{}](req, r, caddy.CtxKey("route_group"))
	if theirs, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(theirs.Get)
	}
	return req
}

// copyInto copies what the map has that is in the context of from to the one in
// the context of to.
func copyInto[V any](to, from *http.Request, key caddy.CtxKey) {
	dst, _ := to.Context().Value(key).(map[string]V)
	src, _ := from.Context().Value(key).(map[string]V)
	if dst != nil {
		maps.Copy(dst, src)
	}
}

// ofOneRequest reports whether a header belongs to the body or the connection of
// the request that has it, or makes its answer depend on what the client has.
func ofOneRequest(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "connection", "upgrade", "te", "trailer", "transfer-encoding", "expect", "range", "x-signature", ":protocol", "accept-encoding":
		return true
	}
	return strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "if-") || strings.HasPrefix(name, "sec-websocket-")
}

// answer takes an answer to a request of ours.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

func (a *answer) WriteHeader(status int) {
	if a.status < http.StatusOK { // none yet, or one that announces another
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > maxAnswer {
		return 0, errAnswerTooLarge
	}
	return a.body.Write(p)
}

// Interface guards
var _ http.ResponseWriter = (*answer)(nil)
