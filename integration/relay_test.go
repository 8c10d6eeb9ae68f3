package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// relayed is a Caddy with pass_thru between apps and a bot. Neither of them
// does anything that the test does not tell it to.
type relayed struct {
	*instance
	bot, app *backend
}

func newRelayed(t testing.TB, handlerOptions string, how ...func(*backend)) *relayed {
	t.Helper()
	app := newBackend(t, append(how, silent)...)
	bot := newBackend(t, append(how, silent)...)
	return &relayed{startFront(t, bot, handlerOptions), bot, app}
}

// connect opens a connection from an app to the bot and returns both ends.
func (r *relayed) connect(t testing.TB, path string, header ...string) (app, bot *socket) {
	t.Helper()
	app = r.app.dial(t, "ws://"+r.addr+path, header...)
	return app, r.bot.socket(t)
}

// wires is connect for a deaf bot, frame by frame.
func (r *relayed) wires(t testing.TB, path string, header ...string) (app, bot *wire) {
	t.Helper()
	app = r.dialWire(t, path, header...)
	return app, wireOf(t, r.bot.socket(t))
}

// ours is a call that is answered by the module.
func ours(action, echo string, more ...string) string { return calling(action, echo, more...) }

// calling is a call, with fields in JSON.
func calling(action, echo string, more ...string) string {
	return "{" + strings.Join(append([]string{`"action":"` + action + `","echo":` + echo}, more...), ",") + "}"
}

// want fails the test if the next messages are others.
func (s *socket) want(t testing.TB, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if got := s.next(t); got != text(want) {
			t.Fatalf("got %v %.200q, want %.200q", got.kind, got.text, want)
		}
	}
}

// wantReply fails the test if the next message is not the answer to a call of
// ours, and returns it.
func (s *socket) wantReply(t testing.TB, echo string) reply {
	t.Helper()
	return wantEnvelope(t, s.next(t).text, echo)
}

// say sends a message and reports why that failed.
func (s *socket) say(f frame, pieces ...string) error {
	if len(pieces) == 0 {
		return s.conn.Write(s.backend.life, f.kind, []byte(f.text))
	}
	w, err := s.conn.Writer(s.backend.life, f.kind)
	for _, piece := range pieces {
		if err == nil {
			_, err = w.Write([]byte(piece))
		}
	}
	if err == nil {
		err = w.Close()
	}
	return err
}

// mixed returns message n of a stream: of any kind, and unlike any other.
func mixed(tag string, n int) (f frame, pieces []string) {
	id := fmt.Sprintf("%s-%d", tag, n)
	quoted := `"` + id + `"`
	switch n % 9 {
	case 0:
		return text(calling("send_group_msg", quoted, `"params":{"message":"hello"}`)), nil
	case 1: // decided late, in pieces that each say nothing
		f = text(`{"params":{"message":"` + filler(2000) + `"},"echo":` + quoted + `,"action":"send_` + `private_msg"}`)
		return f, []string{f.text[:7], f.text[7:1500], f.text[1500 : len(f.text)-20], f.text[len(f.text)-20:]}
	case 2:
		return text(message(id)), nil
	case 3:
		return frame{websocket.MessageBinary, id + "\x00\xff\xfe" + filler(700)}, nil
	case 4:
		return text("no JSON at all " + id), nil
	case 5:
		return text(`{"status":"ok","retcode":0,"data":{"l":[` + strings.Repeat("0,", 900) + `0]},"echo":` + quoted + `}`), nil
	case 6: // a name of ours that is nobody's action
		return text(`{"params":{"action":"get_status"},"get_status":true,"echo":` + quoted + `}`), nil
	case 7:
		f = frame{websocket.MessageBinary, id + filler(100_000)}
		return f, []string{f.text[:1], "", f.text[1:70_000], f.text[70_000:]}
	}
	return text(""), nil
}

// oursAmong says after which messages of exchangeMixed an app makes a call of ours.
const oursAmong = 3

// exchangeMixed sends many messages both ways at the same time, with calls of ours
// among those of the app, and checks what comes out.
func exchangeMixed(t *testing.T, app, bot *socket, tag string, n int) {
	t.Helper()
	var busy sync.WaitGroup
	defer busy.Wait()
	there, back := tag+"-there", tag+"-back"
	busy.Go(func() {
		for i := range n {
			f, pieces := mixed(there, i)
			err := app.say(f, pieces...)
			if i%oursAmong == 0 && err == nil {
				call := ours([]string{"get_status", "get_version_info", "clean_cache_async", "set_restart_rate_limited"}[i%4],
					fmt.Sprintf(`"mine %d"`, i), `"params":{"padding":"`+strings.Repeat("x", i*97%2000)+`"}`)
				pieces = nil
				if i%2 == 0 {
					pieces = []string{call[:3], call[3:20], call[20:]}
				}
				err = app.say(text(call), pieces...)
			}
			if err != nil {
				t.Errorf("message %d of %s: %v", i, there, err)
				return
			}
		}
	})
	busy.Go(func() {
		for i := range n {
			f, pieces := mixed(back, i)
			if err := bot.say(f, pieces...); err != nil {
				t.Errorf("message %d of %s: %v", i, back, err)
				return
			}
		}
	})

	wantMixed := func(got frame, tag string, i int) {
		t.Helper()
		if want, _ := mixed(tag, i); got != want {
			t.Fatalf("message %d of %s is %v %.100q (%d bytes), want %.100q (%d bytes)", i, tag,
				got.kind, got.text, len(got.text), want.text, len(want.text))
		}
	}
	for i := range n {
		wantMixed(bot.next(t), there, i)
	}
	replied := make(map[string]int)
	for i := 0; i < n || len(replied) < (n+oursAmong-1)/oursAmong; {
		got := app.next(t)
		r, err := parseEnvelope(got.text)
		if err != nil || !strings.HasPrefix(string(r.echo), `"mine `) {
			wantMixed(got, back, i)
			i++
			continue
		}
		if r.status == "failed" || got.kind != websocket.MessageText {
			t.Errorf("a call of ours: %v", got)
		}
		replied[string(r.echo)]++
	}
	for i := 0; i < n; i += oursAmong { // in any order: each is answered when it is done
		if got := replied[fmt.Sprintf(`"mine %d"`, i)]; got != 1 {
			t.Errorf("call %d was answered %d times", i, got)
		}
	}
}

func TestOurCallsAreAnsweredInTheStreamAndTheRestPassesInOrder(t *testing.T) {
	for name, mode := range map[string]websocket.CompressionMode{
		"plain":                               websocket.CompressionDisabled,
		"compressed with context takeover":    websocket.CompressionContextTakeover,
		"compressed, each message for itself": websocket.CompressionNoContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelayed(t, "route /bot", withCompression(mode))
			for _, path := range []string{"/bot", "/bot/", "/bot/api", "/bot/event", "/bot/any/where?x=y"} {
				app, bot := r.connect(t, path)
				exchangeMixed(t, app, bot, path, 90)
			}
		})
	}
	t.Run("compression that only one side knows", func(t *testing.T) {
		for _, side := range []string{"app", "bot"} {
			r := newRelayed(t, "")
			map[string]*backend{"app": r.app, "bot": r.bot}[side].accept.CompressionMode = websocket.CompressionContextTakeover
			app, bot := r.connect(t, "/")
			exchangeMixed(t, app, bot, side, 45)
		}
	})
}

func TestSeveralAppsAndBotsAtATimeDoNotMixUp(t *testing.T) {
	app := newBackend(t, silent, withCompression(websocket.CompressionContextTakeover))
	bots := map[string]*backend{"/a": newBackend(t, silent), "/b": newBackend(t, silent, withCompression(websocket.CompressionContextTakeover))}
	site := ""
	for route, bot := range bots {
		site += "handle " + route + "* {\n onebot_meta {\n pass_thru\n route " + route + "\n name " + route[1:] + "\n}\nreverse_proxy " + bot.addr + "\n}\n"
	}
	c := startCaddy(t, "http://<SITE> {\n"+site+"}")
	t.Cleanup(bots["/a"].release)
	t.Cleanup(bots["/b"].release)
	const apps, each = 4, 90
	var running sync.WaitGroup
	for route, bot := range bots {
		for n := range apps {
			there := app.dial(t, "ws://"+c.addr+route)
			here := bot.socket(t)
			running.Go(func() {
				t.Run(fmt.Sprint(route, n), func(t *testing.T) { exchangeMixed(t, there, here, fmt.Sprint(route, n), each) })
			})
		}
	}
	running.Wait()
	for route := range bots {
		// each message is a packet, whose ever it is
		newTally(c, route).want(t, stat{"PacketReceived": apps * (2*each + each/oursAmong)})
	}
}

func TestALongDownloadHoldsUpNothing(t *testing.T) {
	r := newRelayed(t, download())
	o := newOrigin(t)
	app, bot := r.connect(t, "/")
	app.send(t, ours("download_file", `"slow"`, `"params":`+params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()))
	o.await(t)
	exchangeMixed(t, app, bot, "meanwhile", 90)
	o.release()
	wantContent(t, app.wantReply(t, `"slow"`).file(t), "firstrest")
}
