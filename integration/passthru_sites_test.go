package integration

import (
	"strings"
	"testing"
)

// What Caddy does before and behind the handler goes on as it would without.
func TestTheHandlerBelowHandlePath(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n handle_path /bots/7/* {\n"+front("", b)+"}\n}")
	t.Cleanup(b.release)
	c.post(t, "/bots/7/set_restart", "{}").wantOK(t)
	c.post(t, "/bots/7/", `{"action":"set_restart"}`).wantOK(t)
	if a := send(t, c.client, "POST", c.client.base+"/bots/7/?a=b", `{"action":"send_msg","echo":7}`); !strings.Contains(a.body, `"echo":7`) {
		t.Errorf("the answer is %d %s", a.StatusCode, a.body)
	}
	if !c.call(t, "GET", "/bots/7/get_status", "").online(t) {
		t.Error("the bot is offline")
	}
	for _, want := range []string{"/?a=b", "/get_status"} {
		if s := b.await(t); s.uri != want {
			t.Errorf("the backend got %s, want %s", s.uri, want)
		}
	}
}

func TestSeveralBackendsBehindOneHandler(t *testing.T) {
	one, two := newBackend(t), newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n pass_thru\n}\n reverse_proxy "+one.addr+" "+two.addr+
		" {\n lb_policy round_robin\n lb_try_duration 20s\n lb_try_interval 1ms\n}\n}")
	t.Cleanup(one.release)
	t.Cleanup(two.release)
	const all = 10
	call := func(path, body string) {
		t.Helper()
		if a := send(t, c.client, "POST", c.client.base+path, body, "Content-Type", "application/json"); a.StatusCode != 200 || a.body != ok(`{"action":"mark"}`) {
			t.Errorf("%s is answered by %d %s", path, a.StatusCode, a.body)
		}
	}
	for range all {
		call("/mark", "{}")
	}
	if a, b := len(one.requests()), len(two.requests()); a != all/2 || b != all/2 {
		t.Errorf("the backends got %d and %d requests", a, b)
	}
	// a call that finds nobody is tried elsewhere, with all of its body
	one.shutDown()
	envelope := `{"params":{"x":"` + filler(100_000) + `"},"action":"mark"}`
	for range all {
		call("/mark", envelope)
		call("/", envelope)
	}
	for _, s := range two.requests()[all/2:] {
		if string(s.body) != envelope {
			t.Errorf("the backend got %d bytes of %d", len(s.body), len(envelope))
		}
	}
	if n := len(two.requests()) - all/2; n != 2*all {
		t.Errorf("the backend that is left got %d requests", n)
	}
	if r := c.call(t, "GET", "/get_status", ""); !r.online(t) {
		t.Error("one backend that is up is not enough")
	} else {
		wantStat(t, r.stat(t), stat{"PacketReceived": 3*all + 1, "PacketSent": 3 * all, "PacketLost": 0})
	}
}

// Handlers that stand behind see what passes, and what is ours never gets there.
func TestHandlersBehindSeeOnlyWhatPasses(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\nroute {\n onebot_meta {\n pass_thru\n}\n header X-Behind yes\n request_body {\n max_size 1KB\n}\n reverse_proxy "+b.addr+"\n}\n}")
	t.Cleanup(b.release)
	if got := c.post(t, "/set_restart", "{}").wantOK(t).header.Get("X-Behind"); got != "" {
		t.Error("a call of ours went on")
	}
	for _, path := range []string{"/send_msg", "/"} {
		a := send(t, c.client, "POST", c.client.base+path, `{"action":"send_msg"}`)
		if a.StatusCode != 200 || a.Header.Get("X-Behind") != "yes" {
			t.Errorf("%s is answered by %d %v", path, a.StatusCode, a.Header)
		}
		a = send(t, c.client, "POST", c.client.base+path, `{"action":"send_msg","x":"`+filler(5000)+`"}`)
		if a.StatusCode != 413 || a.body != "" {
			t.Errorf("%s, too large for who stands behind, is answered by %d %s", path, a.StatusCode, a.body)
		}
	}
	wantStat(t, c.call(t, "GET", "/get_status", "").stat(t), stat{
		"PacketReceived": 6, "PacketSent": 3, "PacketLost": 2, "LostTimes": 2, "MessageSent": 2,
	})
}

// What looks at a body when nobody behind could read it leaves it to the others.
func TestAFallbackGetsTheBodyThatNobodyRead(t *testing.T) {
	down, b := newBackend(t), newBackend(t)
	down.shutDown()
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n pass_thru\n}\n reverse_proxy "+down.addr+"\n handle_errors {\n reverse_proxy "+b.addr+"\n}\n}")
	t.Cleanup(b.release)
	for path, body := range map[string]string{"/send_msg": `{"x":1}`, "/": `{"action":"send_msg"}`, "/events": `{"post_type":"message"}`} {
		if a := send(t, c.client, "POST", c.client.base+path, body, "Content-Type", "application/json"); a.StatusCode == 502 {
			t.Errorf("%s is answered by %d %s", path, a.StatusCode, a.body)
		}
		if s := b.await(t); string(s.body) != body {
			t.Errorf("%s: the fallback got %q", path, s.body)
		}
	}
}

// The question that get_status asks goes no further than its caller's requests.
func TestTheQuestionStaysInTheHandleBlockOfItsCaller(t *testing.T) {
	other := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n handle /bot* {\n onebot_meta {\n route /bot\n pass_thru\n}\n @ws header Upgrade websocket\n reverse_proxy @ws 127.0.0.1:1\n}\n handle {\n reverse_proxy "+other.addr+"\n}\n}")
	t.Cleanup(other.release)
	if c.call(t, "GET", "/bot/get_status", "").online(t) || len(other.requests()) > 0 {
		t.Errorf("another site was asked: %d requests", len(other.requests()))
	}
}
