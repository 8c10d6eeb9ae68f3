package integration

import (
	"fmt"
	"strings"
	"testing"
)

func TestTransfersAreSharedAcrossAReload(t *testing.T) {
	c := startCaddy(t, version(1, download()))
	o := newOrigin(t)
	g := newGate()
	body := filler(100_000)
	call := params{"url": o.handle("/a.bin", g.after(50_000, content(body)))}
	abandoned := params{"url": o.handle("/b.bin", g.after(50_000, content(body)))}
	before := c.ask(t, 2, call)
	left := c.ask(t, 1, abandoned)
	receive(t, g.passed, "the first transfer to begin")
	receive(t, g.passed, "the second transfer to begin")
	c.leave(t, left)
	for n := range 2 {
		if output, ok := c.reload(version(n+2, download("max_concurrent 5"))); !ok {
			t.Fatal(output)
		}
	}
	if r := c.again(t, "GET", "/get_status"); r.header.Get("X-Version") != "3" {
		t.Fatalf("version %s answers", r.header.Get("X-Version"))
	}
	after, joined := c.ask(t, 2, call), c.ask(t, 1, abandoned)
	g.open()
	file := before[0].file(t)
	wantContent(t, file, body)
	for _, call := range append(before[1:], after...) {
		if got := call.file(t); got != file {
			t.Errorf("one caller got %s and another %s", file, got)
		}
	}
	wantContent(t, joined[0].file(t), body)
	if n := o.count(); n != 2 {
		t.Errorf("the origin had %d requests", n)
	}
}

func TestACallSharesNothingThatItsOwnConfigRefuses(t *testing.T) {
	c := startCaddy(t, version(1, download()))
	o := newOrigin(t)
	g := newGate()
	e := edition{body: "a picture", header: []string{"Cache-Control", "max-age=60"}}
	running := params{"url": o.handle("/running.png", g.after(0, e.offer))}
	stored := params{"url": o.handle("/stored.png", e.offer)}
	wantContent(t, c.post(t, "/download_file", stored.String()).file(t), "a picture")
	before := c.ask(t, 1, running)
	receive(t, g.passed, "the transfer to begin")
	if output, ok := c.reload(version(2, "")); !ok {
		t.Fatal(output)
	}
	if r := c.again(t, "GET", "/get_status"); r.header.Get("X-Version") != "2" {
		t.Fatalf("version %s answers", r.header.Get("X-Version"))
	}
	for _, call := range []params{running, stored} {
		if r := c.post(t, "/download_file", call.String()).wantFailed(t); !strings.Contains(r.message, "refused") {
			t.Errorf("message is %q", r.message)
		}
	}
	g.open()
	wantContent(t, before[0].file(t), "a picture")
}

func TestAnAbandonedTransferDoesNotKeepCaddyFromStopping(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	all := c.ask(t, 3, params{"url": o.handle("/stuck", stuck(50_000, content(filler(100_000))))})
	o.await(t)
	c.leave(t, all)
	c.terminate()
	c.awaitExit()
	if c.exitErr != nil {
		t.Errorf("Caddy ended with %v", c.exitErr)
	}
	wantNothingKept(t, c.cacheDir("onebot"))
}

func TestACallJoinsWhatRunsInTheBackground(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	g := newGate()
	call := params{"url": o.handle("/a.png", g.after(1, content("a picture")))}
	c.post(t, "/download_file_async", call.String()).wantAsync(t)
	receive(t, g.passed, "the transfer to begin")
	joined := c.ask(t, 1, call)
	g.open()
	wantContent(t, joined[0].file(t), "a picture")
	if n := o.count(); n != 1 {
		t.Errorf("the origin had %d requests", n)
	}
	if kept := cacheFiles(t, c.cacheDir("onebot"), "files"); len(kept) != 1 {
		t.Errorf("files are %v", kept)
	}
	if s := fmt.Sprint(c.stat(t, "/get_status")["PacketLost"]); s != "0" {
		t.Errorf("PacketLost is %s", s)
	}
}
