package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// edition is what a URL stands for at some time.
type edition struct {
	body    string
	etag    string
	header  []string // names and values
	chunked bool     // the length of the whole is not told before
}

// offer answers as a good server does: with the part that is asked for, if
// there is a condition and it holds.
func (e edition) offer(w http.ResponseWriter, r *http.Request) {
	for i := 0; i < len(e.header); i += 2 {
		w.Header().Add(e.header[i], e.header[i+1])
	}
	if e.etag != "" {
		w.Header().Set("ETag", e.etag)
	}
	if e.chunked && r.Header.Get("Range") == "" {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, e.body)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(e.body))
}

// whole is offer without Range.
func (e edition) whole(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	e.offer(w, r)
}

// steps answers the first request with the first handler and so on, and with
// the last one when the others are used up.
func steps(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		handlers[min(int(n.Add(1)), len(handlers))-1](w, r)
	}
}

// cut lets a handler send n bytes of a body and closes the connection then.
func cut(n int, answer http.HandlerFunc) http.HandlerFunc {
	return interrupt(n, answer, func(w http.ResponseWriter, r *http.Request) bool { return hangUp(w, false) })
}

// reset is cut for a connection that is reset.
func reset(n int, answer http.HandlerFunc) http.HandlerFunc {
	return interrupt(n, answer, func(w http.ResponseWriter, r *http.Request) bool { return hangUp(w, true) })
}

// abort is reset for any protocol: of HTTP/2 it resets the stream alone.
func abort(n int, answer http.HandlerFunc) http.HandlerFunc {
	return interrupt(n, answer, func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
}

// stuck lets a handler send n bytes of a body and nothing after that.
func stuck(n int, answer http.HandlerFunc) http.HandlerFunc {
	return interrupt(n, answer, func(w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return false
	})
}

// gate holds handlers back until it is opened.
type gate struct {
	passed chan struct{} // receives a value for each handler that comes to it
	closed chan struct{}
	open   func()
}

func newGate() *gate {
	g := &gate{passed: make(chan struct{}, 10_000), closed: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.closed) })
	return g
}

// after lets a handler send n bytes of a body, and the rest when the gate is
// open.
func (g *gate) after(n int, answer http.HandlerFunc) http.HandlerFunc {
	return interrupt(n, answer, func(w http.ResponseWriter, r *http.Request) bool {
		g.passed <- struct{}{}
		select {
		case <-g.closed:
			return true
		case <-r.Context().Done():
			return false
		}
	})
}

// interrupt calls then when a handler has sent n bytes of a body, and lets it
// go on if then returns true.
func interrupt(n int, answer http.HandlerFunc, then func(http.ResponseWriter, *http.Request) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(&interrupted{ResponseWriter: w, left: n, then: func() bool { return then(w, r) }}, r)
	}
}

type interrupted struct {
	http.ResponseWriter
	left int
	then func() bool // nil when it was called
}

func (i *interrupted) Unwrap() http.ResponseWriter { return i.ResponseWriter }

func (i *interrupted) Write(p []byte) (int, error) {
	if i.then == nil {
		return i.ResponseWriter.Write(p)
	}
	n, err := i.ResponseWriter.Write(p[:min(len(p), i.left)])
	if i.left -= n; i.left > 0 || err != nil {
		return n, err
	}
	_ = http.NewResponseController(i.ResponseWriter).Flush()
	if !i.then() {
		return n, net.ErrClosed
	}
	i.then = nil
	rest, err := i.ResponseWriter.Write(p[n:])
	return n + rest, err
}

// hangUp closes the connection of an answer, at once if it is reset.
func hangUp(w http.ResponseWriter, reset bool) (goOn bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
	return false
}

// part answers with a status, header lines and a body that need not fit
// together.
func part(status, header, body string) http.HandlerFunc {
	return raw(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), header, body), false)
}

// with is a handler that sets headers, given as names and values, before
// another one answers.
func with(answer http.HandlerFunc, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		answer(w, r)
	}
}

// letters is filler with other bytes throughout.
func letters(n int) string {
	return strings.Map(func(r rune) rune { return r - '0' + 'a' }, strings.ReplaceAll(filler(n), " ", ":"))
}

// asked returns the requests for a path, in their order.
func (o *origin) asked(path string) []*http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	var requests []*http.Request
	for _, r := range o.requests {
		if r.URL.Path == path {
			requests = append(requests, r)
		}
	}
	return requests
}

// fault is a way in which a download fails however often it is tried.
type fault struct {
	answer  http.HandlerFunc
	retried bool // it is worth another try
}

// faults returns what goes wrong with an origin. The handler needs a max_size
// of 100 kB and a short stall_timeout.
func (o *origin) faults() map[string]fault {
	e := edition{body: filler(50_000), etag: `"v1"`}
	chunks := edition{body: e.body, chunked: true}
	all := map[string]fault{
		"no answer":               {raw("", false), true},
		"a reset for an answer":   {raw("", true), true},
		"half a head":             {raw("HTTP/1.1 200 OK\r\nContent-Le", false), true},
		"cut in the body":         {cut(20_000, edition{body: e.body}.offer), true},
		"reset in the body":       {reset(20_000, edition{body: e.body}.offer), true},
		"cut in a chunk":          {cut(20_000, chunks.offer), true},
		"chunks without an end":   {cut(len(e.body), chunks.offer), true},
		"no byte is ever new":     {cut(0, e.offer), true},
		"a stall before the head": {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true},
		"a stall in the body":     {stuck(20_000, edition{body: e.body}.offer), true},
		"too large":               {content(filler(100_001)), false},
		"too large in the end":    {chunked(filler(100_001)), false},
		"no HTTP":                 {raw("SSH-2.0-OpenSSH\r\n\r\n", false), true},
		"a redirect to no URL":    {redirect(302, "ftp://127.0.0.1/"), false},
		"a redirect in circles":   {redirect(302, "?again"), false},
	}
	for _, code := range []int{408, 429, 500, 502, 503, 504} {
		all[fmt.Sprintf("status %d", code)] = fault{status(code), true}
	}
	for _, code := range []int{400, 401, 403, 404, 410, 416, 451, 501, 505, 599} {
		all[fmt.Sprintf("status %d", code)] = fault{status(code), false}
	}
	return all
}
