package integration

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// broken are bytes that must end a connection, whoever sends them. masked is
// whether a frame has to be.
func broken(masked bool) map[string][]byte {
	frames := func(pieces ...piece) (raw []byte) {
		for _, p := range pieces {
			raw = append(raw, p.encode(masked)...)
		}
		return raw
	}
	return map[string][]byte{
		"masked as the other side is":         piece{wholeText, "hello"}.encode(!masked),
		"a ping masked as the other side is":  piece{fin | opPing, "hello"}.encode(!masked),
		"the first reserved bit":              frames(piece{rsv1 | wholeText, "hello"}),
		"the second reserved bit":             frames(piece{rsv2 | wholeText, "hello"}),
		"the third reserved bit":              frames(piece{rsv3 | wholeText, "hello"}),
		"a reserved bit of a ping":            frames(piece{rsv1 | fin | opPing, "hello"}),
		"a kind of data that nobody knows":    frames(piece{fin | 0x3, "hello"}),
		"a kind of control that nobody knows": frames(piece{fin | 0xb, "hello"}),
		"a ping of 126 bytes":                 frames(piece{fin | opPing, filler(126)}),
		"a pong that claims 2^40 bytes":       header(fin|opPong, masked, 1<<40),
		"a close of 126 bytes":                frames(piece{fin | opClose, closing(1000, filler(124))}),
		"a ping in pieces":                    frames(piece{opPing, "hel"}, piece{lastPart, "lo"}),
		"the end of nothing":                  frames(piece{lastPart, "hello"}),
		"the middle of nothing":               frames(piece{opMore, "hello"}),
		"a message inside of a message":       frames(piece{opText, "hel"}, piece{wholeText, "hello"}),
		"a frame that claims 2^63 bytes":      header(wholeText, masked, 1<<63),
		"a frame that claims 2^64-1 bytes":    header(wholeText, masked, 1<<64-1),
		"a request":                           []byte("GET /get_status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
		"an answer":                           []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
		"what is TLS":                         []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
	}
}

// bystander is a connection that must not be disturbed.
func bystander(t *testing.T, r *relayed) (stillWorks func(t *testing.T)) {
	app, bot := r.wires(t, "/api")
	n := 0
	return func(t *testing.T) {
		t.Helper()
		n++
		app.t, bot.t = t, t
		there := piece{wholeText, calling("send_msg", fmt.Sprint(n))}
		back := piece{wholeText, message(fmt.Sprint(n))}
		app.send(piece{wholeText, ours("get_status", fmt.Sprint(n))}, there)
		bot.want(there)
		app.wantReply(fmt.Sprint(n)).wantOK(t)
		bot.send(back)
		app.want(back)
	}
}

func TestWhatIsNoWebSocketEndsTheConnectionAndNothingElse(t *testing.T) {
	r := newRelayed(t, "", deaf)
	stillWorks := bystander(t, r)
	stillWorks(t)
	before := r.holds(t)
	count := newTally(r.instance, "")
	var lost int64
	for _, masked := range []bool{true, false} {
		for name, raw := range broken(masked) {
			side := map[bool]string{true: "the app", false: "the bot"}[masked]
			t.Run(side+" sends "+name, func(t *testing.T) {
				app, bot := r.wires(t, "/")
				call := piece{wholeText, calling("send_msg", "1")}
				app.send(call)
				bot.want(call)
				if masked {
					app.write(raw)
					app.wantClose(1002)
					_ = app.Close()
					bot.wantGone()
				} else {
					bot.write(raw)
					app.wantClose(1011)
					_ = app.Close()
					bot.wantGone()
					lost++
				}
				count.want(t, stat{"DisconnectTimes": lost})
				stillWorks(t)
			})
		}
	}
	wantNothingOpen(t, r.instance, before, 6)
	// every call was lost with its connection
	count.want(t, stat{"PacketLost": int64(len(broken(true)) + len(broken(false)))})
}

func TestAConnectionThatBreaksOffInAFrameCostsNothingForGood(t *testing.T) {
	r := newRelayed(t, "", deaf)
	stillWorks := bystander(t, r)
	stillWorks(t)
	before := r.holds(t)
	for _, side := range []string{"app", "bot"} {
		for name, pieces := range map[string]struct {
			whole []piece
			half  func(masked bool) []byte
		}{
			"one byte":         {nil, func(bool) []byte { return []byte{wholeText} }},
			"half a length":    {nil, func(masked bool) []byte { return header(wholeText, masked, 1<<20)[:5] }},
			"only the head":    {nil, func(masked bool) []byte { return header(wholeText, masked, 1000) }},
			"what claims 2^62": {nil, func(masked bool) []byte { return append(header(wholeBinary, masked, 1<<62), "half"...) }},
			"half a call of ours": {nil, func(masked bool) []byte {
				raw := piece{wholeText, ours("get_status", "1")}.encode(masked)
				return raw[:len(raw)-1]
			}},
			"half a control": {nil, func(masked bool) []byte { return piece{fin | opPing, "hello"}.encode(masked)[:8] }},
			"half a message": {[]piece{{opText, `{"action":"send_`}, {fin | opPing, ""}}, func(bool) []byte { return nil }},
		} {
			t.Run(name+" from the "+side, func(t *testing.T) {
				app, bot := r.wires(t, "/")
				from, to := app, bot
				if side == "bot" {
					from, to = bot, app
				}
				from.send(pieces.whole...)
				from.write(pieces.half(side == "app"))
				stillWorks(t)
				// the other direction does not mind
				to.send(piece{wholeText, message("hi")})
				from.want(piece{wholeText, message("hi")})
				_ = from.Close()
				defer to.Close()
				for { // what comes is no whole message
					p, err := to.tryNext()
					if err != nil {
						if wait, ok := err.(net.Error); ok && wait.Timeout() {
							t.Error("the connection is still open")
						}
						break
					}
					if p.head == fin|opClose && side == "bot" && !strings.HasPrefix(p.payload, closing(1011, "")) {
						t.Errorf("the app is told %q", p.payload)
					}
					if p.head&0xf <= opBinary && p.head&fin != 0 {
						t.Errorf("%#x %.100q came", p.head, p.payload)
					}
				}
				stillWorks(t)
			})
		}
	}
	wantNothingOpen(t, r.instance, before, 6)
}

func TestStrangeMessagesPassOrAreRefusedAsACall(t *testing.T) {
	r := newRelayed(t, "max_body 64MiB")
	deep := strings.Repeat("[", 1_000_000)
	many := `"a":1,` + strings.Repeat(`"b":{},`, 1_000_000)
	before := peakMemory(t, r.pid)
	app, bot := r.connect(t, "/")
	for name, m := range map[string]string{
		"open arrays 1,000,000 deep":       deep,
		"arrays 1,000,000 deep in a call":  `{"action":"send_msg","params":` + deep + strings.Repeat("]", len(deep)) + `}`,
		"objects 1,000,000 deep":           strings.Repeat(`{"action":`, 1_000_000),
		"1,000,000 names":                  "{" + many + `"action":"send_msg"}`,
		"an action of 10 MB":               `{"action":"get_status` + strings.Repeat("s", 10<<20) + `"}`,
		"an echo of 10 MB":                 `{"action":"send_msg","echo":"` + strings.Repeat("s", 10<<20) + `"}`,
		"an action that is a number":       `{"action":5,"get_status":1}`,
		"an action that is an object":      `{"action":{"action":"get_status"}}`,
		"an action in an array":            `[{"action":"get_status"}]`,
		"the second of two actions ours":   `{"action":"send_msg","action":"get_status"}`,
		"ours in other letters":            `{"action":"GET_STATUS"}`,
		"an event of ours":                 `{"post_type":"meta_event","action":"get_status"}`,
		"ours with a space":                `{"action":"get_status "}`,
		"bytes that are no UTF-8 (binary)": "",
	} {
		t.Run(name, func(t *testing.T) {
			f := text(m)
			if m == "" {
				f = frame{websocket.MessageBinary, "{\"action\":\"send_msg\",\"x\":\"\xff\xfe\x80\"}"}
			}
			if err := app.say(f); err != nil {
				t.Fatal(err)
			}
			if got := bot.next(t); got != f {
				t.Errorf("the bot got %.100q (%d bytes)", got.text, len(got.text))
			}
		})
	}
	for name, test := range map[string]struct{ m, echo string }{
		"an action that is escaped": {`{"\u0061ction":"get\u005fstatu\u0073","echo":1}`, "1"},
		"spaces all around":         {" \n\t{ \"action\" :\r\"get_status\" , \"echo\" : 1 } \n", "1"},
		"an echo of 1 MB":           {ours("get_status", `"`+strings.Repeat("e", 1<<20)+`"`), `"` + strings.Repeat("e", 1<<20) + `"`},
		"1,000,000 names before":    {"{" + many + `"action":"clean_cache","echo":1}`, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			app.send(t, test.m)
			app.wantReply(t, test.echo).wantOK(t)
		})
	}
	// whose these are depends on where they are cut in pieces on the way
	for name, m := range map[string]string{
		"a call of ours that never ends":       `{"action":"get_status","params":{`,
		"a call of ours and more":              `{"action":"get_status"}{}`,
		"a call of ours 1,000,000 deep":        `{"action":"get_status","params":` + deep + strings.Repeat("]", len(deep)) + `}`,
		"a call of ours with other parameters": `{"action":"get_status","params":[1]}`,
		"a call of ours with an odd escape":    `{"action":"get_status","x":"\x"}`,
		"the first of two actions ours":        `{"action":"get_status","action":"send_msg"}`,
	} {
		t.Run(name, func(t *testing.T) {
			app.send(t, m)
			select {
			case got := <-app.received:
				r, err := parseEnvelope(got.text)
				if err != nil {
					t.Error(err)
				}
				if r.status != "failed" {
					t.Errorf("it succeeds: %s", got.text)
				}
			case got := <-bot.received:
				if got != text(m) {
					t.Errorf("the bot got %.100q (%d bytes)", got.text, len(got.text))
				}
			case <-time.After(patience):
				t.Error("it is neither answered nor passed on")
			}
		})
	}
	if grown := peakMemory(t, r.pid) - before; grown >= 200<<20 && !raceEnabled {
		t.Errorf("Caddy grew by %d bytes", grown)
	}
	app.send(t, "the end")
	bot.want(t, "the end")
}

func TestTextThatIsNotUTF8IsRefusedOrIsTheBotsConcern(t *testing.T) {
	r := newRelayed(t, "", deaf)
	stillWorks := bystander(t, r)
	t.Run("in a call of ours", func(t *testing.T) {
		app, _ := r.wires(t, "/")
		app.send(piece{wholeText, ours("get_status", `"`+"\xff"+`"`)})
		switch p := app.next(); {
		case p.head == fin|opClose && strings.HasPrefix(p.payload, closing(1007, "")):
		case p.head == wholeText:
			r, err := parseEnvelope(p.payload)
			if err != nil {
				t.Fatal(err)
			}
			r.wantFailed(t)
		default:
			t.Errorf("%#x %q came", p.head, p.payload)
		}
		stillWorks(t)
	})
	t.Run("in a call of others", func(t *testing.T) {
		app, bot := r.wires(t, "/")
		app.send(piece{wholeText, "{\"action\":\"send_msg\",\"params\":\"\xff\"}"})
		if p, err := bot.tryNext(); err == nil && p.head == wholeText { // what the bot says to that
			bot.send(piece{fin | opClose, closing(1007, "no UTF-8")})
		}
		app.wantClose(1007)
		stillWorks(t)
	})
}

// Of the calls that nobody answers no more is remembered than a little.
func TestAMillionPendingCallsCostLittle(t *testing.T) {
	const pending = 1_000_000
	r := newRelayed(t, "", deaf)
	stillWorks := bystander(t, r)
	stillWorks(t)
	count := newTally(r.instance, "")
	app, bot := r.wires(t, "/")
	bot.hurry()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, bot.r)
	}()
	before := peakMemory(t, r.pid)
	var batch []byte
	for n := range pending {
		batch = append(batch, piece{wholeText, calling("send_msg", fmt.Sprintf(`"%032d"`, n))}.encode(true)...)
		if len(batch) > 60_000 || n == pending-1 {
			app.write(batch)
			batch = batch[:0]
		}
	}
	app.send(piece{wholeText, ours("clean_cache", "1")})
	app.wantReply("1").wantOK(t)
	stillWorks(t)
	if grown := peakMemory(t, r.pid) - before; grown >= 32<<20 && !raceEnabled {
		t.Errorf("Caddy grew by %d bytes", grown)
	}
	// one of them is answered after all
	bot.send(piece{wholeText, fmt.Sprintf(`{"status":"ok","retcode":0,"data":null,"echo":"%032d"}`, pending-1)})
	app.next()
	_ = app.Close()
	receive(t, drained, "the end of the connection")
	_ = bot.Close()
	// two calls of the bystander still wait, and all else that it said was sent
	count.want(t, stat{"PacketLost": pending - 1, "PacketReceived": pending + 1 + 2*3})
}
