package integration

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"
)

// step is something that happens on a connection.
type step struct {
	what          string
	text, echo    string
	sends, accept bool // of calls and answers: send_*msg, and ok or async
}

// link is a connection that a property test uses, and what its model says.
type link struct {
	steps   []step
	end     string
	pending map[string][]bool // by echo: whether each sends a message
	stat    stat
	r       *relayed
	route   string
	app     *socket
	bot     *socket
}

// steps of any kind, of which echoes often are the same.
func anyStep() *rapid.Generator[step] {
	return rapid.Custom(func(rt *rapid.T) step {
		s := step{what: rapid.SampledFrom([]string{
			"ours", "call", "call", "call", "answer", "answer", "answer", "message", "event", "there", "back", "over HTTP", "ours over HTTP", "refused",
		}).Draw(rt, "what")}
		s.echo = rapid.SampledFrom([]string{"", "1", `"1"`, `{"a":[null]}`}).Draw(rt, "echo")
		field := ""
		if s.echo != "" {
			field = `,"echo":` + s.echo
		}
		switch s.what {
		case "ours":
			action := rapid.SampledFrom([]string{"clean_cache", "get_version_info_async", "get_word_slices", "download_file"}).Draw(rt, "action")
			s.text = `{"action":"` + action + `"` + field + `}`
		case "call", "over HTTP":
			action := rapid.SampledFrom([]string{"send_msg", "send_group_msg_async", "send_private_msg_rate_limited", "get_login_info", "send_like", "send_packet"}).Draw(rt, "action")
			s.sends = strings.HasPrefix(action, "send_") && strings.Contains(action, "_msg")
			if s.what == "call" {
				s.text = `{"action":"` + action + `"` + field + `}`
				break
			}
			as := rapid.SampledFrom([]string{"ok", "async", "failed"}).Draw(rt, "as")
			s.text, s.accept = action+" "+as, as != "failed"
		case "answer":
			status := rapid.SampledFrom([]string{"ok", "async", "failed"}).Draw(rt, "status")
			s.accept = status != "failed"
			s.text = `{"status":"` + status + `","retcode":` + map[bool]string{true: "0", false: "100"}[s.accept] + field + `}`
		case "message":
			s.text = message("hi")
		case "event":
			s.text = rapid.SampledFrom([]string{heartbeat("true"), lifecycle("enable"), notice("group_increase"), event("request", `"request_type":"friend"`)}).Draw(rt, "event")
		case "there":
			s.text = rapid.SampledFrom([]string{"", "{}", "[]", message("hi"), `{"status":"ok","retcode":0}`, filler(5000)}).Draw(rt, "text")
		case "back":
			s.text = rapid.SampledFrom([]string{"", "{}", "[]", `{"action":"get_status"}`, `{"action":"send_msg"}`, filler(5000)}).Draw(rt, "text")
		}
		return s
	})
}

// run makes the steps happen and counts as the module should.
func (l *link) run() error {
	l.pending, l.stat = make(map[string][]bool), make(stat)
	var err error
	if l.app, _, err = l.r.app.tryDial("ws://" + l.r.addr + l.route + "/?access_token=secret"); err != nil {
		return err
	}
	select {
	case l.bot = <-l.r.bot.opened:
	case <-time.After(patience):
		return errors.New("no connection came to the bot")
	}
	for i, s := range l.steps {
		if err := l.take(s); err != nil {
			return fmt.Errorf("step %d, %s %.100s: %w", i, s.what, s.text, err)
		}
	}
	return nil
}

func (l *link) take(s step) error {
	delivered := func() { l.stat["PacketReceived"]++; l.stat["PacketSent"]++ }
	switch s.what {
	case "ours":
		delivered()
		if err := l.app.say(text(s.text)); err != nil {
			return err
		}
		got, err := l.app.soon()
		if err != nil {
			return err
		}
		if r, err := parseEnvelope(got); err != nil || string(r.echo) != s.echo {
			return fmt.Errorf("the reply is %s (%w)", got, err)
		}
	case "call":
		l.stat["PacketReceived"]++
		l.pending[s.echo] = append(l.pending[s.echo], s.sends)
		return pass(l.app, l.bot, s.text)
	case "answer":
		switch waiting := l.pending[s.echo]; {
		case len(waiting) == 0:
			// What answers nothing must not be taken for the answer to the next
			// call: an answer is counted when it has been delivered, and by
			// then that call may be there.
			s.text = `{"status":"ok","retcode":0,"echo":"of nothing"}`
			delivered()
		default:
			l.stat["PacketSent"]++
			if waiting[0] && s.accept {
				l.stat["MessageSent"]++
			}
			l.pending[s.echo] = waiting[1:]
		}
		return pass(l.bot, l.app, s.text)
	case "message":
		l.stat["MessageReceived"]++
		fallthrough
	case "event", "back":
		delivered()
		return pass(l.bot, l.app, s.text)
	case "there":
		delivered()
		return pass(l.app, l.bot, s.text)
	case "over HTTP":
		delivered()
		if s.sends && s.accept {
			l.stat["MessageSent"]++
		}
		action, as, _ := strings.Cut(s.text, " ")
		_, err := l.r.client.try("POST", l.route+"/"+action+"?access_token=secret", `{"as":"`+as+`"}`)
		if err != nil && !strings.Contains(err.Error(), "in the answer 200") { // the bot's are not like ours
			return err
		}
	case "ours over HTTP":
		delivered()
		_, err := l.r.client.try("POST", l.route+"/clean_cache?access_token=secret", "")
		return err
	case "refused": // counts nowhere
		if s, _, err := l.r.app.tryDial("ws://" + l.r.addr + l.route + "/?access_token=wrong"); err == nil {
			s.cut()
			return errors.New("a wrong token is taken")
		}
	}
	return nil
}

// finish ends the connection in the way that was drawn.
func (l *link) finish() {
	for _, waiting := range l.pending {
		l.stat["PacketLost"] += int64(len(waiting))
	}
	switch l.end {
	case "app-says":
		_ = l.app.close(websocket.StatusNormalClosure, "")
	case "app-cuts":
		l.app.cut()
	case "bot-says":
		_ = l.bot.close(websocket.StatusGoingAway, "")
	case "bot-cuts":
		l.bot.cut()
	case "bot-breaks":
		_, _ = l.bot.tcp.Write([]byte{wholeText, 100, 'h'})
		l.bot.cut()
	}
	if strings.HasPrefix(l.end, "bot") {
		l.stat["DisconnectTimes"]++
	}
	<-l.app.ended
	l.app.cut() // half a frame is not followed by a close frame, which it would answer
}

// pass sends a message and checks that it arrives as the next one.
func pass(from, to *socket, m string) error {
	if err := from.say(text(m)); err != nil {
		return err
	}
	if got, err := to.soon(); err != nil || got != m {
		return fmt.Errorf("%.100q arrived (%w)", got, err)
	}
	return nil
}

// soon is next for where no test can be failed.
func (s *socket) soon() (string, error) {
	select {
	case f := <-s.received:
		return f.text, nil
	case <-s.ended:
		return "", s.err
	case <-time.After(patience):
		return "", errors.New("no message comes")
	}
}

func TestTheCountersAreThoseOfAModelWhateverPasses(t *testing.T) {
	app := newBackend(t, silent)
	const most = 4
	routes := make([]*relayed, most) // to a bot each, so that it is clear which ends belong together
	site := ""
	for i := range routes {
		routes[i] = &relayed{bot: newBackend(t, silent), app: app}
		site += fmt.Sprintf("handle_path /%d/* {\n%s\n}\n", i, front("access_token secret", routes[i].bot))
	}
	c := startCaddy(t, "http://<SITE> {\n"+site+"}")
	for i := range routes {
		t.Cleanup(routes[i].bot.release)
		routes[i].instance = c
	}
	count := newTally(c, "/0")
	count.path += "?access_token=secret"
	want, patience := make(stat), patience

	rapid.Check(t, func(rt *rapid.T) {
		links := make([]*link, rapid.IntRange(1, most).Draw(rt, "connections"))
		errs := make(chan error, most)
		for i := range links {
			l := &link{r: routes[i], route: fmt.Sprintf("/%d", i)}
			l.steps = rapid.SliceOfN(anyStep(), 0, 20).Draw(rt, "steps")
			l.end = rapid.SampledFrom([]string{"app-says", "app-cuts", "bot-says", "bot-cuts", "bot-breaks"}).Draw(rt, "end")
			links[i] = l
		}
		for _, l := range links {
			go func() { errs <- l.run() }()
		}
		for range links {
			if err := <-errs; err != nil {
				rt.Error(err)
			}
		}
		for _, l := range links {
			l.finish()
			for name, n := range l.stat {
				if n > 0 {
					want[name] += n
				}
			}
		}
		if rt.Failed() {
			return
		}
		// what is counted too late or twice shows here or in the next round
		deadline := time.Now().Add(patience)
		for {
			now := count.now(t)
			if maps.Equal(now, want) {
				return
			}
			if time.Now().After(deadline) {
				wanted := want
				want, patience = now, time.Second // so that smaller examples are found, and soon
				rt.Fatalf("the counters are %v, want %v", now, wanted)
			}
			time.Sleep(time.Millisecond)
		}
	})
}
