package integration

import (
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

func overTLSSite(options string) string {
	return "https://localhost:<PORT> {\n tls internal\n onebot_meta {\n access_token secret\n" + options + "\n}\n}"
}

func TestWebSocketOverTLS(t *testing.T) {
	c := startCaddy(t, overTLSSite("heartbeat 0\ncache {\n serve\n}"), tlsInternal)
	_ = c.dialTLS(t, "http/1.1")
	client := &http.Client{Transport: &http.Transport{DialTLSContext: c.tlsDialer(t, "http/1.1")}}
	opts := &websocket.DialOptions{HTTPClient: client, HTTPHeader: headerOf("Authorization", "Bearer secret"), CompressionMode: websocket.CompressionContextTakeover}
	conn, _, err := websocket.Dial(t.Context(), "wss://localhost:"+c.port()+"/", opts)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	a := &app{conn, t}
	a.wantEvent(connecting(0))
	a.call("get_status", `"`+filler(200_000)+`"`).wantOK(t)
	var data struct{ File, URL string }
	a.call("download_file", "1", `"params":{"base64":"YQ=="}`).wantOK(t).decode(t, &data)
	if want := "https://localhost:" + c.port() + "/files/"; len(data.URL) < len(want) || data.URL[:len(want)] != want {
		t.Errorf("the URL is %s, want %s...", data.URL, want)
	}
	c.terminate()
	a.wantEnd(websocket.StatusGoingAway)
}

func TestWebSocketOverHTTP2(t *testing.T) {
	t.Parallel() // it waits most of the time
	site := overTLSSite("heartbeat 1s\nself_id 10001\nmax_body 1MiB\n" + download())
	timeouts := global("\tlocal_certs\n\tauto_https disable_redirects\n" +
		"\tservers {\n\t\ttimeouts {\n\t\t\tread_body_idle 100ms\n\t\t}\n\t}")
	c := startCaddy(t, site, timeouts, environ("GODEBUG=netdns=go,http2xconnect=1"))
	over := c.dialHTTP2(t)
	auth := []string{"Authorization", "Bearer secret"}
	open := func(t *testing.T, path string) *wire {
		t.Helper()
		w := c.extendedConnect(t, over, path, auth...)
		if w.response.StatusCode != 200 {
			t.Fatalf("the handshake is answered %s", w.response.Status)
		}
		w.t = t
		return w
	}

	t.Run("handshakes", func(t *testing.T) {
		for _, tt := range []struct {
			path   string
			header []string
			want   int
		}{
			{"/api", nil, 401},
			{"/api?access_token=wrong", nil, 403},
			{"/nonsense", auth, 404},
		} {
			w := c.extendedConnect(t, over, tt.path, tt.header...)
			_ = w.Close() // a call has an end
			r, err := parseReply(w.response)
			if err != nil {
				t.Fatalf("%s: %v", tt.path, err)
			}
			r.wantRefused(t, tt.want)
		}
	})
	t.Run("calls and events", func(t *testing.T) {
		w := open(t, "/")
		wantEvent(t, []byte(w.next().payload), connecting(10001))
		// Caddy's limit for the bodies of requests is shorter
		wantEvent(t, []byte(w.next().payload), params{"meta_event_type": "heartbeat", "interval": 1000})
		api := open(t, "/api")
		for _, echo := range []string{"1", `"` + filler(500_000) + `"`} {
			call := ours("get_status", echo)
			api.send(piece{opText, call[:8]}, piece{fin | opPing, "x"}, piece{lastPart, call[8:]})
			api.want(piece{fin | opPong, "x"})
			api.wantReply(echo).wantOK(t)
		}
		api.send(piece{fin | opClose, closing(1000, "bye")})
		api.wantClose(1000)
	})
	t.Run("bad frames", func(t *testing.T) {
		for code, raw := range map[int][]byte{
			1002: header(wholeText|rsv1, true, 0), 1007: piece{wholeText, "\xff"}.encode(true), 1009: header(wholeText, true, 1<<40),
		} {
			w := open(t, "/api")
			w.write(raw)
			w.wantClose(code)
		}
	})
	t.Run("a client that leaves", func(t *testing.T) {
		before := c.holds(t)
		for range 20 {
			w := open(t, "/api")
			w.send(piece{wholeText, ours("clean_cache", "1")})
			w.wantReply("1").wantOK(t)
			_ = w.Close()
			_ = w.response.Body.Close()
		}
		wantNothingOpen(t, c, before, 6)
	})
	t.Run("a client that reads nothing", func(t *testing.T) {
		w := open(t, "/api")
		call := piece{wholeText, ours("set_restart", `"`+filler(100_000)+`"`)}.encode(true)
		written := 0
		for range 2000 { // 200 MB
			if _, err := w.w.Write(call); err != nil {
				break
			}
			written++
		}
		if written == 2000 {
			t.Error("it was never cut off")
		}
		other := open(t, "/api") // by the same connection
		other.send(piece{wholeText, ours("set_restart", "1")})
		other.wantReply("1").wantOK(t)
	})
	t.Run("a reload", func(t *testing.T) {
		o := newOrigin(t)
		w, busy := open(t, "/api"), open(t, "/api")
		busy.send(piece{wholeText, ours("download_file", "1", `"params":`+params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String())})
		o.await(t)
		if output, ok := c.reload(site + "\n# changed"); !ok {
			t.Fatal(output)
		}
		if output, ok := c.reload(overTLSSite("self_id 2")); !ok {
			t.Fatal(output)
		}
		w.wantClose(1001)
		o.release()
		wantContent(t, busy.wantReply("1").file(t), "firstrest")
		busy.wantClose(1001)
	})
	t.Run("an exit", func(t *testing.T) {
		over = c.dialHTTP2(t) // the reload has ended the connection of before
		w := open(t, "/event")
		w.next()
		c.terminate()
		w.wantClose(1001)
		c.awaitExit()
	})
}
