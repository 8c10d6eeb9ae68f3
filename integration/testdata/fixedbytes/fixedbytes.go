// Package fixedbytes is a Caddy module for the benchmarks: a handler that does
// nothing but write the same bytes. No handler can be much faster.
package fixedbytes

import (
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("fixed_bytes", parse)
	httpcaddyfile.RegisterDirectiveOrder("fixed_bytes", httpcaddyfile.Before, "respond")
}

// Handler answers every request with Body.
type Handler struct {
	Body string `json:"body,omitempty"`

	body   []byte
	length string
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.fixed_bytes",
		New: func() caddy.Module { return new(Handler) },
	}
}

func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	h.Next()
	if !h.AllArgs(&handler.Body) {
		return nil, h.ArgErr()
	}
	return handler, nil
}

// Provision prepares what is written.
func (h *Handler) Provision(caddy.Context) error {
	h.body, h.length = []byte(h.Body), strconv.Itoa(len(h.Body))
	return nil
}

// ServeHTTP writes it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", h.length)
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(h.body)
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
