//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// socketsOpen are how many WebSockets there are, one of which makes calls.
var socketsOpen = []int{1, 10, 100, 1000, 10_000}

// BenchmarkSockets calls get_status over one WebSocket while others idle.
func BenchmarkSockets(b *testing.B) {
	const calls = 2000
	r := newReport(b, fmt.Sprintf("%d calls of get_status over one WebSocket of many", calls))
	s := &socketCurves{b: b, r: r, most: descriptors(b) - 500}
	apart := separate(b)
	var caddy *instance
	apart(func() { caddy = startBot(b, "") })
	warm(b, caddy)
	s.open(&sockets{name: "get_status", caddy: caddy, call: func(conn *benchConn) error {
		request := piece{wholeText, `{"action":"get_status","echo":"bench"}`}.encode(true)
		for range calls {
			if err := conn.callOver(request); err != nil {
				return err
			}
		}
		return nil
	}})
	s.measure(calls)
}

// BenchmarkRelays calls a bot over one WebSocket while others idle, with
// pass_thru and without.
func BenchmarkRelays(b *testing.B) {
	const calls, size = 2000, 200
	r := newReport(b, fmt.Sprintf("%d calls over one WebSocket of many to a bot behind reverse_proxy", calls))
	// the client's and the bot's end of the connections of both are in this
	// process
	s := &socketCurves{b: b, r: r, most: (descriptors(b) - 500) / 4}
	apart := separate(b)
	for _, c := range []struct{ name, config string }{{inFront, "onebot_meta {\n pass_thru\n}\n"}, {alone, ""}} {
		bot := listenBench(b, func(conn *benchConn) error {
			conn.r = bufio.NewReaderSize(conn, kib) // as there are many
			return answerCalls(conn, size, false)
		})
		var caddy *instance
		apart(func() { caddy = startCaddy(b, "http://<SITE> {\n"+c.config+" reverse_proxy "+bot+"\n}") })
		warm(b, caddy)
		s.open(&sockets{name: c.name, caddy: caddy, call: func(conn *benchConn) error {
			return conn.makeCalls(size, 1, calls, false)
		}})
	}
	s.measure(calls)
}

// warm opens and closes a WebSocket, so that whatever is made once is there.
func warm(b *testing.B, caddy *instance) {
	b.Helper()
	s := &sockets{caddy: caddy}
	s.grow(b, 16)
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// sockets are WebSockets of one Caddy, of which the first makes calls.
type sockets struct {
	name  string
	caddy *instance
	call  func(*benchConn) error
	conns []*benchConn

	rss, used int64 // of memory, before there was any
}

// socketCurves are how what a call and a connection cost grows.
type socketCurves struct {
	b    *testing.B
	r    *report
	most int // WebSockets of each, as far as there are descriptors
	all  []*sockets
}

func (s *socketCurves) open(one *sockets) {
	one.rss, one.used = memory(s.b, one.caddy.pid, "VmRSS"), inUseOf(s.b, one.caddy)
	s.all = append(s.all, one)
}

// measure makes calls with more and more connections open.
func (s *socketCurves) measure(calls int) {
	s.b.Helper()
	cpus := s.r.curve("CPU time of a call over one of many WebSockets", "WebSockets", "µs a call")
	rss := s.r.curve("Memory of WebSockets, resident", "WebSockets", "KiB each")
	used := s.r.curve("Memory of WebSockets, heap and stacks in use after a collection", "WebSockets", "KiB each")
	for _, n := range socketsOpen {
		if n > s.most {
			n = s.most / 1000 * 1000
			s.r.line("the limit of descriptors allows no more WebSockets than", strconv.Itoa(n))
			if n <= len(s.all[0].conns) {
				break
			}
		}
		contenders := make([]contender, 0, len(s.all))
		for _, one := range s.all {
			one.grow(s.b, n)
			contenders = append(contenders, contender{one.name, func(int) cost {
				return together(s.b, one.caddy.pid, one.conns[:1], one.call)
			}})
		}
		got := compare(mib, contenders...)
		for _, one := range s.all {
			cpus.costs(one.name, float64(n), got[one.name], cpu, calls)
			if n < 100 {
				continue // it is lost in what a process has anyway
			}
			each := float64(memory(s.b, one.caddy.pid, "VmRSS")-one.rss) / float64(n) / kib
			rss.point(one.name, float64(n), each, each, each)
			each = float64(inUseOf(s.b, one.caddy)-one.used) / float64(n) / kib
			used.point(one.name, float64(n), each, each, each)
		}
	}
}

// grow opens WebSockets until there are n.
func (s *sockets) grow(b *testing.B, n int) {
	b.Helper()
	for len(s.conns) < n {
		conn, err := net.Dial("tcp", s.caddy.addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * patience))
		one := &benchConn{conn, bufio.NewReaderSize(conn, kib)}
		if err := one.upgrade(s.caddy.addr); err != nil {
			b.Fatal(err)
		}
		s.conns = append(s.conns, one)
	}
}

// callOver makes a call and reads what comes until it is answered.
func (c *benchConn) callOver(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for {
		head, err := c.r.Peek(2)
		if err != nil {
			return err
		}
		size, long := int(head[1]), head[1] == 126
		if long {
			if head, err = c.r.Peek(4); err != nil {
				return err
			}
			size = int(binary.BigEndian.Uint16(head[2:]))
		}
		if len(head)+size > c.r.Size() || !long && size > 126 {
			return fmt.Errorf("a frame begins with %x", head)
		}
		frame, err := c.r.Peek(len(head) + size)
		if err != nil {
			return err
		}
		answer := bytes.Contains(frame, []byte(`"echo":"bench"`))
		if answer && !bytes.Contains(frame, []byte(`"status":"ok","retcode":0`)) {
			return fmt.Errorf("the answer is %q", frame)
		}
		if _, err := c.r.Discard(len(frame)); err != nil {
			return err
		}
		if answer {
			return nil // the rest were events
		}
	}
}

// descriptors returns how many this process may have, and a Caddy that it starts
// from now on. That is as many as are needed, or as many as it can get.
func descriptors(b *testing.B) int {
	b.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	const wanted = 50_000
	if limit.Max < wanted { // which only the superuser may raise
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: wanted, Max: wanted})
	} else if limit.Cur < wanted {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: wanted, Max: limit.Max})
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	return int(min(limit.Cur, math.MaxInt32))
}
