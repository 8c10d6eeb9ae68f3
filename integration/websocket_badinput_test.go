package integration

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestFramesOfACallMayComeInAnyWay(t *testing.T) {
	c := startBot(t, "max_body 1MiB")
	call := ours("set_restart", "1", `"params":{"wish":"né重"}`)
	split := func(head byte, parts ...string) (pieces []piece) {
		for i, part := range parts {
			pieces = append(pieces, piece{head, part})
			head = opMore
			if i == len(parts)-1 {
				pieces[i].head |= fin
			}
		}
		return pieces
	}
	ping, pong := piece{fin | opPing, "are you there"}, piece{fin | opPong, "are you there"}
	bytes := strings.SplitAfter(call, "")
	for i := range bytes { // through the middle of characters
		if len(bytes[i]) > 1 {
			bytes[i] = bytes[i][:1] + "|" + bytes[i][1:]
		}
	}
	bytes = strings.Split(strings.Join(bytes, "|"), "|")
	for name, tt := range map[string]struct {
		pieces []piece
		pongs  int
	}{
		"one frame":              {[]piece{{wholeText, call}}, 0},
		"binary":                 {[]piece{{wholeBinary, call}}, 0},
		"two fragments":          {split(opText, call[:7], call[7:]), 0},
		"empty fragments":        {split(opText, "", call, "", ""), 0},
		"binary fragments":       {split(opBinary, call[:1], call[1:]), 0},
		"a fragment each byte":   {split(opText, bytes...), 0},
		"a ping before":          {append([]piece{ping}, piece{wholeText, call}), 1},
		"a ping between":         {[]piece{{opText, call[:9]}, ping, {opMore, call[9:12]}, ping, {lastPart, call[12:]}}, 2},
		"a pong nobody asked":    {[]piece{pong, {opText, call[:9]}, pong, {lastPart, call[9:]}}, 0},
		"as large as it may be":  {split(opText, call, strings.Repeat(" ", 1<<20-len(call))), 0},
		"large, in small pieces": {split(opText, append([]string{call}, strings.SplitAfter(strings.Repeat("         \n", 10_000), "\n")...)...), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.dialWire(t, "/api")
			w.send(tt.pieces...)
			for range tt.pongs {
				w.want(pong)
			}
			w.wantReply("1").wantOK(t)
			w.send(piece{fin | opPing, ""})
			w.want(piece{fin | opPong, ""})
			w.send(piece{fin | opPing, filler(125)})
			w.want(piece{fin | opPong, filler(125)})
		})
	}
}

func TestCallsByWebSocketThatAreNoneFailAlone(t *testing.T) {
	c := startBot(t, "")
	a := c.open(t, "/api")
	count := newTally(c, "")
	n := int64(0)
	for _, tt := range []struct {
		message string
		retcode int
	}{
		{"", 1404}, {"{}", 1404}, {"null", 1404}, {`{"action":null}`, 1404}, {`{"action":["get_status"]}`, 1404},
		{"get_status", 1400}, {"[]", 1400}, {`"get_status"`, 1400}, {"1", 1400}, {`{"action":"get_status"`, 1400}, {`{"action":"get_status"}}`, 1400},
		{`{"action":"get_status","params":[]}`, 1400},
		{`{"action":"` + strings.Repeat("x", 1<<20) + `"}`, 1404},
		{strings.Repeat("[", 1<<20), 1400},
		{`{"action":"get_status","echo":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", 1400},
		{strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), 1400},
		{`{"action":"get_status","params":{` + strings.Repeat(`"a":1,`, 100_000) + `"a":1}}`, 0},
		{`{"action":"download_file","params":{"headers":[` + strings.Repeat(`"A: b",`, 100_000) + `1]}}`, 1400},
	} {
		a.say(tt.message)
		r := wantEnvelope(t, a.hear(), "")
		if r.retcode != tt.retcode {
			t.Errorf("%.100s is answered by %s", tt.message, r.body)
		}
		a.call("set_restart", "2").wantOK(t)
		n += 2
	}
	w := c.dialWire(t, "/api")
	w.send(piece{wholeBinary, "{\"action\":\"get_status\",\"echo\":\"\xff\"}"})
	w.wantReply("").wantFailed(t)
	count.wantAll(t, stat{"PacketReceived": n + 1, "PacketSent": n + 1})
}

func TestBrokenFramesEndTheirConnectionAlone(t *testing.T) {
	c := startBot(t, "max_body 64KiB")
	count := newTally(c, "")
	bystander := c.open(t, "/api")
	cut := c.dialWire(t, "/api")
	cut.write(piece{wholeText, ours("get_status", "1")}.encode(true)[:9]) // and no more
	partial := c.dialWire(t, "/api")
	partial.send(piece{opText, `{"action":`})
	before := c.holds(t)
	n := int64(0)
	for _, tt := range []struct {
		name string
		raw  []byte
		code int
	}{
		{"not masked", piece{wholeText, "{}"}.encode(false), 1002},
		{"a first reserved bit", piece{wholeText | rsv1, "{}"}.encode(true), 1002},
		{"a second reserved bit", piece{wholeText | rsv2, "{}"}.encode(true), 1002},
		{"a third reserved bit", piece{fin | opPing | rsv3, ""}.encode(true), 1002},
		{"a reserved opcode", piece{fin | 3, "{}"}.encode(true), 1002},
		{"a reserved control opcode", piece{fin | 0xb, ""}.encode(true), 1002},
		{"a long ping", piece{fin | opPing, filler(126)}.encode(true), 1002},
		{"a ping in fragments", piece{opPing, "x"}.encode(true), 1002},
		{"a close in fragments", piece{opClose, closing(1000, "")}.encode(true), 1002},
		{"a long close", piece{fin | opClose, closing(1000, filler(124))}.encode(true), 1002},
		{"a fragment of nothing", piece{lastPart, "{}"}.encode(true), 1002},
		{"a message in a message", append(piece{opText, "{"}.encode(true), piece{wholeText, "{}"}.encode(true)...), 1002},
		{"the length 2^63", header(wholeText, true, 1<<63), 1002},
		{"the length 2^64 - 1", header(wholeText, true, 1<<64-1), 1002},
		{"the length 2^62", header(wholeText, true, 1<<62), 1009},
		{"one byte too many", header(wholeText, true, 64<<10+1), 1009},
		{"too much, and all of it", piece{wholeBinary, filler(10 << 20)}.encode(true), 1009},
		{"too much in fragments", append(piece{opText, filler(40_000)}.encode(true), piece{lastPart, filler(40_000)}.encode(true)...), 1009},
		{"not UTF-8", piece{wholeText, "{\"action\":\"get_status\",\"echo\":\"\xc3\x28\"}"}.encode(true), 1007},
		{"UTF-8 that is cut", piece{wholeText, `{"action":"\` + "\xe4\xbd"}.encode(true), 1007},
		{"a surrogate", piece{opText, "\xed\xa0\x80"}.encode(true), 1007},
		{"a close of one byte", piece{fin | opClose, "x"}.encode(true), 1002},
		{"a close with no such code", piece{fin | opClose, closing(999, "")}.encode(true), 1002},
		{"a close with a code for nobody", piece{fin | opClose, closing(1006, "")}.encode(true), 1002},
		{"a close with a code too large", piece{fin | opClose, closing(5000, "")}.encode(true), 1002},
		{"a close that is not UTF-8", piece{fin | opClose, closing(1000, "\xff")}.encode(true), 1002},
		{"no WebSocket at all", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 1002},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := c.dialWire(t, "/api")
			w.send(piece{wholeText, ours("set_restart", "1")})
			w.wantReply("1").wantOK(t)
			n++
			go func() { _, _ = w.w.Write(tt.raw) }() // who is refused may not be able to send it all
			w.wantClose(tt.code)
			bystander.call("set_restart", `"x"`).wantOK(t)
			n++
		})
	}
	wantNothingOpen(t, c, before, 6)
	partial.send(piece{lastPart, `"set_restart"}`})
	partial.wantReply("").wantOK(t)
	count.wantAll(t, stat{"PacketReceived": n + 1, "PacketSent": n + 1})
	_ = cut.Close()
}

func TestAnOrderlyCloseIsAnswered(t *testing.T) {
	c := startBot(t, "")
	for payload, want := range map[string]int{
		"": 1005, closing(1000, "bye"): 1000, closing(1001, ""): 1001, closing(3000, ""): 3000, closing(4999, filler(123)): 4999,
	} {
		w := c.dialWire(t, "/api")
		w.send(piece{opText, "{"}, piece{fin | opClose, payload}) // also in a message
		w.wantClose(want)
		if _, err := w.tryNext(); err != io.EOF {
			t.Errorf("after the close comes %v", err)
		}
	}
}

// Whatever bytes come, Caddy goes on and answers others.
func TestGarbageAfterAHandshake(t *testing.T) {
	c := startBot(t, "")
	before := c.holds(t)
	for seed := range 100 {
		w := c.dialWire(t, "/api")
		garbage := []byte(filler(2000))
		state := uint32(seed)*2654435761 + 1
		for i := range garbage {
			state ^= state << 13
			state ^= state >> 17
			state ^= state << 5
			garbage[i] = byte(state >> 11)
		}
		_, _ = w.w.Write(garbage)
		_ = w.Close()
	}
	c.open(t, "/api").call("get_status", fmt.Sprint(1)).wantOK(t)
	wantNothingOpen(t, c, before, 8)
}
