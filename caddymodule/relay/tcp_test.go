package relay

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const handshake = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// A rawClient has sent a handshake, which was accepted.
type rawClient struct {
	*net.TCPConn
	r *bufio.Reader
}

// raw connects, and sends something right behind the handshake.
func raw(t *testing.T, s *site, behind []byte) rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write(append([]byte(handshake), behind...)); err != nil {
		t.Fatal(err)
	}
	c := rawClient{conn.(*net.TCPConn), bufio.NewReader(conn)}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	return c
}

// frames reads until the connection ends and returns the frames.
func (c rawClient) frames(t *testing.T) []frame {
	t.Helper()
	stream, err := io.ReadAll(c.r)
	if err != nil {
		t.Fatalf("after %q: %v", stream, err)
	}
	frames, rest := decode(t, stream, false)
	if len(rest) > 0 {
		t.Errorf("%q remains", rest)
	}
	return frames
}

// What comes in one packet with the handshake is read by the HTTP server.
func TestWhatComesWithTheHandshakeGoesThroughTheRelay(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, reverse).start()
		c := raw(t, s, encode(true, text(`{"action":"mine","echo":1}`), text(`{"action":"theirs","echo":2}`), closing(1000)))
		got := c.frames(t)
		c.Close()
		if got, want := <-s.ended, (ending{true, reverse}); got != want {
			t.Errorf("reverse %v: ended: %v, want %v", reverse, got, want)
		}
		ours := slices.Contains(got, text(`{"status":"ok","retcode":0,"data":"ours","echo":1}`))
		theirs := slices.Contains(got, text(`{"status":"ok","retcode":0,"data":"theirs","echo":2}`))
		if ours == reverse || !theirs || got[len(got)-1] != closing(1000) {
			t.Errorf("reverse %v: got %+v", reverse, got)
		}
	}
}

func TestBadInputOverTCP(t *testing.T) {
	noise := bytes.Repeat([]byte{0xff}, 100_000)
	for _, c := range []struct {
		name string
		send []byte
		last frame
	}{
		{"a bad frame", encode(false, text("not masked")), closing(1002)},
		{"a bad frame with much behind it", noise, closing(1002)},
	} {
		for _, reverse := range []bool{false, true} {
			s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, reverse).start()
			conn := raw(t, s, nil)
			if _, err := conn.Write(c.send); err != nil {
				t.Fatal(err)
			}
			conn.CloseWrite()
			got := conn.frames(t)
			if last := got[len(got)-1]; last != c.last {
				t.Errorf("%s, reverse %v: got %+v", c.name, reverse, got)
			}
			if got, want := <-s.ended, (ending{true, reverse}); got != want {
				t.Errorf("%s, reverse %v: ended: %v, want %v", c.name, reverse, got, want)
			}
		}
	}
}

// A client that reads nothing holds up what is for it, and nothing once it is gone.
func TestAClientThatReadsNothing(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, reverse).start()
		c := raw(t, s, nil)
		flood := encode(true, text(`{"action":"repeat","p":"`+strings.Repeat("x", 1<<20)+`"}`))
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			if _, err := c.Write(flood); err != nil {
				break // nothing moves
			}
		}
		c.Close()
		if got := <-s.ended; !got.opened {
			t.Errorf("reverse %v: %v", reverse, got)
		}
	}
}

// When its config goes the proxy tells the clients.
func TestTheProxyIsUnloaded(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, reverse).start()
		c := s.dial(t, websocket.CompressionDisabled)
		if _, _, err := c.Read(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.unload(); err != nil {
			t.Error(err)
		}
		if _, _, err := c.Read(within(t)); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("reverse %v: the client sees %v", reverse, err)
		}
		if got := <-s.ended; !got.opened {
			t.Errorf("reverse %v: %v", reverse, got)
		}
	}
}

// Those who take the connection without a word are not stood in the way of.
func TestATakenConnection(t *testing.T) {
	s := newSite(t, "127.0.0.1:1", false)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rl := New(s.rec.options(false, 100))
		w, _ = rl.Wrap(w, r)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		c.Write(encode(false, text(theirs)))
		c.Close()
		opened, byImplementation := rl.Close()
		s.ended <- ending{opened, byImplementation}
	})
	s.start()
	if got := raw(t, s, nil).frames(t); !slices.Equal(got, []frame{text(theirs)}) {
		t.Errorf("got %+v", got)
	}
	if got := <-s.ended; got.opened {
		t.Errorf("ended: %v", got)
	}
}
