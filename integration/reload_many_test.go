package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/coder/websocket"
)

// adapted writes the Caddyfile and returns it in Caddy's own language.
func (c *instance) adapted(t testing.TB, caddyfile string) []byte {
	t.Helper()
	c.configure(caddyfile)
	config, err := caddyCommand(t, c.home, "adapt", "--config", c.config, "--adapter", "caddyfile").Output()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// load has the process take a config in Caddy's own language, even if it is the
// one that it has. It returns the status of the answer, and what is wrong if it
// is not 200. It is reload for those who do it often.
func (c *instance) load(config []byte) (status int, wrong string, err error) {
	// as with insist: the admin endpoint closes its socket, too
	for attempt := 1; ; attempt++ {
		status, wrong, err = c.tryLoad(config)
		if _, dropped := errors.AsType[*url.Error](err); !dropped || attempt == 100 {
			return status, wrong, err
		}
	}
}

func (c *instance) tryLoad(config []byte) (status int, wrong string, err error) {
	req, err := http.NewRequest("POST", "http://"+c.admin+"/load", bytes.NewReader(config))
	if err != nil {
		return 0, "", err
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cache-Control", "must-revalidate")
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// A thousand times the config is another one: names come and go, a bot is now
// behind the handler and now none is. Nothing of it may be left, and nobody who
// is in the middle of something may be let down.
func TestAThousandReloadsCostNothingForGood(t *testing.T) {
	t.Parallel() // it waits much of the time
	const every = 25
	const reloads = 40*every + 1 // the last one ends what the last but one found
	b := newBackend(t)
	site := func(n int, handlers string) string {
		return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n%s reverse_proxy %s\n}", n, handlers, b.addr)
	}
	caddyfiles := []string{
		site(0, "onebot_meta {\n route /stays\n name stays\n heartbeat 100ms\n"+download()+"\ncache {\n serve\n}\n}\n"+
			"onebot_meta {\n route /goes\n name first\n access_token the-first-token\n"+download("max_concurrent 1")+"\n}\n"),
		site(1, "onebot_meta {\n route /stays\n name stays\n pass_thru\n max_body 1MiB\n"+download("max_concurrent 5", "retries 1")+"\ncache {\n max_size 1GiB\n}\n}\n"+
			"onebot_meta {\n route /goes\n name second\n access_token the-second-token\n self_id 10001\n"+download()+"\n}\n"),
	}
	tokens := []string{"the-first-token", "the-second-token"}
	c := startCaddy(t, caddyfiles[0], global("\tpersist_config off"))
	t.Cleanup(b.release)
	var configs [][]byte
	for _, caddyfile := range caddyfiles {
		configs = append(configs, c.adapted(t, caddyfile))
	}
	o := newOrigin(t)
	again := func(method, path, body string, header ...string) reply {
		r, err := c.client.insist(method, path, body, header...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	calls := int64(0) // of stays, which were all answered
	meets := func(version int) {
		for n := 0; ; n++ {
			calls++
			if again("GET", "/stays/get_status", "").wantOK(t).header.Get("X-Version") == fmt.Sprint(version) {
				return
			}
			if n == 10_000 {
				t.Fatalf("version %d does not answer", version)
			}
		}
	}
	inTheMiddle := func(version, round int) (end func()) {
		meets(version)
		auth := []string{"Authorization", "Bearer " + tokens[version]}
		kept := o.handle("/kept.png", edition{body: "a picture", header: []string{"Cache-Control", "max-age=600"}}.offer)
		g, shut := newGate(), newGate()
		slow := o.handle(fmt.Sprintf("/%d/slow.png", round), g.after(50_000, content(filler(100_000))))
		doomed := o.handle(fmt.Sprintf("/%d/doomed.png", round), shut.after(10, content(filler(20))))

		again("POST", "/stays/download_file", params{"url": kept}.String()).wantOK(t)
		again("POST", "/stays/set_restart_async", "{}").wantAsync(t)
		calls += 3 // with the next one
		answer := make(chan reply, 1)
		go func() {
			r, err := c.client.insist("POST", "/stays/download_file", params{"url": slow}.String())
			if err != nil {
				t.Error(err)
			}
			answer <- r
		}()
		receive(t, g.passed, "the download to begin that a reload is to meet")
		eventually(t, "the bot to be there that comes and goes", func() bool { // the config before may have the last word
			return again("POST", "/goes/download_file_async", params{"url": doomed}.String(), auth...).status == "async"
		})
		receive(t, shut.passed, "the download to begin that a reload is to end")
		var apps []*app
		for path, header := range map[string][]string{"/stays/api": nil, "/goes/": auth} {
			a, _, err := c.tryOpen(t, path, header...)
			for attempt := 0; err != nil && attempt < 100; attempt++ {
				a, _, err = c.tryOpen(t, path, header...)
			}
			if err != nil {
				t.Fatal(err)
			}
			apps = append(apps, a)
			if path == "/stays/api" {
				a.call("set_restart", fmt.Sprint(round)).wantOK(t)
				calls++
			}
		}
		return func() { // in the next config
			eventually(t, "the download to end that nobody may have any more", func() bool {
				select {
				case path := <-o.left:
					return path == fmt.Sprintf("/%d/doomed.png", round)
				default:
					return false
				}
			})
			for _, a := range apps {
				a.wantEnd(websocket.StatusGoingAway)
			}
			g.open()
			var data struct{ File, URL string }
			receive(t, answer, "the answer to a call from before").wantOK(t).decode(t, &data)
			wantContent(t, data.File, filler(100_000))
			if (data.URL != "") != (version == 0) {
				t.Errorf("version %d serves its files at %q", version, data.URL)
			}
		}
	}

	const slack = 6
	before := c.holds(t)
	end := inTheMiddle(0, 0)
	for n := 1; n <= reloads; n++ {
		if status, wrong, err := c.load(configs[n%2]); status != 200 {
			t.Fatalf("reload %d: %d %s %v", n, status, wrong, err)
		}
		switch n % every {
		case 0:
			end = inTheMiddle(n%2, n)
		case 1:
			end()
		}
	}
	meets(reloads % 2)
	wantNothingOpen(t, c, before, slack)
	s := again("GET", "/stays/get_status", "").stat(t)
	for counter, want := range map[string]int64{
		"PacketReceived": calls + 1, "PacketSent": calls, "PacketLost": 0, "LostTimes": 0, "DisconnectTimes": 0,
	} {
		if s[counter] != want {
			t.Errorf("%s is %d, want %d", counter, s[counter], want)
		}
	}
	for _, name := range []string{"first", "second"} {
		wantNothingKept(t, c.cacheDir(name))
	}
}
