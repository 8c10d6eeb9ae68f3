package integration

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestAPublicFrameworkOverHTTPInFrontOfABackend(t *testing.T) {
	f := frameworks["koishi over HTTP"]
	b, port := newModel(t), freePort(t)
	c := startBetween(t, b, port)
	var version map[string]any
	c.bot(t, "get_version_info").decode(t, &version)
	overBoth(t, c, func(t *testing.T, site string, env []string) {
		before, earlier := c.bot(t, "get_status").stat(t), len(b.requests())
		task := conversation(f)
		task["url"], task["port"], task["secret"] = f.url(site), port, "postal"
		p := f.start(t, task, env...)
		passedOn := func() []*seen {
			return slices.DeleteFunc(b.requests()[earlier:], func(s *seen) bool { return s.action() == "get_status" }) // asked by the module
		}
		eventually(t, "the calls of the framework", func() bool { return len(passedOn()) >= len(f.passedOn()) })
		postEvent(t, "http://"+c.addr+"/app", heard(), "postal")
		r := p.finish(6)

		f.wantConversation(t, r, version)
		var calls []string
		for _, s := range passedOn() {
			receive(t, s.whole, "the whole call")
			if s.action() == "send_private_msg" {
				wantMessage(t, s.body)
			}
			calls = append(calls, s.action())
		}
		f.wantPassedOn(t, calls)
		c.wantMore(t, before, int64(6+len(f.atFirst)+1), stat{"MessageSent": 2, "MessageReceived": 1})
	})
}

func TestAPublicNotifierInFrontOfABackend(t *testing.T) {
	b := newModel(t)
	c := startBetween(t, b, freePort(t))
	f := framework{script: "push.mjs", protocol: "http"}
	overBoth(t, c, func(t *testing.T, site string, env []string) {
		before, earlier := c.bot(t, "get_status").stat(t), len(b.requests("send_msg"))
		say := func(userID int, more params) []any {
			option := params{"title": "A title", "text": sentText, "message_type": "private", "user_id": userID}
			maps.Copy(option, more)
			return []any{"send_msg", option}
		}
		r := f.start(t, params{"url": f.url(site), "calls": []any{say(1, nil), say(2, params{"as": "failed"}), say(3, nil)}}, env...).finish(3)
		for _, i := range []int{0, 2} {
			if id, ok := r.Outcomes[i].data(t, "")["message_id"].(float64); !ok || id < 1 {
				t.Errorf("the message was sent as %s", r.Outcomes[i].Data)
			}
		}
		r.Outcomes[1].wantFailed(t, 100)
		came := b.requests("send_msg")[earlier:]
		if len(came) != 3 {
			t.Errorf("%d messages came to the model, want 3", len(came))
		}
		for i, s := range came {
			receive(t, s.whole, "the whole call")
			wantEvent(t, json.RawMessage(s.body), params{"user_id": i + 1, "message_type": "private", "message": "A title\n" + sentText})
			if got := s.header.Get("Authorization"); got != "Bearer "+rightToken {
				t.Errorf("the Authorization that came is %q", got)
			}
		}
		c.wantMore(t, before, 3, stat{"MessageSent": 2})
	})
}

// postEvent posts an event as an implementation does, signed. koishi takes it if
// the signature is that of the body, byte for byte, and answers 403 otherwise;
// when it takes it, it forgets to say so, and it is 404 then.
func postEvent(t testing.TB, url, event, secret string) {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, []byte(secret))
	_, _ = io.WriteString(mac, event)
	req.Header = headerOf("Content-Type", "application/json", "Authorization", "Bearer "+rightToken,
		"X-Self-ID", "10001", "X-Signature", "sha1="+hex.EncodeToString(mac.Sum(nil)))
	client := newClient("")
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the event was answered with %s", resp.Status)
	}
}
