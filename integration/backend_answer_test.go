package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// envelope returns what answers a call, with its echo. Unless an answer is set,
// that is ok, with the call as data, or async if the action says so. A parameter
// "as" with the value failed, async or ok makes it that.
func (b *backend) envelope(c call) string {
	b.mu.Lock()
	answer := b.answers[c.action]
	b.mu.Unlock()
	if answer == nil {
		answer = b.obey
	}
	body := answer(c)
	if body != "" && c.echo != nil {
		body = strings.TrimSuffix(body, "}") + `,"echo":` + string(c.echo) + "}"
	}
	return body
}

// obey answers a call as it wants to be answered.
func (b *backend) obey(c call) string {
	var wish struct{ As string }
	_ = json.Unmarshal(c.params, &wish)
	base := strings.TrimSuffix(c.action, "_rate_limited")
	switch {
	case wish.As == "failed":
		return `{"status":"failed","retcode":100,"data":null}`
	case wish.As == "async", wish.As == "" && strings.HasSuffix(base, "_async"):
		return `{"status":"async","retcode":1,"data":null}`
	case strings.HasPrefix(c.action, "send_"):
		return ok(fmt.Sprintf(`{"message_id":%d}`, b.messages.Add(1)))
	}
	return ok(params{"action": c.action}.String())
}

// ok returns the envelope of success.
func ok(data string) string { return `{"status":"ok","retcode":0,"data":` + data + `}` }

// statusIs returns what get_status says. online is JSON.
func statusIs(online string) string { return ok(`{"online":` + online + `,"good":true,"stat":{}}`) }

// never answers when the backend is released, with nothing.
func (b *backend) never(w http.ResponseWriter, r *http.Request) {
	select {
	case <-b.life.Done():
	case <-r.Context().Done():
	}
	panic(http.ErrAbortHandler)
}

// body answers with a status, headers given as names and values, and a body.
func body(status int, text string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// heartbeat, lifecycle and notice return events. online is JSON.
func heartbeat(online string, more ...string) string {
	return event("meta_event", `"meta_event_type":"heartbeat","interval":5000,"status":{"online":`+online+`,"good":true}`, more...)
}

func lifecycle(subType string, more ...string) string {
	return event("meta_event", `"meta_event_type":"lifecycle","sub_type":"`+subType+`"`, more...)
}

func notice(noticeType string, more ...string) string {
	return event("notice", `"notice_type":"`+noticeType+`"`, more...)
}

func message(text string, more ...string) string {
	quoted, _ := json.Marshal(text)
	return event("message", `"message_type":"private","sub_type":"friend","user_id":7,"message":`+string(quoted), more...)
}

func event(postType, fields string, more ...string) string {
	all := append([]string{`"time":1700000000,"self_id":10001,"post_type":"` + postType + `"`, fields}, more...)
	return "{" + strings.Join(all, ",") + "}"
}

// tell posts an event, as an implementation does to an app, and returns when it
// has been taken.
func (c *instance) tell(t testing.TB, path, event string, header ...string) {
	t.Helper()
	a := send(t, c.client, "POST", c.client.base+path, event, append(header, "Content-Type", "application/json")...)
	if a.StatusCode != http.StatusNoContent {
		t.Fatalf("an event is answered by %d %s", a.StatusCode, a.body)
	}
}
