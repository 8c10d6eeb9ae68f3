package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	systemdDir  = "deploy/systemd/"
	unitFile    = systemdDir + "caddy-onebot.service"
	installedAt = "/usr/bin/caddy"
)

// unit is a unit of systemd: the values of each key, in order.
type unit map[string][]string

// readUnit reads a unit that has neither quotes nor continued lines.
func readUnit(t testing.TB) unit {
	t.Helper()
	u := make(unit)
	for line := range strings.Lines(read(t, unitFile)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.ContainsAny(line, `"'\`) {
			t.Fatalf("a line is %s", line)
		}
		u[key] = append(u[key], value)
	}
	return u
}

// only returns the value of a key that is there once.
func (u unit) only(t testing.TB, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s is %q", key, u[key])
	}
	return u[key][0]
}

func TestSystemdTakesTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	path := filepath.Join(t.TempDir(), filepath.Base(unitFile))
	// it also looks whether the programs are there
	text := strings.ReplaceAll(read(t, unitFile), installedAt, caddyBinary)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
	// what it does not know it ignores, with a word; other units may have theirs
	if err != nil || strings.Contains(string(output), filepath.Base(path)) {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestTheUnitAndItsCaddyfileFitEachOther(t *testing.T) {
	t.Parallel()
	u := readUnit(t)
	config := deployedCaddyfile(t, systemdDir+"Caddyfile", systemdDir+"onebot.env")
	wantTimeToStop(t, config, u.only(t, "TimeoutStopSec"))

	// nothing else may be written
	state := "/var/lib/" + u.only(t, "StateDirectory") + "/"
	if root := only[map[string]any](t, config, "storage")["root"]; !strings.HasPrefix(fmt.Sprint(root), state) {
		t.Errorf("the downloads are in %v", root)
	}
	for _, pair := range strings.Fields(u.only(t, "Environment")) {
		if _, dir, _ := strings.Cut(pair, "="); !strings.HasPrefix(dir, state) {
			t.Errorf("Caddy's own data are in %s", pair)
		}
	}
	// whoever is in the group gets to the files
	if got := u.only(t, "StateDirectoryMode") + " " + only[string](t, config, "mode"); got != "0750 0640" {
		t.Errorf("the modes are %s", got)
	}
	if token := only[[]any](t, config, "access_token"); !slices.Equal(token, []any{"{env.ONEBOT_TOKEN}"}) {
		t.Errorf("the token is %v", token)
	}
	install := "install -m 0600 onebot.env " + u.only(t, "EnvironmentFile")
	if !strings.Contains(read(t, unitFile), install+"\n") {
		t.Errorf("the unit does not say %q", install)
	}
}

// notices is a socket for what a service tells its manager.
type notices struct{ *net.UnixConn }

func newNotices(t testing.TB) (notices, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify-") // not as long as t.TempDir: it must fit into an address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return notices{conn}, path
}

// want fails the test if the next notices are others.
func (n notices) want(t testing.TB, want ...string) {
	t.Helper()
	for _, want := range want {
		buf := make([]byte, 4096)
		if err := n.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		size, err := n.Read(buf)
		if got := string(buf[:size]); err != nil || got != want {
			t.Fatalf("Caddy says %q (%v), want %q", got, err, want)
		}
	}
}

// What systemd would do with the unit is done here, below another root.
func TestTheCommandsOfTheUnitStartReloadAndStop(t *testing.T) {
	t.Parallel()
	u := readUnit(t)
	if got := u.only(t, "Type"); got != "notify" {
		t.Fatalf("the type is %s", got)
	}
	root, site, admin := t.TempDir(), freeAddr(t), freeAddr(t)
	below := strings.NewReplacer("/etc/", root+"/etc/", "/var/", root+"/var/").Replace
	for _, dir := range []string{"/etc/caddy", "/var/lib/" + u.only(t, "StateDirectory")} {
		if err := os.MkdirAll(root+dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	config := strings.NewReplacer("bot.example.com", "http://"+site, "{\n\t# How", "{\n\tadmin "+admin+"\n\tdefault_bind 127.0.0.1\n\t# How").
		Replace(below(read(t, systemdDir+"Caddyfile")))
	if err := os.WriteFile(root+"/etc/caddy/Caddyfile", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	told, socket := newNotices(t)
	env := append(strings.Fields(below(u.only(t, "Environment"))), "NOTIFY_SOCKET="+socket)
	var token string
	for line := range strings.Lines(read(t, systemdDir+"onebot.env")) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			env = append(env, line)
			_, token, _ = strings.Cut(line, "=")
		}
	}
	command := func(key string) *exec.Cmd {
		words := strings.Fields(below(u.only(t, key)))
		if words[0] != installedAt {
			t.Fatalf("%s runs %s", key, words[0])
		}
		cmd := caddyCommand(t, root, words[1:]...)
		cmd.Env = append(cmd.Env, env...)
		return cmd
	}

	service, output := command("ExecStart"), newLogs()
	service.Stdout, service.Stderr = output, output
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- service.Wait() }()
	t.Cleanup(func() {
		_ = service.Process.Kill() // if the test has failed
		if t.Failed() {
			t.Logf("Caddy's log:\n%s", output)
		}
	})
	told.want(t, "RELOADING=1", "READY=1")

	bot := newClient("http://" + site)
	t.Cleanup(bot.CloseIdleConnections)
	ask := func() string {
		t.Helper()
		r, err := bot.try("POST", "/download_file", `{"base64":"aGVsbG8="}`, "Authorization", "Bearer "+token)
		if err != nil {
			t.Fatal(err)
		}
		return r.file(t)
	}
	path := ask()
	wantWithin(t, path, root+"/var/lib/"+u.only(t, "StateDirectory"))
	wantContent(t, path, "hello")

	if text, err := command("ExecReload").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	told.want(t, "RELOADING=1", "READY=1")
	ask()
	bot.CloseIdleConnections()

	if err := service.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told.want(t, "STOPPING=1")
	if err := receive(t, ended, "Caddy to end"); err != nil {
		t.Errorf("Caddy ended with %v", err)
	}
	if text := output.String(); token == "" || strings.Contains(text, token) {
		t.Errorf("the journal has the token %q", token)
	}
}
