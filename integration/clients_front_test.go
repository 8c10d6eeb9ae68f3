package integration

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// startBetween runs Caddy between a framework and the model, with the bot at
// two sites. <site>/onebot leads to the model, and <site>/app to the port where
// koishi listens for what an implementation brings by itself.
func startBetween(t testing.TB, b *backend, koishiPort int) *instance {
	t.Helper()
	const bot = "onebot_meta {\n name between\n access_token " + rightToken + "\n pass_thru\n route "
	c := startTwice(t, "handle /app* {\n"+bot+"/app\n}\nreverse_proxy 127.0.0.1:"+strconv.Itoa(koishiPort)+"\n}\n"+
		"handle {\n"+bot+"/onebot\n}\nreverse_proxy "+b.addr+"\n}\n")
	t.Cleanup(b.release) // before Caddy is stopped
	return c
}

// Long enough for every library that offers compression to compress it.
var (
	sentText = strings.Repeat("What the app says is worth compressing. ", 100)
	gotText  = strings.Repeat("What the bot hears is worth compressing. ", 100)
)

// sent is how it is said.
var sent = `{"user_id":20002,"message":[{"type":"text","data":{"text":"` + sentText + `"}}]}`

// heard is the event of a private message, as the frameworks want it.
func heard() string {
	return message(gotText, `"message_id":77`, `"raw_message":`+strconv.Quote(gotText), `"font":0`, `"sender":{"user_id":7,"nickname":"n"}`)
}

// conversation is what a framework is to do in front of a bot.
func conversation(f framework) params {
	say := []any{"send_private_msg", json.RawMessage(sent)}
	return params{
		"calls": []any{
			[]any{"get_status", params{}},
			say,
			[]any{"get_version_info", params{}},
			[]any{"no_such_action", params{}},
			say,
			[]any{"get_status", params{}},
		},
		"events": []string{f.message},
	}
}

// passedOn are the calls of a conversation that are the implementation's,
// sorted.
func (f framework) passedOn() []string {
	all := slices.Concat(f.atFirst, []string{"no_such_action", "send_private_msg", "send_private_msg"})
	slices.Sort(all)
	return all
}

func (f framework) wantPassedOn(t testing.TB, calls []string) {
	t.Helper()
	if slices.Sort(calls); !slices.Equal(calls, f.passedOn()) {
		t.Errorf("the model was called for %q, want %q", calls, f.passedOn())
	}
}

// wantConversation checks what a framework tells of its conversation.
func (f framework) wantConversation(t testing.TB, r told, version map[string]any) {
	t.Helper()
	for _, i := range []int{0, 5} {
		status := r.Outcomes[i].data(t, "")
		// the model's has no counters
		if stat, _ := status["stat"].(map[string]any); status["online"] != true || len(stat) != 8 {
			t.Errorf("get_status is %v", status)
		}
	}
	for _, i := range []int{1, 4} {
		if id, ok := r.Outcomes[i].data(t, "message_id")["message_id"].(float64); !ok || id < 1 {
			t.Errorf("the message was sent as %s", r.Outcomes[i].Data)
		}
	}
	if got := r.Outcomes[2].data(t, ""); params(got).String() != params(version).String() {
		t.Errorf("get_version_info is %v, want %v", got, version)
	}
	r.Outcomes[3].wantFailed(t, 1404)
	wantEvent(t, r.Events[f.message], params{"user_id": 7, "raw_message": gotText})
}

// newModel is a backend that knows what the frameworks call.
func newModel(t testing.TB, opts ...func(*backend)) *backend {
	t.Helper()
	b := newBackend(t, opts...)
	b.answer("get_login_info", func(call) string { return ok(`{"user_id":10001,"nickname":"bot"}`) })
	for _, unknown := range []string{"get_guild_service_profile", "no_such_action"} {
		b.answer(unknown, func(call) string { return `{"status":"failed","retcode":1404,"data":null}` })
	}
	return b
}

func TestPublicFrameworksInFrontOfABackend(t *testing.T) {
	for name, f := range frameworks {
		if f.protocol != "ws" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := newModel(t, withCompression(websocket.CompressionContextTakeover))
			c := startBetween(t, b, freePort(t)) // where nobody is to call
			var version map[string]any
			c.bot(t, "get_version_info").decode(t, &version)
			overBoth(t, c, func(t *testing.T, site string, env []string) {
				before := c.bot(t, "get_status").stat(t)
				task := conversation(f)
				task["url"] = f.url(site)
				p := f.start(t, task, env...)

				sockets := []*socket{b.socket(t)}
				if strings.HasSuffix(sockets[0].path, "/api") || strings.HasSuffix(sockets[0].path, "/event") {
					sockets = append(sockets, b.socket(t))
				}
				if offer := sockets[0].header.Get("Sec-WebSocket-Extensions"); strings.Contains(offer, "permessage-deflate") != f.deflate {
					t.Errorf("the extensions offered to the model are %q", offer)
				}
				b.push(t, lifecycle("connect"))
				var calls []string
				for _, s := range sockets {
					for !strings.HasSuffix(s.path, "/event") && len(calls) < len(f.passedOn()) {
						calls = append(calls, wantCall(t, s.next(t).text))
					}
				}
				b.push(t, heard())
				r := p.finish(6)

				f.wantConversation(t, r, version)
				for _, s := range sockets { // nothing else came
					receive(t, s.ended, "the connection to end with the framework's")
					for len(s.received) > 0 {
						calls = append(calls, wantCall(t, s.next(t).text))
					}
				}
				f.wantPassedOn(t, calls)
				// the events are lifecycle and the message
				c.wantMore(t, before, int64(6+len(f.atFirst)+2), stat{"MessageSent": 2, "MessageReceived": 1})
			})
			if got := c.bot(t, "get_status").stat(t); got["DisconnectTimes"] != 0 {
				t.Errorf("the frameworks have left, and the bot is said to have: %v", got)
			}
		})
	}
}

// wantCall returns the action of a call that the model got, and fails the test
// if it sends another message than it should.
func wantCall(t testing.TB, text string) string {
	t.Helper()
	var got struct {
		Action string
		Params json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("the model got %.1000q", text)
	}
	if got.Action == "send_private_msg" {
		wantMessage(t, got.Params)
	}
	return got.Action
}

// wantMessage fails the test unless these are the parameters of a conversation's
// message.
func wantMessage(t testing.TB, raw []byte) {
	t.Helper()
	if string(raw) != sent { // as every framework writes it
		t.Errorf("the model got %.1000s, want %.1000s", raw, sent)
	}
}

func TestAPublicFrameworkBehindReverseWebSocket(t *testing.T) {
	b, port := newModel(t, withCompression(websocket.CompressionContextTakeover)), freePort(t)
	c := startBetween(t, b, port)
	var version map[string]any
	c.bot(t, "get_version_info").decode(t, &version)
	before := c.bot(t, "get_status").stat(t)
	f := framework{script: "koishi.mjs", protocol: "ws-reverse", message: "message", atFirst: koishiAtFirst}
	task := conversation(f)
	task["port"] = port
	p := f.start(t, task)
	if got := p.next(); got.Port != port {
		t.Fatalf("koishi says %+v, want that it listens on %d", got, port)
	}
	greeted := make(chan struct{})
	b.answer("get_login_info", func(call) string { // before which koishi calls nothing of ours
		<-greeted
		return ok(`{"user_id":10001,"nickname":"bot"}`)
	})
	s := b.dial(t, "ws://"+c.addr+"/app", "Authorization", "Bearer "+rightToken, "X-Self-ID", "10001", "X-Client-Role", "Universal")
	s.send(t, lifecycle("connect"))
	close(greeted)

	var calls []string
	for len(calls) < len(f.passedOn()) {
		calls = append(calls, wantCall(t, s.next(t).text))
	}
	s.send(t, heard())
	r := p.finish(6)
	f.wantConversation(t, r, version)
	receive(t, s.ended, "the connection to end with the framework's")
	for len(s.received) > 0 {
		calls = append(calls, wantCall(t, s.next(t).text))
	}
	f.wantPassedOn(t, calls)
	c.wantMore(t, before, int64(6+len(f.atFirst)+2), stat{"MessageSent": 2, "MessageReceived": 1})
}
