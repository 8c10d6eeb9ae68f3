package integration

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

func TestManyCallsMayBeMadeBeforeTheFirstIsAnswered(t *testing.T) {
	const calls = 1000
	c := startBot(t, "")
	count := newTally(c, "")
	a := c.open(t, "/api")
	go func() {
		for n := range calls {
			a.say(ours("get_status", fmt.Sprint(n)))
		}
	}()
	for n := range calls {
		wantEnvelope(t, a.hear(), fmt.Sprint(n)).wantOK(t)
	}
	count.wantAll(t, stat{"PacketReceived": calls, "PacketSent": calls})
}

func TestMoreCallsThanMayWaitFailAtOnce(t *testing.T) {
	const most = 256
	c := startBot(t, download())
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	count := newTally(c, "")
	a := c.open(t, "/api")
	for range most {
		a.say(ours("download_file", `"waits"`, `"params":`+slow))
	}
	for range 10 {
		if r := a.call("download_file", `"too many"`, `"params":`+slow).wantFailed(t); !strings.Contains(r.message, "too many") {
			t.Errorf("the message is %q", r.message)
		}
	}
	c.open(t, "/api").call("get_status", `"other"`).wantOK(t)
	o.release()
	for range most {
		wantContent(t, wantEnvelope(t, a.hear(), `"waits"`).file(t), "firstrest")
	}
	eventually(t, "a call to be taken again", func() bool { // a moment after the last reply
		count.asked++
		return a.call("set_restart", "1").status == "ok"
	})
	count.wantAll(t, stat{"PacketReceived": most + 11, "PacketSent": most + 11})
}

// A million echoes that wait are no more than the connection may hold.
func TestCallsThatWaitTakeNoMoreThanOneMessageMay(t *testing.T) {
	c := startBot(t, "max_body 1MiB\n"+download())
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	a := c.open(t, "/api")
	large := `"` + filler(400_000) + `"`
	for range 2 {
		a.say(ours("download_file", large, `"params":`+slow))
	}
	a.call("download_file", large, `"params":`+slow).wantFailed(t)
	o.release()
	for range 2 {
		wantContent(t, wantEnvelope(t, a.hear(), large).file(t), "firstrest")
	}
}

func TestAClientThatReadsNothingIsCutOff(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := startBot(t, "heartbeat 0")
	count := newTally(c, "")
	before := c.holds(t)
	w := c.dialWire(t, "/api")
	if tcp, ok := w.Closer.(*net.TCPConn); !ok || tcp.SetReadBuffer(4096) != nil {
		t.Fatal("no small buffer")
	}
	call := piece{wholeText, ours("set_restart", `"`+filler(20_000)+`"`)}.encode(true)
	written := 0
	for range 10_000 { // 200 MB
		if _, err := w.w.Write(call); err != nil {
			break
		}
		written++
	}
	if written == 10_000 {
		t.Fatal("it was never cut off")
	}
	wantNothingOpen(t, c, before, 6)
	s := count.now(t)
	if s["PacketReceived"] != s["PacketSent"]+s["PacketLost"] || s["PacketLost"] != 1 {
		t.Errorf("the counters are %v after %d calls", s, written)
	}
	if text := c.logs.String(); !strings.Contains(text, "takes nothing") {
		t.Error("nothing is logged")
	}
}

func TestAReloadAnswersWhatRunsAndSaysGoodbye(t *testing.T) {
	site := func(n int) string { return version(n, "heartbeat 0\n"+download()) }
	c := startCaddy(t, site(1))
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	idle, half := c.open(t, "/event"), c.dialWire(t, "/api")
	half.write(piece{wholeText, ours("get_status", "1")}.encode(true)[:9])
	busy := c.open(t, "/api")
	busy.say(ours("download_file", `"slow"`, `"params":`+slow))
	o.await(t)
	if output, ok := c.reload(site(2)); !ok { // which waits for nobody
		t.Fatal(output)
	}
	idle.wantEvent(connecting(0))
	idle.wantEnd(websocket.StatusGoingAway)
	half.wantClose(1001)
	o.release()
	wantContent(t, wantEnvelope(t, busy.hear(), `"slow"`).file(t), "firstrest")
	busy.wantEnd(websocket.StatusGoingAway)
	c.open(t, "/api").call("get_status", "1").wantOK(t)
	var s stat
	asked := int64(0)
	eventually(t, "what was answered to be counted, behind the answer", func() bool {
		s = c.again(t, "GET", "/get_status").stat(t)
		asked++
		return s["PacketSent"] == 2+asked-1
	})
	if s["PacketReceived"] != 2+asked || s["PacketLost"] != 0 {
		t.Errorf("the counters are %v", s)
	}
}

func TestAReloadDoesNotWaitForeverForACall(t *testing.T) {
	t.Parallel() // it waits most of the time
	c := startCaddy(t, version(1, download()))
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	a := c.open(t, "/api")
	a.say(ours("download_file", `"slow"`, `"params":`+slow))
	o.await(t)
	if output, ok := c.reload(version(2, download())); !ok {
		t.Fatal(output)
	}
	a.wantEnd(websocket.StatusGoingAway)
	newTally(c, "").want(t, stat{"PacketReceived": 1, "PacketLost": 1})
}

func TestAnExitSaysGoodbyeAtOnce(t *testing.T) {
	c := startBot(t, "heartbeat 100ms\n"+download())
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	apps := []*app{c.open(t, "/"), c.open(t, "/event"), c.open(t, "/api")}
	apps[2].say(ours("download_file", `"slow"`, `"params":`+slow))
	o.await(t)
	half := c.dialWire(t, "/api")
	half.send(piece{opText, "{"})
	silent := c.dialWire(t, "/") // never says goodbye itself
	c.terminate()
	for _, a := range apps {
		a.wantEnd(websocket.StatusGoingAway)
	}
	half.wantClose(1001)
	silent.wantClose(1001)
	c.awaitExit()
}

// Whatever becomes of connections, what was received was sent or lost, and
// nothing is left of them.
func TestCountersAgreeWhateverBecomesOfConnections(t *testing.T) {
	const apps, rounds = 8, 30
	c := startBot(t, "heartbeat 10ms\n"+download())
	o := newOrigin(t)
	quick := params{"url": o.handle("/quick.png", content("a picture"))}.String()
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	c.open(t, "/api").call("set_restart", "1").wantOK(t)
	before := c.holds(t)
	var running sync.WaitGroup
	for n := range apps {
		running.Go(func() {
			for round := range rounds {
				a, _, err := c.tryOpen(t, []string{"/", "/api", "/event"}[round%3])
				if err != nil {
					t.Error(err)
					return
				}
				for i := range (n + round) % 20 {
					call := ours("get_status", "1")
					switch i % 4 {
					case 1:
						call = ours("download_file", "1", `"params":`+quick)
					case 2:
						call = ours("download_file", "1", `"params":`+slow)
					case 3:
						call = "nonsense"
					}
					a.say(call)
				}
				switch round % 4 {
				case 0:
					_ = a.CloseNow()
				case 1:
					_ = a.Close(websocket.StatusNormalClosure, "")
				case 2:
					_, _ = a.tryHear()
					_ = a.CloseNow()
				case 3: // a message that has no end
					w, err := a.Writer(t.Context(), websocket.MessageText)
					if err == nil {
						_, err = w.Write([]byte("{"))
					}
					if err != nil {
						t.Error(err)
					}
					_ = a.CloseNow()
				}
			}
		})
	}
	running.Wait()
	var s stat
	count := newTally(c, "")
	eventually(t, "all packets to be settled", func() bool {
		s = count.now(t)
		return s["PacketReceived"] == s["PacketSent"]+s["PacketLost"]
	})
	if s["PacketLost"] == 0 || s["PacketSent"] == 0 {
		t.Errorf("the counters are %v: this tested little", s)
	}
	wantNothingOpen(t, c, before, 10)
	o.release()
}

// Timeouts that are made for requests do not end connections.
func TestIdleConnectionsStayOpen(t *testing.T) {
	c := startBot(t, "heartbeat 0", global("\tservers {\n\t\ttimeouts {\n\t\t\tread_header 100ms\n\t\t\tread_body 100ms\n\t\t\twrite 100ms\n\t\t\tidle 100ms\n\t\t}\n\t}"))
	clock := startBot(t, "heartbeat 1s")
	a, w := c.open(t, "/api"), c.dialWire(t, "/api")
	tick := clock.open(t, "/event")
	tick.wantEvent(connecting(0))
	for range 2 { // a second at least, ten times as long as the timeouts
		tick.wantEvent(params{"meta_event_type": "heartbeat"})
	}
	a.call("get_status", "1").wantOK(t)
	w.send(piece{wholeText, ours("get_status", "1")})
	w.wantReply("1").wantOK(t)
}
