package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// framework is a way in which a public bot framework reaches an implementation.
// The frameworks are in clients/, pinned and unmodified; a small script there
// has each do what a test wants.
type framework struct {
	script   string
	protocol string   // of OneBot, as koishi calls it
	atFirst  []string // the actions that it calls by itself, in any order
	message  string   // what it calls a private message
	meta     bool     // it shows meta events
	deflate  bool     // it offers compression
	refused  string   // what it says of a wrong token
}

var koishiAtFirst = []string{"get_guild_service_profile", "get_login_info"}

var frameworks = map[string]framework{
	"node-napcat-ts":        {script: "napcat.mjs", protocol: "ws", deflate: true, message: "message.private", meta: true, refused: "403"},
	"cq-websocket":          {script: "cq.mjs", protocol: "ws", message: "message.private", meta: true, refused: "Failed to establish"},
	"koishi over WebSocket": {script: "koishi.mjs", protocol: "ws", deflate: true, message: "message", atFirst: koishiAtFirst, refused: "failed to connect"},
	"koishi over HTTP":      {script: "koishi.mjs", protocol: "http", message: "message", atFirst: koishiAtFirst, refused: "Forbidden"},
}

// installFrameworks installs the frameworks in a directory of their own, beside
// the scripts, and returns it.
var installFrameworks = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(filepath.Dir(caddyBinary), "clients") // gone when the tests end
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for _, pattern := range []string{"*.json", "*.mjs"} {
		names, err := filepath.Glob(filepath.Join("clients", pattern))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o600); err != nil {
				return "", err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir, cmd.WaitDelay = dir, patience
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, output)
	}
	return dir, nil
})

// process is a framework at its task.
type process struct {
	t       testing.TB
	printed chan told  // every line of it that is JSON
	ended   chan error // how it ended
	output  *logs      // all else
}

// told is what a framework says of its task. See clients/task.mjs.
type told struct {
	Outcomes []outcome
	Events   map[string]json.RawMessage // nil if it was not let in
	Refused  string                     // why
	Port     int                        // that it listens on: only in the first line of koishi
}

// outcome is what came of a call.
type outcome struct {
	Data   json.RawMessage
	Failed int // the retcode of what failed
}

// start has a framework do a task, of which only what differs is given.
func (f framework) start(t testing.TB, task params, env ...string) *process {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	dir, err := installFrameworks()
	if err != nil {
		t.Fatal(err)
	}
	whole := params{"protocol": f.protocol, "token": rightToken, "calls": []any{}, "events": []any{}}
	for name, value := range task {
		whole[name] = value
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	cmd := exec.CommandContext(ctx, "node", f.script, whole.String())
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "NODE_OPTIONS=", "NODE_EXTRA_CA_CERTS=", "no_proxy=*", "NO_COLOR=1"), env...)
	p := &process{t: t, printed: make(chan told, 100), ended: make(chan error, 1), output: newLogs()}
	cmd.Stderr = p.output
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() { // the frameworks log there too
			var r told
			if line := lines.Bytes(); json.Unmarshal(line, &r) == nil {
				p.printed <- r
			} else {
				_, _ = fmt.Fprintf(p.output, "%s\n", line)
			}
		}
		p.ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel() // kills what still runs
		<-reaped
		if t.Failed() {
			t.Logf("%s printed:\n%s", f.script, p.output)
		}
	})
	return p
}

// next returns what it tells next.
func (p *process) next() told {
	p.t.Helper()
	select {
	case r := <-p.printed:
		return r
	case err := <-p.ended:
		p.ended <- err
		select {
		case r := <-p.printed:
			return r
		default:
		}
		p.t.Fatalf("the framework ended without a word: %v", err)
	case <-time.After(patience):
		p.t.Fatal("waited in vain for the framework's word")
	}
	panic("unreachable")
}

// finish returns what it tells of so many calls, when it has ended as it should.
func (p *process) finish(calls int) told {
	p.t.Helper()
	r := p.next()
	for r.Port != 0 {
		r = p.next()
	}
	if err := receive(p.t, p.ended, "the framework to end"); err != nil {
		p.t.Fatalf("the framework ended with %v", err)
	}
	if len(r.Outcomes) != calls {
		p.t.Fatalf("it tells of %d calls, want %d: %+v", len(r.Outcomes), calls, r)
	}
	return r
}

// data reads the data that a call returned. koishi returns the one field that
// matters of some: then that is read as if it were the object.
func (o outcome) data(t testing.TB, field string) map[string]any {
	t.Helper()
	var data any
	if err := json.Unmarshal(o.Data, &data); err != nil || o.Failed != 0 {
		t.Fatalf("the call has failed: %d %s %v", o.Failed, o.Data, err)
	}
	if object, ok := data.(map[string]any); ok {
		return object
	}
	return map[string]any{field: data}
}

// wantFailed fails the test unless the framework told that a call has failed.
func (o outcome) wantFailed(t testing.TB, retcode int) {
	t.Helper()
	if o.Failed != retcode || o.Data != nil {
		t.Errorf("the call came to %d %s, want it to fail with %d", o.Failed, o.Data, retcode)
	}
}

// url returns where a framework finds the bot, at a site as overBoth has it.
func (f framework) url(site string) string { return f.protocol + site + "/onebot" }

const rightToken = "open-sesame"

// startTwice runs Caddy with a bot at two sites: at <SITE>, and over TLS at
// <OTHER>.
func startTwice(t testing.TB, bot string) *instance {
	t.Helper()
	return startCaddy(t, "(bot) {\n"+bot+"\n}\nhttp://<SITE> {\n\timport bot\n}\nhttps://<OTHER> {\n\ttls internal\n\timport bot\n}\n",
		global("\tauto_https disable_redirects"))
}

// overBoth runs a test at each of the sites, given as what follows "http" or
// "ws" in a URL, with the environment that makes a framework trust it.
func overBoth(t *testing.T, c *instance, test func(t *testing.T, site string, env []string)) {
	t.Helper()
	t.Run("over TCP", func(t *testing.T) { test(t, "://"+c.addr, nil) })
	t.Run("over TLS", func(t *testing.T) {
		c.awaitLog("certificate obtained successfully")
		root := filepath.Join(c.dataDir(), "pki", "authorities", "local", "root.crt")
		test(t, "s://"+c.other, []string{"NODE_EXTRA_CA_CERTS=" + root})
	})
}

// freePort returns a port on loopback for koishi, which cannot take any. It is
// below those that connections are made from, so that it is still free when
// koishi has started.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("found no port that is free")
	panic("unreachable")
}

// bot calls an action of the bot at the sites, over HTTP.
func (c *instance) bot(t testing.TB, action string) reply {
	t.Helper()
	return c.call(t, "GET", "/onebot/"+action+"?access_token="+rightToken, "").wantOK(t)
}

// wantMore fails the test unless the counters of the bot become what they were,
// and so many packets more, all delivered. Those before and after are two calls
// of get_status, of which the first has one packet in it that is not sent yet.
func (c *instance) wantMore(t testing.TB, before stat, packets int64, also stat) {
	t.Helper()
	want := maps.Clone(before)
	for name, n := range also {
		want[name] += n
	}
	for deadline := time.Now().Add(patience); ; {
		packets++ // this call
		want["PacketReceived"], want["PacketSent"] = before["PacketReceived"]+packets, before["PacketSent"]+packets
		got := c.bot(t, "get_status").stat(t)
		if maps.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the counters are %v, want %v", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
