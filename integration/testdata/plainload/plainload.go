// Package plainload is a Caddy module for the benchmarks: a handler that does
// nothing but Load a value from the configured storage. What it takes is what a
// file from the storage is compared with.
package plainload

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("plain_load", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Handler), nil
	})
}

// Handler answers a request that has the keys of values as `key` in its query. A
// PUT stores the body at each of them, any other method loads them, one after
// the other. The answer is like that of an action, with the number of bytes in
// place of a file.
type Handler struct {
	storage storage
}

type storage interface {
	Store(ctx context.Context, key string, value []byte) error
	Load(ctx context.Context, key string) ([]byte, error)
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.plain_load",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision takes the global storage.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.storage = ctx.Storage()
	return nil
}

// ServeHTTP stores or loads.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	size := 0
	for _, key := range r.URL.Query()["key"] {
		value := body
		if r.Method == http.MethodPut {
			err = h.storage.Store(r.Context(), key, body)
		} else {
			value, err = h.storage.Load(r.Context(), key)
		}
		if err != nil {
			return caddyhttp.Error(http.StatusInternalServerError, err)
		}
		size += len(value)
	}
	_, err = fmt.Fprintf(w, `{"status":"ok","data":{"file":"%d"}}`, size)
	return err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
