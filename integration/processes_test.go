package integration

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
)

// sharing is the options of a handler that keeps its files in a directory.
func sharing(dir string, cache ...string) string {
	return "storage file_system " + dir + "\n" + caching(cache...)
}

func TestTwoProcessesMayUseOneStorage(t *testing.T) {
	dir := t.TempDir()
	both := []*instance{startBot(t, sharing(dir)), startBot(t, sharing(dir))}
	o := newOrigin(t)
	url := o.handle("/load", selfTelling)
	var pending sync.WaitGroup
	for process, c := range both {
		for i := range 60 {
			pending.Go(func() {
				query := fmt.Sprintf("load-same-%d-%d", i%20, i%20*10_000)
				if i >= 40 {
					query = fmt.Sprintf("load-of-%d-%d-%d", process, i, i*1000)
				}
				r, err := c.client.try("POST", "/download_file", params{"url": url + "?" + query}.String())
				if err != nil || r.status != "ok" {
					t.Errorf("%s: %v %s", query, err, r.body)
					return
				}
				path := r.file(t)
				if got, err := os.ReadFile(path); err != nil || string(got) != tell(query) {
					t.Errorf("%s: %v, %d bytes %.100q", path, err, len(got), got)
				}
				wantWithin(t, path, dir)
			})
		}
	}
	pending.Wait()
	cache := dir + "/onebot_meta/onebot"
	wantNoParts(t, cache)
}

func TestAProcessThatIsKilledTakesNothingFromAnother(t *testing.T) {
	dir := t.TempDir()
	cache := dir + "/onebot_meta/onebot"
	doomed, other := startBot(t, sharing(dir)), startBot(t, sharing(dir))
	o := newOrigin(t)
	g := newGate()
	body := filler(1 << 20)
	slow := o.handle("/slow", g.after(500_000, content(body)))
	call := params{"url": slow}
	url := o.handle("/load", selfTelling)
	kept := doomed.fetch(t, url+"?load-1-1000")
	running := other.ask(t, 1, call)
	receive(t, g.passed, "the one transfer to begin")
	doomed.post(t, "/download_file_async", params{"url": slow + "?2"}.String()).wantAsync(t)
	receive(t, g.passed, "the other transfer to begin")
	eventually(t, "a part of both to be on disk", func() bool { return len(parts(t, cache)) == 2 })
	doomed.kill()
	// another one comes, tidies up, and knows what is still in use
	third := startBot(t, sharing(dir))
	defer third.stop()
	wantWhole(t, third.fetch(t, url+"?load-2-1000"))
	eventually(t, "what was left to go", func() bool { return len(parts(t, cache)) <= 1 })
	g.open()
	wantContent(t, running[0].file(t), body)
	wantContent(t, third.post(t, "/download_file", call.String()).file(t), body)
	wantWhole(t, kept)
	wantNoParts(t, cache)
}

func TestNoProcessTakesBackAPathThatAnotherReturned(t *testing.T) {
	dir := t.TempDir()
	one, two := startBot(t, sharing(dir, "max_size 1MiB", "max_age 1s")), startBot(t, sharing(dir, "max_size 1MiB", "max_age 1s"))
	o := newOrigin(t)
	body := filler(300 << 10)
	url := o.handle("/a.bin", edition{body: body, header: []string{"Cache-Control", "max-age=60"}}.offer)
	var paths []string
	for i := range 12 {
		c := one
		if i%2 == 1 {
			c = two
		}
		// it may not find room; what it returns is to stay
		if r := c.post(t, "/download_file", params{"url": url + "?" + strconv.Itoa(i)}.String()); r.status == "ok" {
			paths = append(paths, r.file(t))
		}
	}
	if len(paths) < 3 {
		t.Errorf("only %d files were stored", len(paths))
	}
	for _, path := range paths {
		wantContent(t, path, body)
	}
}
