package caddymodule

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// discard is a response that goes nowhere, and costs nothing by itself.
type discard struct{ header http.Header }

func (d discard) Header() http.Header             { return d.header }
func (discard) WriteHeader(int)                   {}
func (discard) Write(b []byte) (n int, err error) { return len(b), nil }

// body is a request's body that can be sent again.
type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// BenchmarkServeHTTP answers calls without a network. See BenchmarkCalls in
// integration/ for whole requests.
func BenchmarkServeHTTP(b *testing.B) {
	h := provision(b, nil)
	h.dispatcher = meta.NewDispatcher(meta.Options{Counters: h.shared.counters, Logger: zap.NewNop()})
	for _, call := range []struct{ name, method, path, body string }{
		{"GET get_status", "GET", "/get_status", ""},
		{"GET get_version_info", "GET", "/get_version_info", ""},
		{"POST get_status", "POST", "/get_status", `{"echo":"17"}`},
		{"POST to the route", "POST", "/", `{"action":"get_status","params":{},"echo":"17"}`},
		{"GET with a query", "GET", "/get_status?echo=17", ""},
	} {
		b.Run(call.name, func(b *testing.B) {
			serve := server(h, call.method, call.path, call.body)
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}

// server returns what has a call answered once more.
func server(h *Handler, method, path, content string) (serve func()) {
	var sent io.ReadCloser = http.NoBody
	again := new(body)
	if content != "" {
		sent = again
	}
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(content))
	w := discard{make(http.Header)}
	return func() {
		again.Reset([]byte(content))
		r.Body = sent
		clear(w.header)
		_ = h.ServeHTTP(w, r, next)
	}
}
