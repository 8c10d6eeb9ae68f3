package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// relayRough has a connection end in the middle of what passes, by any of those
// who can end it: an end, the bot that dies, a reload.
func (s *soak) relayRough(r *rand.Rand) {
	b := s.books["rough"]
	b.between("DisconnectTimes", 0, 1)
	app, bot, ok := s.pair("rough", s.dying, soakAuth...)
	if !ok {
		return
	}
	if r.IntN(2) == 0 {
		_ = app.tcp.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	calls, events := int64(r.IntN(30)), int64(r.IntN(30))
	padding := strings.Repeat("x", r.IntN(20_000))
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for n := range events {
			if bot.conn.Write(ctx, websocket.MessageText, []byte(message(fmt.Sprint(n, " ", padding)))) != nil {
				return
			}
		}
	}()
	for n := range calls {
		if app.conn.Write(ctx, websocket.MessageText, []byte(calling("send_msg", fmt.Sprint(n)))) != nil {
			break
		}
	}
	garbage, way := piece{rsv2 | wholeText, "no frame"}, r.IntN(6)
	garbled := way == 2 || way == 4 // by the bot, which may be in the middle of a frame
	switch way {
	case 0:
		app.cut()
	case 1:
		bot.cut()
	case 2: // in the middle of a message
		_, _ = bot.tcp.Write(header(wholeText, false, 1000)[:4])
		bot.cut()
	case 3:
		_, _ = app.tcp.Write(garbage.encode(true))
	case 4:
		_, _ = bot.tcp.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	case 5: // somebody else may be sooner
		select {
		case <-app.ended:
		case <-time.After(time.Duration(r.Int64N(int64(time.Second)))):
		}
		_ = app.close(websocket.StatusNormalClosure, "")
	}
	_ = bot.tcp.SetReadDeadline(time.Now().Add(patience))
	receive(s.t, app.ended, "the end of a rough connection")
	app.cut() // half a frame is not followed by a close frame, which it would answer
	receive(s.t, bot.ended, "the end of a rough connection at the bot")
	bot.cut()
	receive(s.t, stopped, "the bot to have said all")

	heard, answered := int64(0), int64(0)
hearing:
	for len(app.received) > 0 {
		got := (<-app.received).text
		switch {
		case strings.HasPrefix(got, `{"status":"ok"`) && strings.HasSuffix(got, fmt.Sprintf(`,"echo":%d}`, answered)):
			answered++
		case got == message(fmt.Sprint(heard, " ", padding)):
			heard++
		case strings.Contains(got, reverseProxysGoodbye):
			// on a reload it writes that wherever it is, be it in the middle of a frame
			s.done.add("messages that reverse_proxy closed in their middle", 1)
			break hearing
		case garbled:
			break hearing
		default:
			want := message(fmt.Sprint(heard, " ", padding))
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			s.t.Errorf("a rough connection (%d) brings %d bytes after %d answers and %d events, want %d, and at %d %.40q", way, len(got), answered, heard, len(want), at, got[at:])
			break hearing
		}
	}
	b.unsurePackets(heard+answered, calls+events)
	b.between("MessageReceived", heard, events)
	b.between("MessageSent", answered, calls)
	s.done.add("messages through rough connections", heard+answered)
}

// reverseProxysGoodbye is the Close frame that reverse_proxy sends on a reload.
const reverseProxysGoodbye = "\x88\x02\x03\xe9"

// passRough makes a call to a bot that may die at any time, or be dead.
func (s *soak) passRough(r *rand.Rand) {
	b := s.books["rough"]
	action := pick(r, "send_msg", "send_msg", "send_garbage_msg", "get_status")
	status, text, err := s.once("POST", "/rough/"+action, "{}", false, append([]string{"Content-Type", "application/json"}, soakAuth...)...)
	var answer struct {
		Status string
		Data   struct{ Online bool }
	}
	whole := err == nil && json.Unmarshal([]byte(text), &answer) == nil && answer.Status == "ok"
	switch {
	case action == "get_status" && whole && status == 200:
		b.call("get_status", 0)
		b.between("DisconnectTimes", 0, 1)
		s.done.add(fmt.Sprintf("times the dying bot was online: %t", answer.Data.Online), 1)
	case err == nil && (action == "get_status" || status != 200 && status != 502 || status == 200 && !whole):
		s.t.Errorf("%s of a dying bot is answered by %d %s", action, status, text)
	case err == nil: // an answer, or that there is none
		b.add("PacketReceived", 1)
		b.between("PacketSent", 0, 1)
		b.between("PacketLost", 0, 1)
		if whole {
			b.add("MessageSent", 1)
		}
		s.done.add(fmt.Sprintf("answers %d for a dying bot", status), 1)
	default: // of which nobody knows whether it arrived
		b.unsurePackets(0, 1)
		b.between("MessageSent", 0, 1)
		b.between("DisconnectTimes", 0, 1)
		if action == "get_status" {
			b.between(b.actions(action, 0), 0, 1)
			b.timed(action, 0, 1)
		}
	}
}

// die has the bot that dies be dead for a while.
func (s *soak) die(r *rand.Rand) {
	s.dying.shutDown()
	select {
	case <-time.After(time.Duration(r.Int64N(int64(700 * time.Millisecond)))): // which is how long it is
	case <-s.t.Context().Done():
	}
	s.dying.startAgain(s.t)
}
