package integration

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestFramesPassAsTheyCame(t *testing.T) {
	r := newRelayed(t, "", deaf)
	umlaut := "gr\u00fc\u00df"
	call := calling("send_msg", "1", `"params":{"message":"`+umlaut+`"}`)
	for name, pieces := range map[string][]piece{
		"text":                                {{wholeText, "hello"}},
		"binary":                              {{wholeBinary, "\x00\xff\xfe"}},
		"nothing":                             {{wholeText, ""}, {wholeBinary, ""}},
		"a call":                              {{wholeText, call}},
		"a call in binary":                    {{wholeBinary, call}},
		"a call in pieces":                    {{opText, call[:4]}, {opMore, call[4:10]}, {lastPart, call[10:]}},
		"a call byte by byte":                 each(call, opText),
		"pieces of nothing":                   {{opText, ""}, {opMore, ""}, {opMore, call}, {opMore, ""}, {lastPart, ""}},
		"a character in two pieces":           {{opText, "{\"\xc3"}, {lastPart, "\xbc\":1}"}},
		"an empty message in pieces":          {{opBinary, ""}, {opMore, ""}, {lastPart, ""}},
		"lengths that take more bytes":        {{wholeText, filler(125)}, {wholeText, filler(126)}, {wholeText, filler(65535)}, {wholeBinary, filler(65536)}},
		"a ping":                              {{fin | opPing, "are you there"}},
		"a ping of nothing":                   {{fin | opPing, ""}},
		"a pong that nobody asked for":        {{fin | opPong, filler(125)}},
		"a ping, and a message between pongs": {{fin | opPong, "1"}, {wholeText, "x"}, {fin | opPing, "2"}, {fin | opPong, "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			app, bot := r.wires(t, "/")
			app.send(pieces...)
			bot.want(pieces...)
			bot.send(pieces...)
			app.want(pieces...)
		})
	}
}

// each returns a message with a frame for each byte.
func each(text string, opcode byte) (pieces []piece) {
	for i := range len(text) {
		pieces = append(pieces, piece{opMore, text[i : i+1]})
	}
	pieces[0].head |= opcode
	pieces[len(pieces)-1].head |= fin
	return pieces
}

func TestBytesThatComeOneByOneMakeTheSameFrames(t *testing.T) {
	r := newRelayed(t, "", deaf)
	app, bot := r.wires(t, "/")
	call := piece{wholeText, calling("send_msg", "1", `"params":"`+filler(300)+`"`)}
	mine := piece{wholeText, ours("clean_cache", "2")}
	for _, w := range []*wire{app, bot} {
		var raw []byte
		for _, p := range []piece{call, mine, {fin | opPing, "x"}, call} {
			raw = append(raw, p.encode(w.client)...)
		}
		for i := range raw {
			w.write(raw[i : i+1])
		}
	}
	bot.want(call, piece{fin | opPing, "x"}, call)
	var replies int
	for want := []piece{call, mine, {fin | opPing, "x"}, call}; len(want) > 0 || replies == 0; {
		got := app.next()
		if r, err := parseEnvelope(got.payload); err == nil && string(r.echo) == "2" {
			replies++
			continue
		}
		if got != want[0] {
			t.Fatalf("got %#x %.100q, want %.100q", got.head, got.payload, want[0].payload)
		}
		want = want[1:]
	}
}

func TestAControlFrameKeepsItsPlaceInTheMessageAroundIt(t *testing.T) {
	r := newRelayed(t, "", deaf)
	app, bot := r.wires(t, "/")
	// it is held back with the fragments until their action is known
	theirs := []piece{{opText, `{"par`}, {fin | opPing, "now"}, {opMore, `ams":{},"action":"get_msg`}, {lastPart, `","echo":6}`}}
	app.send(theirs...)
	bot.want(theirs...)
	// and goes on when they go nowhere
	app.send(piece{opText, `{"params":{},"action":"get_st`}, piece{fin | opPing, "then"}, piece{opMore, `atus","echo":7`}, piece{lastPart, "}"})
	bot.want(piece{fin | opPing, "then"})
	app.wantReply("7").wantOK(t)
}

func TestOurRepliesNeverStandInsideOfAMessage(t *testing.T) {
	r := newRelayed(t, "", deaf)
	taken := newTally(r.instance, "")
	t.Run("in pieces", func(t *testing.T) {
		app, bot := r.wires(t, "/")
		bot.send(piece{opText, "first "})
		app.want(piece{opText, "first "})
		app.send(piece{wholeText, ours("clean_cache", "1")})
		taken.want(t, stat{"PacketReceived": 1})
		bot.send(piece{fin | opPing, "x"}, piece{opMore, "second "}, piece{lastPart, "third"})
		app.want(piece{fin | opPing, "x"}, piece{opMore, "second "}, piece{lastPart, "third"})
		app.wantReply("1").wantOK(t)
	})
	t.Run("in one frame", func(t *testing.T) {
		app, bot := r.wires(t, "/")
		large := piece{wholeBinary, filler(1 << 20)}
		raw := large.encode(false)
		bot.write(raw[:len(raw)/2])
		if _, err := app.r.Peek(1); err != nil { // the frame has begun
			t.Fatal(err)
		}
		app.send(piece{wholeText, ours("clean_cache", "2")})
		taken.want(t, stat{"PacketReceived": 3}) // that message, too
		bot.write(raw[len(raw)/2:])
		app.want(large)
		app.wantReply("2").wantOK(t)
	})
	t.Run("while many go past", func(t *testing.T) {
		app, bot := r.wires(t, "/")
		const calls, events = 200, 400
		pieces := []piece{{opText, message("hi")}, {opMore, ""}, {fin | opPing, "x"}, {opMore, filler(3000)}, {lastPart, "."}}
		done := make(chan struct{}, 2)
		go func() {
			defer func() { done <- struct{}{} }()
			for range calls {
				_, _ = app.w.Write(piece{wholeText, ours("get_version_info", `"e"`)}.encode(true))
			}
		}()
		go func() {
			defer func() { done <- struct{}{} }()
			for range events {
				for _, p := range pieces {
					_, _ = bot.w.Write(p.encode(false))
				}
			}
		}()
		for replies, n := 0, 0; replies < calls || n < events; {
			got := app.next()
			if got.head == wholeText {
				wantEnvelope(t, got.payload, `"e"`).wantOK(t)
				replies++
				continue
			}
			for i, want := range pieces {
				if i > 0 {
					got = app.next()
				}
				if got != want {
					t.Fatalf("piece %d of event %d is %#x %.100q", i, n, got.head, got.payload)
				}
			}
			n++
		}
		<-done
		<-done
	})
}

func TestALargeMessagePassesInLittleMemory(t *testing.T) {
	size := 64 << 20
	if raceEnabled { // which takes its time, and makes memory mean nothing
		size = 4 << 20
	}
	rest := `"params":{"file":"base64://` + strings.Repeat("QUJD", size/4) + `"}`
	for name, test := range map[string]struct {
		mode   websocket.CompressionMode
		f      frame
		pieces int
		back   bool
	}{
		"a call whose action comes first":      {f: text(`{"action":"send_msg",` + rest + `}`)},
		"a call whose action comes last":       {f: text(`{` + rest + `,"action":"send_msg"}`)},
		"a call in pieces":                     {f: text(`{` + rest + `,"action":"send_msg"}`), pieces: 1000},
		"no call at all":                       {f: frame{websocket.MessageBinary, filler(size)}},
		"a string that never ends":             {f: text(`"` + strings.Repeat("a", size))},
		"an event":                             {f: text(`{"post_type":"message",` + rest + `}`), back: true},
		"an answer in pieces":                  {f: text(`{` + rest + `,"status":"ok","retcode":0}`), pieces: 1000, back: true},
		"a call that shrinks to almost none":   {f: text(`{` + rest + `,"action":"send_msg"}`), mode: websocket.CompressionNoContextTakeover},
		"an event that shrinks to almost none": {f: text(`{"post_type":"message",` + rest + `}`), mode: websocket.CompressionContextTakeover, back: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelayed(t, "max_body 1MiB", withCompression(test.mode))
			app, bot := r.connect(t, "/")
			from, to := app, bot
			if test.back {
				from, to = bot, app
			}
			from.send(t, `"a small message"`)
			to.want(t, `"a small message"`)
			before := peakMemory(t, r.pid)
			var pieces []string
			if test.pieces > 0 {
				for part := range slices.Chunk([]byte(test.f.text), len(test.f.text)/test.pieces) {
					pieces = append(pieces, string(part))
				}
			}
			sent := make(chan error, 1)
			go func() { sent <- from.say(test.f, pieces...) }()
			if got := to.next(t); got != test.f {
				t.Errorf("what arrives has %d bytes and differs from the %d that were sent", len(got.text), len(test.f.text))
			}
			if err := receive(t, sent, "the message to be sent"); err != nil {
				t.Error(err)
			}
			if grown := peakMemory(t, r.pid) - before; grown >= 24<<20 && !raceEnabled {
				t.Errorf("Caddy grew by %d bytes", grown)
			}
			app.send(t, ours("get_status", "1"))
			app.wantReply(t, "1").wantOK(t)
		})
	}
}

// A call of ours may be as large as max_body, and is refused beyond that.
func TestALargeCallOfOursIsAnsweredUpToMaxBody(t *testing.T) {
	r := newRelayed(t, "max_body 1MiB")
	app, bot := r.connect(t, "/")
	for _, order := range []string{`{"action":"clean_cache","echo":1,"params":{"a":"%"}}`, `{"echo":1,"params":{"a":"%"},"action":"clean_cache"}`} {
		fits := strings.Replace(order, "%", strings.Repeat("x", 1<<20-len(order)+1), 1)
		app.send(t, fits)
		app.wantReply(t, "1").wantOK(t)
	}
	app.send(t, `{"action":"clean_cache","echo":1,"params":{"a":"`+strings.Repeat("x", 1<<20)+`"}}`)
	app.wantReply(t, "1").wantFailed(t)
	app.send(t, "still there")
	bot.want(t, "still there")
}

// What nobody takes must be held back from who sends it.
func TestWhatNobodyReadsIsNotKept(t *testing.T) {
	const most = 64 << 20
	stuff := func(w *wire, p piece) (sent int) {
		conn := w.w.(net.Conn)
		raw := p.encode(w.client)
		for sent < 4*most {
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // nothing moves any more
			n, err := conn.Write(raw)
			sent += n
			if err != nil {
				break
			}
		}
		return sent
	}
	for name, test := range map[string]struct {
		by func(app, bot *wire) *wire
		p  piece
	}{
		"events":        {func(_, bot *wire) *wire { return bot }, piece{wholeText, message(filler(60_000))}},
		"calls":         {func(app, _ *wire) *wire { return app }, piece{wholeText, calling("send_msg", "1", `"params":"`+filler(60_000)+`"`)}},
		"calls of ours": {func(app, _ *wire) *wire { return app }, piece{wholeText, ours("get_version_info", `"`+filler(60_000)+`"`)}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelayed(t, "", deaf)
			app, bot := r.wires(t, "/")
			before := peakMemory(t, r.pid)
			if sent := stuff(test.by(app, bot), test.p); sent >= most {
				t.Errorf("%d bytes were taken that nobody reads", sent)
			}
			if grown := peakMemory(t, r.pid) - before; grown >= 48<<20 && !raceEnabled {
				t.Errorf("Caddy grew by %d bytes", grown)
			}
			r.call(t, "GET", "/get_status", "").wantOK(t)
		})
	}
}
