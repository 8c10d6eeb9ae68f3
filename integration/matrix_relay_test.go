package integration

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Every mishap at every stage of what is handed on to a backend. Of each case a
// rule says what those who are left must see and what the counters must be. In
// the end no connection may be left, and the next call must be answered.
func TestEveryFaultAtEveryStageOfWhatIsHandedOn(t *testing.T) {
	t.Parallel() // it waits much of the time
	all := relayCases()
	for i := range all {
		all[i].addr = freeAddr(t)
	}
	m := newMatrix("relay matrix", all, relayRules)
	t.Cleanup(func() { m.report(t) })
	var running sync.WaitGroup
	defer running.Wait()
	for _, what := range []mishap{underReload, underStop} {
		together := m.of(func(c relayCase) bool { return c.what == what })
		running.Go(func() { t.Run(string(what), func(t *testing.T) { relayTogether(t, m, what, together) }) })
	}
	t.Run("alone", func(t *testing.T) {
		relayAlone(t, m, m.of(func(c relayCase) bool { return !c.what.ofCaddy() }))
	})
}

type relayMatrix = *matrix[relayCase]

// relayAlone runs cases that do not touch each other, in one Caddy.
func relayAlone(t *testing.T, m relayMatrix, cases []relayCase) {
	c := startCaddy(t, relaySite("nothing", nil))
	before := c.holds(t)
	if output, ok := c.reload(relaySite("all cases", cases)); !ok {
		t.Fatal(output)
	}
	m.run(t, cases, 50, func(t *testing.T, one relayCase) {
		e := newEncounter(t, c, one)
		e.advance()
		e.strike()
		e.settle()
		e.again()
	}, func(relayCase) {})
	wantNoSockets(t, c)
	if output, ok := c.reload(relaySite("nothing again", nil)); !ok {
		t.Fatal(output)
	}
	wantNothingOpen(t, c, before, 6)
}

// relayTogether runs cases in one Caddy that is reloaded, or told to stop, while
// all of them are where they are.
func relayTogether(t *testing.T, m relayMatrix, what mishap, cases []relayCase) {
	c := startCaddy(t, relaySite("first", cases))
	begun, ended, checked := newBarrier(cases), newBarrier(cases), newBarrier(cases)
	mended := c // is set before ended opens
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		m.run(t, cases, len(cases), func(t *testing.T, one relayCase) {
			e := newEncounter(t, c, one)
			e.advance()
			begun.pass(t, one)
			e.survive()
			ended.pass(t, one)
			if mended != c {
				e.caddy, e.tally, e.anew = mended, one.tally(mended), true
			}
			e.again()
			checked.arrive(one)
		}, func(one relayCase) {
			begun.arrive(one)
			ended.arrive(one)
			checked.arrive(one)
		})
	}()
	defer func() { receive(t, finished, "the cases to end") }()
	begun.await(t)
	if what == underStop {
		c.terminate()
		c.awaitLog("servers shutting down with eternal grace period")
	} else if output, ok := c.reload(relaySite("another", cases)); !ok {
		t.Fatal(output)
	}
	close(begun.open)
	ended.await(t)
	if what == underStop {
		if c.awaitExit(); c.exitErr != nil {
			t.Errorf("Caddy ended with %v", c.exitErr)
		}
		mended = startCaddy(t, relaySite("again", cases), at(c.home))
	}
	close(ended.open)
	checked.await(t)
	wantNoSockets(t, mended)
}

func wantNoSockets(t testing.TB, c *instance) {
	t.Helper()
	eventually(t, "all WebSocket connections to be over", func() bool { return len(c.metrics(t).of("websocket_connections")) == 0 })
}

// survive goes on after what has come to all, and sees what becomes of it: what
// HTTP has begun is carried out, and a WebSocket is closed.
func (e *encounter) survive() {
	e.t.Helper()
	switch {
	case e.by.http() && e.at > inRequestHead:
		e.goOn()
	case e.at >= betweenPackets:
		e.wantClientGone()
		e.wantBackendGone()
	default: // the old config takes it or not
		e.mayGoOn()
	}
}

// again checks what must be true afterwards.
func (e *encounter) again() {
	e.t.Helper()
	e.t.Cleanup(e.part)
	e.part()
	e.listen()
	want := e.counts()
	if e.anew {
		want = stat{"PacketReceived": 0, "PacketSent": 0, "PacketLost": 0}
	}
	if e.what.ofCaddy() && e.by.http() && e.at == inRequestHead && !e.took && !e.anew {
		want["PacketReceived"], want["PacketSent"] = 0, 0
	}
	e.tally.want(e.t, want)
	// and what comes next is answered
	answered := make(chan answerOf, 1)
	go func() {
		req, err := http.NewRequest("POST", e.caddy.client.base+e.route()+"/send_private_msg", strings.NewReader(`{"next":true}`))
		if err != nil {
			answered <- answerOf{err: err}
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer right-token")
		resp, err := e.caddy.client.Do(req)
		answered <- answerOf{resp, err}
	}()
	next := receive(e.t, e.came, "the next call at the backend")
	next.take(e.t, len(`{"next":true}`))
	next.say(e.t, ok200(`{"status":"ok","retcode":0,"data":null}`))
	_ = next.conn.Close()
	a := receive(e.t, answered, "the answer to the next call")
	if a.err != nil {
		e.t.Fatal(a.err)
	}
	defer a.resp.Body.Close()
	if a.resp.StatusCode != http.StatusOK {
		e.t.Errorf("the next call is answered by %s", a.resp.Status)
	}
	want["PacketReceived"]++
	want["PacketSent"]++
	e.tally.want(e.t, want)
}

type answerOf struct {
	resp *http.Response
	err  error
}
