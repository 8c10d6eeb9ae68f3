package integration

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// versions of one site, to reload from one to the next.
func version(n int, options string) string {
	return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n onebot_meta {\n%s\n}\n}", n, options)
}

// insist is try for calls around a reload. A socket that Caddy closes takes the
// connections with it that it has not accepted yet, whatever handlers there are.
// A call on one of these reached no config and is made again.
func (c client) insist(method, path, body string, header ...string) (reply, error) {
	for attempt := 1; ; attempt++ {
		r, err := c.try(method, path, body, header...)
		if _, dropped := errors.AsType[*url.Error](err); !dropped || attempt == 100 {
			return r, err
		}
	}
}

// again is call for calls around a reload.
func (c *instance) again(t testing.TB, method, path string, header ...string) reply {
	t.Helper()
	r, err := c.client.insist(method, path, "", header...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAReloadUnderLoadLosesNoCallAndNoCount(t *testing.T) {
	const reloads = 8
	c := startCaddy(t, version(0, "name a.bot"))
	var stop atomic.Bool
	var answered atomic.Int64
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				echo := fmt.Sprintf(`{"%d": %d}`, caller, n)
				r, err := c.client.insist("POST", "/set_restart", `{"delay":0,"echo":`+echo+`}`)
				if err != nil || r.status != "ok" || string(r.echo) != echo {
					t.Errorf("a call failed: %v %d %s", err, r.http, r.body)
				}
				answered.Add(1)
			}
		})
	}
	end := sync.OnceFunc(func() {
		stop.Store(true)
		callers.Wait()
	})
	defer end()
	for n := 1; n <= reloads; n++ {
		if output, ok := c.reload(version(n, "name a.bot")); !ok {
			t.Fatalf("reload %d failed:\n%s", n, output)
		}
		// no config is replaced before it has answered a call
		for calls, got := 1, ""; got != fmt.Sprint(n); calls++ {
			got = c.again(t, "GET", "/set_restart").wantOK(t).header.Get("X-Version")
			answered.Add(1)
			if calls == 10_000 {
				t.Fatalf("version %s still answers after reload %d", got, n)
			}
		}
	}
	end()

	// a call that was taken and not answered would be one more received
	s := c.again(t, "GET", "/get_status").stat(t)
	if n := answered.Load(); s["PacketReceived"] != n+1 || s["PacketSent"] != n || s["PacketLost"] != 0 || s["LostTimes"] != 0 {
		t.Errorf("stat is %v after %d calls were answered", s, n)
	}
}

func TestCountersOutliveAConfigThatDoesNotHaveThem(t *testing.T) {
	c := startCaddy(t, version(1, "name a"))
	for range 5 {
		c.call(t, "GET", "/set_restart", "").wantOK(t)
	}
	for n, name := range []string{"b", "a"} {
		if output, ok := c.reload(version(n+2, "name "+name)); !ok {
			t.Fatal(output)
		}
		want := map[string]int64{"b": 1, "a": 6}[name]
		if got := c.again(t, "GET", "/get_status").stat(t)["PacketReceived"]; got != want {
			t.Errorf("PacketReceived of %s is %d, want %d", name, got, want)
		}
	}
}

func TestABadReloadLeavesTheOldConfigAtWork(t *testing.T) {
	good := version(1, "name a\naccess_token old-token\n"+download())
	c := startCaddy(t, good)
	o := newOrigin(t)
	auth := []string{"Authorization", "Bearer old-token"}
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	c.post(t, "/download_file_async", slow, auth...).wantAsync(t)
	o.await(t)

	for n, bad := range []string{
		version(2, "name a\nroute nowhere"),                                                                      // no Caddyfile
		version(2, "name a\naccess_token new-token {env.ONEBOT_META_UNSET}"),                                     // no config: fails before it has anything
		version(2, "name a") + "\nhttp://<OTHER> {\n onebot_meta {\n access_token {env.ONEBOT_META_UNSET}\n}\n}", // fails when the first handler is done
		version(2, "name a") + "\nhttp://<OTHER> {\n reverse_proxy {\n dynamic nothing\n}\n}",
	} {
		output, ok := c.reload(bad)
		if ok {
			t.Fatalf("bad config %d is taken", n)
		}
		if strings.Contains(output, "new-token") {
			t.Errorf("a token is shown:\n%s", output)
		}
		r := c.call(t, "GET", "/set_restart", "", auth...).wantOK(t)
		if r.header.Get("X-Version") != "1" {
			t.Errorf("bad config %d answers", n)
		}
		c.call(t, "GET", "/set_restart", "").wantRefused(t, 401)
		c.call(t, "GET", "/set_restart?access_token=new-token", "").wantRefused(t, 403)
		// what runs in the background is of the old config and not disturbed
		c.post(t, "/set_restart_async", "{}", auth...).wantAsync(t)
	}
	if n := len(parts(t, c.cacheDir("a"))); n != 1 {
		t.Errorf("%d downloads are under way, want 1", n)
	}
	o.release()
	c.awaitLog("downloaded file")
	files := cacheFiles(t, c.cacheDir("a"), "files")
	if len(files) != 1 {
		t.Fatalf("files are %v", files)
	}
	wantContent(t, files[0], "firstrest")

	if output, ok := c.reload(version(3, "name a")); !ok {
		t.Fatalf("a good config is refused after bad ones:\n%s", output)
	}
	// 1 download, 4 times 2, and this
	if s := c.again(t, "GET", "/get_status").stat(t); s["PacketReceived"] != 10 {
		t.Errorf("PacketReceived is %d, want 10", s["PacketReceived"])
	}
}

func TestADownloadThatRunsAcrossAReloadFinishes(t *testing.T) {
	c := startCaddy(t, version(1, download()))
	o := newOrigin(t)
	slow := params{"url": o.handle("/slow.png", o.stall("first", "rest"))}.String()
	c.post(t, "/download_file_async", slow).wantAsync(t)
	o.await(t)
	waiting := make(chan reply, 1)
	go func() {
		r, err := c.client.try("POST", "/download_file", slow)
		if err != nil {
			t.Error(err)
		}
		waiting <- r
	}()

	for n := range 3 {
		if output, ok := c.reload(version(n+2, download("max_concurrent 5"))); !ok {
			t.Fatal(output)
		}
		if r := c.again(t, "GET", "/get_status").wantOK(t); r.header.Get("X-Version") != fmt.Sprint(n+2) {
			t.Errorf("version %s answers after reload %d", r.header.Get("X-Version"), n+1)
		}
	}
	o.release()
	wantContent(t, receive(t, waiting, "the answer to the call from before").file(t), "firstrest")
	c.awaitLog("downloaded file")
	if files := cacheFiles(t, c.cacheDir("onebot"), "files"); len(files) != 1 {
		t.Fatalf("files are %v, want one for both calls", files)
	}
}

func TestSIGTERMEndsWhatRunsInTheBackgroundAndLeavesNothing(t *testing.T) {
	c := startBot(t, download("max_concurrent 3"))
	o := newOrigin(t)
	slow := o.handle("/slow.png", o.stall(filler(100_000), "rest"))
	for i := range 6 { // of which half wait for their turn
		c.post(t, "/download_file_async", params{"url": fmt.Sprint(slow, "?", i)}.String()).wantAsync(t)
	}
	for range 3 {
		o.await(t)
	}
	c.terminate()
	c.awaitExit()
	wantNothingKept(t, c.cacheDir("onebot"))
	if n := o.count(); n != 3 {
		t.Errorf("the origin had %d requests", n)
	}
}

func TestKillingCaddyDuringADownloadLeavesNothingThatIsVisible(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, download(), at(home))
	o := newOrigin(t)
	kept := c.fetch(t, o.handle("/kept.png", content("kept")))
	o.await(t)
	// more than fits into the buffers between here and there, so that a part
	// of it is on disk when the origin has written it all
	first := filler(32 << 20)
	written := make(chan struct{})
	stall := o.stall("", "")
	url := o.handle("/slow.png", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(first)+1))
		_, _ = io.WriteString(w, first)
		close(written)
		stall(w, r)
	})
	c.post(t, "/download_file_async", params{"url": url}.String()).wantAsync(t)
	receive(t, written, "half of the file to be sent")
	c.kill()

	files := cacheFiles(t, c.cacheDir("onebot"), "files")
	if len(files) != 1 || files[0] != kept {
		t.Errorf("files are %v, want only %s", files, kept)
	}
	wantContent(t, kept, "kept")
	parts := parts(t, c.cacheDir("onebot"))
	if len(parts) != 1 {
		t.Fatalf("parts are %v, want one: this test came too early", parts)
	}
	if info, err := os.Stat(parts[0]); err != nil || info.Size() == 0 {
		t.Errorf("nothing was written when Caddy was killed: %v", err)
	}

	// and the next Caddy works with what it finds
	again := startBot(t, download(), at(home))
	o2 := newOrigin(t)
	wantContent(t, again.fetch(t, o2.handle("/a.png", content("a picture"))), "a picture")
	wantContent(t, kept, "kept")
}
