package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// encounter is a case that runs: a client, a backend, and Caddy between them.
type encounter struct {
	relayCase
	t     testing.TB
	caddy *instance
	tally *tally
	anew  bool // the counters began anew

	mu       sync.Mutex
	listener net.Listener
	came     chan *arrival // what comes to the backend but the question for its status

	client net.Conn
	answer *bufio.Reader // what the client reads
	back   *arrival      // nil before it has come
	cw, bw *wire         // once a WebSocket is open
	resp   *http.Response
	rest   string // what is still to be sent of a message
	took   bool   // Caddy took the request
}

// arrival is a request at the backend of which only the head was read.
type arrival struct {
	conn net.Conn
	r    *bufio.Reader
	head *http.Request
}

func (a *arrival) say(t testing.TB, text string) {
	t.Helper()
	_ = a.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(a.conn, text); err != nil {
		t.Fatal(err)
	}
}

// take reads n bytes of the request's body.
func (a *arrival) take(t testing.TB, n int) string {
	t.Helper()
	_ = a.conn.SetDeadline(time.Now().Add(patience))
	b := make([]byte, n)
	if _, err := io.ReadFull(a.head.Body, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func ok200(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func newEncounter(t testing.TB, caddy *instance, c relayCase) *encounter {
	t.Helper()
	e := &encounter{relayCase: c, t: t, caddy: caddy, tally: c.tally(caddy), came: make(chan *arrival, 10)}
	t.Cleanup(func() {
		e.part()
		e.deafen()
	})
	e.listen()
	return e
}

// tally is that of the handler that the case has for itself.
func (c relayCase) tally(caddy *instance) *tally {
	a := newTally(caddy, c.route())
	a.path += "?access_token=right-token"
	return a
}

// listen makes the backend one that takes connections.
func (e *encounter) listen() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener != nil {
		return
	}
	listener, err := net.Listen("tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	e.listener = listener
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go e.welcome(conn)
		}
	}()
}

// deafen undoes listen.
func (e *encounter) deafen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener != nil {
		_ = e.listener.Close()
		e.listener = nil
	}
}

func (e *encounter) welcome(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	r := bufio.NewReader(conn)
	head, err := http.ReadRequest(r)
	if err != nil {
		_ = conn.Close()
		return
	}
	if strings.HasSuffix(head.URL.Path, "/get_status") {
		_, _ = io.WriteString(conn, ok200(statusIs("true")))
		_ = conn.Close()
		return
	}
	e.came <- &arrival{conn, r, head}
}

// part ends all connections.
func (e *encounter) part() {
	if e.client != nil {
		_ = e.client.Close()
	}
	if e.back != nil {
		_ = e.back.conn.Close()
	}
	for len(e.came) > 0 {
		_ = (<-e.came).conn.Close()
	}
}

// request returns the head and the body of what the client sends.
func (e *encounter) request() (head, body string) {
	token := "right-token"
	if e.what == wrongToken {
		token = "wrong-token"
	}
	common := " HTTP/1.1\r\nHost: " + e.caddy.addr + "\r\nAuthorization: Bearer " + token + "\r\n"
	padding := 2000
	if e.what == oversized {
		padding = 100_000 // and max_body is 64 KiB
	}
	switch e.by {
	case byCall:
		body = `{"message":"` + filler(padding) + `","echo":1}`
		head = "POST " + e.route() + "/send_private_msg" + common
	case byPost:
		body = `{"raw":"` + filler(padding) + `","self_id":1,"time":1,"post_type":"notice","notice_type":"group_increase"}`
		head = "POST " + e.route() + "/" + common
	default:
		head = "GET " + e.route() + common + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		if e.by == byReverse {
			head += "X-Self-ID: 10001\r\nX-Client-Role: Universal\r\n"
		}
		return head + "\r\n", ""
	}
	return head + fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body)), body
}

const (
	relayAnswer = `{"status":"ok","retcode":0,"data":{"message_id":1},"echo":1}`
	answerHead  = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// answerChunks are the chunks of an answer, of which the second is the last.
func answerChunks() (first, second string) {
	half := len(relayAnswer) / 2
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	return chunk(relayAnswer[:half]), chunk(relayAnswer[half:]) + "0\r\n\r\n"
}

// tell has the client send something as it is.
func (e *encounter) tell(text string) {
	e.t.Helper()
	_ = e.client.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(e.client, text); err != nil {
		e.t.Fatal(err)
	}
}

// appEnd and botEnd are the ends of an open WebSocket.
func (e *encounter) appEnd() *wire {
	if e.by == byReverse {
		return e.bw
	}
	return e.cw
}

func (e *encounter) botEnd() *wire {
	if e.by == byReverse {
		return e.cw
	}
	return e.bw
}
