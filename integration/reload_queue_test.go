package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// maxBackground is how many calls run in the background at a time.
const maxBackground = 256

// crowd fills the queue of a bot with calls that wait for a URL, and fails the
// test unless it has room for n of them.
func (c *instance) crowd(t testing.TB, route, url string, n int) {
	t.Helper()
	call := params{"url": url}.String()
	for range n {
		c.post(t, route+"/download_file_async", call).wantAsync(t)
	}
	c.wantCrowded(t, route)
}

// wantCrowded fails the test if a bot has room for a call in the background.
func (c *instance) wantCrowded(t testing.TB, route string) {
	t.Helper()
	if r := c.again(t, "GET", route+"/set_restart_async").wantFailed(t); !strings.Contains(r.message, "in the background") {
		t.Errorf("the message is %q", r.message)
	}
}

// wantRoom waits until a bot has room for a call in the background.
func (c *instance) wantRoom(t testing.TB, route string) {
	t.Helper()
	eventually(t, "room for another call in the background", func() bool {
		return c.again(t, "GET", route+"/set_restart_async").status == "async"
	})
}

func TestWhatRunsInTheBackgroundGoesOnAcrossAReload(t *testing.T) {
	site := func(n int, options ...string) string { return version(n, download(options...)+"\nname stays") }
	c := startCaddy(t, site(1, "max_concurrent 1"))
	o := newOrigin(t)
	first, second := o.handle("/first.png", o.stall("first", "rest")), o.handle("/second.png", content("a picture"))
	c.post(t, "/download_file_async", params{"url": first}.String()).wantAsync(t)
	o.await(t)
	c.crowd(t, "", second, maxBackground-1) // which all wait for one turn
	for n := range 3 {
		if output, ok := c.reload(site(n+2, "max_concurrent 5", "timeout 1h")); !ok {
			t.Fatal(output)
		}
		c.wantVersion(t, n+2)
		c.wantCrowded(t, "")
	}
	if n := o.count(); n != 1 {
		t.Errorf("the origin had %d requests before it has answered the first", n)
	}
	o.release()
	c.wantRoom(t, "")
	c.awaitLogs("downloaded file", 2)
	files := cacheFiles(t, c.cacheDir("stays"), "files")
	if len(files) != 2 {
		t.Fatalf("files are %v, want one for each URL", files)
	}
	wantContent(t, c.post(t, "/download_file", params{"url": first}.String()).file(t), "firstrest")
	wantContent(t, c.post(t, "/download_file", params{"url": second}.String()).file(t), "a picture")
	if n := o.count(); n != 2 {
		t.Errorf("the origin had %d requests, though nobody had what it sent before", n)
	}
	if s := c.stat(t, "/get_status"); s["PacketLost"] != 0 || s["PacketReceived"] != s["PacketSent"]+1 {
		t.Errorf("the counters are %v", s)
	}
}

func TestWhatRunsInTheBackgroundEndsWhenItsBotGoes(t *testing.T) {
	c := startCaddy(t, version(1, download("max_concurrent 2")+"\nname goes"))
	o := newOrigin(t)
	g := newGate()
	slow := o.handle("/slow.png", g.after(50_000, content(filler(100_000))))
	for i := range 4 { // of which half wait for their turn
		c.post(t, "/download_file_async", params{"url": fmt.Sprint(slow, "?", i)}.String()).wantAsync(t)
	}
	for range 2 {
		receive(t, g.passed, "a download to begin")
	}
	c.crowd(t, "", slow, maxBackground-4)
	if output, ok := c.reload(version(2, download()+"\nname other")); !ok {
		t.Fatal(output)
	}
	for range 2 {
		receive(t, o.left, "a download to end")
	}
	c.wantVersion(t, 2)
	c.again(t, "GET", "/set_restart_async").wantAsync(t)
	wantNothingKept(t, c.cacheDir("goes")) // nobody has it, so nobody cleans up later
	if output, ok := c.reload(version(3, download()+"\nname goes")); !ok {
		t.Fatal(output)
	}
	c.wantVersion(t, 3)
	g.open()
	c.post(t, "/download_file_async", params{"url": slow}.String()).wantAsync(t) // there is room again
	c.awaitLog("downloaded file")
	if n := o.count(); n != 3 {
		t.Errorf("the origin had %d requests, want the 2 that began and the last", n)
	}
	files := cacheFiles(t, c.cacheDir("goes"), "files")
	if len(files) != 1 {
		t.Fatalf("files are %v", files)
	}
	wantContent(t, files[0], filler(100_000))
}

// wantVersion waits until the config answers that sets a version.
func (c *instance) wantVersion(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("version %d to answer", n), func() bool {
		return c.again(t, "GET", "/get_status").header.Get("X-Version") == fmt.Sprint(n)
	})
}

func TestABadReloadDisturbsNothingThatIsUnderWay(t *testing.T) {
	b := newBackend(t, silent)
	site := func(n int, options string) string {
		return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n onebot_meta {\n route /alone\n name alone\n heartbeat 20ms\n%s\n}\n"+
			"handle /front/* {\n uri strip_prefix /front\n %s}\n}\n", n, options, front("name front", b))
	}
	c := startCaddy(t, site(1, download("max_concurrent 3")), tlsInternal)
	t.Cleanup(b.release)
	o := newOrigin(t)
	g := newGate()
	slow := func(name string) string {
		return params{"url": o.handle("/"+name, g.after(50_000, content(filler(100_000))))}.String()
	}
	answer := make(chan reply, 1)
	go func() {
		r, err := c.client.try("POST", "/alone/download_file", slow("called.bin"))
		if err != nil {
			t.Error(err)
		}
		answer <- r
	}()
	receive(t, g.passed, "the download of a call to begin")
	events, busy := c.open(t, "/alone/event"), c.open(t, "/alone/api")
	events.wantEvent(connecting(0))
	busy.say(ours("download_file", `"slow"`, `"params":`+slow("socket.bin")))
	receive(t, g.passed, "the download of a WebSocket connection to begin")
	c.post(t, "/alone/download_file_async", slow("background.bin")).wantAsync(t)
	receive(t, g.passed, "the download in the background to begin")
	c.crowd(t, "/alone", o.handle("/waits.bin", content("waited")), maxBackground-1)
	passed := c.open(t, "/front/")
	bot := b.socket(t)

	taken, err := net.Listen("tcp", c.other) // alone: Caddy cannot have it
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := func(directives string) string { return "http://<OTHER> {\n" + directives + "\n}" }
	for name, bad := range map[string]struct{ caddyfile, why string }{
		"it is no Caddyfile":                           {site(2, "route nowhere"), "route"},
		"its first handler cannot be":                  {site(2, "access_token {env.ONEBOT_META_UNSET}"), "access_token"},
		"its second handler cannot be":                 {site(2, download()) + other("onebot_meta {\n access_token {env.ONEBOT_META_UNSET}\n}"), "access_token"},
		"another module cannot be":                     {strings.Replace(site(2, download())+other("tls <HOME>/none.crt <HOME>/none.key"), "http://<OTHER>", "https://<OTHER>", 1), "none.crt"},
		"it cannot listen":                             {site(2, download("max_concurrent 1")) + other("onebot_meta"), "listen"},
		"it cannot listen, and has none of these bots": {"http://<SITE> {\n respond hello\n}\n" + other("onebot_meta"), "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			if output, ok := c.reload(bad.caddyfile); ok || !strings.Contains(output, bad.why) {
				t.Fatalf("it is taken, or refused for another reason than %q:\n%s", bad.why, output)
			}
			events.say(ours("get_status", `"refused"`))
			for !strings.Contains(events.hear(), `"refused"`) { // after the events that came before
			}
			events.wantEvent(params{"meta_event_type": "heartbeat"})
			busy.call("get_status", `"quick"`).wantOK(t)
			passed.say(`{"action":"send_msg"}`)
			bot.want(t, `{"action":"send_msg"}`)
			bot.send(t, message(name))
			if got := passed.hear(); got != message(name) {
				t.Errorf("got %s", got)
			}
			passed.call("set_restart", "1").wantOK(t)
			c.wantCrowded(t, "/alone")
			if r := c.again(t, "GET", "/alone/get_status").wantOK(t); r.header.Get("X-Version") != "1" {
				t.Errorf("version %s answers", r.header.Get("X-Version"))
			}
		})
	}
	if n := o.count(); n != 3 {
		t.Errorf("the origin had %d requests", n)
	}
	g.open()
	wantContent(t, receive(t, answer, "the answer to the call").file(t), filler(100_000))
	wantContent(t, wantEnvelope(t, busy.hear(), `"slow"`).file(t), filler(100_000))
	c.wantRoom(t, "/alone")
	c.awaitLogs("downloaded file", 4)
	s := c.again(t, "GET", "/alone/get_status").stat(t)
	if s["PacketLost"] != 0 || s["PacketReceived"] != s["PacketSent"]+1 {
		t.Errorf("the counters are %v", s)
	}
	if s := c.again(t, "GET", "/front/get_status").stat(t); s["DisconnectTimes"] != 0 || s["PacketLost"] != 0 {
		t.Errorf("the counters of the bot behind are %v", s)
	}
	if output, ok := c.reload(site(3, download())); !ok {
		t.Fatalf("a good config is refused after bad ones:\n%s", output)
	}
	for _, a := range []*app{events, busy, passed} {
		a.wantEnd(websocket.StatusGoingAway)
	}
	bot.awaitEnd(t)
}
