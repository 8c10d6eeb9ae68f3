package integration

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// piece is a frame as it is on the wire (RFC 6455, section 5.2).
type piece struct {
	head    byte // FIN, the reserved bits and the opcode
	payload string
}

const (
	fin, rsv1, rsv2, rsv3            = 0x80, 0x40, 0x20, 0x10
	opMore, opText, opBinary         = 0x0, 0x1, 0x2
	opClose, opPing, opPong          = 0x8, 0x9, 0xa
	wholeText, wholeBinary, lastPart = fin | opText, fin | opBinary, fin | opMore
)

// closing is the payload of a close frame.
func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// encode returns the bytes of a frame, masked as a client has to or plain as a
// server has to.
func (p piece) encode(masked bool) []byte {
	return append(header(p.head, masked, uint64(len(p.payload))), mask(p.payload, masked)...)
}

var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// header returns what stands before the payload of a frame.
func header(head byte, masked bool, length uint64) []byte {
	var bit byte
	if masked {
		bit = 0x80
	}
	b := []byte{head}
	switch {
	case length < 126:
		b = append(b, bit|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), length)
	}
	if masked {
		b = append(b, maskKey[:]...)
	}
	return b
}

func mask(payload string, masked bool) []byte {
	b := []byte(payload)
	for i := range b {
		if masked {
			b[i] ^= maskKey[i%4]
		}
	}
	return b
}

// wire is an end of a connection that is handled frame by frame.
type wire struct {
	io.Closer
	response *http.Response // of the handshake, if this end dialled
	conn     net.Conn       // below, if it is known
	t        testing.TB
	w        io.Writer
	r        *bufio.Reader
	client   bool // who masks what it sends
}

// dialWire opens a connection through Caddy.
func (c *instance) dialWire(t testing.TB, path string, header ...string) *wire {
	t.Helper()
	conn, err := dialLoopback(t.Context(), "tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := upgrade(t, conn, c.addr, path, header...)
	if w.response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake is answered with %s", w.response.Status)
	}
	return w
}

// upgrade asks for a WebSocket over a connection.
func upgrade(t testing.TB, conn net.Conn, host, path string, header ...string) *wire {
	t.Helper()
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	request := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	for i := 0; i < len(header); i += 2 {
		request += header[i] + ": " + header[i+1] + "\r\n"
	}
	w := &wire{Closer: conn, conn: conn, t: t, w: conn, r: bufio.NewReader(conn), client: true}
	w.write([]byte(request + "\r\n"))
	var err error
	if w.response, err = http.ReadResponse(w.r, nil); err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if got := w.response.Header.Get("Sec-WebSocket-Accept"); w.response.StatusCode == 101 && got != base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("Sec-WebSocket-Accept is %q", got)
	}
	return w
}

// wireOf handles the end of a connection that a deaf backend has.
func wireOf(t testing.TB, s *socket) *wire {
	t.Helper()
	return &wire{Closer: s.tcp, conn: s.tcp, t: t, w: s.tcp, r: bufio.NewReader(s.tcp)}
}

// hurry bounds what is done next.
func (w *wire) hurry() {
	if w.conn != nil {
		_ = w.conn.SetDeadline(time.Now().Add(patience)) // what is closed says so anyway
	}
}

// write sends bytes that need not be frames.
func (w *wire) write(raw []byte) {
	w.t.Helper()
	w.hurry()
	if _, err := w.w.Write(raw); err != nil {
		w.t.Fatalf("sending %d bytes: %v", len(raw), err)
	}
}

// send sends frames.
func (w *wire) send(pieces ...piece) {
	w.t.Helper()
	for _, p := range pieces {
		w.write(p.encode(w.client))
	}
}

// tryNext returns the next frame, or why there is none.
func (w *wire) tryNext() (piece, error) {
	w.hurry()
	var first [2]byte
	if _, err := io.ReadFull(w.r, first[:]); err != nil {
		return piece{}, err
	}
	length := uint64(first[1] & 0x7f)
	var long [8]byte
	switch n := map[uint64]int{126: 2, 127: 8}[length]; n {
	case 0:
	default:
		if _, err := io.ReadFull(w.r, long[8-n:]); err != nil {
			return piece{}, err
		}
		length = binary.BigEndian.Uint64(long[:])
	}
	masked := first[1]&0x80 != 0
	if masked == w.client {
		return piece{}, fmt.Errorf("a frame from the wrong side: masked is %t", masked)
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(w.r, key[:]); err != nil {
			return piece{}, err
		}
	}
	var payload strings.Builder
	if _, err := io.CopyN(&payload, w.r, int64(length)); err != nil {
		return piece{}, fmt.Errorf("in a payload of %d bytes: %w", length, err)
	}
	b := []byte(payload.String())
	for i := range b {
		b[i] ^= key[i%4]
	}
	return piece{first[0], string(b)}, nil
}

// next returns the next frame.
func (w *wire) next() piece {
	w.t.Helper()
	p, err := w.tryNext()
	if err != nil {
		w.t.Fatalf("reading a frame: %v", err)
	}
	return p
}

// want fails the test if the next frames are others.
func (w *wire) want(pieces ...piece) {
	w.t.Helper()
	for i, want := range pieces {
		if got := w.next(); got != want {
			w.t.Fatalf("frame %d is %#x %.100q (%d bytes), want %#x %.100q (%d bytes)", i,
				got.head, got.payload, len(got.payload), want.head, want.payload, len(want.payload))
		}
	}
}

// wantReply fails the test if the next frame is not a whole answer to a call of
// ours.
func (w *wire) wantReply(echo string) reply {
	w.t.Helper()
	p := w.next()
	if p.head != wholeText {
		w.t.Fatalf("instead of a reply: %#x %.200q", p.head, p.payload)
	}
	return wantEnvelope(w.t, p.payload, echo)
}

// wantClose reads on until the connection ends, and fails the test if no close
// frame with the code came last.
func (w *wire) wantClose(codes ...int) {
	w.t.Helper()
	for {
		p, err := w.tryNext()
		if err != nil {
			w.t.Fatalf("the connection ended without a close frame (%v), want one with %v", err, codes)
		}
		if p.head != fin|opClose {
			continue
		}
		got := 1005 // stands for none (RFC 6455, section 7.1.5)
		if len(p.payload) >= 2 {
			got = int(binary.BigEndian.Uint16([]byte(p.payload)))
		}
		for _, code := range codes {
			if got == code {
				return
			}
		}
		w.t.Fatalf("the connection was closed with %d %q, want %v", got, p.payload[min(2, len(p.payload)):], codes)
	}
}

// wantGone reads on until the connection ends, in whatever way.
func (w *wire) wantGone() {
	w.t.Helper()
	for {
		if _, err := w.tryNext(); err != nil {
			if wait, ok := err.(net.Error); ok && wait.Timeout() {
				w.t.Fatal("the connection is still open")
			}
			return
		}
	}
}

// wantEnvelope reads an answer that came in a message and checks what holds for
// every answer, and its echo.
func wantEnvelope(t testing.TB, text, echo string) reply {
	t.Helper()
	r, err := parseEnvelope(text)
	if err != nil {
		t.Fatal(err)
	}
	if string(r.echo) != echo {
		t.Fatalf("the echo is %s, want %s", r.echo, echo)
	}
	return r
}

func parseEnvelope(text string) (reply, error) {
	return readReply(strings.NewReader(fmt.Sprintf(
		"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(text), text)))
}
