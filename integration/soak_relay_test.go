package integration

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pair opens a WebSocket connection through Caddy, and returns both of its ends.
func (s *soak) pair(name string, behind *backend, header ...string) (outside, inside *socket, ok bool) {
	s.pairing[behind].Lock()
	defer s.pairing[behind].Unlock()
	for range 100 {
		path := fmt.Sprintf("/%s/ws/%d", name, s.unique.Add(1))
		outside, resp, err := s.apps.tryDial("ws://"+s.addr+path, header...)
		if err != nil && resp != nil {
			if name != "rough" { // whose bot may be dead
				s.t.Errorf("opening %s: %v (%v)", path, err, resp)
			}
			return nil, nil, false
		}
		if err != nil { // a reload was sooner
			continue
		}
		for {
			select {
			case inside := <-behind.opened:
				if inside.path == path {
					return outside, inside, true
				}
				inside.cut() // of a handshake that was dropped
			case <-outside.ended: // it has died in between
				if name == "rough" {
					return nil, nil, false
				}
				s.t.Errorf("%s ended at once: %v", path, outside.err)
				return nil, nil, false
			case <-time.After(patience):
				s.t.Errorf("%s was not opened behind", path)
				return nil, nil, false
			}
		}
	}
	s.t.Errorf("no connection by %s", name)
	return nil, nil, false
}

func (s *soak) relayForward(r *rand.Rand) {
	s.reloads.RLock()
	defer s.reloads.RUnlock()
	if app, bot, ok := s.pair("front", s.bot, soakAuth...); ok {
		s.converse(r, s.books["front"], app, bot)
		s.part(r, s.books["front"], app, bot)
	}
}

func (s *soak) relayReverse(r *rand.Rand) {
	s.reloads.RLock()
	defer s.reloads.RUnlock()
	if bot, app, ok := s.pair("reverse", s.app, append(soakAuth, asBot...)...); ok {
		s.converse(r, s.books["reverse"], app, bot)
		s.part(r, s.books["reverse"], app, bot)
	}
}

// part ends a connection, from either end and in any way.
func (s *soak) part(r *rand.Rand, b *book, app, bot *socket) {
	by, other := app, bot
	if r.IntN(2) == 0 {
		by, other = bot, app
		b.add("DisconnectTimes", 1)
	}
	if r.IntN(2) == 0 {
		by.cut()
	} else {
		_ = by.close(websocket.StatusNormalClosure, "")
	}
	receive(s.t, other.ended, "the end of a connection at its other end")
	receive(s.t, by.ended, "the end of a connection")
}

// converse has both ends send messages, among them calls of ours and calls that
// the bot answers, and checks what comes out, and in what order.
func (s *soak) converse(r *rand.Rand, b *book, app, bot *socket) {
	n := r.IntN(60) + 1
	tag := fmt.Sprint("c", s.unique.Add(1))
	there, back := tag+"-there", tag+"-back"
	delay := time.Duration(r.Int64N(int64(300*time.Millisecond))) * time.Duration(r.IntN(2)) // of a slow reader
	var busy sync.WaitGroup
	defer busy.Wait()
	defer func() { // so that nobody waits for who failed
		if s.t.Failed() {
			app.cut()
			bot.cut()
		}
	}()
	say := func(from *socket, tag string, call func(i int) string) {
		for i := range n {
			f, pieces := mixed(tag, i)
			err := from.say(f, pieces...)
			if err == nil && call(i) != "" {
				err = from.say(text(call(i)))
			}
			if err != nil {
				s.t.Errorf("message %d of %s: %v", i, tag, err)
				return
			}
		}
	}
	busy.Go(func() {
		say(app, there, func(i int) string {
			if i%oursAmong != 0 {
				return ""
			}
			return ours([]string{"get_version_info", "clean_cache_async", "set_restart_rate_limited", "get_word_slices"}[i%4], fmt.Sprintf(`"mine %d"`, i))
		})
	})
	busy.Go(func() { say(bot, back, func(int) string { return "" }) })
	busy.Go(func() { // the bot reads, and answers some
		for i := range n {
			if got, want := bot.next(s.t), first(mixed(there, i)); got != want {
				s.t.Errorf("message %d of %s is %v %.100q", i, there, got.kind, got.text)
				return
			}
			if i%9 == 0 {
				if err := bot.say(text(answerTo(there, i))); err != nil {
					s.t.Errorf("the answer to message %d of %s: %v", i, there, err)
					return
				}
			}
		}
	})
	time.Sleep(delay)
	answered, mine := 0, make(map[string]bool)
	for i := 0; i < n || answered < (n+8)/9 || len(mine) < (n+oursAmong-1)/oursAmong; {
		got := app.next(s.t)
		reply, err := parseEnvelope(got.text)
		switch echo := string(reply.echo); {
		case err == nil && strings.HasPrefix(echo, `"mine `) && !mine[echo]:
			mine[echo] = true
			b.call(labelOf(echo), reply.retcode)
		case i < n && got == first(mixed(back, i)):
			i++
		case got == text(answerTo(there, 9*answered)):
			answered++
		default:
			s.t.Errorf("message %d of %s is %v %.100q", i, back, got.kind, got.text)
			return
		}
	}
	s.done.add("messages relayed", int64(2*n+answered+len(mine)))
	for i := range n {
		sent, lost := int64(2), int64(0) // one there and one back
		switch i % 9 {
		case 0:
			b.add("MessageSent", 1)
		case 1: // is never answered
			sent, lost = 1, 1
		case 2:
			b.add("MessageReceived", 1) // of the bot's
		}
		b.packets(sent, lost)
	}
}

func first(f frame, _ []string) frame { return f }

// answerTo is what the bot answers to a message of mixed that is a call.
func answerTo(tag string, i int) string {
	return fmt.Sprintf(`{"status":"ok","retcode":0,"data":{"message_id":%d},"echo":"%s-%d"}`, i, tag, i)
}

func labelOf(echo string) string {
	var i int
	_, _ = fmt.Sscanf(echo, `"mine %d"`, &i)
	return []string{"get_version_info", "clean_cache", "set_restart", "get_word_slices"}[i%4]
}

// passHTTP makes a call, or posts an event, to the bot behind.
func (s *soak) passHTTP(r *rand.Rand) {
	b := s.books["front"]
	header := append([]string{"Content-Type", "application/json"}, soakAuth...)
	as := pick(r, "", "ok", "async", "failed")
	type request struct {
		path, body string
		status     int
		count      func()
	}
	sent := func() { b.packets(1, 0) }
	accepted := func() {
		sent()
		if as != "failed" {
			b.add("MessageSent", 1)
		}
	}
	received := func() {
		sent()
		b.add("MessageReceived", 1)
	}
	one := pick(r,
		request{"send_private_msg", params{"as": as}.String(), 200, accepted},
		request{"", params{"action": "send_group_msg_async", "params": params{"as": as}, "echo": 1}.String(), 200, accepted},
		request{"get_login_info", "{}", 200, sent},
		request{"no_such_action", "{}", 404, sent},
		request{"", message("hello"), 204, received},
		request{"", notice("group_recall"), 204, sent},
		request{"hang_up", "{}", 502, func() { b.packets(0, 1) }},
		request{"send_broken_msg", "{}", 0, func() { b.packets(0, 1) }},
		request{"get_version_info", "{}", 200, func() { b.call("get_version_info", 0) }},
		request{"set_restart_async", "{}", 200, func() { b.call("set_restart", 1) }},
		request{"get_supported_actions", "{}", 200, func() { b.call("get_supported_actions", 0) }},
		request{"get_status", "{", 400, func() { b.call("get_status", 1400) }},
	)
	switch r.IntN(12) {
	case 0:
		header, one.status, one.count = header[:2], 401, func() { b.call(oursOr(one.path), 1401) }
	case 1:
		header[3], one.status, one.count = "Bearer wrong-token", 403, func() { b.call(oursOr(one.path), 1403) }
	}
	if one.status == 0 { // whose answer is like that of who was dropped by a reload
		s.reloads.RLock()
		defer s.reloads.RUnlock()
	}
	status, _, err := s.once("POST", "/front/"+one.path, one.body, one.status != 0, header...)
	if one.status == 0 && err == nil || one.status != 0 && (err != nil || status != one.status) {
		s.t.Errorf("/front/%s %s is answered by %d (%v), want %d", one.path, one.body, status, err, one.status)
		return
	}
	one.count()
}

// oursOr is the label of a call that was refused.
func oursOr(path string) string {
	for _, ours := range []string{"get_version_info", "set_restart", "get_supported_actions", "get_status"} {
		if strings.HasPrefix(path, ours) {
			return ours
		}
	}
	return "other"
}

// once sends a request and reads all of the answer. It is only made again, if it
// may be, when no answer begins.
func (s *soak) once(method, path, body string, again bool, header ...string) (status int, text string, err error) {
	send := s.do
	if !again {
		send = s.doOnce
	}
	resp, err := send(method, path, body, header...)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// sayWord has the bot come and go, as it says itself.
func (s *soak) sayWord(*rand.Rand) {
	s.reloads.RLock()
	defer s.reloads.RUnlock()
	b := s.books["reverse"]
	header := append([]string{"Content-Type", "application/json", "X-Self-ID", "10001"}, soakAuth...)
	for _, event := range []string{lifecycle("connect"), message("hello"), notice("bot_offline")} {
		status, _, err := s.once("POST", "/reverse/", event, true, header...)
		if err != nil || status != http.StatusNoContent {
			s.t.Errorf("%s is answered by %d (%v)", event, status, err)
			return
		}
		b.packets(1, 0)
	}
	b.add("MessageReceived", 1)
	b.add("DisconnectTimes", 1)
}
