package integration

import (
	"fmt"
	"net/http"
	"testing"
)

func TestWhatOneNodeHasTheOthersNeedNotFetch(t *testing.T) {
	onBoth(t, 2, copying(), testTakeOver)
}

func testTakeOver(t *testing.T, c *cluster) {
	o := newOrigin(t)
	one, two := c.nodes[0], c.nodes[1]
	body := filler(600_000)
	const cc = "Cache-Control"
	t.Run("as long as it is fresh", func(t *testing.T) {
		url := o.handle("/fresh.png", edition{body: body, header: []string{cc, "max-age=60"}}.offer)
		first := one.fetch(t, url)
		for range 2 {
			second := two.fetch(t, url)
			wantContent(t, second, body)
			if (first == second) != (c.dir != "") {
				t.Errorf("one node has %s and the other %s", first, second)
			}
		}
		if n := len(o.asked("/fresh.png")); n != 1 {
			t.Errorf("the origin had %d requests", n)
		}
	})
	t.Run("when the origin says that it holds", func(t *testing.T) {
		url := o.handle("/etag.png", edition{body: body, etag: `"v1"`}.offer)
		for _, node := range []*instance{one, two, two, one} {
			wantContent(t, node.fetch(t, url), body)
		}
		asked := o.asked("/etag.png")
		if len(asked) != 4 {
			t.Errorf("the origin had %d requests", len(asked))
		}
		for _, r := range asked[1:] {
			if got := r.Header.Get("If-None-Match"); got != `"v1"` {
				t.Errorf("a request is for %q", got)
			}
		}
	})
	t.Run("and what the origin said to one holds for all", func(t *testing.T) {
		url := o.handle("/renewed.png", steps(
			edition{body: body, etag: `"v1"`}.offer,
			edition{body: body, etag: `"v1"`, header: []string{cc, "max-age=60"}}.offer,
		))
		for _, node := range []*instance{one, two, one, two} {
			wantContent(t, node.fetch(t, url), body)
		}
		asked := o.asked("/renewed.png")
		if len(asked) != 2 || asked[1].Header.Get("If-None-Match") != `"v1"` {
			t.Errorf("the origin had the requests %v", asked)
		}
	})
	t.Run("until there is something else", func(t *testing.T) {
		url := o.handle("/changed.png", steps(
			edition{body: "old" + body, etag: `"v1"`}.offer,
			edition{body: "new" + body, etag: `"v2"`}.offer,
		))
		old := one.fetch(t, url)
		wantContent(t, old, "old"+body)
		wantContent(t, two.fetch(t, url), "new"+body)
		wantContent(t, one.fetch(t, url), "new"+body)
		wantContent(t, old, "old"+body)
		asked := o.asked("/changed.png")
		if len(asked) != 3 || asked[2].Header.Get("If-None-Match") != `"v2"` {
			t.Errorf("the origin had the requests %v", asked)
		}
	})
	t.Run("unless it is not to be stored", func(t *testing.T) {
		url := o.handle("/unstored.png", steps(
			edition{body: "first", header: []string{cc, "no-store"}}.offer,
			edition{body: "second", header: []string{cc, "no-store"}}.offer,
		))
		wantContent(t, one.fetch(t, url), "first")
		wantContent(t, two.fetch(t, url), "second")
	})
	t.Run("unless they ask as somebody else", func(t *testing.T) {
		url := o.handle("/mine.png", func(w http.ResponseWriter, r *http.Request) {
			edition{body: r.Header.Get("X-Account"), header: []string{cc, "max-age=60"}}.offer(w, r)
		})
		for _, node := range c.nodes {
			for _, who := range []string{"alice", "bob"} {
				call := params{"url": url, "headers": "X-Account: " + who}
				wantContent(t, node.post(t, "/download_file", call.String()).file(t), who)
			}
		}
		if n := len(o.asked("/mine.png")); n != 2 {
			t.Errorf("the origin had %d requests", n)
		}
	})
	t.Run("behind a redirect", func(t *testing.T) {
		o.handle("/behind.png", edition{body: body, header: []string{cc, "max-age=60"}}.offer)
		url := o.handle("/redirect", redirect(302, "/behind.png"))
		for range 2 {
			for _, node := range c.nodes {
				wantContent(t, node.fetch(t, url), body)
			}
		}
		if n := len(o.asked("/behind.png")); n != 1 {
			t.Errorf("the origin had %d requests for the file", n)
		}
	})
}

func TestANodeThatVanishesWhileItFetchesIsReplacedByOne(t *testing.T) {
	onBoth(t, 3, copying(), func(t *testing.T, c *cluster) {
		o := newOrigin(t)
		g := newGate()
		body := filler(600_000)
		call := params{"url": o.handle("/a.bin", g.after(100_000, edition{body: body, header: []string{"Cache-Control", "max-age=60"}}.offer))}
		doomed, others := c.nodes[0], c.nodes[1:]
		doomed.post(t, "/download_file_async", call.String()).wantAsync(t)
		receive(t, g.passed, "the fetch to begin")
		var waits []waiting
		for _, node := range others {
			waits = append(waits, node.ask(t, 5, call)...)
		}
		doomed.kill()
		receive(t, g.passed, "another fetch to begin")
		g.open()
		for _, wait := range waits {
			wantContent(t, wait.file(t), body)
		}
		if n := o.count(); n != 2 {
			t.Errorf("the origin had %d requests", n)
		}
	})
}

func TestANodeThatStopsWhileItFetchesHoldsUpNobody(t *testing.T) {
	onBoth(t, 3, copying(), func(t *testing.T, c *cluster) {
		o := newOrigin(t)
		body := filler(600_000)
		fresh := edition{body: body, header: []string{"Cache-Control", "max-age=60"}}
		last := c.nodes[2]
		t.Run("what runs for nobody is given up, and another begins anew", func(t *testing.T) {
			g := newGate()
			call := params{"url": o.handle("/abandoned", g.after(100_000, fresh.offer))}
			stopping := c.nodes[0]
			stopping.post(t, "/download_file_async", call.String()).wantAsync(t)
			receive(t, g.passed, "the fetch to begin")
			elsewhere := last.ask(t, 3, call)
			stopping.terminate()
			receive(t, g.passed, "another fetch to begin")
			g.open()
			for _, wait := range elsewhere {
				wantContent(t, wait.file(t), body)
			}
			if n := len(o.asked("/abandoned")); n != 2 {
				t.Errorf("the origin had %d requests", n)
			}
		})
		t.Run("what somebody waits for is finished, for all", func(t *testing.T) {
			g := newGate()
			call := params{"url": o.handle("/awaited", g.after(100_000, fresh.offer))}
			stopping := c.nodes[1]
			calls := stopping.ask(t, 3, call)
			receive(t, g.passed, "the fetch to begin")
			calls = append(calls, last.ask(t, 3, call)...)
			stopping.terminate()
			stopping.awaitLog("servers shutting down with eternal grace period")
			g.open()
			for _, wait := range calls {
				wantContent(t, wait.file(t), body)
			}
			if n := len(o.asked("/awaited")); n != 1 {
				t.Errorf("the origin had %d requests", n)
			}
		})
	})
}

func TestAReloadWhileANodeFetchesHoldsUpNobody(t *testing.T) {
	onBoth(t, 2, copying(), func(t *testing.T, c *cluster) {
		o := newOrigin(t)
		one, two := c.nodes[0], c.nodes[1]
		body := filler(600_000)
		fresh := edition{body: body, header: []string{"Cache-Control", "max-age=60"}}
		g := newGate()
		call := params{"url": o.handle("/a.bin", g.after(100_000, fresh.offer))}
		calls := one.ask(t, 3, call)
		receive(t, g.passed, "the fetch to begin")
		calls = append(calls, two.ask(t, 3, call)...)
		for i, node := range []*instance{one, two, one} {
			if output, ok := node.reload(c.site(fmt.Sprint(i))); !ok {
				t.Fatal(output)
			}
			calls = append(calls, node.ask(t, 3, call)...)
		}
		g.open()
		for _, call := range calls {
			wantContent(t, call.file(t), body)
		}
		if n := len(o.asked("/a.bin")); n > 2 {
			t.Errorf("the origin had %d requests", n)
		}
		// and they go on sharing
		for i, node := range c.nodes {
			path := fmt.Sprintf("/%d.bin", i)
			url := o.handle(path, fresh.offer)
			for _, node := range []*instance{node, one, two} {
				wantContent(t, node.fetch(t, url), body)
			}
			if n := len(o.asked(path)); n != 1 {
				t.Errorf("the origin had %d requests after the reload", n)
			}
		}
	})
}

func TestANodeDoesNotWaitForAnotherForEver(t *testing.T) {
	onBoth(t, 2, download("timeout 6s")+"\ncache {\nshare\n}", func(t *testing.T, c *cluster) {
		o := newOrigin(t)
		g := newGate()
		call := params{"url": o.handle("/a.bin", g.after(10, edition{body: "what takes its time", etag: `"v1"`}.offer))}
		first := c.nodes[0].ask(t, 1, call)
		receive(t, g.passed, "the fetch to begin")
		second := c.nodes[1].ask(t, 1, call)
		receive(t, g.passed, "the other node to lose its patience")
		g.open()
		for _, wait := range append(first, second...) {
			wantContent(t, wait.file(t), "what takes its time")
		}
	})
}
