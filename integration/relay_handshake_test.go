package integration

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// newBareBackend listens for Caddy and has a test answer every request by
// itself. The connection is closed when that returns.
func newBareBackend(t testing.TB, serve func(conn net.Conn, r *http.Request)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					serve(conn, r)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

// switching returns the answer that accepts an upgrade.
func switching(r *http.Request, header ...string) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	text := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	for i := 0; i < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\r\n"
	}
	return text + "\r\n"
}

// drain reads a connection to its end.
func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// besideIt runs Caddy with the handler in front of an address, which is reached
// without the handler at <OTHER>.
func besideIt(t testing.TB, options, addr string) *instance {
	t.Helper()
	return startCaddy(t, "http://<SITE> {\n onebot_meta {\n pass_thru\n"+options+"\n}\n reverse_proxy "+addr+"\n}\n"+
		"http://<OTHER> {\n reverse_proxy "+addr+"\n}\n")
}

func TestAHandshakePassesAsItDoesWithoutTheHandler(t *testing.T) {
	requests := make(chan *http.Request, 1)
	answers := map[string]string{
		"/refused":     "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nX-Why: so\r\n\r\nnever",
		"/unauthorise": "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n",
		"/elsewhere":   "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
		"/old":         "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 0\r\n\r\n",
		"/plain":       "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
		"/chunks":      "HTTP/1.1 500 Oh No\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	}
	addr := newBareBackend(t, func(conn net.Conn, r *http.Request) {
		requests <- r
		if answer, ok := answers[r.URL.Path]; ok {
			_, _ = io.WriteString(conn, answer)
			return
		}
		_, _ = io.WriteString(conn, switching(r, "Sec-WebSocket-Protocol", "v11.bot", "Set-Cookie", "a=b; Path=/", "Set-Cookie", "c=d", "X-Bot", "\xc3\xa4"))
		drain(conn)
	})
	c := besideIt(t, "", addr)
	header := []string{
		"Sec-WebSocket-Protocol", "v12.bot, v11.bot", "Authorization", "Bearer of the bot", "User-Agent", "CQHttp/4.15.0", "Origin", "http://app.example",
		"Cookie", "a=b; c=d", "X-Odd", "one", "X-Odd", "two", "X-Forwarded-For", "127.0.0.9", "Accept-Language", "zh",
	}
	for _, uri := range []string{
		"/", "/api?access_token=abc&x=%2F;y", "/event/", "/a%2Fb//c", "/refused", "/unauthorise", "/elsewhere", "/old", "/plain", "/chunks",
	} {
		t.Run(uri, func(t *testing.T) {
			type came struct {
				uri, host, status, body string
				request, response       http.Header
			}
			through := func(addr string) came {
				conn, err := dialLoopback(t.Context(), "tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				w := upgrade(t, conn, "127.0.0.1", uri, header...)
				r := receive(t, requests, "the request")
				got := came{uri: r.RequestURI, host: r.Host, status: w.response.Status, request: r.Header, response: w.response.Header}
				if w.response.StatusCode != 101 {
					body, err := io.ReadAll(w.response.Body)
					if err != nil {
						t.Error(err)
					}
					got.body = string(body)
				}
				got.response.Del("Date")
				return got
			}
			got, want := through(c.addr), through(c.other)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("it passes as\n%+v\nand without the handler as\n%+v", got, want)
			}
		})
	}
}

func TestOnlyCompressionOfEachMessageForItselfIsOffered(t *testing.T) {
	requests := make(chan *http.Request, 1)
	addr := newBareBackend(t, func(conn net.Conn, r *http.Request) {
		requests <- r
		_, _ = io.WriteString(conn, switching(r, r.Header.Values("X-Answer")...))
		drain(conn)
	})
	c := besideIt(t, "", addr)
	const both = "client_no_context_takeover server_no_context_takeover"
	for name, test := range map[string]struct {
		offer, answer    []string
		offered, settled string // the parameters that must be there; "none" stands for no extension
	}{
		"none":                          {nil, nil, "none", "none"},
		"the usual one":                 {[]string{"permessage-deflate"}, []string{"permessage-deflate; client_no_context_takeover; server_no_context_takeover"}, both, both},
		"a browser's":                   {[]string{"permessage-deflate; client_max_window_bits"}, []string{"permessage-deflate; server_no_context_takeover"}, both, both},
		"one that is declined":          {[]string{"permessage-deflate"}, nil, both, "none"},
		"one among others":              {[]string{"x-webkit-deflate-frame, permessage-deflate, bbf-usp-protocol"}, []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}, both, both},
		"several":                       {[]string{"permessage-deflate; server_max_window_bits=10", "permessage-deflate"}, []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}, both, both},
		"one that nobody here knows":    {[]string{"permessage-bzip2, x-webkit-deflate-frame"}, nil, "none", "none"},
		"what is no list of extensions": {[]string{"permessage-deflate;;=,\"", "=;"}, nil, "none", "none"},
		"nothing":                       {[]string{""}, nil, "none", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			for _, offer := range test.offer {
				header = append(header, "Sec-WebSocket-Extensions", offer)
			}
			for _, answer := range test.answer {
				header = append(header, "X-Answer", "Sec-WebSocket-Extensions", "X-Answer", answer)
			}
			w := c.dialWire(t, "/", header...)
			for what, got := range map[string]struct {
				header []string
				want   string
			}{
				"the bot is offered": {receive(t, requests, "the request").Header.Values("Sec-WebSocket-Extensions"), test.offered},
				"the app is told":    {w.response.Header.Values("Sec-WebSocket-Extensions"), test.settled},
			} {
				all := strings.Join(got.header, ", ")
				if got.want == "none" {
					if strings.Trim(all, ", ") != "" {
						t.Errorf("%s %q, want nothing", what, all)
					}
					continue
				}
				for offer := range strings.SplitSeq(all, ",") {
					if extension, _, _ := strings.Cut(strings.TrimSpace(offer), ";"); extension != "permessage-deflate" {
						t.Errorf("%s %q", what, extension)
					}
					for _, parameter := range strings.Fields(got.want) {
						if !strings.Contains(offer, parameter) {
							t.Errorf("%s %q without %s", what, offer, parameter)
						}
					}
				}
			}
		})
	}
}

func TestTokensComeBeforeTheBackend(t *testing.T) {
	r := newRelayed(t, "route /bot\naccess_token secret other")
	for _, path := range []string{"/bot", "/bot/", "/bot/api", "/bot/event", "/bot/x"} {
		for credentials, want := range map[string]int{
			"": 401, "?access_token=": 401, "?access_token=wrong": 403, "Bearer wrong": 403, "?access_token=secret": 101, "Bearer secret": 101, "Token other": 101,
		} {
			uri, header := path, []string(nil)
			if strings.HasPrefix(credentials, "?") {
				uri += credentials
			} else if credentials != "" {
				header = []string{"Authorization", credentials}
			}
			conn, err := dialLoopback(t.Context(), "tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			w := upgrade(t, conn, r.addr, uri, header...)
			if w.response.StatusCode != want {
				t.Errorf("%s with %q is answered %s", uri, credentials, w.response.Status)
			}
			if want == 101 {
				if got := r.bot.socket(t).header.Get("Authorization"); len(header) > 0 && got != credentials {
					t.Errorf("the bot is shown %q", got)
				}
			} else if answer, err := parseReply(w.response); err != nil {
				t.Error(err)
			} else {
				answer.wantRefused(t, want)
			}
			_ = conn.Close()
		}
	}
	select {
	case s := <-r.bot.opened:
		t.Errorf("a connection to %s was let through", s.path)
	default:
	}
	outside := r.app.dial(t, "ws://"+r.addr+"/elsewhere")
	if got := r.bot.socket(t).path; got != "/elsewhere" {
		t.Errorf("outside of the route, %s was opened", got)
	}
	outside.send(t, ours("get_status", "1"))
}

func TestConnectionsAreBalancedAndHeadersAreSetByReverseProxy(t *testing.T) {
	app := newBackend(t, silent)
	bots := []*backend{newBackend(t, silent), newBackend(t, silent)}
	dead := freeAddr(t)
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n pass_thru\n}\n reverse_proxy "+bots[0].addr+" "+dead+" "+bots[1].addr+` {
		lb_policy round_robin
		lb_try_duration 5s
		lb_try_interval 1ms
		fail_duration 1m
		header_up X-From {http.request.host}
		header_up -X-Secret
	}
}`)
	t.Cleanup(bots[0].release)
	t.Cleanup(bots[1].release)
	const connections = 8
	for n := range connections {
		there, _, err := app.tryDial("ws://"+c.addr+"/", "X-Secret", "x", "X-Number", fmt.Sprint(n))
		if err != nil {
			t.Fatal(err)
		}
		var here *socket
		select {
		case here = <-bots[0].opened:
		case here = <-bots[1].opened:
		}
		if here.header.Get("X-From") != "127.0.0.1" || here.header.Get("X-Secret") != "" || here.header.Get("X-Number") != fmt.Sprint(n) {
			t.Errorf("the bot got %v", here.header)
		}
		exchangeMixed(t, there, here, fmt.Sprint(n), 9)
	}
	for i, bot := range bots {
		if n := len(bot.open()); n < 2 || n > connections-2 {
			t.Errorf("bot %d has %d of %d connections", i, n, connections)
		}
	}
	for _, bot := range bots {
		bot.shutDown()
	}
	// now nobody answers, which is an error of reverse_proxy as ever
	if _, resp, err := app.tryDial("ws://" + c.addr + "/"); err == nil || resp == nil || resp.StatusCode < 500 {
		t.Errorf("without a bot the handshake is answered %v (%v)", resp, err)
	}
}
