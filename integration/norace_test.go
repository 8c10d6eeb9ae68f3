//go:build !race

package integration

import "testing"

const raceEnabled = false

// With the race detector this would find a race of Caddy's own: its exit reads
// what its reload writes.
//
// Who reloads a process that is about to end loses nothing by it.
func TestAReloadThatComesTooLateDoesNoHarm(t *testing.T) {
	c := startCaddy(t, version(1, download()))
	config := c.adapted(t, version(2, download()))
	o := newOrigin(t)
	g := newGate()
	answers := c.begin(map[string]params{"": {"url": o.handle("/a.bin", g.after(50_000, content(filler(100_000))))}})
	receive(t, g.passed, "a download to begin")
	c.terminate()
	c.awaitLog("servers shutting down with eternal grace period")
	reloaded := make(chan struct{})
	go func() { // it is answered after the end of the old config, or never
		defer close(reloaded)
		_, _, _ = c.tryLoad(config)
	}()
	c.awaitLogs("received request", 1)
	g.open()
	a := receive(t, answers[""], "the answer to the call")
	if a.err != nil {
		t.Fatal(a.err)
	}
	wantContent(t, a.file(t), filler(100_000))
	c.awaitExit()
	receive(t, reloaded, "the reload to end")
	wantNoParts(t, c.cacheDir("onebot"))
}
