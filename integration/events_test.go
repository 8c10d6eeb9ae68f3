package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// emitted is an event of ours as Caddy logs it, which it does in detail.
type emitted struct {
	Name string         `json:"name"`
	Data map[string]any `json:"data"`
}

// emitted returns the events of a bot so far, in order.
func (c *instance) emitted(t testing.TB, name string) (events []emitted) {
	t.Helper()
	for line := range strings.Lines(c.logs.String()) {
		var entry struct {
			emitted
			Logger string
		}
		if !strings.Contains(line, `"msg":"event"`) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in the line %s", err, line)
		}
		ours := slices.Contains([]string{"download_finished", "backend_online", "backend_offline"}, entry.Name)
		if entry.Logger == "events" && ours && entry.Data["name"] == name {
			events = append(events, entry.emitted)
		}
	}
	return events
}

// awaitEvents returns the events of a bot when there are n.
func (c *instance) awaitEvents(t testing.TB, name string, n int) []emitted {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events of %s", n, name), func() bool { return len(c.emitted(t, name)) >= n })
	return c.emitted(t, name)
}

// wantEvents fails the test unless the events of a bot are these. Of a reason
// and a file it only matters that there is one, and of a duration that it can be.
func (c *instance) wantEvents(t testing.TB, name string, want ...string) {
	t.Helper()
	var got []string
	for _, e := range c.awaitEvents(t, name, len(want)) {
		duration, timed := e.Data["duration"].(float64)
		if timed != (e.Name == "download_finished") || duration < 0 || duration > patience.Seconds() {
			t.Errorf("%s has the duration %v", e.Name, e.Data["duration"])
		}
		delete(e.Data, "duration")
		delete(e.Data, "name")
		for _, some := range []string{"file", "reason"} {
			if text, _ := e.Data[some].(string); text != "" {
				e.Data[some] = "some"
			}
		}
		got = append(got, e.Name+" "+params(e.Data).String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the events of %s are\n%s, want\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhatHappensIsAnEventOfCaddys(t *testing.T) {
	const secret = "5ecret"
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n route /shop\n name shop\naccess_token {env.TOKEN}\n"+download("retries 1")+"\n}\n"+
		"handle /front/* {\n onebot_meta {\n route /front\n name front\n pass_thru\n}\n reverse_proxy "+b.addr+"\n}\n}", global("\tdebug"), environ("TOKEN=token-"+secret))
	t.Cleanup(b.release)
	o := newOrigin(t)
	call := func(params params) {
		t.Helper()
		params["headers"] = []string{"Authorization: " + secret, "X-Key: " + secret}
		c.post(t, "/shop/download_file", params.String(), "Authorization", "Bearer token-"+secret)
	}
	authority := strings.Replace(o.url, "://", "://user:"+secret+"@", 1)
	at := func(path string) params { return params{"url": authority + path + "?key=" + secret} }
	o.handle("/fresh", edition{body: filler(1000), header: []string{"Cache-Control", "max-age=600"}}.offer)
	o.handle("/tagged", edition{body: filler(1000), etag: `"v1"`}.offer)
	o.handle("/again", steps(cut(100, content(filler(1000))), content(filler(1000))))
	o.handle("/500", func(w http.ResponseWriter, r *http.Request) {
		raw("HTTP/1.1 500 "+secret+"\r\n\r\n"+secret, false)(w, r)
	})
	o.handle("/moved", redirect(302, "http://user:"+secret+"@127.0.0.2:"+o.port+"/?"+secret))
	for _, params := range []params{
		at("/fresh"), at("/fresh"), at("/tagged"), at("/tagged"), at("/again"), at("/none"), at("/500"), at("/moved"),
		{"url": strings.Replace(authority, "127.0.0.1", "127.0.0.2", 1) + "/?" + secret},
		{"url": "ftp://" + secret}, {"base64": "AAAA", "name": secret + ".txt"},
	} {
		call(params)
	}
	finished := func(result string, tries int, path string, failed bool) string {
		if failed {
			return fmt.Sprintf(`download_finished {"reason":"some","result":"%s","tries":%d,"url":"%s"}`, result, tries, path)
		}
		return fmt.Sprintf(`download_finished {"file":"some","result":"%s","size":1000,"tries":%d,"url":"%s"}`, result, tries, path)
	}
	c.wantEvents(t, "shop",
		finished("fetched", 1, o.url+"/fresh", false), // and nothing when it is fresh
		finished("fetched", 1, o.url+"/tagged", false),
		finished("revalidated", 1, o.url+"/tagged", false),
		finished("fetched", 2, o.url+"/again", false),
		finished("failed", 1, o.url+"/none", true),
		finished("failed", 2, o.url+"/500", true),
		finished("refused", 1, o.url+"/moved", true),
		finished("refused", 1, strings.Replace(o.url, "127.0.0.1", "127.0.0.2", 1)+"/", true),
		`download_finished {"reason":"some","result":"failed"}`,
		`download_finished {"file":"some","result":"sent","size":3}`,
	)

	for _, word := range []string{heartbeat("true"), heartbeat("true"), notice("bot_offline"), lifecycle("enable")} {
		c.tell(t, "/front/", word)
	}
	app := newBackend(t, silent).dial(t, "ws://"+c.addr+"/front/")
	bot := b.socket(t)
	bot.send(t, heartbeat("true"))
	app.want(t, heartbeat("true"))
	bot.cut() // which loses it
	app.awaitEnd(t)
	c.wantEvents(t, "front", "backend_online {}", "backend_offline {}", "backend_online {}", "backend_offline {}")

	c.stop() // so that its last words are read, too
	log := c.logs.String()
	if strings.Contains(log, secret) {
		t.Error("the log has a secret")
	}
	if n := strings.Count(log, `"msg":"downloaded file"`) + strings.Count(log, `"msg":"download failed"`); n != 11 {
		t.Errorf("%d downloads are logged", n)
	}
}

func TestEventsGoOnAfterAReload(t *testing.T) {
	c := startCaddy(t, version(1, "name a\n"+download()), global("\tdebug"))
	o := newOrigin(t)
	c.post(t, "/download_file_async", params{"url": o.handle("/slow", o.stall("first", "rest"))}.String()).wantAsync(t)
	o.await(t)
	c.post(t, "/download_file", `{"base64":"AAAA"}`).wantOK(t)
	c.awaitEvents(t, "a", 1)
	if output, ok := c.reload(version(2, "name a\n"+download())); !ok {
		t.Fatal(output)
	}
	o.release()
	c.wantEvents(t, "a",
		`download_finished {"file":"some","result":"sent","size":3}`,
		`download_finished {"file":"some","result":"fetched","size":9,"tries":1,"url":"`+o.url+`/slow"}`,
	)
}
