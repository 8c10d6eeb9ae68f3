package integration

import (
	"fmt"
	"maps"
	"net"
	"testing"

	"github.com/coder/websocket"
)

// tally is what the counters of a bot say besides the calls that ask for them.
type tally struct {
	c     *instance
	path  string
	asked int64
}

func newTally(c *instance, route string) *tally { return &tally{c: c, path: route + "/get_status"} }

// now returns the counters that are not 0.
func (a *tally) now(t testing.TB) stat {
	t.Helper()
	s := a.c.stat(t, a.path)
	a.asked++
	s["PacketReceived"] -= a.asked
	s["PacketSent"] -= a.asked - 1
	if s["LostTimes"] != s["PacketLost"] {
		t.Fatalf("LostTimes is not PacketLost: %v", s)
	}
	delete(s, "LostTimes")
	maps.DeleteFunc(s, func(_ string, n int64) bool { return n == 0 })
	return s
}

// want waits until the counters that are named have some values: what was
// delivered is counted a moment later.
func (a *tally) want(t testing.TB, want stat) {
	t.Helper()
	var now stat
	defer func() {
		if t.Failed() {
			t.Logf("the counters are %v, want %v", now, want)
		}
	}()
	eventually(t, fmt.Sprintf("the counters to be %v", want), func() bool {
		now = a.now(t)
		for name, n := range want {
			if now[name] != n {
				return false
			}
		}
		return true
	})
}

// wantAll is want for all counters: those that are not named are 0.
func (a *tally) wantAll(t testing.TB, want stat) {
	t.Helper()
	all := stat{"PacketReceived": 0, "PacketSent": 0, "PacketLost": 0, "MessageReceived": 0, "MessageSent": 0, "DisconnectTimes": 0, "LastMessageTime": 0}
	maps.Copy(all, want)
	a.want(t, all)
}

func TestWhatPassesIsCounted(t *testing.T) {
	const okay, async, failed = `"status":"ok","retcode":0`, `"status":"async","retcode":1`, `"status":"failed","retcode":100`
	answer := func(result, echo string) string { return `{` + result + `,"data":null,"echo":` + echo + `}` }
	packets := func(received, sent, lost int64, more ...any) stat {
		s := stat{"PacketReceived": received, "PacketSent": sent, "PacketLost": lost}
		for i := 0; i < len(more); i += 2 {
			s[more[i].(string)] = int64(more[i+1].(int))
		}
		return s
	}
	r := newRelayed(t, "")
	for name, test := range map[string]struct {
		there, back []string // what the app sends, and then the bot
		open, ended stat     // before and after the app leaves
	}{
		"nothing":           {nil, nil, packets(0, 0, 0), packets(0, 0, 0)},
		"an event":          {nil, []string{notice("group_increase")}, packets(1, 1, 0), packets(1, 1, 0)},
		"a message":         {nil, []string{message("hi")}, packets(1, 1, 0, "MessageReceived", 1), packets(1, 1, 0, "MessageReceived", 1)},
		"a message of self": {nil, []string{event("message_sent", `"message":"x"`)}, packets(1, 1, 0), packets(1, 1, 0)},
		"meta events":       {nil, []string{lifecycle("connect"), heartbeat("true")}, packets(2, 2, 0), packets(2, 2, 0)},
		"an event that the app sends": {
			[]string{message("hi")}, nil, packets(1, 1, 0), packets(1, 1, 0),
		},
		"what is no packet of OneBot": {
			[]string{"hello", "", "[]", `{"a":1}`, "\"x"}, []string{"hello", "", "[1]", "{}", "{"}, packets(10, 10, 0), packets(10, 10, 0),
		},
		"a call that is answered": {
			[]string{calling("get_login_info", "1")}, []string{answer(okay, "1")}, packets(1, 1, 0), packets(1, 1, 0),
		},
		"a call that is never answered": {
			[]string{calling("get_login_info", "1")}, nil, packets(1, 0, 0), packets(1, 0, 1),
		},
		"an answer to nothing": {
			nil, []string{answer(okay, "1"), answer(okay, "null")}, packets(2, 2, 0), packets(2, 2, 0),
		},
		"an answer to another call": {
			[]string{calling("send_msg", "1")}, []string{answer(okay, "2")}, packets(2, 1, 0), packets(2, 1, 1),
		},
		"a message that is sent": {
			[]string{calling("send_private_msg", `"a"`)}, []string{answer(okay, `"a"`)},
			packets(1, 1, 0, "MessageSent", 1), packets(1, 1, 0, "MessageSent", 1),
		},
		"a message that is sent in the background": {
			[]string{calling("send_group_msg_async", `"a"`)}, []string{answer(async, `"a"`)},
			packets(1, 1, 0, "MessageSent", 1), packets(1, 1, 0, "MessageSent", 1),
		},
		"a message that is sent some time": {
			[]string{calling("send_msg_rate_limited", `{"a":[1]}`)}, []string{answer(async, `{"a":[1]}`)},
			packets(1, 1, 0, "MessageSent", 1), packets(1, 1, 0, "MessageSent", 1),
		},
		"a message that is refused": {
			[]string{calling("send_msg", "1")}, []string{answer(failed, "1")}, packets(1, 1, 0), packets(1, 1, 0),
		},
		"all kinds of messages and what only looks alike": {
			[]string{
				calling("send_msg", "1"), calling("send_group_forward_msg", "2"), calling("send_like", "3"),
				calling("resend_msg", "4"), calling("send_msgs", "5"), calling("delete_msg", "6"),
			},
			[]string{answer(okay, "6"), answer(okay, "5"), answer(okay, "4"), answer(okay, "3"), answer(okay, "2"), answer(okay, "1")},
			packets(6, 6, 0, "MessageSent", 2), packets(6, 6, 0, "MessageSent", 2),
		},
		"equal echoes": { // the first call is answered first
			[]string{calling("send_msg", "1"), calling("get_login_info", "1"), calling("send_msg", "1")},
			[]string{answer(failed, "1"), answer(okay, "1"), answer(okay, "1"), answer(okay, "1")},
			packets(4, 4, 0, "MessageSent", 1), packets(4, 4, 0, "MessageSent", 1),
		},
		"no echoes": {
			[]string{`{"action":"send_msg"}`, `{"action":"get_login_info"}`, `{"action":"send_msg"}`},
			[]string{`{` + okay + `}`, `{` + okay + `,"data":null}`, `{` + failed + `}`},
			packets(3, 3, 0, "MessageSent", 1), packets(3, 3, 0, "MessageSent", 1),
		},
		"calls of ours": {
			[]string{ours("get_status", "1"), ours("clean_cache_async", "2"), ours("get_word_slices", "3")}, nil, packets(3, 3, 0), packets(3, 3, 0),
		},
		"an event between a call and its answer": {
			[]string{calling("send_msg", "1")}, []string{heartbeat("true"), message("x"), answer(okay, "1")},
			packets(3, 3, 0, "MessageReceived", 1, "MessageSent", 1), packets(3, 3, 0, "MessageReceived", 1, "MessageSent", 1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := newTally(r.instance, "").now(t)
			count := newTally(r.instance, "")
			since := func(want stat) stat { // the counters of all connections are one
				sum := stat{}
				for _, name := range []string{"PacketReceived", "PacketSent", "PacketLost", "MessageReceived", "MessageSent", "DisconnectTimes"} {
					sum[name] = before[name] + want[name]
				}
				sum["PacketReceived"]++ // the call that asked what was before
				sum["PacketSent"]++
				return sum
			}
			app, bot := r.connect(t, "/")
			for _, call := range test.there {
				app.send(t, call)
			}
			if name == "calls of ours" {
				for range test.there {
					app.next(t)
				}
			} else {
				bot.want(t, test.there...)
			}
			for _, answer := range test.back {
				bot.sendPieces(t, websocket.MessageText, answer)
			}
			app.want(t, test.back...)
			count.wantAll(t, since(test.open))
			if err := app.close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
			count.wantAll(t, since(test.ended))
		})
	}
}

func TestWhoEndedAConnectionIsCounted(t *testing.T) {
	r := newRelayed(t, "")
	reset := func(s *socket) {
		_ = s.tcp.(*net.TCPConn).SetLinger(0)
		s.cut()
	}
	say := func(code websocket.StatusCode) func(*socket) { return func(s *socket) { _ = s.close(code, "") } }
	half := func(s *socket) { // of a frame
		_, _ = s.tcp.Write(header(wholeText, false, 1000)[:4])
		_, _ = s.tcp.Write([]byte("half"))
		s.cut()
	}
	var lost int64
	for _, test := range []struct {
		name  string
		by    func(app, bot *socket) *socket
		how   func(*socket)
		times int64
	}{
		{"the bot says goodbye", theBot, say(websocket.StatusNormalClosure), 1},
		{"the bot goes away", theBot, say(websocket.StatusGoingAway), 1},
		{"the bot fails", theBot, say(websocket.StatusInternalError), 1},
		{"the bot hangs up", theBot, func(s *socket) { s.cut() }, 1},
		{"the bot's machine dies", theBot, reset, 1},
		{"the bot dies in the middle of a frame", theBot, half, 1},
		{"the bot sends garbage", theBot, func(s *socket) { _, _ = s.tcp.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, 1},
		{"the app says goodbye", theApp, say(websocket.StatusNormalClosure), 0},
		{"the app goes away", theApp, say(websocket.StatusGoingAway), 0},
		{"the app hangs up", theApp, func(s *socket) { s.cut() }, 0},
		{"the app's machine dies", theApp, reset, 0},
		{"the app sends garbage", theApp, func(s *socket) { _, _ = s.tcp.Write(piece{rsv2 | wholeText, ""}.encode(true)) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			app, bot := r.connect(t, "/")
			bot.send(t, heartbeat("true")) // which makes it known that it is online
			app.want(t, heartbeat("true"))
			asked := len(r.bot.requests("get_status"))
			test.how(test.by(app, bot))
			app.awaitEnd(t)
			app.cut() // half a frame is not followed by a close frame, which it would answer
			bot.awaitEnd(t)
			lost += test.times
			newTally(r.instance, "").want(t, stat{"DisconnectTimes": lost})
			if now := len(r.bot.requests("get_status")); test.times > 0 && now == asked {
				t.Error("whether the bot is online is taken to be known still")
			}
		})
	}
	t.Run("a reload ends it", func(t *testing.T) {
		app, bot := r.connect(t, "/")
		if output, ok := r.reload("http://<SITE> {\n" + front("max_body 1MiB", r.bot) + "}"); !ok {
			t.Fatal(output)
		}
		if code := app.awaitEnd(t); code != websocket.StatusGoingAway {
			t.Errorf("the app is told %d", code)
		}
		bot.awaitEnd(t)
		if s := r.again(t, "GET", "/get_status").stat(t); s["DisconnectTimes"] != lost {
			t.Errorf("DisconnectTimes is %d, want %d as before", s["DisconnectTimes"], lost)
		}
	})
}

func theBot(_, bot *socket) *socket { return bot }
func theApp(app, _ *socket) *socket { return app }
