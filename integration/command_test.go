package integration

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the commands show into testdata/command")

// awaitGolden returns when what is shown is what a file of testdata/command has,
// but for what mask takes out of both. It is asked often, since what is counted is
// counted a moment later.
func awaitGolden(t *testing.T, name string, mask func(string) string, show func() string) {
	t.Helper()
	path := filepath.Join("testdata", "command", name)
	if *update {
		if err := os.WriteFile(path, []byte(show()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("what is shown is\n%s", got)
		}
	}()
	eventually(t, name+", which is\n"+string(want), func() bool {
		got = show()
		return mask(got) == mask(string(want))
	})
}

// ran is how a command of Caddy went.
type ran struct {
	out, err string
	code     int
}

// onebotMeta runs `caddy onebot-meta` beside a Caddy whose admin API is at the
// default address.
func (c *instance) onebotMeta(t testing.TB, args ...string) ran {
	t.Helper()
	cmd := caddyCommand(t, c.home, append([]string{"onebot-meta"}, args...)...)
	cmd.Env = append(cmd.Env, "CADDY_ADMIN="+c.admin)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ran{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// wantOut checks that a command has succeeded, and returns what it printed.
func (r ran) wantOut(t testing.TB) string {
	t.Helper()
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	return r.out
}

// wantError checks that a command has failed, and says something of why.
func (r ran) wantError(t testing.TB, says string) {
	t.Helper()
	if r.code != 1 || r.out != "" || !strings.Contains(r.err, says) {
		t.Errorf("exit code %d, output %q\n%s\nwant 1 and %q", r.code, r.out, r.err, says)
	}
}

// twoBots is a site with a bot at /onebot and one with a backend behind it.
func twoBots(b *backend, options string) string {
	return "http://<SITE> {\nonebot_meta {\nname mybot\nroute /onebot\n" + options + "\n}\n}\n" +
		"http://<OTHER> {\n" + front("name qq", b) + "}\n"
}

// halfway answers with half of a file and, when the origin is released, with
// the other half. A file of unknown length says nothing of the other half.
func (o *origin) halfway(size int, known bool) http.HandlerFunc {
	if half := filler(size / 2); known {
		return o.stall(half, half)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, filler(size/2))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-o.released:
		case <-r.Context().Done():
		}
	}
}

// start begins a download that the origin does not let end, as long as it is
// not released.
func (o *origin) start(t testing.TB, c *instance, path, url string) {
	t.Helper()
	c.post(t, path+"/download_file_async", params{"url": url}.String()).wantAsync(t)
	for o.await(t).URL.Path != strings.TrimPrefix(url, o.url) {
	}
}

func TestTheStatusCommandShowsEveryBot(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	c := startCaddy(t, twoBots(b, download()))
	t.Cleanup(b.release)
	o := newOrigin(t)
	c.post(t, "/onebot/download_file", params{"url": o.handle("/picture.png", content(filler(3<<19)))}.String()).wantOK(t)
	o.start(t, c, "/onebot", o.handle("/video.mp4", o.halfway(2<<20, true)))
	app := c.open(t, "/onebot/event")
	app.hear()

	for _, told := range []string{lifecycle("connect"), message("one"), message("two"), message("three"), notice("bot_offline")} {
		if a := send(t, c.client, "POST", "http://"+c.other+"/", told, "Content-Type", "application/json"); a.StatusCode != 204 {
			t.Fatalf("an event is answered by %d", a.StatusCode)
		}
	}
	said := send(t, c.client, "POST", "http://"+c.other+"/send_private_msg", `{"user_id":7,"message":"hello"}`, "Content-Type", "application/json")
	if !strings.Contains(said.body, `"ok"`) {
		t.Fatalf("a call is answered by %s", said.body)
	}

	awaitGolden(t, "status.txt", strings.TrimSpace, func() string {
		shown := c.onebotMeta(t, "status").wantOut(t)
		return "$ caddy onebot-meta status\n" + strings.ReplaceAll(shown, c.dataDir(), "/var/lib/caddy/.local/share/caddy")
	})

	var handlers []struct {
		Name  string
		Cache struct{ Directory string }
	}
	inJSON := c.onebotMeta(t, "status", "--json").wantOut(t)
	if err := json.Unmarshal([]byte(inJSON), &handlers); err != nil {
		t.Fatalf("%v in %s", err, inJSON)
	}
	if len(handlers) != 2 || handlers[0].Name != "mybot" || handlers[1].Cache.Directory != c.cacheDir("qq") {
		t.Errorf("in JSON they are %+v", handlers)
	}
}

func TestACaddyWithoutBotsHasNoStatus(t *testing.T) {
	t.Parallel()
	c := startCaddy(t, "http://<SITE> {\nrespond hello\n}\n")
	for call, want := range map[string]string{
		"status":    "no onebot_meta handler is configured\n",
		"downloads": "no downloads are under way\n",
		"purge":     "no onebot_meta handler is configured\n",
	} {
		if got := c.onebotMeta(t, call).wantOut(t); got != want {
			t.Errorf("%s says %q", call, got)
		}
	}
}

func TestTheDownloadsCommandShowsADownloadOnce(t *testing.T) {
	t.Parallel()
	bot := "onebot_meta {\nname mybot\nroute <ROUTE>\n" + download("max_concurrent 1") + "\n}\n"
	c := startCaddy(t, "http://<SITE> {\n"+strings.Replace(bot, "<ROUTE>", "/a", 1)+strings.Replace(bot, "<ROUTE>", "/b", 1)+"}\n")
	o := newOrigin(t)
	o.start(t, c, "/a", o.handle("/voice.silk", o.halfway(400<<10, false)))
	if got := strings.Count(c.onebotMeta(t, "status").wantOut(t), "mybot "); got != 4 { // two handlers, one name, one cache
		t.Errorf("the name is there %d times", got)
	}
	var downloads []struct {
		ID, Done int
		Total    *int
		URL      string
	}
	var said string
	eventually(t, "half of the file to be there", func() bool {
		said = c.onebotMeta(t, "downloads", "--json").wantOut(t)
		if err := json.Unmarshal([]byte(said), &downloads); err != nil || len(downloads) != 1 {
			t.Fatalf("%v, but not one download in %s", err, said)
		}
		return downloads[0].Done == 200<<10
	})
	if d := downloads[0]; d.ID != 1 || d.Total != nil || d.URL != o.url+"/voice.silk" || !strings.Contains(said, `"total": null`) {
		t.Errorf("in JSON it says %s", said)
	}
	shown := c.onebotMeta(t, "downloads").wantOut(t)
	want := `^ID  NAME   PROGRESS     RATE +LEFT  TRIES  CALLERS  URL\n` +
		`1   mybot  200 KiB / \?  [0-9.]+ [KM]?i?B/s +\?     1      0        ` + regexp.QuoteMeta(o.url) + `/voice.silk\n$`
	if !regexp.MustCompile(want).MatchString(shown) {
		t.Errorf("it shows\n%s", shown)
	}
}

func TestThePurgeCommandSaysWhatItFreed(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	c := startBot(t, "name mybot\n"+download())
	old := c.fetch(t, o.handle("/old.png", content(filler(3<<20))))
	c.stop()
	aged(t, old, 11*time.Minute)
	c = startBot(t, "name mybot\n"+download(), at(c.home))
	recent := c.fetch(t, o.handle("/recent.png", content(filler(1<<20))))

	c.onebotMeta(t, "purge", "--name", "mybit").wantError(t, `HTTP 404: no handler has the name \"mybit\"`)
	c.onebotMeta(t, "purge", "--name", "").wantError(t, "--name is empty")
	if !exists(old) {
		t.Fatal("an error freed something")
	}
	in := "mybot in " + c.cacheDir("mybot") + "\n"
	kept := "  kept 1 file, 1.0 MiB: returned in the last 10 minutes or so, or in use\n"
	if got, want := c.onebotMeta(t, "purge", "--name", "mybot").wantOut(t), in+"  freed 1 file, 3.0 MiB\n"+kept; got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
	if exists(old) || !exists(recent) {
		t.Errorf("the old file is there: %t; the recent one: %t", exists(old), exists(recent))
	}
	if got, want := c.onebotMeta(t, "purge").wantOut(t), in+"  freed nothing\n"+kept; got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
}

func TestTheCommandFindsTheAdminAPI(t *testing.T) {
	t.Parallel()
	c := startBot(t, "name mybot")
	for name, args := range map[string][]string{
		"by its address":    {"--address", c.admin},
		"by the config":     {"--config", c.config},
		"by an adapter too": {"-c", c.config, "-a", "caddyfile"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, call := range []string{"status", "downloads", "purge"} {
				output, ok := runCaddy(t, c.home, append([]string{"onebot-meta", call}, args...)...)
				if !ok || !strings.Contains(output, "mybot") && call != "downloads" {
					t.Errorf("%s says\n%s", call, output)
				}
			}
		})
	}
}

func TestTheCommandSaysWhomItDidNotReach(t *testing.T) {
	t.Parallel()
	c := startCaddy(t, "http://<SITE> {\nrespond \"not here\" 404\n}\n")
	nobody := freeAddr(t)
	for _, call := range [][]string{{"status"}, {"status", "--json"}, {"downloads"}, {"downloads", "--watch"}, {"purge"}} {
		r := c.onebotMeta(t, append(call, "--address", nobody)...)
		r.wantError(t, "at "+nobody+" (--address or --config can name another one)")
		r.wantError(t, "connection refused")
		// it is a Caddy, but not its admin API
		c.onebotMeta(t, append(call, "--address", c.addr)...).wantError(t, c.addr+" answers HTTP 404: it is not the admin API")
	}
	c.onebotMeta(t, "stop").wantError(t, `unknown command "stop" for "caddy onebot-meta"`)
	if got := c.onebotMeta(t).wantOut(t); !strings.Contains(got, "Available Commands:") {
		t.Errorf("alone it says\n%s", got)
	}
}

// A Caddy that takes a connection and says nothing must not hold an
// administrator's terminal.
func TestAWatchOfACaddyThatHangsCanBeEnded(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	w := startWatch(t, t.TempDir(), deaf.Addr().String())
	conn, err := deaf.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.interrupt()
	w.wantEnd(0, "")
}
