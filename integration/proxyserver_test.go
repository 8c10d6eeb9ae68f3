package integration

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// proxy is a forward proxy on loopback: for HTTP, over TLS or not, or SOCKS5.
type proxy struct {
	addr string

	login string // user:password that it wants, if any

	mu    sync.Mutex
	asked []string         // host:port of each destination
	sick  http.HandlerFunc // answers instead, if set
}

// destinations returns what the proxy was asked for, and forgets it.
func (p *proxy) destinations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

func (p *proxy) note(destination string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, destination)
}

// fallSick makes an HTTP proxy answer everything like this; nil heals it.
func (p *proxy) fallSick(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick = answer
}

// ServeHTTP forwards a request, or a connection for CONNECT.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.note(r.Host)
	p.mu.Lock()
	sick := p.sick
	p.mu.Unlock()
	switch {
	case sick != nil:
		sick(w, r)
	case p.login != "" && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.login)):
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		to, err := dialLoopback(r.Context(), "tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		splice(conn, buffered.Reader, to)
	default:
		p.forward(w, r)
	}
}

func (p *proxy) forward(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	r.RequestURI = ""
	r.Header.Del("Proxy-Authorization")
	transport := &http.Transport{DialContext: dialLoopback, DisableCompression: true, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		hangUp(w, false)
	}
}

// splice connects both until one of them ends.
func splice(from net.Conn, buffered io.Reader, to net.Conn) {
	go func() {
		_, _ = io.Copy(to, buffered)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
	_ = from.Close()
}

// newSOCKS starts a SOCKS5 proxy (RFC 1928, 1929).
func newSOCKS(t testing.TB, login string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: listener.Addr().String(), login: login}
	var conns sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); conns.Wait() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				p.socks(t, conn)
			})
		}
	}()
	return p
}

// socks serves one connection.
func (p *proxy) socks(t testing.TB, conn net.Conn) {
	in := bufio.NewReader(conn)
	read := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(in, b) // zeros are wrong everywhere
		return b
	}
	head := read(2)
	methods := read(int(head[1]))
	method := byte(0)
	if p.login != "" {
		method = 2
	}
	if head[0] != 5 || !slices.Contains(methods, method) {
		_, _ = conn.Write([]byte{5, 0xff})
		return
	}
	_, _ = conn.Write([]byte{5, method})
	if method == 2 {
		user := read(int(read(2)[1]))
		password := read(int(read(1)[0]))
		if string(user)+":"+string(password) != p.login {
			_, _ = conn.Write([]byte{1, 1})
			return
		}
		_, _ = conn.Write([]byte{1, 0})
	}
	var host string
	switch request := read(4); request[3] {
	case 1:
		host = net.IP(read(4)).String()
	case 3:
		host = string(read(int(read(1)[0])))
	case 4:
		host = net.IP(read(16)).String()
	default:
		return
	}
	addr := net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(read(2))))
	p.note(addr)
	to, err := dialLoopback(t.Context(), "tcp", addr)
	if err != nil {
		_, _ = conn.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	_, _ = conn.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 1})
	splice(conn, in, to)
}
