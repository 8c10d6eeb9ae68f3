package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// begin makes calls of download_file over HTTP that are answered later.
func (c *instance) begin(calls map[string]params) map[string]<-chan answer {
	answers := make(map[string]<-chan answer)
	for name, call := range calls {
		later := make(chan answer, 1)
		answers[name] = later
		go func() {
			r, err := c.client.try("POST", "/download_file", call.String(), "Content-Type", "application/json")
			later <- answer{r, err}
		}()
	}
	return answers
}

// answer is a reply, or why there is none.
type answer struct {
	reply
	err error
}

// A process that is told to end, as by a service manager, answers what it has
// been asked before it does.
func TestSIGTERMLetsCallsFinish(t *testing.T) {
	for name, test := range map[string]struct {
		options string // global
		begun   string // the message that says that it is ending
	}{
		"without a grace period":   {"", "servers shutting down with eternal grace period"},
		"with a long grace period": {"\tgrace_period 10m", "servers shutting down; grace period initiated"},
	} {
		t.Run(name, func(t *testing.T) {
			c := startBot(t, download("max_concurrent 2"), global(test.options))
			o := newOrigin(t)
			g := newGate()
			calls := make(map[string]params)
			for i := range 4 { // of which half wait for their turn
				name := fmt.Sprintf("/%d.bin", i)
				calls[name] = params{"url": o.handle(name, g.after(50_000, content(filler(100_000+i))))}
			}
			background := o.handle("/background.bin", g.after(0, content("nobody waits for it")))
			answers := c.begin(calls)
			for range 2 {
				receive(t, g.passed, "a download to begin")
			}
			eventually(t, "all calls to arrive", func() bool {
				s := c.stat(t, "/get_status")
				return s["PacketReceived"]-s["PacketSent"] == int64(len(calls))+1
			})
			c.post(t, "/download_file_async", params{"url": background}.String()).wantAsync(t)
			c.terminate()
			c.awaitLog(test.begun)
			c.terminate() // who is impatient does no harm
			g.open()
			for name, later := range answers {
				a := receive(t, later, "the answer to a call")
				if a.err != nil {
					t.Fatalf("%s: %v", name, a.err)
				}
				var n int
				if _, err := fmt.Sscanf(name, "/%d.bin", &n); err != nil {
					t.Fatal(err)
				}
				wantContent(t, a.file(t), filler(100_000+n))
			}
			c.awaitExit()
			wantNoParts(t, c.cacheDir("onebot"))
			if n := len(cacheFiles(t, c.cacheDir("onebot"), "files")); n != len(calls) && n != len(calls)+1 {
				t.Errorf("%d files are kept, want %d and perhaps the one that nobody waited for", n, len(calls))
			}
		})
	}
}

// When the grace period is over, what still runs is cancelled.
func TestSIGTERMCancelsWhatOutlastsTheGracePeriod(t *testing.T) {
	t.Parallel() // it waits most of the time
	b := newBackend(t, silent)
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n name alone\n"+download("max_concurrent 2")+"\n}\n}\n"+
		"http://<OTHER> {\n"+front("name front", b)+"}", global("\tgrace_period 500ms"))
	t.Cleanup(b.release)
	o := newOrigin(t)
	g := newGate()
	calls := make(map[string]params)
	for i := range 4 { // of which half wait for their turn
		name := fmt.Sprintf("/%d.bin", i)
		calls[name] = params{"url": o.handle(name, g.after(50_000, content(filler(100_000))))}
	}
	kept := c.fetch(t, o.handle("/kept.png", content("a picture")))
	receive(t, o.left, "the first request to end")
	answers := c.begin(calls)
	for range 2 {
		receive(t, g.passed, "a download to begin")
	}
	c.post(t, "/download_file_async", calls["/0.bin"].String()).wantAsync(t)
	events, busy := c.open(t, "/event"), c.open(t, "/api")
	busy.say(ours("download_file", `"slow"`, `"params":`+calls["/1.bin"].String()))
	busy.call("get_status", `"quick"`).wantOK(t)
	passed := b.dial(t, "ws://"+c.other+"/")
	bot := b.socket(t)

	c.terminate()
	c.awaitLog("servers shutting down; grace period initiated")
	c.terminate()
	for _, a := range []*app{events, busy} {
		a.wantEnd(websocket.StatusGoingAway)
	}
	if code := passed.awaitEnd(t); code != websocket.StatusGoingAway {
		t.Errorf("the app of the bot behind is told %d", code)
	}
	bot.awaitEnd(t)
	for range 2 {
		receive(t, o.left, "a download to be cancelled")
	}
	for name, later := range answers {
		// it may be too late to say it
		if a := receive(t, later, "the end of a call"); a.err == nil {
			if a.wantFailed(t); !strings.Contains(a.message, "cancelled") {
				t.Errorf("%s: the message is %q", name, a.message)
			}
		}
	}
	c.awaitExit()
	if n := o.count(); n != 3 {
		t.Errorf("the origin had %d requests", n)
	}
	wantNoParts(t, c.cacheDir("alone"))
	if files := cacheFiles(t, c.cacheDir("alone"), "files"); len(files) != 1 || files[0] != kept {
		t.Errorf("it kept %v", files)
	}
	wantContent(t, kept, "a picture")
}

// What the config before was asked is answered, too.
func TestSIGTERMAfterReloadsLetsCallsFinish(t *testing.T) {
	site := func(n int) string { return version(n, download(fmt.Sprintf("max_concurrent %d", n))) }
	c := startCaddy(t, site(1))
	o := newOrigin(t)
	g := newGate()
	answers := make(map[int]<-chan answer)
	for n := 1; n <= 3; n++ {
		if n > 1 {
			if output, ok := c.reload(site(n)); !ok {
				t.Fatal(output)
			}
			c.wantVersion(t, n)
		}
		name := fmt.Sprintf("/%d.bin", n)
		answers[n] = c.begin(map[string]params{name: {"url": o.handle(name, g.after(50_000, content(filler(100_000+n))))}})[name]
		receive(t, g.passed, "a download to begin")
	}
	ended := "servers shutting down with eternal grace period"
	c.terminate()
	c.awaitLogs(ended, 3)
	g.open()
	for n, later := range answers {
		a := receive(t, later, "the answer to a call")
		if a.err != nil {
			t.Fatalf("the call of config %d: %v", n, a.err)
		}
		wantContent(t, a.file(t), filler(100_000+n))
	}
	c.awaitExit()
	wantNoParts(t, c.cacheDir("onebot"))
}
