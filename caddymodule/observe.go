package caddymodule

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

const (
	// maxResponse is how much is looked at of a response: the envelope of
	// send_msg takes a hundred bytes.
	maxResponse = 64 << 10

	// maxUnread is the largest event that is looked at although the next
	// handlers did not read it, since they reach nobody.
	maxUnread = 64 << 10

	// statusClientGone is what reverse_proxy writes for a client that left.
	statusClientGone = 499
)

// answerOrPass answers the call that r makes of action if it is one of ours,
// and else hands r on.
func (h *Handler) answerOrPass(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, action string) error {
	body := h.watchBody(r)
	named := action
	if named == "" {
		named = cmp.Or(body.action(h.MaxBody), r.URL.Query().Get("action"))
	}
	if h.dispatcher.Knows(named) {
		h.answerHere(w, r, action, behind{named, h.asker(r, next)})
		return nil
	}
	return h.pass(w, r, next, named, body)
}

// pass hands a request on that calls action or posts an event, and watches it
// on its way. Not a byte of it is changed or held up.
func (h *Handler) pass(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, action string, body *watchedBody) error {
	counters := h.shared.counters
	counters.PacketsReceived.Add(1)
	response := &watchedWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		client:                r.Context(),
		keep:                  meta.SendsMessage(action),
	}
	delivered := false
	defer func() { // also if reverse_proxy aborts, which it does by a panic
		if response.accepted() {
			counters.MessagesSent.Add(1)
		}
		counters.Settle(delivered)
	}()
	err := next.ServeHTTP(response, r)
	if err != nil {
		body.readUnread(r.ContentLength)
	}
	delivered = err == nil && response.delivered()
	return err
}

// watchedBody is the body of a request that may be an event or a call. Its
// methods do nothing if it is nil.
type watchedBody struct {
	io.ReadCloser
	form bool // urlencoded, and else JSON

	head  []byte // was read ahead and is still to be read
	ahead error  // what ended that

	mu    sync.Mutex // the transport may still read when the handlers behind have returned
	begun bool
	scan  packet.Scanner
	heard func(*packet.Packet) // is told of an event once it is whole, and then nil
}

// watchBody returns the body of r, which it has watched from now on, or nil if
// it can be neither an event nor a call.
func (h *Handler) watchBody(r *http.Request) *watchedBody {
	kind := mediaType(r)
	form := kind == typeForm
	if r.Method != http.MethodPost || r.ContentLength == 0 || kind != "" && kind != typeJSON && !form {
		return nil
	}
	body := &watchedBody{ReadCloser: r.Body, form: form}
	body.heard = func(event *packet.Packet) { h.shared.backend.Heard(event, r.Header.Get("X-Self-ID") != "") }
	r.Body = body
	return body
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(p, b.head)
		if b.head = b.head[n:]; len(b.head) == 0 {
			b.head = nil // which would be kept as long as the call waits
		}
		return n, nil
	}
	if b.ahead != nil {
		return 0, b.ahead
	}
	return b.read(p)
}

func (b *watchedBody) read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	if b.form {
		return n, err
	}
	_, _ = b.scan.Write(p[:n]) // never fails
	if b.heard != nil && b.scan.Whole() {
		if event := b.scan.Packet(); event.Kind() == packet.Event {
			b.heard(event)
		}
		b.heard = nil
	}
	return n, err
}

// readAhead reads on, until enough says so or limit bytes are there, and
// returns what there is. It is all there for who reads the body next.
func (b *watchedBody) readAhead(limit int64, enough func() bool) []byte {
	var head bytes.Buffer
	piece := make([]byte, 4<<10)
	for b.ahead == nil && int64(head.Len()) < limit && !enough() {
		var n int
		n, b.ahead = b.read(piece[:min(int64(len(piece)), limit-int64(head.Len()))])
		head.Write(piece[:n])
	}
	b.head = head.Bytes()
	return b.head
}

// action returns the action that the body names, and reads no more of it than
// that takes.
func (b *watchedBody) action(limit int64) string {
	if b == nil {
		return ""
	}
	head := b.readAhead(limit, b.scan.Decided)
	if !b.form {
		if p := b.scan.Packet(); p.Kind() == packet.Call {
			return p.Action
		}
		return ""
	}
	params, err := meta.ParseForm(string(head))
	if err != nil {
		return ""
	}
	call, _ := meta.EnvelopeCall(params) // has the action whatever the params are
	return call.Action
}

// readUnread looks at an event of some length that nobody behind has read.
func (b *watchedBody) readUnread(length int64) {
	if b != nil && !b.begun && 0 < length && length <= maxUnread {
		b.readAhead(length, func() bool { return false })
	}
}

// watchedWriter looks at the response to a request that was handed on.
type watchedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	client context.Context // ends when the client has gone
	keep   bool            // the head of the body
	head   []byte
	status int
	lost   bool // when something was written last, the client was gone
}

func (w *watchedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriterWrapper.WriteHeader(status)
	w.wrote(nil)
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	if w.keep {
		w.head = append(w.head, p[:min(len(p), maxResponse-len(w.head))]...)
	}
	n, err := w.ResponseWriterWrapper.Write(p)
	w.wrote(err)
	return n, err
}

// ReadFrom goes past Write only if there is nothing to see.
func (w *watchedWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.keep {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	n, err := w.ResponseWriterWrapper.ReadFrom(r)
	w.wrote(err)
	return n, err
}

func (w *watchedWriter) wrote(err error) { w.lost = err != nil || w.client.Err() != nil }

// delivered reports whether there was a response, and somebody to take it.
func (w *watchedWriter) delivered() bool {
	if w.status == 0 && w.client.Err() != nil {
		return false
	}
	return !w.lost && w.status != statusClientGone
}

// accepted reports whether the response says that the call was accepted.
func (w *watchedWriter) accepted() bool {
	if !w.keep {
		return false
	}
	head := io.Reader(bytes.NewReader(w.head))
	if w.Header().Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(head)
		if err != nil {
			return false
		}
		head = io.LimitReader(unzipped, maxResponse)
	}
	var scan packet.Scanner
	_, _ = io.Copy(&scan, head) // as far as it goes
	return scan.Whole() && meta.Accepted(scan.Packet())
}

// Interface guards
var (
	_ io.ReadCloser       = (*watchedBody)(nil)
	_ http.ResponseWriter = (*watchedWriter)(nil)
	_ io.ReaderFrom       = (*watchedWriter)(nil)
)
