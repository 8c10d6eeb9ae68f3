package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
)

func TestOverTLSWithCaddysOwnAuthority(t *testing.T) {
	bot, app := newBackend(t, silent, withCompression(websocket.CompressionContextTakeover)), newBackend(t, silent)
	c := startCaddy(t, "https://localhost:<PORT> {\n tls internal\n"+front("access_token secret", bot)+"}", tlsInternal)
	t.Cleanup(bot.release)
	conn := c.dialTLS(t, "http/1.1")
	w := upgrade(t, conn, "localhost", "/", "Authorization", "Bearer secret")
	here := bot.socket(t)
	w.send(piece{wholeText, ours("get_status", "1")})
	w.wantReply("1").wantOK(t)
	w.send(piece{wholeText, "hello"})
	here.want(t, "hello")
	here.send(t, message("hi"))
	w.want(piece{wholeText, message("hi")})
	if got := here.header.Get("X-Forwarded-Proto"); got != "https" {
		t.Errorf("X-Forwarded-Proto is %q", got)
	}

	client := &http.Client{Transport: &http.Transport{DialTLSContext: c.tlsDialer(t, "http/1.1")}}
	opts := &websocket.DialOptions{HTTPClient: client, HTTPHeader: headerOf("Authorization", "Bearer secret"), CompressionMode: websocket.CompressionContextTakeover}
	raw, resp, err := websocket.Dial(t.Context(), "wss://localhost:"+c.port()+"/", opts)
	if err != nil {
		t.Fatal(err)
	}
	there := app.newSocket(raw, nil, resp.Request.URL.Path, resp.Request.Header)
	exchangeMixed(t, there, bot.socket(t), "tls", 90)
	if err := there.close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}

// tlsInternal is what Caddy needs to be its own authority.
var tlsInternal = global("\tlocal_certs\n\tauto_https disable_redirects")

// authority returns Caddy's own authority, which it makes when it starts.
func (c *instance) authority(t testing.TB) *x509.CertPool {
	t.Helper()
	path := filepath.Join(c.dataDir(), "pki", "authorities", "local", "root.crt")
	var pem []byte
	eventually(t, "the authority", func() bool {
		var err error
		pem, err = os.ReadFile(path)
		return err == nil
	})
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in root.crt")
	}
	return roots
}

// tlsDialer returns what connects to Caddy with its own authority.
func (c *instance) tlsDialer(t testing.TB, protocol string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	t.Helper()
	config := &tls.Config{RootCAs: c.authority(t), ServerName: "localhost", NextProtos: []string{protocol}}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialLoopback(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		over := tls.Client(conn, config)
		return over, over.HandshakeContext(ctx)
	}
}

// dialTLS connects to Caddy, which may still be making its certificate.
func (c *instance) dialTLS(t testing.TB, protocol string) (conn net.Conn) {
	t.Helper()
	dial := c.tlsDialer(t, protocol)
	eventually(t, "a TLS connection", func() bool {
		var err error
		conn, err = dial(t.Context(), "tcp", c.addr)
		return err == nil
	})
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dialHTTP2 connects to Caddy. net/http itself does not send what begins a
// WebSocket.
func (c *instance) dialHTTP2(t testing.TB) http.RoundTripper {
	t.Helper()
	//lint:ignore SA1019 see above
	over, err := new(http2.Transport).NewClientConn(c.dialTLS(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = over.Close() })
	return over
}

// extendedConnect is a connection over a stream of HTTP/2 (RFC 8441).
func (c *instance) extendedConnect(t testing.TB, over http.RoundTripper, path string, header ...string) *wire {
	t.Helper()
	body, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://localhost:"+c.port()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = headerOf(header...)
	req.Header.Set(":protocol", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	resp, err := over.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &wire{Closer: w, response: resp, t: t, w: w, r: bufio.NewReader(resp.Body), client: true}
}

func TestOverHTTP2(t *testing.T) {
	bot := newBackend(t, silent)
	c := startCaddy(t, "https://localhost:<PORT> {\n tls internal\n"+front("access_token secret", bot)+"}", tlsInternal, environ("GODEBUG=netdns=go,http2xconnect=1"))
	t.Cleanup(bot.release)
	over := c.dialHTTP2(t)
	connect := func(t *testing.T) (app *wire, here *socket) {
		t.Helper()
		w := c.extendedConnect(t, over, "/api", "Authorization", "Bearer secret", "X-Odd", "x")
		if w.response.StatusCode != 200 {
			t.Fatalf("the handshake is answered %s", w.response.Status)
		}
		return w, bot.socket(t)
	}
	c.client = client{&http.Client{Transport: &http.Transport{DialContext: dialLoopback, DialTLSContext: c.tlsDialer(t, "http/1.1")}, Timeout: patience}, "https://localhost:" + c.port()}
	count := newTally(c, "")
	count.path += "?access_token=secret"

	t.Run("tokens come first", func(t *testing.T) {
		for path, want := range map[string]int{"/api": 401, "/api?access_token=wrong": 403} {
			if got := c.extendedConnect(t, over, path).response; got.StatusCode != want {
				t.Errorf("%s is answered %s", path, got.Status)
			}
		}
	})
	t.Run("messages pass and our calls are answered", func(t *testing.T) {
		w, here := connect(t)
		if here.path != "/api" || here.header.Get("X-Odd") != "x" {
			t.Errorf("the bot got %s %v", here.path, here.header)
		}
		large := message(filler(1 << 20))
		for range 10 {
			w.send(piece{opText, `{"action":"send_m`}, piece{lastPart, `sg"}`}, piece{wholeText, ours("get_status", `"x"`)}, piece{wholeBinary, large})
			here.want(t, `{"action":"send_msg"}`)
			if got := here.next(t); got != (frame{websocket.MessageBinary, large}) {
				t.Fatalf("the bot got %.100q", got.text)
			}
			w.wantReply(`"x"`).wantOK(t)
			here.send(t, large)
			w.want(piece{wholeText, large})
		}
		w.send(piece{fin | opPing, "are you there"})
		w.want(piece{fin | opPong, "are you there"})
		w.send(piece{fin | opClose, closing(1000, "bye")})
		if code := here.awaitEnd(t); code != websocket.StatusNormalClosure {
			t.Errorf("the bot is told %d", code)
		}
		w.wantClose(1000)
	})
	t.Run("who ends it is known", func(t *testing.T) {
		w, here := connect(t)
		closed := make(chan error, 1)
		go func() { closed <- here.close(4000, "bye") }()
		w.wantClose(4000)
		w.send(piece{fin | opClose, closing(4000, "bye")})
		if err := receive(t, closed, "the goodbye to be answered"); err != nil {
			t.Error(err)
		}
		w2, here2 := connect(t)
		_ = w2.Close() // ends the stream
		here2.awaitEnd(t)
		w3, here3 := connect(t)
		w3.send(piece{rsv2 | wholeText, ""})
		w3.wantClose(1002)
		here3.awaitEnd(t)
		count.want(t, stat{"DisconnectTimes": 1})
	})
	t.Run("many streams of one connection", func(t *testing.T) {
		before := c.holds(t)
		for range 20 {
			w, here := connect(t)
			w.send(piece{wholeText, ours("clean_cache", "1")})
			w.wantReply("1").wantOK(t)
			_ = w.Close()
			_ = w.response.Body.Close()
			here.awaitEnd(t)
		}
		wantNothingOpen(t, c, before, 6)
	})
}
