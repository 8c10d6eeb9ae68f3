package integration

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// In front of an app the handler is where an implementation posts its events.
func TestEventPostsReachTheApp(t *testing.T) {
	b := newBackend(t)
	const quick = `{"reply":"hello to you","auto_escape":true}`
	b.handle("event", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Wants") == "" {
			w.WriteHeader(204)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, quick)
	})
	c := startFront(t, b, "route /onebot")
	received := int64(0)
	for name, event := range map[string]string{
		"a message":                message("你好 \U0001F600"),
		"a message that is large":  message(filler(3 << 20)),
		"a message of ours":        message("x", `"action":"set_restart","params":{}`),
		"a heartbeat":              heartbeat("true"),
		"a notice":                 notice("group_recall"),
		"a request":                event("request", `"request_type":"friend"`),
		"a message that was sent":  event("message_sent", `"message":"x"`),
		"an event of another kind": event("没有", `"x":null`),
	} {
		for _, path := range []string{"/onebot", "/onebot/", "/onebot/events/of/mine?a=b"} {
			for _, wants := range []string{"", "1"} {
				t.Run(fmt.Sprintf("%s to %s, answer %q", name, path, wants), func(t *testing.T) {
					before := len(b.requests())
					a := send(t, c.client, "POST", c.client.base+path, event, "X-Self-ID", "10001", "X-Signature", "sha1=f00", "X-Wants", wants, "Content-Type", "application/json")
					if want := map[string]string{"": "", "1": quick}[wants]; a.body != want || a.StatusCode != map[string]int{"": 204, "1": 200}[wants] {
						t.Errorf("the answer is %d %s", a.StatusCode, a.body)
					}
					all := b.requests()[before:]
					if len(all) != 1 {
						t.Fatalf("the app got %d requests", len(all))
					}
					s := all[0]
					if string(s.body) != event || s.uri != path || s.header.Get("X-Self-ID") != "10001" || s.header.Get("X-Signature") != "sha1=f00" {
						t.Errorf("the app got %s %v %.200q", s.uri, s.header, s.body)
					}
				})
				received++
			}
		}
	}
	outside := int64(0)
	for _, path := range []string{"/", "/onebots", "/events"} {
		c.tell(t, path, message("outside of the route"))
		outside++
	}
	want := stat{
		"PacketReceived": received + 1, "PacketSent": received, "PacketLost": 0, "LostTimes": 0, "MessageReceived": 3 * 3 * 2,
		"MessageSent": 0, "DisconnectTimes": 0, "LastMessageTime": 0,
	}
	wantStat(t, c.stat(t, "/onebot/get_status"), want)
	if n := int64(len(b.requests())); n != received+outside {
		t.Errorf("the app got %d requests, of %d", n, received+outside)
	}
}

// wantStat fails the test if a counter is another.
func wantStat(t testing.TB, got, want stat) {
	t.Helper()
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s is %d, want %d", name, got[name], n)
		}
	}
	if len(got) != 8 {
		t.Errorf("stat is %v", got)
	}
}
