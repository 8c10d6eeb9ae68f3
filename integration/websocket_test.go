package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestOverWebSocketActionsAnswerAsOverHTTP(t *testing.T) {
	c := startBot(t, "route /onebot\n"+download())
	o := newOrigin(t)
	url := o.handle("/a.png", content("a picture"))
	a := c.open(t, "/onebot/api")
	count := newTally(c, "/onebot")
	n := int64(0)
	for _, tt := range []struct{ action, params string }{
		{"get_version_info", `{}`},
		{"get_supported_actions", `{}`},
		{"set_restart", `{"delay":"1"}`},
		{"clean_cache", `null`},
		{"reload_event_filter", `{"file":"x"}`},
		{"get_word_slices", `{"content":"x"}`},
		{".get_word_slices", `{"content":"x"}`},
		{"clean_cache_async", `{}`},
		{"clean_cache_rate_limited", `{}`},
		{"download_file", `{"url":"ftp://x"}`},
		{"download_file", `{}`},
	} {
		over := a.call(tt.action, `"e"`, `"params":`+tt.params)
		http := c.post(t, "/onebot/"+tt.action, tt.params)
		if over.status != http.status || over.retcode != http.retcode || string(over.data) != string(http.data) || over.message != http.message || over.wording != http.wording {
			t.Errorf("%s %s is answered\n%s, and over HTTP\n%s", tt.action, tt.params, over.body, http.body)
		}
		n += 2
	}
	wantContent(t, a.call("download_file", "1", `"params":`+params{"url": url}.String()).file(t), "a picture")
	n++
	for action, want := range map[string]int{"nonsense": 1404, "": 1404, "/get_status": 1404, "files/x": 1404} {
		a.call(action, `1`).want(t, 200, "failed", want)
		n++
	}
	count.wantAll(t, stat{"PacketReceived": n, "PacketSent": n})
	s := a.call("get_status", "1").stat(t)
	if s["PacketReceived"] != s["PacketSent"]+1 {
		t.Errorf("the counters are %v", s)
	}
}

func TestEchoesComeBackByteForByte(t *testing.T) {
	c := startBot(t, "")
	a := c.open(t, "/api")
	for _, echo := range []string{
		`null`, `true`, `0`, `-0`, `1e400`, `12345678901234567890.0`, `""`, `"\u00e9é\/</script>\ud800"`, `[ ]`, `{ "b" : 1, "a" : [ {"b":2,"b":2} ] }`,
		`"` + filler(1<<20) + `"`,
	} {
		a.call("set_restart", echo).wantOK(t)
		a.call("nonsense", echo).want(t, 200, "failed", 1404)
		a.call("download_file", echo, `"params":{"url":"ftp://x"}`).wantFailed(t)
		a.call("download_file", echo, `"params":7`).wantFailed(t)
	}
	a.say(`{"action":"set_restart"}`)
	wantEnvelope(t, a.hear(), "").wantOK(t)
}

func TestEndpointsOfWebSocket(t *testing.T) {
	const events, calls = 1, 2
	for _, route := range []string{"/", "/onebot", "/a/b/"} {
		t.Run(route, func(t *testing.T) {
			c := startBot(t, "route "+route+"\nself_id 10001\nheartbeat 0")
			for path, has := range map[string]int{
				"": events | calls, "/": events | calls, "/api": calls, "/api/": calls, "/event": events, "/event/": events,
			} {
				path = strings.TrimSuffix(route, "/") + path
				if path == "" {
					path = "/"
				}
				a := c.open(t, path)
				if has&events != 0 {
					a.wantEvent(connecting(10001))
				}
				r := a.call("get_version_info", "1")
				if has&calls != 0 {
					r.wantOK(t)
				} else if r.wantFailed(t); !strings.Contains(r.message, "events only") {
					t.Errorf("at %s the message is %q", path, r.message)
				}
			}
			count := newTally(c, strings.TrimSuffix(route, "/"))
			count.wantAll(t, stat{"PacketReceived": 6, "PacketSent": 6}) // events are not counted
		})
	}
	t.Run("and nowhere else", func(t *testing.T) {
		c := startBot(t, "route /onebot")
		for path, want := range map[string]int{
			"/onebot/nonsense": 404, "/onebot/api/x": 404, "/onebot/ws": 404,
			"/onebot/get_status": 200, // a call, which need not become a connection
			"/api":               200, // of the next handler
		} {
			_, resp, err := c.tryOpen(t, path)
			if err == nil || resp == nil || resp.StatusCode != want {
				t.Errorf("%s: %v %v", path, resp, err)
			}
		}
	})
}

func TestARefusedHandshakeIsAnEnvelope(t *testing.T) {
	c := startBot(t, "access_token secret other-secret", global("\tdebug"))
	count := newTally(c, "")
	count.path += "?access_token=secret"
	for _, tt := range []struct {
		path   string
		header []string
		want   int
	}{
		{"/", nil, 401},
		{"/api", []string{"Authorization", "Bearer"}, 401},
		{"/event", []string{"Authorization", "Bearer wrong-token"}, 403},
		{"/?access_token=wrong-token", nil, 403},
		{"/nonsense", nil, 401},
		{"/", []string{"Sec-WebSocket-Protocol", "secret"}, 401},
	} {
		conn, err := dialLoopback(t.Context(), "tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		resp := upgrade(t, conn, c.addr, tt.path, tt.header...).response
		r, err := parseReply(resp)
		if err != nil {
			t.Fatal(err)
		}
		r.wantRefused(t, tt.want)
		_ = conn.Close()
	}
	for _, open := range [][]string{
		{"/api?access_token=secret"}, {"/api", "Authorization", "Bearer other-secret"}, {"/api", "Authorization", "Token secret"},
		{"/api?access_token=secret", "Authorization", "Bearer wrong-token"},
	} {
		c.open(t, open[0], open[1:]...).call("set_restart", "1").wantOK(t)
	}
	count.wantAll(t, stat{"PacketReceived": 4, "PacketSent": 4})
	if text := c.logs.String(); strings.Contains(text, "wrong-token") {
		t.Error("a token is in the log")
	}
}

func TestABadHandshakeIsAnEnvelope(t *testing.T) {
	c := startBot(t, "")
	for what, tt := range map[string]struct{ old, new string }{
		"no version":    {"Sec-WebSocket-Version: 13\r\n", ""},
		"an old one":    {"Version: 13", "Version: 8"},
		"no key":        {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""},
		"a short key":   {"dGhlIHNhbXBsZSBub25jZQ==", "dGhl"},
		"no Connection": {"Connection: Upgrade\r\n", ""},
	} {
		conn, err := dialLoopback(t.Context(), "tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request := "GET /api HTTP/1.1\r\nHost: " + c.addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		if _, err := conn.Write([]byte(strings.Replace(request, tt.old, tt.new, 1))); err != nil {
			t.Fatal(err)
		}
		r, err := readReply(conn)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		r.wantRefused(t, 400)
		if got := r.header.Get("Sec-WebSocket-Version"); (got == "13") != strings.Contains(tt.old, "Version") {
			t.Errorf("%s: Sec-WebSocket-Version is %q", what, got)
		}
	}
}

func TestALongCallDoesNotDelayOthers(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	a := c.open(t, "/api")
	a.say(ours("download_file", `"slow"`, `"params":`+slow))
	a.say(ours("download_file", `"twin"`, `"params":`+slow))
	o.await(t)
	for n := range 100 {
		a.call("get_status", fmt.Sprint(n)).wantOK(t)
	}
	// what runs in the background is nobody's
	a.call("download_file_async", "1", `"params":`+slow).wantAsync(t)
	other := c.open(t, "/api")
	other.say(ours("download_file", `"other"`, `"params":`+slow))
	other.call("get_status", `"taken"`).wantOK(t) // calls are taken in order
	o.release()
	seen := make(map[string]bool)
	for range 2 {
		r, err := parseEnvelope(a.hear())
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, r.file(t), "firstrest")
		seen[string(r.echo)] = true
	}
	if !seen[`"slow"`] || !seen[`"twin"`] {
		t.Errorf("the echoes are %v", seen)
	}
	wantContent(t, wantEnvelope(t, other.hear(), `"other"`).file(t), "firstrest")
	if n := len(o.asked("/slow.png")); n != 1 {
		t.Errorf("the origin had %d requests", n)
	}
}

func TestACallerThatGoesLosesItsReplies(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	count := newTally(c, "")
	for n, leave := range []func(*app){
		func(a *app) { _ = a.CloseNow() },
		func(a *app) {
			if err := a.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Errorf("closing: %v", err)
			}
		},
	} {
		a := c.open(t, "/api")
		for range 10 {
			a.say(ours("download_file", "1", `"params":`+slow))
		}
		a.call("set_restart", "2").wantOK(t)
		leave(a)
		lost, sent := int64(n+1)*10, int64(n+1)
		count.wantAll(t, stat{"PacketReceived": lost + sent, "PacketSent": sent, "PacketLost": lost})
	}
	o.release() // the download goes on
	c.awaitLog("downloaded file")
}

func TestHeartbeats(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := startBot(t, "self_id 10001\nheartbeat 1s")
	for _, path := range []string{"/", "/event"} {
		a := c.open(t, path)
		a.wantEvent(connecting(10001))
		for range 2 {
			event := a.wantEvent(params{"post_type": "meta_event", "meta_event_type": "heartbeat", "self_id": 10001, "interval": 1000})
			status, _ := event["status"].(map[string]any)
			stat, _ := status["stat"].(map[string]any)
			if status["online"] != true || status["good"] != true || len(status) != 6 || len(stat) != 8 || stat["PacketReceived"] != float64(0) {
				t.Errorf("the status is %v", status)
			}
		}
	}
	silent := startBot(t, "heartbeat 0")
	quick := c.open(t, "/")
	quick.wantEvent(connecting(10001))
	a := silent.open(t, "/event")
	a.wantEvent(connecting(0))
	heard := make(chan string, 1)
	go func() {
		message, _ := a.tryHear()
		heard <- message
	}()
	for range 2 { // two seconds by the clock of another one
		quick.wantEvent(params{"meta_event_type": "heartbeat"})
	}
	select {
	case message := <-heard:
		t.Errorf("without heartbeats there is %s", message)
	default:
	}
	_ = a.CloseNow()
	<-heard
}

func TestFilesAreOfferedOverWebSocket(t *testing.T) {
	c := startBot(t, "route /onebot\naccess_token secret\ncache {\n serve\n}")
	auth := []string{"Authorization", "Bearer secret"}
	a := c.open(t, "/onebot", auth...)
	a.wantEvent(connecting(0))
	var data struct{ File, URL string }
	a.call("download_file", "1", `"params":{"base64":"YSBwaWN0dXJl"}`).wantOK(t).decode(t, &data)
	wantContent(t, data.File, "a picture")
	path, ok := strings.CutPrefix(data.URL, "http://"+c.addr)
	if !ok {
		t.Fatalf("the URL is %s", data.URL)
	}
	if got := send(t, c.client, "GET", c.client.base+path, "", auth...); got.StatusCode != 200 || got.body != "a picture" {
		t.Errorf("fetching it: %s %s", got.Status, got.body)
	}
}
