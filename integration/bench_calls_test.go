//go:build linux

package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// What answers the calls: the action, Caddy's own respond with the same bytes, a
// handler that does nothing but write them, which is the limit for a Caddy, and
// a server of net/http without Caddy.
const module, respond, fixed, bare = "onebot_meta", "respond", "fixed bytes", "net/http"

// bareEnv makes this program a server of net/http: its value is the body that it
// answers with, its argument the address.
const bareEnv = "ONEBOT_META_BENCH_BARE"

func init() {
	body := []byte(os.Getenv(bareEnv))
	if len(body) == 0 {
		return
	}
	length := strconv.Itoa(len(body))
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(body)
	})))
	os.Exit(1)
}

// fixedCaddy is a Caddy that also has a handler that writes fixed bytes.
var fixedCaddy = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(caddyBinary), "fixed-"+filepath.Base(caddyBinary))
	return path, buildCaddy(path, "--with", "github.com/onebot-caddy/fixedbytes@v0.0.0=./integration/testdata/fixedbytes")
})

// BenchmarkCalls makes small calls. A core can answer so many of them a second.
func BenchmarkCalls(b *testing.B) {
	for _, action := range []string{"get_status", "get_version_info"} {
		b.Run(action, func(b *testing.B) {
			const connections, calls = 64, 40_000
			r := newReport(b, fmt.Sprintf("%d calls of %s by %d connections", calls, action, connections))
			apart := separate(b)
			callers := newCallers(b, apart, action, connections)
			got := compare(64*mib, contenders(b, callers, connections, calls)...)
			r.costs(got, module, respond, fixed, bare)
			r.rate(got, module, respond, calls, "calls", 1.05)
			r.rate(got, module, fixed, calls, "calls", 0.95)
			r.rate(got, module, bare, calls, "calls", 0)
			r.ratio(got, module, fixed, "CPU", cpu, 0)
			for _, c := range callers[1:3] { // the others that are Caddys
				r.waits(callers[0], c)
			}
		})
	}
}

// BenchmarkCallsAtOnce makes small calls by more and more connections.
func BenchmarkCallsAtOnce(b *testing.B) {
	const action, calls, most = "get_status", 16_384, 1024
	r := newReport(b, fmt.Sprintf("%d calls of %s by 1 to %d connections", calls, action, most))
	cpus := r.curve("CPU of a call", "connections", "microseconds")
	waits := r.curve("The slowest of 100 calls", "connections", "microseconds")
	apart := separate(b)
	callers := newCallers(b, apart, action, 1)
	for connections := 1; connections <= most; connections *= 4 {
		for _, c := range callers {
			c.waits = nil
			c.dial(b, connections)
		}
		got := compare(64*mib, contenders(b, callers, connections, calls)...)
		for _, c := range callers {
			cpus.costs(c.name, float64(connections), got[c.name], cpu, calls)
			waits.costs(c.name, float64(connections), c.slowest(), wall, 1)
		}
	}
}

func contenders(b *testing.B, callers []*caller, connections, calls int) (all []contender) {
	for _, c := range callers {
		all = append(all, contender{c.name, func(int) cost { return c.call(b, connections, calls) }})
	}
	return all
}

// waits adds how long the slowest of 100 calls took.
func (r *report) waits(one, other *caller) {
	p99 := func(c *caller) time.Duration { return median(c.slowest(), wall).wall }
	r.target(fmt.Sprintf("p99 of %s / %s", one.name, other.name), float64(p99(one))/float64(p99(other)), 1,
		fmt.Sprintf("(%v / %v)", p99(one).Round(time.Microsecond), p99(other).Round(time.Microsecond)))
}

// caller is a server that answers one call.
type caller struct {
	name    string
	pid     int
	request []byte
	addr    string
	conns   []*benchConn
	waits   []time.Duration // of the slowest of 100 calls, of each round
}

// slowest returns how long the slowest of 100 calls took in each round.
func (c *caller) slowest() (each []cost) {
	for _, wait := range c.waits[1:] {
		each = append(each, cost{wall: wait})
	}
	return each
}

// newCallers starts what answers an action, each in a process of its own on one
// core, with connections to it.
func newCallers(b *testing.B, apart func(func()), action string, connections int) []*caller {
	b.Helper()
	binary, err := fixedCaddy()
	if err != nil {
		b.Fatal(err)
	}
	var all []*caller
	add := func(name, addr string, pid int) {
		c := &caller{name: name, pid: pid, addr: addr,
			request: fmt.Appendf(nil, "GET /%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n\r\n", action, addr)}
		c.dial(b, connections)
		all = append(all, c)
	}
	addCaddy := func(name, directive string) *instance {
		var caddy *instance
		apart(func() { caddy = startCaddy(b, "http://<SITE> {\n"+directive+"\n}", program(binary)) })
		add(name, caddy.addr, caddy.pid)
		return caddy
	}
	body := addCaddy(module, "onebot_meta").call(b, "GET", "/"+action, "").body
	addCaddy(respond, "respond `"+body+"`")
	addCaddy(fixed, "fixed_bytes `"+body+"`")
	addr, pid := serveBare(b, apart, body)
	add(bare, addr, pid)
	return all
}

// serveBare starts the server without Caddy.
func serveBare(b *testing.B, apart func(func()), body string) (addr string, pid int) {
	b.Helper()
	addr = freeAddr(b)
	cmd := commandOf(b, os.Args[0], b.TempDir(), addr)
	cmd.Env = append(cmd.Env, bareEnv+"="+body)
	var err error
	apart(func() { err = cmd.Start() })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(b, "net/http to listen", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return addr, cmd.Process.Pid
}

// dial makes connections until there are n: a Caddy closes those on which it is asked
// for nothing.
func (c *caller) dial(b *testing.B, n int) {
	b.Helper()
	c.conns = append(c.conns, dialBench(b, c.addr, n-len(c.conns))...)
}

// call makes n calls, spread over some connections, and notes how long each of
// them took.
func (c *caller) call(b *testing.B, connections, n int) cost {
	b.Helper()
	waits := make([]time.Duration, n)
	each := n / connections
	next := 0
	type share struct {
		*benchConn
		waits []time.Duration
	}
	shares := make([]share, connections)
	for i := range shares {
		shares[i] = share{c.conns[i], waits[next : next+each]}
		next += each
	}
	got := together(b, c.pid, shares, func(s share) error {
		for i := range s.waits {
			start := time.Now()
			if _, err := s.Write(c.request); err != nil {
				return err
			}
			if err := s.skipHTTP(); err != nil {
				return err
			}
			s.waits[i] = time.Since(start)
		}
		return nil
	})
	slices.Sort(waits[:next])
	c.waits = append(c.waits, waits[next*99/100])
	return got
}
