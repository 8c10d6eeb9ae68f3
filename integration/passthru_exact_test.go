package integration

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// overTLS is for sites that have "tls internal".
var overTLS = global("\tdebug\n\tauto_https disable_redirects")

// newTLSClient returns a client for such sites, with HTTP/2 or without.
func newTLSClient(base string, http2 bool) client {
	c := newClient(base)
	transport := c.Transport.(collector).Transport
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // made a moment ago
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	return c
}

// awaitTLS returns when Caddy has a certificate for an address, which it makes
// when it serves already.
func awaitTLS(t testing.TB, addr string) {
	t.Helper()
	eventually(t, "a certificate", func() bool {
		conn, err := dialLoopback(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() == nil
	})
}

// came is what can be told of a request where it arrived, or of a response.
type came struct {
	first           string // line
	header, trailer http.Header
	length          int64
	encoding        []string
	body            string
}

func (c came) String() string {
	return fmt.Sprintf("%s, length %d, %v, %v, %v, %d bytes %.200q", c.first, c.length, c.encoding, c.header, c.trailer, len(c.body), c.body)
}

// exchange sends the bytes of a request and returns what came of it at the
// backend and as its response. The bytes are those of a Go string with \n where
// the lines of the head end.
func exchange(t testing.TB, b *backend, addr, head, body string) (request, response came) {
	t.Helper()
	for len(b.arrived) > 0 {
		<-b.arrived
	}
	conn, err := dialLoopback(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+body); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(head, " ")
	from := bufio.NewReader(conn)
	resp, err := http.ReadResponse(from, &http.Request{Method: method})
	first := ""
	for err == nil && resp.StatusCode/100 == 1 {
		if !strings.Contains(first, resp.Status) { // both of two servers may say Continue
			first += resp.Status + ", "
		}
		resp, err = http.ReadResponse(from, &http.Request{Method: method})
	}
	if err != nil {
		t.Fatalf("reading the response: %v", err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		read = append(read, err.Error()...)
	}
	resp.Header.Del("Date")
	response = came{first + resp.Status, resp.Header, resp.Trailer, resp.ContentLength, resp.TransferEncoding, string(read)}

	s := b.await(t)
	receive(t, s.whole, "the body at the backend")
	if s.err != nil {
		s.body = append(s.body, s.err.Error()...)
	}
	request = came{fmt.Sprintf("%s %s %s %s", s.method, s.uri, s.host, s.proto), s.header, s.trailer, s.length, s.encoding, string(s.body)}
	return request, response
}

// The handler must be nowhere to be seen: what passes is compared with what
// reverse_proxy alone makes of it.
func TestWhatIsNotOursPassesAsIfTheHandlerWereNotThere(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "")
	b.answer("send_msg", func(call) string { return ok(`{"message_id":1}`) })
	b.handle("with_trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "a body")
		w.Header().Set("X-Sum", "17")
		w.Header().Set(http.TrailerPrefix+"X-Late", "18")
	})
	b.handle("send_early_msg", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, ok("{}"))
	})
	for n, answer := range []http.HandlerFunc{
		body(200, `{"status":"ok","retcode":0,"data":{}}`, "Content-Type", "application/json"),
		body(200, "", "Content-Length", "0"),
		body(202, ok("{}"), "X-A", "1", "X-A", "2", "Set-Cookie", "a=b", "Set-Cookie", "c=d; HttpOnly", "Server", "napcat"),
		body(201, gzipped(ok("{}")), "Content-Encoding", "gzip", "Content-Type", "application/json", "Vary", "*"),
		// whether reverse_proxy makes up a type for what it unzips is left to chance
		body(200, "no gzip at all", "Content-Encoding", "gzip", "Content-Type", "a/b"),
		body(200, gzipped(ok("{}"))[:20], "Content-Encoding", "gzip", "Content-Type", "a/b"),
		body(200, ok("{}"), "Content-Encoding", "br"),
		body(204, "", "X-A", ""),
		body(302, "elsewhere", "Location", "http://127.0.0.1:1/%zz"),
		body(304, "", "ETag", `"1"`),
		body(400, `{"status":"failed"}`), body(401, "no", "WWW-Authenticate", "Basic"), body(403, ""), body(404, "404 page not found"),
		body(405, "", "Allow", "PATCH"), body(406, ""), body(413, ""), body(418, "\x00\xff"), body(500, "oh"), body(503, "", "Retry-After", "1"),
		body(200, filler(300_000)), with(chunked("a"+filler(300_000)), "Content-Type", "text/plain"), with(chunked(ok("{}")), "Content-Type", "a/b"), body(599, "x"),
	} {
		b.handle(fmt.Sprintf("send_%d_msg", n), answer)
		b.handle(fmt.Sprintf("act_%d", n), answer)
	}

	heads := map[string]string{
		"a GET":                          "GET /get_login_info HTTP/1.1\nHost: 127.0.0.1\n\n",
		"a query as strange as can be":   "GET /get_login_info?a=%20+&a=b;c&&=&%zz?/#&ü HTTP/1.1\nHost: 127.0.0.1\n\n",
		"escapes in a path":              "GET /%67et_login_info/%2f%2e%2e/%20%7e~ HTTP/1.1\nHost: 127.0.0.1\n\n",
		"escapes that are good":          "GET /a%2Fb%20c/%E4%BD%A0/..;/x HTTP/1.1\nHost: 127.0.0.1\n\n",
		"slashes and dots":               "GET //get_login_info/.././/x/// HTTP/1.1\nHost: 127.0.0.1\n\n",
		"ours in the midst of slashes":   "GET /x//get_status HTTP/1.1\nHost: 127.0.0.1\n\n",
		"HTTP/1.0":                       "GET /get_login_info HTTP/1.0\nHost: 127.0.0.1\n\n",
		"a HEAD":                         "HEAD /send_0_msg HTTP/1.1\nHost: 127.0.0.1\n\n",
		"an OPTIONS":                     "OPTIONS /send_msg HTTP/1.1\nHost: 127.0.0.1\nOrigin: http://a.b\nAccess-Control-Request-Method: POST\n\n",
		"a method of its own":            "BREW /send_msg?a=b HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 2\n\n{}",
		"a GET with a body":              "GET /send_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 2\n\n{}",
		"a POST without a body":          "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0\n\n",
		"a POST without a length":        "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\n\n",
		"a GET of the route":             "GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
		"an empty POST to the route":     "POST / HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json\nContent-Length: 0\n\n",
		"a trailer in the response":      "GET /with_trailer HTTP/1.1\nHost: 127.0.0.1\nTE: trailers\n\n",
		"early hints":                    "POST /send_early_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 2\n\n{}",
		"headers of OneBot":              "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer a b  c\nX-Self-ID: 10001\nX-Signature: sha1=ab\nUser-Agent: CQHttp/4.15.0\nContent-Length: 2\n\n{}",
		"headers that occur twice":       "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nX-A: 1\nX-a: 2\nCookie: a=b\nCookie: c\nAccept: */*\nX-Empty:\nContent-Length: 2\n\n{}",
		"headers of a proxy":             "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\nForwarded: for=_x\nVia: 1.0 x\nContent-Length: 2\n\n{}",
		"headers of one hop":             "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nConnection: keep-alive, X-Hop\nX-Hop: 1\nKeep-Alive: 5\nContent-Length: 2\n\n{}",
		"no User-Agent and no Accept":    "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 2\n\n{}",
		"a type of two":                  "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Type: a/b\nContent-Type: application/json\nContent-Length: 2\n\n{}",
		"a body in gzip":                 "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Encoding: gzip\nContent-Length: 5\n\n\x1f\x8b\x08\x01\xff",
		"a call that waits for Continue": "POST /send_msg HTTP/1.1\nHost: 127.0.0.1\nExpect: 100-continue\nContent-Length: 2\n\n{}",
		"gzip that is welcome":           "POST /send_3_msg HTTP/1.1\nHost: 127.0.0.1\nAccept-Encoding: gzip\nContent-Length: 2\n\n{}",
		"conditions and ranges":          "GET /send_0_msg HTTP/1.1\nHost: 127.0.0.1\nRange: bytes=0-1\nIf-None-Match: *\n\n",
	}
	for name, b := range map[string]string{
		"JSON": `{"a": 1}`, "no JSON": "\x00\xff{", "an event": message("hello"), "a call": `{"action":"send_msg","echo":1.0}`,
		"half an event": `{"post_type":"mess`, "large": `{"post_type":"` + filler(500_000), "a form": "a=b&a=c", "spaces": "  \n {} \n ",
	} {
		for _, path := range []string{"/send_msg", "/", "/x"} {
			heads["POST of "+name+" to "+path] = fmt.Sprintf("POST %s HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json\nContent-Length: %d\n\n\x00%s", path, len(b), b)
			heads["chunked POST of "+name+" to "+path] = fmt.Sprintf("POST %s HTTP/1.1\nHost: 127.0.0.1\nTransfer-Encoding: chunked\nTrailer: X-End\n\n\x00%x\r\n%s\r\n1;x=y\r\n \r\n0\r\nX-End: yes\r\n\r\n", path, len(b), b)
		}
		heads["POST of "+name+" as a form to /"] = fmt.Sprintf("POST / HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/x-www-form-urlencoded\nContent-Length: %d\n\n\x00%s", len(b), b)
		heads["PUT of "+name+" as text to /"] = fmt.Sprintf("PUT / HTTP/1.1\nHost: 127.0.0.1\nContent-Type: text/plain\nContent-Length: %d\n\n\x00%s", len(b), b)
	}
	for n := range 24 {
		heads[fmt.Sprintf("answer %d to a message", n)] = fmt.Sprintf("POST /send_%d_msg HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 2\n\n{}", n)
		heads[fmt.Sprintf("answer %d to another call", n)] = fmt.Sprintf("POST /act_%d HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 2\n\n{}", n)
	}
	for name, head := range heads {
		t.Run(name, func(t *testing.T) {
			head, body, _ := strings.Cut(head, "\x00")
			wantRequest, wantResponse := exchange(t, b, c.other, head, body)
			request, response := exchange(t, b, c.addr, head, body)
			if !reflect.DeepEqual(request, wantRequest) {
				t.Errorf("the backend got\n%s\ninstead of\n%s", request, wantRequest)
			}
			if !reflect.DeepEqual(response, wantResponse) {
				t.Errorf("the client got\n%s\ninstead of\n%s", response, wantResponse)
			}
		})
	}
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func TestPassingOverTLS(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "https://<SITE> {\n tls internal\n"+front("route /onebot\naccess_token secret", b)+"}", overTLS)
	t.Cleanup(b.release)
	awaitTLS(t, c.addr)
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			c := newTLSClient("https://"+c.addr, http2)
			t.Cleanup(c.CloseIdleConnections)
			auth := []string{"Authorization", "Bearer secret"}
			r, err := c.try("POST", "/onebot/", `{"action":"set_restart","echo":[1]}`, auth...)
			if err != nil || r.status != "ok" || string(r.echo) != "[1]" {
				t.Errorf("a call of ours is answered by %s (%v)", r.body, err)
			}
			if r, err := c.try("POST", "/onebot/send_msg", "{}"); err != nil || r.http != 401 {
				t.Errorf("a call without a token is answered by %d %s (%v)", r.http, r.body, err)
			}
			for body, want := range map[string]string{
				`{"action":"send_msg","params":{"as":"failed"},"echo":{"a":1.0}}`: `{"status":"failed","retcode":100,"data":null,"echo":{"a":1.0}}`,
				message("hello"): "",
			} {
				a := send(t, c, "POST", c.base+"/onebot?x=%20", body, append(auth, "X-Self-ID", "7", "X-Signature", "sha1=0")...)
				if a.body != want || a.Proto != map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[http2] {
					t.Errorf("the answer is %s %d %s", a.Proto, a.StatusCode, a.body)
				}
				all := b.requests()
				s := all[len(all)-1]
				if s.uri != "/onebot?x=%20" || string(s.body) != body || s.header.Get("Authorization") != auth[1] ||
					s.header.Get("X-Self-ID") != "7" || s.header.Get("X-Signature") != "sha1=0" || s.host != strings.TrimPrefix(c.base, "https://") {
					t.Errorf("the backend got %s %s %v %s", s.host, s.uri, s.header, s.body)
				}
			}
		})
	}
}
