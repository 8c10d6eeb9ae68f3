package integration

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// strike is the mishap of a case.
func (e *encounter) strike() {
	e.t.Helper()
	garbage := "\x00\xff\x7f garbage\r\n\r\n"
	if e.cw != nil {
		garbage = string(piece{rsv2 | rsv3 | wholeText, "garbage"}.encode(true))
	}
	switch e.what {
	case clientResets:
		_ = e.client.(*net.TCPConn).SetLinger(0)
		_ = e.client.Close()
	case clientCloses:
		_ = e.client.Close()
	case clientIdles:
		e.flood()
		_ = e.client.Close()
	case backResets:
		_ = e.back.conn.(*net.TCPConn).SetLinger(0)
		_ = e.back.conn.Close()
	case backCloses:
		_ = e.back.conn.Close()
	case backGarbage:
		e.back.say(e.t, garbage)
		if e.cw == nil {
			_ = e.back.conn.Close()
		}
	case backHangs:
		e.tally.now(e.t) // meanwhile others are answered
		e.goOn()
	case backGone:
		e.deafen()
		if e.at == inRequestHead {
			e.rush()
		}
	case wrongToken:
		e.rush()
	case oversized:
		e.goOn()
	}
}

// rush has the client send all that is missing of its request. That may be too
// late.
func (e *encounter) rush() {
	head, body := e.request()
	_, _ = io.WriteString(e.client, head[len(head)/2:]+body)
}

// flood has the backend send until nothing goes any more, since the client does
// not read. Others must be answered all the same.
func (e *encounter) flood() {
	e.t.Helper()
	chunk := strings.Repeat("x", 1<<16)
	if e.at == inAnswerBody {
		chunk = "10000\r\n" + chunk + "\r\n"
	}
	for range 10_000 {
		_ = e.back.conn.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(e.back.conn, chunk); errors.Is(err, os.ErrDeadlineExceeded) {
			e.tally.now(e.t)
			return
		} else if err != nil {
			e.t.Fatal(err)
		}
	}
	e.t.Error("all of it was taken")
}

// settle sees what becomes of who is left.
func (e *encounter) settle() {
	e.t.Helper()
	switch {
	case e.what.goesOn():
	case among(e.what, clientResets, clientCloses, clientIdles):
		e.wantBackendGone()
	case e.what == wrongToken:
		e.wantStatus(http.StatusForbidden)
		e.wantUnasked()
	case e.what == backGone, e.at < inAnswerBody:
		if e.at == inRequestBody { // before all is said Caddy does not answer
			_, body := e.request()
			e.tell(body[len(body)/2:])
		}
		e.wantStatus(http.StatusBadGateway)
	default:
		e.wantClientGone()
	}
}

func (e *encounter) wantStatus(status int) {
	e.t.Helper()
	if e.tryHead(); e.resp == nil || e.resp.StatusCode != status {
		e.t.Errorf("it is answered by %+v, want %d", e.resp, status)
	}
}

func (e *encounter) wantUnasked() {
	e.t.Helper()
	if len(e.came) > 0 {
		e.t.Error("it came to the backend")
	}
}

// wantClientGone reads on until the client's connection has ended, before what
// it waits for was whole.
func (e *encounter) wantClientGone() {
	e.t.Helper()
	if e.cw != nil {
		e.cw.wantGone()
		return
	}
	_ = e.client.SetDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(e.resp.Body); err == nil || isTimeout(err) {
		e.t.Errorf("the answer goes on with %q and ends with %v", rest, err)
	}
}

// wantBackendGone reads on until the backend's connection has ended, if there is
// one.
func (e *encounter) wantBackendGone() {
	e.t.Helper()
	if e.back == nil {
		return
	}
	_ = e.back.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, e.back.r); isTimeout(err) {
		e.t.Error("the backend's connection is still open")
	}
}

func isTimeout(err error) bool {
	wait, ok := errors.AsType[net.Error](err)
	return ok && wait.Timeout()
}
