package caddymodule

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// refusal is a call that HTTP itself refuses: its status and its envelope.
type refusal struct {
	status  int
	failure *meta.Error
	allow   string // the methods that are allowed, with status 405
}

func (r refusal) Error() string { return r.failure.Message }

var (
	errUnauthorized = refusal{status: http.StatusUnauthorized, failure: meta.ErrUnauthorized}
	errForbidden    = refusal{status: http.StatusForbidden, failure: meta.ErrForbidden}
	errMethod       = refusal{status: http.StatusMethodNotAllowed, failure: meta.BadRequest(
		"the method must be GET or POST", "请求方法必须是 GET 或 POST"), allow: "GET, POST"}
	errContentType = refusal{status: http.StatusNotAcceptable, failure: meta.BadRequest(
		"the Content-Type must be application/json or application/x-www-form-urlencoded",
		"Content-Type 必须是 application/json 或 application/x-www-form-urlencoded")}
	errBroken = refusal{status: http.StatusBadRequest, failure: meta.BadRequest(
		"the body broke off", "请求体不完整")}
)

func errTooLarge(limit int64) refusal {
	size := humanize.IBytes(uint64(limit))
	return refusal{status: http.StatusRequestEntityTooLarge, failure: meta.BadRequest(
		"the body is larger than "+size, "请求体超过 "+size)}
}

// asRefusal returns err as a refusal: what is not one yet is a body or a query
// that does not parse.
func asRefusal(err error) refusal {
	if r, ok := errors.AsType[refusal](err); ok {
		return r
	}
	if e, ok := errors.AsType[*meta.Error](err); ok {
		return refusal{status: http.StatusBadRequest, failure: e}
	}
	return errBroken
}

// readCall reads the call that r makes of action, or of the action that its
// body names if action is empty. If it returns an error, the call still has
// what could be read.
func (h *Handler) readCall(w http.ResponseWriter, r *http.Request, action string) (*meta.Call, error) {
	if action != "" && r.URL.RawQuery == "" && r.ContentLength == 0 {
		return &meta.Call{Action: action}, nil
	}
	return h.readSent(w, r, action)
}

// readSent is readCall for a request that says more than the action. It is apart
// because it takes much more stack, which has to grow for it.
func (h *Handler) readSent(w http.ResponseWriter, r *http.Request, action string) (*meta.Call, error) {
	var params meta.Params
	if r.URL.RawQuery != "" {
		var err error
		if params, err = meta.ParseForm(r.URL.RawQuery); err != nil {
			return &meta.Call{Action: action}, err
		}
		delete(params, "access_token")
	}
	sent, err := h.readBody(w, r)
	if len(params) == 0 && sent != nil {
		params = sent
	} else {
		maps.Copy(params, sent)
	}
	if action != "" {
		return meta.ParamsCall(action, params), err
	}
	call, envelopeErr := meta.EnvelopeCall(params)
	return call, errors.Join(err, envelopeErr)
}

// readBody reads the parameters in a request's body. An empty one has none,
// whatever its type.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) (meta.Params, error) {
	switch {
	case r.ContentLength == 0:
		return nil, nil
	case r.ContentLength > h.MaxBody:
		return nil, errTooLarge(h.MaxBody)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge(h.MaxBody)
	}
	if err != nil {
		return nil, errBroken
	}
	if len(body) == 0 {
		return nil, nil
	}
	switch mediaType(r) {
	case "", typeJSON:
		return meta.ParseObject(body)
	case typeForm:
		return meta.ParseForm(string(body))
	}
	return nil, errContentType
}

const (
	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
)

// mediaType returns the type of a request's body, in lower case and without its
// parameters, which many clients get wrong.
func mediaType(r *http.Request) string {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}
