package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestDownloadsAreCountedByWhatCameOfThem(t *testing.T) {
	t.Parallel() // it waits for a second try
	c := startBot(t, download("retries 1"))
	o := newOrigin(t)
	body := filler(1000)
	results, bytes := make(metrics), 0.0
	check := func(after string) {
		t.Helper()
		t.Run(after, func(t *testing.T) {
			served := c.metrics(t)
			want := make(metrics)
			for result, n := range results {
				want[`name="onebot",result="`+result+`"`] = n
			}
			served.of("downloads_total").want(t, want)
			if got := served[`download_bytes_total{name="onebot"}`]; got != bytes {
				t.Errorf("there are %v bytes, want %v", got, bytes)
			}
			if got := served[`downloads_in_flight{name="onebot"}`]; got != 0 {
				t.Errorf("%v are in flight", got)
			}
		})
	}
	call := func(url string) reply { return c.post(t, "/download_file", params{"url": url}.String()) }
	check("nothing")

	fresh := o.handle("/fresh", edition{body: body, header: []string{"Cache-Control", "max-age=600"}}.offer)
	call(fresh).wantOK(t)
	results["fetched"], bytes = 1, 1000
	check("a download")
	call(fresh).wantOK(t)
	call(fresh).wantOK(t)
	results["fresh"] = 2
	check("the same again")

	tagged := o.handle("/tagged", edition{body: body, etag: `"v1"`}.offer)
	call(tagged).wantOK(t)
	call(tagged).wantOK(t)
	results["fetched"], results["revalidated"], bytes = 2, 1, 2000
	check("one that is revalidated")

	call(o.url + "/none").wantFailed(t)
	results["failed"] = 1
	check("one that is not there")
	call(strings.Replace(fresh, "127.0.0.1", "127.0.0.2", 1)).wantFailed(t)
	results["refused"] = 1
	check("one that is refused")
	call(o.handle("/moved", redirect(302, "http://127.0.0.2:"+o.port+"/"))).wantFailed(t)
	results["refused"] = 2
	check("one that leads to what is refused")

	call(o.handle("/resumed", steps(cut(600, edition{body: body, etag: `"v1"`}.offer), edition{body: body, etag: `"v1"`}.offer))).wantOK(t)
	results["fetched"], bytes = 3, bytes+1000
	check("one that goes on where it broke off")
	call(o.handle("/again", steps(cut(600, content(body)), content(body)))).wantOK(t)
	results["fetched"], bytes = 4, bytes+1600
	check("one that begins again")
	call(o.handle("/broken", cut(300, content(body)))).wantFailed(t)
	results["failed"], bytes = 2, bytes+600
	check("one that breaks off each time")

	g := newGate()
	calls := c.ask(t, 1, params{"url": o.handle("/shared", g.after(500, content(body)))})
	receive(t, g.passed, "the transfer to begin")
	calls = append(calls, c.ask(t, 9, params{"url": o.url + "/shared"})...)
	g.open()
	for _, shared := range calls {
		shared.file(t)
	}
	results["fetched"], bytes = 5, bytes+1000
	check("one that ten calls share")

	c.post(t, "/download_file", `{"base64":"YSBwaWN0dXJl"}`).wantOK(t)
	c.post(t, "/download_file", `{"base64":"?"}`).wantFailed(t)
	check("content that is sent")
	c.open(t, "/api").call("download_file", "1", `"params":`+params{"url": o.handle("/ws", content(body))}.String()).wantOK(t)
	results["fetched"], bytes = 6, bytes+1000
	check("one over WebSocket")
	c.post(t, "/download_file_async", params{"url": o.handle("/async", content(body))}.String()).wantAsync(t)
	results["fetched"], bytes = 7, bytes+1000
	eventually(t, "the download in the background to end", func() bool {
		served := c.metrics(t)
		return served.of("downloads_total")[`name="onebot",result="fetched"`] == 7 && served[`downloads_in_flight{name="onebot"}`] == 0
	})
	check("one in the background")
}

func TestBytesAreCountedAsTheyCome(t *testing.T) {
	c := startBot(t, download("max_concurrent 1"))
	o := newOrigin(t)
	first, rest := filler(100_000), filler(50_000)
	for i := range 3 { // of which two wait for their turn
		c.post(t, "/download_file_async", params{"url": o.handle(fmt.Sprint("/", i), o.stall(first, rest))}.String()).wantAsync(t)
	}
	c.awaitGauge(t, "download_bytes_total", "onebot", 100_000)
	c.awaitGauge(t, "downloads_in_flight", "onebot", 3)
	if n := c.metrics(t).of("downloads_total"); len(n) > 0 {
		t.Errorf("downloads that run are counted: %v", n)
	}
	o.release()
	c.awaitGauge(t, "downloads_in_flight", "onebot", 0)
	c.metrics(t).of("downloads_total").want(t, metrics{`name="onebot",result="fetched"`: 3})
	if got := c.gauge(t, "download_bytes_total", "onebot"); got != 450_000 {
		t.Errorf("there are %v bytes", got)
	}
}

func TestOpenConnectionsAreCounted(t *testing.T) {
	const open = "websocket_connections"
	b := newBackend(t)
	site := func(version int) string {
		return fmt.Sprintf(`http://<SITE> {
			header X-Version %[1]d
			onebot_meta {
				route /alone
				name alone
			}
			handle /front/* {
				onebot_meta {
					route /front
					name front
					pass_thru
				}
				reverse_proxy %[2]s {
					stream_close_delay 10m
				}
			}
			handle /brief/* {
				onebot_meta {
					route /brief
					name brief
					pass_thru
				}
				reverse_proxy %[2]s
			}
		}`, version, b.addr)
	}
	c := startCaddy(t, site(1))
	t.Cleanup(b.release)
	apps := newBackend(t, silent)
	for _, name := range []string{"alone", "front", "brief"} {
		c.awaitGauge(t, open, name, 0)
	}
	one, two, three := c.open(t, "/alone"), c.open(t, "/alone/api"), c.open(t, "/alone/event")
	c.awaitGauge(t, open, "alone", 3)
	if _, _, err := c.tryOpen(t, "/alone/none"); err == nil {
		t.Error("a connection where none is accepted")
	}
	if err := two.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	c.awaitGauge(t, open, "alone", 2)
	_ = one.CloseNow()
	c.awaitGauge(t, open, "alone", 1)

	front := []*socket{apps.dial(t, "ws://"+c.addr+"/front/"), apps.dial(t, "ws://"+c.addr+"/front/event")}
	brief := apps.dial(t, "ws://"+c.addr+"/brief/")
	c.awaitGauge(t, open, "front", 2)
	c.awaitGauge(t, open, "brief", 1)

	if output, ok := c.reload(site(2)); !ok {
		t.Fatal(output)
	}
	three.wantEnd(websocket.StatusGoingAway)
	brief.awaitEnd(t)
	c.awaitGauge(t, open, "alone", 0)
	c.awaitGauge(t, open, "brief", 0)
	front[0].ping(t) // goes on, in the hands of the old config
	c.awaitGauge(t, open, "front", 2)
	again := apps.dial(t, "ws://"+c.addr+"/front/")
	c.awaitGauge(t, open, "front", 3)
	if err := front[0].close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	front[1].cut()
	c.awaitGauge(t, open, "front", 1)
	again.ping(t)
	for _, bot := range b.open() { // which ends what is left
		bot.cut()
	}
	again.awaitEnd(t)
	c.awaitGauge(t, open, "front", 0)
}

func TestTheMetricOfTheBackendFollowsIt(t *testing.T) {
	b := newBackend(t)
	b.answer("get_status", func(call) string { return statusIs("true") })
	site := func(n int) string {
		return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n%s}\nhttp://<OTHER> {\n onebot_meta {\n name alone\n}\n}", n, front("name front", b))
	}
	c := startCaddy(t, site(1))
	t.Cleanup(b.release)
	online := func(when string, want float64) {
		t.Helper()
		if got := c.gauge(t, "backend_online", "front"); got != want {
			t.Errorf("%s it is %v", when, got)
		}
		if got := c.gauge(t, "backend_online", "alone"); got != 1 {
			t.Errorf("%s it is %v of a handler without pass_thru", when, got)
		}
	}
	online("before anything is known", 0)
	if n := len(b.requests()); n != 0 {
		t.Errorf("the backend was asked %d times for a metric", n)
	}
	c.wantOnline(t, "/get_status", true)
	online("when it has said so", 1)
	for _, word := range []struct {
		event string
		want  float64
	}{
		{heartbeat("false"), 0}, {heartbeat("true"), 1}, {message("hello"), 1}, {notice("bot_offline"), 0},
		{lifecycle("enable"), 1}, {lifecycle("disable"), 0}, {lifecycle("connect"), 1},
	} {
		c.tell(t, "/", word.event)
		online("after "+word.event, word.want)
	}
	if output, ok := c.reload(site(2)); !ok {
		t.Fatal(output)
	}
	c.again(t, "GET", "/clean_cache").wantOK(t)
	online("after a reload", 1)
	app := newBackend(t, silent).dial(t, "ws://"+c.addr+"/")
	bot := b.socket(t)
	bot.send(t, heartbeat("true"))
	app.want(t, heartbeat("true"))
	online("with a connection", 1)
	bot.cut()
	app.awaitEnd(t)
	c.awaitGauge(t, "backend_online", "front", 0)
}

func TestTheMetricsOfTheCacheAreWhatIsOnDisk(t *testing.T) {
	home := t.TempDir()
	config := "http://<SITE> {\n onebot_meta {\n route /a\n name a\n" + download() + "\n}\n onebot_meta {\n route /b\n name b\n}\n}\n" +
		"http://<OTHER> {\n onebot_meta {\n name a\n}\n}" // which shares the cache
	c := startCaddy(t, config, at(home))
	defer func() { c.stop() }()
	o := newOrigin(t)
	check := func(when string, files int) {
		t.Helper()
		served := c.metrics(t)
		for name, n := range map[string]int{"a": files, "b": 0} {
			bytes := int64(0)
			onDisk := cacheFiles(t, c.cacheDir(name), "files")
			for _, path := range onDisk {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				bytes += info.Size()
			}
			gotFiles, gotBytes := served[`cache_files{name="`+name+`"}`], served[`cache_bytes{name="`+name+`"}`]
			if len(onDisk) != n || gotFiles != float64(n) || gotBytes != float64(bytes) || n > 0 && bytes == 0 {
				t.Errorf("%s the cache %s has %v files with %v bytes, on disk %d with %d, want %d", when, name, gotFiles, gotBytes, len(onDisk), bytes, n)
			}
		}
	}
	check("at first", 0)
	slow := o.handle("/slow", o.stall(filler(500), "rest"))
	c.post(t, "/a/download_file", params{"url": o.handle("/1", content(filler(1000)))}.String()).wantOK(t)
	c.post(t, "/a/download_file", params{"base64": "YSBwaWN0dXJl"}.String()).wantOK(t)
	c.post(t, "/a/download_file_async", params{"url": slow}.String()).wantAsync(t)
	c.awaitGauge(t, "download_bytes_total", "a", 1500)
	check("while another file is under way", 2) // which is not there yet
	o.release()
	c.awaitGauge(t, "downloads_in_flight", "a", 0)
	check("after three files", 3)
	c.stop()
	c = startCaddy(t, config, at(home))
	check("after a restart, before any call", 3)
	if n := c.metrics(t).of("downloads_total"); len(n) > 0 {
		t.Errorf("the counters outlived the process: %v", n)
	}
}
