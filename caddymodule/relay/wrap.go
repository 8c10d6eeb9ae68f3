package relay

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Wrap returns what to give to the handlers behind instead of w and r; r is
// left as it is. It stands in a connection that is opened as reverse_proxy does,
// with WriteHeader and then Hijack, or CONNECT and the body of the response. One
// that is taken without a WriteHeader is left alone.
func (rl *Relay) Wrap(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
	rl.request = r.Context()
	clone := r.WithContext(r.Context())
	clone.Header = rewriteOffers(r.Header)
	wrapped := &responseWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		relay:                 rl,
	}
	// HTTP/2 and later have no connection to take over: RFC 8441.
	if r.Method == http.MethodConnect {
		wrapped.body = r.Body
		clone.Body = &body{ReadCloser: r.Body, relay: rl}
	}
	return wrapped, clone
}

// responseWriter lets the relay stand in a connection that is opened by the
// response. Any other response passes as it is.
type responseWriter struct {
	*caddyhttp.ResponseWriterWrapper
	relay *Relay
	body  io.ReadCloser // of the request, if that and the response are the connection

	switched    bool // 101 was written
	agreed      agreement
	wroteHeader bool
	opened      bool // what is written goes through the relay
}

func (w *responseWriter) WriteHeader(status int) {
	switch {
	case w.wroteHeader:
	case w.body == nil && status == http.StatusSwitchingProtocols:
		w.switched = true
		w.agreed = readAgreement(w.Header())
	case status >= 200:
		w.wroteHeader = true
		if w.body != nil && status < 300 {
			w.open()
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) open() {
	w.opened = true
	controller := http.NewResponseController(w.ResponseWriter)
	w.relay.open(peer{
		deadlines: controller,
		from:      w.body,
		to:        w.ResponseWriter,
		flush:     controller.Flush,
		close:     w.body.Close,
	}, readAgreement(w.Header()))
}

// begin writes the header that is implied.
func (w *responseWriter) begin() {
	if !w.wroteHeader && w.body != nil {
		w.WriteHeader(http.StatusOK)
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.begin()
	if w.opened {
		return w.relay.down.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom], past the relay only if it does nothing.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	if w.opened {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError is what [http.ResponseController] calls.
func (w *responseWriter) FlushError() error {
	w.begin()
	if w.opened {
		return w.relay.down.Flush()
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack is what [http.ResponseController] calls.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil || !w.switched {
		return c, brw, err
	}
	from := io.Reader(c)
	if n := brw.Reader.Buffered(); n > 0 {
		// it goes through the relay, too, and comes from the connection then
		early, _ := brw.Peek(n)
		from = io.MultiReader(bytes.NewReader(bytes.Clone(early)), c)
	}
	p := peer{deadlines: c, from: from, to: c, close: c.Close}
	wrapped := net.Conn(&conn{Conn: c, relay: w.relay})
	if half, ok := c.(halfCloser); ok {
		p.closeWrite = half.CloseWrite
		wrapped = &halfConn{conn{Conn: c, relay: w.relay}}
	}
	w.relay.open(p, w.agreed)
	brw.Reader.Reset(wrapped)
	brw.Writer.Reset(wrapped)
	return wrapped, brw, nil
}

// conn is the connection to the client as those behind see it.
type conn struct {
	net.Conn
	relay *Relay
}

func (c *conn) Read(p []byte) (int, error)  { return c.relay.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.relay.down.Write(p) }
func (c *conn) Close() error                { return c.relay.closeClient() }

// ReadFrom implements [io.ReaderFrom], as a [net.TCPConn] does. Each piece is a
// Write of its own, so that something else may be written between two.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	return copyAll(c, r, make([]byte, smallRead))
}

// WriteTo implements [io.WriterTo], as a [net.TCPConn] does.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	return copyAll(w, c, make([]byte, smallRead))
}

type halfCloser interface{ CloseWrite() error }

// halfConn is a conn of which one direction can be closed.
type halfConn struct{ conn }

func (c *halfConn) CloseWrite() error { return c.relay.closeClientWrite() }

// body is the part of the connection that comes from the client, where it is
// the body of the request.
type body struct {
	io.ReadCloser
	relay *Relay
}

func (b *body) Read(p []byte) (int, error) {
	if b.relay.down == nil {
		return b.ReadCloser.Read(p)
	}
	return b.relay.read(p)
}

func (b *body) Close() error {
	if b.relay.down == nil {
		return b.ReadCloser.Close()
	}
	return b.relay.closeClient()
}

var (
	_ http.ResponseWriter             = (*responseWriter)(nil)
	_ io.ReaderFrom                   = (*responseWriter)(nil)
	_ http.Hijacker                   = (*responseWriter)(nil)
	_ interface{ FlushError() error } = (*responseWriter)(nil)
	_ net.Conn                        = (*conn)(nil)
	_ io.ReaderFrom                   = (*conn)(nil)
	_ io.WriterTo                     = (*conn)(nil)
	_ halfCloser                      = (*halfConn)(nil)
)
