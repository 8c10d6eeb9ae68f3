// Package integration tests the module as its users meet it: inside a real
// Caddy process that is built by the documented command, over real TCP. Nothing
// here leaves the machine: clients, origins and backends are on loopback.
package integration

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	// What is tested is built by another process, of which go test knows
	// nothing: without this import it would take old results for current.
	_ "github.com/onebot-caddy/onebot-meta"
)

// patience bounds every wait, so that a broken product fails a test instead of
// hanging it. No test passes because of it.
const patience = 30 * time.Second

// buildCommand builds a Caddy with the module, as users are told to.
var buildCommand = []string{"go", "tool", "xcaddy", "build", "v2.11.9", "--with", "github.com/onebot-caddy/onebot-meta@v0.0.0=."}

// caddyBinary is the Caddy that TestMain built.
var caddyBinary string

// coverDir is where coverage goes, of the processes too: they are built for it
// with go test -cover, and then each writes what it ran when it ends unless it
// is killed.
var coverDir string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.CoverMode() != "" {
		coverDir = flag.Lookup("test.gocoverdir").Value.String()
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "onebot-meta-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	caddyBinary = filepath.Join(dir, "caddy")
	if runtime.GOOS == "windows" {
		caddyBinary += ".exe"
	}
	if err := buildCaddy(caddyBinary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := allFigures.publish(os.Stdout, *chartFile); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return allLogs.checked(allSecrets, code, os.Stderr)
}

// buildCaddy runs the command, with further arguments.
func buildCaddy(output string, args ...string) error {
	build := exec.Command(buildCommand[0], slices.Concat(buildCommand[1:], args, []string{"--output", output})...)
	build.Dir = ".." // the root of the checkout
	build.Env = append(os.Environ(), "GOCOVERDIR="+coverDir)
	if raceEnabled {
		build.Env = append(build.Env, "XCADDY_RACE_DETECTOR=1", "CGO_ENABLED=1")
	}
	if coverDir != "" {
		const module = "github.com/onebot-caddy/onebot-meta/"
		covered := module + "caddymodule/...," + module + "meta/...,caddy" // which is package main, and writes it all
		build.Env = append(build.Env, "GOFLAGS="+os.Getenv("GOFLAGS")+" -cover -coverpkg="+covered)
	}
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s\nbuilding Caddy: %w", said, err)
	}
	return nil
}

// instance is a running Caddy.
type instance struct {
	addr, other string // what <SITE> and <OTHER> stand for in its Caddyfile
	admin       string
	home        string // of the process: nothing is read or written outside of it
	config      string // path of the Caddyfile
	logs        *logs
	pid         int

	t       testing.TB
	client  client
	cmd     *exec.Cmd
	options options
	exited  chan struct{} // closed when the process has ended, with exitErr set
	exitErr error
	killed  bool
}

type options struct {
	binary       string
	global, home string
	env          []string
	verbatim     bool
	addr, admin  string // of a verbatim Caddyfile
	json         bool
}

type option func(*options)

// global adds lines to the global options block.
func global(lines string) option { return func(o *options) { o.global = lines } }

// program runs another Caddy than the one that TestMain built.
func program(binary string) option { return func(o *options) { o.binary = binary } }

// environ sets a variable of the process's environment.
func environ(pair string) option { return func(o *options) { o.env = append(o.env, pair) } }

// at runs the process in a home that another one has used.
func at(home string) option { return func(o *options) { o.home = home } }

// verbatim leaves the Caddyfile as it is. It says where its site and its admin
// endpoint are.
func verbatim(addr, admin string) option {
	return func(o *options) { o.verbatim, o.addr, o.admin = true, addr, admin }
}

// inJSON says that the config is in Caddy's own language instead.
func inJSON(o *options) { o.json = true }

// startCaddy runs Caddy with a Caddyfile and returns when it serves. <SITE> and
// <OTHER> in the Caddyfile stand for two free addresses on loopback, <PORT> for
// the port of <SITE> and <HOME> for the process's directory. When the test ends
// Caddy is stopped, and must have neither failed nor panicked.
func startCaddy(t testing.TB, caddyfile string, opts ...option) *instance {
	t.Helper()
	c := &instance{t: t, logs: newLogs(), exited: make(chan struct{}), options: options{binary: caddyBinary}}
	for _, opt := range opts {
		opt(&c.options)
	}
	allLogs.add(t.Name(), c.logs)
	if c.options.verbatim {
		c.addr, c.admin = c.options.addr, c.options.admin
	} else {
		c.addr, c.other, c.admin = freeAddr(t), freeAddr(t), freeAddr(t)
	}
	if c.home = c.options.home; c.home == "" {
		c.home = t.TempDir()
	}
	c.client = newClient("http://" + c.addr)
	args := []string{"run", "--config", filepath.Join(c.home, "Caddyfile"), "--adapter", "caddyfile"}
	if c.options.json {
		args = []string{"run", "--config", filepath.Join(c.home, "caddy.json")}
	}
	c.config = args[2]
	c.configure(caddyfile)

	c.cmd = commandOf(t, c.options.binary, c.home, args...)
	c.cmd.Env = append(c.cmd.Env, c.options.env...)
	c.cmd.Stdout, c.cmd.Stderr = c.logs, c.logs
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.pid = c.cmd.Process.Pid
	go func() {
		c.exitErr = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(c.stop)
	c.awaitLog("serving initial configuration")
	return c
}

// configure writes the Caddyfile.
func (c *instance) configure(caddyfile string) {
	c.t.Helper()
	if !c.options.verbatim {
		caddyfile = strings.NewReplacer("<SITE>", c.addr, "<PORT>", c.port(), "<OTHER>", c.other, "<HOME>", c.home).Replace(
			"{\n\tadmin " + c.admin + "\n\tdefault_bind 127.0.0.1\n\tskip_install_trust\n" + c.options.global + "\n}\n" + caddyfile)
	}
	allSecrets.addConfig(caddyfile, c.options.env)
	if err := os.WriteFile(c.config, []byte(caddyfile), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// reload makes the process take a new Caddyfile and returns what the command
// said and whether it succeeded.
func (c *instance) reload(caddyfile string) (output string, ok bool) {
	c.t.Helper()
	c.configure(caddyfile)
	return finished(c.t, commandOf(c.t, c.options.binary, c.home, "reload", "--config", c.config, "--adapter", "caddyfile", "--address", c.admin))
}

// awaitLog returns when the process has logged a message, or fails the test if
// it ends or takes too long.
func (c *instance) awaitLog(message string) {
	c.t.Helper()
	c.awaitLogs(message, 1)
}

// awaitLogs is awaitLog for a message that is logged n times.
func (c *instance) awaitLogs(message string, n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !c.logs.await(ctx, message, n, c.exited) {
		c.t.Fatalf("Caddy did not log %q %d times", message, n)
	}
}

// stop ends the process as a service manager would and checks how it ended.
func (c *instance) stop() {
	c.t.Helper()
	c.client.CloseIdleConnections()
	if !c.killed {
		c.terminate()
		c.awaitExit()
		if c.exitErr != nil {
			c.t.Errorf("Caddy ended with %v", c.exitErr)
		}
	}
	text := c.logs.String()
	for _, bad := range []string{"panic", "DATA RACE"} {
		if strings.Contains(text, bad) {
			c.t.Errorf("Caddy's log has a %q", bad)
		}
	}
	if c.t.Failed() {
		const most = 20_000 // of many calls the last ones tell most
		c.t.Logf("Caddy's log ends:\n%s", text[max(0, len(text)-most):])
	}
}

func (c *instance) terminate() {
	c.t.Helper()
	if runtime.GOOS == "windows" { // which has no SIGTERM
		runCaddy(c.t, c.home, "stop", "--address", c.admin)
		return
	}
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("stopping Caddy: %v", err)
	}
}

func (c *instance) awaitExit() {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.exited
		c.t.Error("Caddy did not end when it was told to")
	}
}

// kill ends the process without a warning.
func (c *instance) kill() {
	c.t.Helper()
	c.killed = true
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Error(err)
	}
	<-c.exited
}

// port is the port of <SITE>.
func (c *instance) port() string {
	_, port, _ := net.SplitHostPort(c.addr)
	return port
}

// dataDir is where Caddy keeps its own data by default.
func (c *instance) dataDir() string { return filepath.Join(c.home, "data", "caddy") }

// cacheDir is where the downloads of a bot are by default.
func (c *instance) cacheDir(name string) string {
	return filepath.Join(c.dataDir(), "onebot_meta", name)
}

// caddyCommand returns a command that runs Caddy at home in a directory. It is
// killed when the test is over, if it still runs.
func caddyCommand(t testing.TB, home string, args ...string) *exec.Cmd {
	t.Helper()
	return commandOf(t, caddyBinary, home, args...)
}

// commandOf is caddyCommand for a Caddy that is not the usual one.
func commandOf(t testing.TB, binary, home string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience+time.Duration(soakFor))
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(),
		"HOME="+home,
		"XDG_DATA_HOME="+filepath.Join(home, "data"),
		"XDG_CONFIG_HOME="+filepath.Join(home, "config"),
		"GODEBUG=netdns=go",        // localhost is in the hosts file: ask nobody else
		"GORACE=atexit_sleep_ms=0", // instead of a second in every process
		"GOCOVERDIR="+coverDir,
	)
	return cmd
}

// runCaddy runs a command of Caddy to its end.
func runCaddy(t testing.TB, home string, args ...string) (output string, ok bool) {
	t.Helper()
	return finished(t, caddyCommand(t, home, args...))
}

// finished runs a command of a Caddy to its end.
func finished(t testing.TB, cmd *exec.Cmd) (output string, ok bool) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	name := cmd.Args[1]
	if name != "adapt" && name != "fmt" { // which show a config as it is
		allLogs.add(t.Name()+", caddy "+name, bytes.NewBuffer(out))
	}
	for _, bad := range []string{"panic", "DATA RACE"} {
		if strings.Contains(string(out), bad) {
			t.Errorf("caddy %s: %q in\n%s", name, bad, out)
		}
	}
	return string(out), err == nil
}
