package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is an origin with one file, which is a good one but for the trouble
// of a case: that comes on one of its connections. Each connection has one
// request.
type scripted struct {
	c         downloadCase
	addr, url string
	reached   chan struct{} // closed when the place of the trouble is
	released  chan struct{} // what is held there goes on when it is closed
	healed    chan struct{} // there is no trouble any more when it is closed
	listening chan struct{} // closed when somebody listens again, if nobody did
	reach     func()
	release   func()
	heal      func()

	mu       sync.Mutex
	version  int
	conns    int
	open     []net.Conn
	listener net.Listener
}

const (
	caseSize    = 30_000 // of a file, in bytes
	caseMaxSize = 100_000
)

// certificate is the one of httptest, which [trusted] makes a good one.
var certificate = sync.OnceValue(func() []tls.Certificate {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return server.TLS.Certificates
})

// newScripted starts the origin of a case. It ends with the test.
func newScripted(t testing.TB, c downloadCase) *scripted {
	t.Helper()
	o := &scripted{c: c, reached: make(chan struct{}), released: make(chan struct{}), healed: make(chan struct{}), listening: make(chan struct{}), version: 1}
	o.reach = sync.OnceFunc(func() { close(o.reached) })
	o.release = sync.OnceFunc(func() { close(o.released) })
	o.heal = sync.OnceFunc(func() {
		o.mu.Lock()
		if o.version == tooMuch || o.c.trouble.is(tooShort) {
			o.version = 2 // that one was no good
		}
		o.mu.Unlock()
		close(o.healed)
		if o.c.stage == accepting && o.c.trouble.is(resets) {
			receive(t, o.listening, "the origin to listen again")
		}
	})
	var err error
	// not a port that an outgoing connection could take while it is closed
	if o.listener, err = net.Listen("tcp", freeAddr(t)); err != nil {
		t.Fatal(err)
	}
	o.addr = o.listener.Addr().String()
	o.url = "http://" + o.addr
	if c.stage == handshaking {
		o.url = "https://" + o.addr
	}
	if o.url += "/file.bin"; c.way == afterRedirect {
		o.url = strings.Replace(o.url, "/file.bin", "/moved", 1)
	}
	ended := make(chan struct{})
	go func() { o.serve(t); close(ended) }()
	t.Cleanup(func() {
		o.release()
		o.heal()
		<-o.healed
		o.mu.Lock()
		_ = o.listener.Close()
		for _, conn := range o.open {
			_ = conn.Close() // some were made for a request that was given up
		}
		o.mu.Unlock()
		receive(t, ended, "the origin to end")
	})
	return o
}

// affected is the number of the connection that is in trouble.
func (o *scripted) affected() int {
	if o.c.way == directly {
		return 1
	}
	return 2
}

// asked returns how many connections there were.
func (o *scripted) asked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns
}

// serve accepts connections until the listener is closed for good.
func (o *scripted) serve(t testing.TB) {
	var serving sync.WaitGroup
	defer serving.Wait()
	var last net.Conn
	for n := 1; ; n++ {
		if o.c.stage == accepting && n == o.affected() {
			o.ignore(t, last)
			last = nil
		}
		conn, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.conns = n
		o.open = append(o.open, conn)
		o.mu.Unlock()
		if o.c.stage == accepting && n+1 == o.affected() {
			last = conn // is served when nobody accepts any more
			continue
		}
		serving.Go(func() { o.handle(conn, n) })
	}
}

// ignore is the trouble with a connection that is not accepted, after the
// connection before, if there was one.
func (o *scripted) ignore(t testing.TB, before net.Conn) {
	if o.c.trouble.is(resets) { // nobody listens
		_ = o.listener.Close()
	}
	if before != nil {
		o.handle(before, o.affected()-1)
	}
	o.reach()
	if o.c.trouble.class != ofWire {
		select {
		case <-o.released:
		case <-o.healed:
		}
		return
	}
	<-o.healed
	if o.c.trouble.is(resets) {
		listener, err := net.Listen("tcp", o.addr)
		if err != nil {
			t.Errorf("listening again: %v", err)
			return
		}
		o.mu.Lock()
		o.listener = listener
		o.mu.Unlock()
		close(o.listening)
	}
}

// handle serves connection n.
func (o *scripted) handle(conn net.Conn, n int) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	here := n == o.affected() && !o.isHealed()
	at := o.c.stage
	if at == handshaking {
		hello, err := readRecord(conn)
		if err != nil || here && !o.strike(conn) {
			return
		}
		conn = tls.Server(&replayed{conn, bytes.NewReader(hello)}, &tls.Config{Certificates: certificate()})
		defer conn.Close()
	}
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	if here && o.c.trouble.class == ofAnswer {
		o.reach()
	}
	for _, p := range o.answer(req, n, here) {
		if here && o.c.trouble.class != ofAnswer && p.at == at.position(o.c.kind) && !o.strike(conn) {
			return
		}
		if _, err := io.WriteString(conn, p.text); err != nil || p.last {
			return
		}
	}
}

// position is where in an answer the trouble of a stage comes.
func (s stage) position(k kind) stage {
	switch {
	case s == joining:
		return inBody
	case s == committing && k == empty:
		return inHeaders
	case s == committing && k == inChunks:
		return chunksEnd
	case s == committing:
		return lastByte
	}
	return s
}

// strike is the trouble with a connection. It reports whether the connection is
// to go on.
func (o *scripted) strike(conn net.Conn) (goOn bool) {
	o.reach()
	if o.c.trouble.class != ofWire || o.c.stage == joining {
		select {
		case <-o.released:
		case <-o.healed:
		}
	}
	switch f := o.c.trouble; {
	case f.class != ofWire:
		return true
	case f.is(resets):
		_ = conn.(*net.TCPConn).SetLinger(0)
	case f.is(stalls), f.is(timesOut):
		gone := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, conn); close(gone) }()
		select {
		case <-gone:
		case <-o.healed: // a handshake that was given up may last longer
		}
	case f.is(garbage):
		_, _ = io.WriteString(conn, "\x00\xff\x16\x03garbage\r\n\r\n")
	}
	return false
}

func (o *scripted) isHealed() bool {
	select {
	case <-o.healed:
		return true
	default:
		return false
	}
}

// readRecord reads a record of TLS.
func readRecord(from io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	record := append(head, make([]byte, int(head[3])<<8|int(head[4]))...)
	if _, err := io.ReadFull(from, record[5:]); err != nil {
		return nil, fmt.Errorf("in a record: %w", err)
	}
	return record, nil
}

// replayed is a connection of which something was read before.
type replayed struct {
	net.Conn
	first *bytes.Reader
}

func (r *replayed) Read(p []byte) (int, error) {
	if r.first.Len() > 0 {
		return r.first.Read(p)
	}
	return r.Conn.Read(p)
}
