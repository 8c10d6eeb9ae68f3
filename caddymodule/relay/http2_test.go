package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"golang.org/x/net/http2"
)

//lint:file-ignore SA1019 http.Transport sends no header that begins with a colon

// net/http accepts extended CONNECT only if the environment says so at start.
const http2Setting = "http2xconnect=1"

// stream is a WebSocket connection of a client over HTTP/2 (RFC 8441).
type stream struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *http.Response
	read []byte
}

func connect(t *testing.T, s *site, path string) *stream {
	t.Helper()
	transport := &http2.Transport{TLSClientConfig: s.Client().Transport.(*http.Transport).TLSClientConfig}
	t.Cleanup(transport.CloseIdleConnections)
	body, in := io.Pipe()
	ctx, cancel := context.WithCancel(within(t))
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodConnect, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(":protocol", "websocket")
	r.Header.Set("Sec-Websocket-Version", "13")
	out, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Body.Close() })
	return &stream{t: t, in: in, out: out}
}

func (s *stream) send(all ...frame) {
	s.t.Helper()
	if _, err := s.in.Write(encode(true, all...)); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next frame, and none at the end.
func (s *stream) next() (f frame, ok bool) {
	s.t.Helper()
	for {
		if f, _, rest := decodeOne(s.read); rest != nil {
			s.read = rest
			return f, true
		}
		piece := make([]byte, 100)
		n, err := s.out.Body.Read(piece)
		s.read = append(s.read, piece[:n]...)
		if n == 0 && err != nil {
			if len(s.read) > 0 || err != io.EOF {
				s.t.Fatalf("%q remains, %v", s.read, err)
			}
			return frame{}, false
		}
	}
}

func (s *stream) want(part string) {
	s.t.Helper()
	if f, ok := s.next(); !ok || !strings.Contains(f.payload, part) {
		s.t.Fatalf("got %v, %v, want %q", f, ok, part)
	}
}

func TestOverHTTP2(t *testing.T) {
	if !strings.Contains(os.Getenv("GODEBUG"), http2Setting) {
		test := exec.CommandContext(within(t), os.Args[0], "-test.run=^TestOverHTTP2$", "-test.count=1", "-test.v")
		test.Env = append(os.Environ(), "GODEBUG="+strings.TrimPrefix(os.Getenv("GODEBUG")+","+http2Setting, ","))
		if out, err := test.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestOverHTTP2")) {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	begin := func(t *testing.T, reverse bool) (*site, *stream) {
		s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, reverse)
		s.StartTLS()
		c := connect(t, s, "/")
		if c.out.StatusCode != http.StatusOK {
			t.Fatalf("the response is %s", c.out.Status)
		}
		c.want(`"post_type"`)
		return s, c
	}
	t.Run("calls are answered by whom they are for", func(t *testing.T) {
		s, c := begin(t, false)
		for i := range 20 {
			c.send(text(fmt.Sprintf(`{"action":"mine","echo":%d}`, i)))
			c.want(fmt.Sprintf(`"data":"ours","echo":%d}`, i))
			c.send(text(fmt.Sprintf(`{"action":"theirs","echo":%d}`, i)))
			c.want(fmt.Sprintf(`"data":"theirs","echo":%d}`, i))
		}
		c.send(ping("p"))
		if f, _ := c.next(); f != (frame{op: ws.OpPong, payload: "p"}) {
			t.Errorf("a ping is answered by %v", f)
		}
		c.send(closing(1000))
		if f, _ := c.next(); f != closing(1000) {
			t.Errorf("a Close frame is answered by %v", f)
		}
		if got, want := <-s.ended, (ending{true, false}); got != want {
			t.Errorf("ended: %v, want %v", got, want)
		}
	})
	t.Run("a reply gets to an app behind", func(t *testing.T) {
		s, c := begin(t, true)
		c.send(text(`{"action":"call me"}`))
		c.want(`{"got":{"status":"ok","retcode":0,"data":"ours","echo":"from behind"}}`)
		c.in.Close()
		if got, want := <-s.ended, (ending{true, true}); got != want {
			t.Errorf("ended: %v, want %v", got, want)
		}
	})
	for _, reverse := range []bool{false, true} {
		t.Run(fmt.Sprintf("a bad frame, reverse %v", reverse), func(t *testing.T) {
			s, c := begin(t, reverse)
			c.in.Write(encode(false, text("not masked")))
			if f, _ := c.next(); f != closing(1002) {
				t.Errorf("got %v", f)
			}
			c.in.Close()
			if f, ok := c.next(); ok {
				t.Errorf("then got %v", f)
			}
			if got, want := <-s.ended, (ending{true, reverse}); got != want {
				t.Errorf("ended: %v, want %v", got, want)
			}
		})
		t.Run(fmt.Sprintf("the other side is gone, reverse %v", reverse), func(t *testing.T) {
			s, c := begin(t, reverse)
			c.send(text(`{"action":"quit"}`))
			if f, _ := c.next(); f != closing(1011) {
				t.Errorf("got %v", f)
			}
			if got, want := <-s.ended, (ending{true, !reverse}); got != want {
				t.Errorf("ended: %v, want %v", got, want)
			}
		})
		t.Run(fmt.Sprintf("the client is gone, reverse %v", reverse), func(t *testing.T) {
			s, c := begin(t, reverse)
			c.in.CloseWithError(context.Canceled)
			if got, want := <-s.ended, (ending{true, reverse}); got != want {
				t.Errorf("ended: %v, want %v", got, want)
			}
		})
	}
	t.Run("other responses pass", func(t *testing.T) {
		s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, false)
		s.StartTLS()
		c := connect(t, s, "/refuse")
		body, err := io.ReadAll(c.out.Body)
		if c.out.StatusCode != http.StatusTeapot || string(body) != "not here\n" || err != nil {
			t.Errorf("%s, %q, %v", c.out.Status, body, err)
		}
		if got := <-s.ended; got.opened {
			t.Errorf("ended: %v", got)
		}
	})
}
