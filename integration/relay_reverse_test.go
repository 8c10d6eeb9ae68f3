package integration

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// reversed is a Caddy with pass_thru that a bot opens its connections to, and
// behind it an app that listens.
type reversed struct {
	*instance
	bot, app *backend
}

func newReversed(t testing.TB, handlerOptions string, how ...func(*backend)) *reversed {
	t.Helper()
	bot := newBackend(t, append(how, silent)...)
	app := newBackend(t, append(how, silent)...)
	app.handle("get_status", body(http.StatusNotFound, "")) // it is no implementation
	return &reversed{startFront(t, app, handlerOptions), bot, app}
}

func (r *reversed) connect(t testing.TB, path string, header ...string) (app, bot *socket) {
	t.Helper()
	bot = r.bot.dial(t, "ws://"+r.addr+path, header...)
	return r.app.socket(t), bot
}

// asBot is what a bot says of itself.
var asBot = []string{"X-Self-ID", "10001", "X-Client-Role", "Universal", "User-Agent", "CQHttp/4.15.0"}

func TestInReverseTheAppIsAnsweredAndTheRestPasses(t *testing.T) {
	for name, mode := range map[string]websocket.CompressionMode{
		"plain":      websocket.CompressionDisabled,
		"compressed": websocket.CompressionContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			r := newReversed(t, "route /bot\naccess_token secret", withCompression(mode))
			for _, path := range []string{"/bot", "/bot/ws/", "/bot/event"} {
				app, bot := r.connect(t, path+"?access_token=secret", asBot...)
				if app.header.Get("X-Self-ID") != "10001" || app.header.Get("X-Client-Role") != "Universal" {
					t.Errorf("the app got %v", app.header)
				}
				exchangeMixed(t, app, bot, path, 90)
			}
		})
	}
	r := newReversed(t, "access_token secret")
	for path, want := range map[string]int{"/": 401, "/?access_token=wrong": 403} {
		if _, resp, err := r.bot.tryDial("ws://"+r.addr+path, asBot...); err == nil || resp == nil || resp.StatusCode != want {
			t.Errorf("%s is answered %v (%v)", path, resp, err)
		}
	}
	if n := len(r.app.opened); n != 0 {
		t.Errorf("%d refused handshakes came to the app", n)
	}
}

func TestWhichSideTheBotIsOnIsToldByTheHandshake(t *testing.T) {
	r := newReversed(t, "")
	for name, test := range map[string]struct {
		header  []string
		reverse bool
	}{
		"both headers":    {asBot, true},
		"only the number": {[]string{"X-Self-ID", "10001"}, true},
		"only the role":   {[]string{"X-Client-Role", "API"}, true},
		"none of them":    {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			behind, dialled := r.connect(t, "/", test.header...)
			app, bot := dialled, behind
			if test.reverse {
				app, bot = behind, dialled
			}
			app.send(t, ours("get_version_info", "1"))
			app.wantReply(t, "1").wantOK(t)
			// what the bot says is nobody's call
			bot.send(t, ours("get_version_info", "2"))
			app.want(t, ours("get_version_info", "2"))
			app.send(t, calling("get_login_info", "3"))
			bot.want(t, calling("get_login_info", "3"))
		})
	}
}

func TestInReverseTheCountersAndTheStateAreTheBots(t *testing.T) {
	r := newReversed(t, "")
	count := newTally(r.instance, "")
	app, bot := r.connect(t, "/", asBot...)
	for _, event := range []string{lifecycle("connect"), heartbeat("true"), message("hi"), notice("group_increase")} {
		bot.send(t, event)
		app.want(t, event)
	}
	count.wantAll(t, stat{"PacketReceived": 4, "PacketSent": 4, "MessageReceived": 1})
	count.wantOnline(t, true)

	app.send(t, calling("send_private_msg", "1"))
	bot.want(t, calling("send_private_msg", "1"))
	bot.send(t, `{"status":"ok","retcode":0,"data":{"message_id":1},"echo":1}`)
	app.want(t, `{"status":"ok","retcode":0,"data":{"message_id":1},"echo":1}`)
	app.send(t, ours("clean_cache", "2"))
	app.wantReply(t, "2").wantOK(t)
	app.send(t, calling("send_private_msg", "3")) // never answered
	bot.want(t, calling("send_private_msg", "3"))
	count.wantAll(t, stat{"PacketReceived": 7, "PacketSent": 6, "MessageReceived": 1, "MessageSent": 1})

	if err := bot.close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if code := app.awaitEnd(t); code != websocket.StatusNormalClosure {
		t.Errorf("the app is told %d", code)
	}
	count.wantAll(t, stat{"PacketReceived": 7, "PacketSent": 6, "PacketLost": 1, "MessageReceived": 1, "MessageSent": 1, "DisconnectTimes": 1})
	// nobody knows now, and the app cannot be asked
	count.wantOnline(t, false)

	app, bot = r.connect(t, "/", asBot...)
	bot.send(t, heartbeat("true"))
	app.want(t, heartbeat("true"))
	count.wantOnline(t, true)
	if err := app.close(websocket.StatusGoingAway, ""); err != nil { // the app may leave
		t.Error(err)
	}
	if code := bot.awaitEnd(t); code != websocket.StatusGoingAway {
		t.Errorf("the bot is told %d", code)
	}
	count.want(t, stat{"DisconnectTimes": 1})
	count.wantOnline(t, true)

	app, bot = r.connect(t, "/", asBot...)
	bot.send(t, notice("bot_offline"))
	app.want(t, notice("bot_offline"))
	count.wantOnline(t, false)
	count.want(t, stat{"DisconnectTimes": 2})
	bot.cut() // it was offline before, and is lost only now
	app.awaitEnd(t)
	count.want(t, stat{"DisconnectTimes": 3})
}

// wantOnline waits until get_status says so: what was delivered is noted a
// moment later.
func (a *tally) wantOnline(t testing.TB, want bool) {
	t.Helper()
	eventually(t, "the bot to be in another state", func() bool {
		var data struct{ Online, Good, AppGood bool }
		r := a.c.call(t, "GET", a.path, "").wantOK(t)
		a.asked++
		if err := json.Unmarshal(r.data, &data); err != nil {
			t.Fatal(err)
		}
		return data.Online == want && data.Good == want
	})
}

func TestEventPostsPassWithTheirSignature(t *testing.T) {
	r := newReversed(t, "access_token secret")
	count := newTally(r.instance, "")
	count.path += "?access_token=secret"
	r.app.handle("event", body(200, `{"reply":"hi"}`, "Content-Type", "application/json"))
	events := []string{
		message("hi"), heartbeat("true"), " \n" + message("gr\u00fc\u00df", `"extra":[1,2,{"a":null}]`) + "\n", notice("bot_offline"),
	}
	for _, event := range events {
		status, answer := r.client.fetch(t, "POST", "/?access_token=secret", event,
			"Content-Type", "application/json", "X-Self-ID", "10001", "X-Signature", "sha1=f9ddd4863ace61e64f462d41ca311e3d2c1176e2")
		if status != 200 || answer != `{"reply":"hi"}` {
			t.Errorf("the bot is answered %d %s", status, answer)
		}
		seen := r.app.await(t)
		receive(t, seen.whole, "the body")
		if string(seen.body) != event || seen.header.Get("X-Signature") != "sha1=f9ddd4863ace61e64f462d41ca311e3d2c1176e2" ||
			seen.header.Get("X-Self-ID") != "10001" || seen.length != int64(len(event)) {
			t.Errorf("the app got %d bytes %q %v", seen.length, seen.body, seen.header)
		}
	}
	n := int64(len(events))
	count.wantAll(t, stat{"PacketReceived": n, "PacketSent": n, "MessageReceived": 2, "DisconnectTimes": 1})
	count.wantOnline(t, false)
}
