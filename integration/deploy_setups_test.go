package integration

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// setups returns the Caddyfiles of a section of the README that ends before
// another one, in order.
func setups(t *testing.T, section, end string) []string {
	t.Helper()
	_, text, found := strings.Cut(read(t, "../README.md"), "\n"+section+"\n")
	text, _, ends := strings.Cut(text+"\n## \n", "\n"+end)
	if !found || !ends {
		t.Fatalf("the README has no %q before %q", section, end)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) != 4 {
		t.Fatalf("%q has %d Caddyfiles", section, len(blocks))
	}
	return blocks
}

// The set-ups of the README, with what differs here: addresses, and where files
// are kept.
func TestTheSetupsOfTheReadmeWorkWithAModelOfAnImplementation(t *testing.T) {
	blocks := setups(t, "## Running it with an implementation", "## ")
	for i, chinese := range setups(t, "### 搭配协议端使用", "## ") {
		if chinese != blocks[i] {
			t.Errorf("the Chinese part has another Caddyfile:\n%s", chinese)
		}
	}
	for i, name := range []string{"on the same host", "in reverse", "in containers", "on another machine"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &setup{calls: newBackend(t), events: newBackend(t), framework: newBackend(t, silent)}
			s.start(t, blocks[i])
			if name == "in reverse" {
				s.wantReverse(t)
			} else {
				s.wantForward(t)
			}
			s.wantFiles(t, name)
		})
	}
}

// setup is a Caddy with the model around it. In reverse there are no calls: the
// events lead to the framework.
type setup struct {
	*instance
	calls, events, framework *backend
}

// bearer is how a framework or an implementation shows its token.
var bearer = []string{"Authorization", "Bearer " + rightToken}

func (s *setup) start(t *testing.T, caddyfile string) {
	t.Helper()
	storage := t.TempDir()
	replaced := regexp.MustCompile(`storage file_system \S+`).ReplaceAllLiteralString(caddyfile, "storage file_system "+storage)
	replaced = regexp.MustCompile(`^\S+ \{`).ReplaceAllLiteralString(replaced, "http://<SITE> {")
	for port, to := range map[string]*backend{"3000": s.calls, "3001": s.events, "8080": s.framework} {
		replaced = regexp.MustCompile(`(reverse_proxy .*?)\S+:`+port+`\n`).ReplaceAllString(replaced, "${1}"+to.addr+"\n")
	}
	s.instance = startCaddy(t, replaced, environ("ONEBOT_TOKEN="+rightToken))
	for _, b := range []*backend{s.calls, s.events, s.framework} {
		t.Cleanup(b.release) // before Caddy is stopped
	}
}

// wantForward is a framework that connects to Caddy.
func (s *setup) wantForward(t *testing.T) {
	t.Helper()
	s.call(t, "POST", "/get_login_info", "").wantRefused(t, 401)
	s.client.fetch(t, "POST", "/get_login_info", "{}", bearer...)
	if n := len(s.calls.requests("get_login_info")); n != 1 {
		t.Errorf("a call over HTTP came %d times", n)
	}
	app := s.framework.dial(t, "ws://"+s.addr+"/", bearer...)
	s.events.socket(t)
	for _, echo := range []string{`"theirs"`, `"ours"`} {
		action := map[string]string{`"theirs"`: "send_private_msg", `"ours"`: "get_status"}[echo]
		app.send(t, calling(action, echo))
		if got := app.next(t); !strings.Contains(got.text, `"echo":`+echo) {
			t.Errorf("%s is answered %s", action, got.text)
		}
	}
	if len(s.calls.requests("get_status")) == 0 || len(s.events.requests()) != 0 || len(s.calls.opened) != 0 {
		t.Errorf("get_status is asked %d times, plain calls came to the port for WebSocket %d times, and the other way round %d times",
			len(s.calls.requests("get_status")), len(s.events.requests()), len(s.calls.opened))
	}
}

// wantReverse is an implementation that connects to Caddy.
func (s *setup) wantReverse(t *testing.T) {
	t.Helper()
	bot := s.events.dial(t, "ws://"+s.addr+"/onebot/v11/ws", slices.Concat(bearer, asBot)...)
	app := s.framework.socket(t)
	if app.path != "/onebot/v11/ws" {
		t.Errorf("the framework is asked for %s", app.path)
	}
	for _, told := range []string{lifecycle("connect"), message("hello")} {
		bot.send(t, told)
		app.want(t, told)
	}
	app.send(t, ours("get_status", "1"))
	if r := app.wantReply(t, "1"); !strings.Contains(string(r.data), `"online":true`) {
		t.Errorf("get_status is %s", r.data)
	}
	app.send(t, calling("send_private_msg", `"theirs"`))
	if got := app.next(t); !strings.Contains(got.text, `"theirs"`) {
		t.Errorf("the bot answers %s", got.text)
	}
}

// wantFiles is an implementation that is given what download_file returned.
func (s *setup) wantFiles(t *testing.T, name string) {
	t.Helper()
	r := s.post(t, "/download_file", `{"base64":"aGVsbG8="}`, bearer...)
	if name == "on another machine" {
		_, at := r.served(t)
		if got := get(t, s.client, "GET", at); got.StatusCode != 401 {
			t.Errorf("%s needs no token: %d", at, got.StatusCode)
		}
		got := get(t, s.client, "GET", at+"?access_token="+url.QueryEscape(rightToken))
		if got.StatusCode != 200 || got.body != "hello" || !strings.HasPrefix(at, "http://"+s.addr+"/") {
			t.Errorf("%s is answered %d %s", at, got.StatusCode, got.body)
		}
		return
	}
	path := r.file(t)
	wantContent(t, path, "hello")
	want := os.FileMode(0o640)
	if name == "in containers" {
		want = 0o600
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != want && runtime.GOOS != "windows" {
		t.Errorf("%s is %v (%v)", path, info.Mode(), err)
	}
}

func TestTheReadmeLinksToWhatIsThere(t *testing.T) {
	t.Parallel()
	readme := read(t, "../README.md")
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(readme, -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, "#"+strings.ReplaceAll(anchor, " ", "-"))
	}
	links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(readme, -1)
	for _, m := range links {
		switch link := m[1]; {
		case strings.HasPrefix(link, "https://"):
		case link[0] == '#':
			if !slices.Contains(anchors, link) {
				t.Errorf("no heading for %s", link)
			}
		default:
			if _, err := os.Stat(filepath.Join("..", link)); err != nil {
				t.Error(err)
			}
		}
	}
	if len(links) == 0 {
		t.Error("there are no links")
	}
}
