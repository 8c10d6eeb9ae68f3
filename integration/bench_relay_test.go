//go:build linux

package integration

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkRelay has apps call send_group_msg of a bot over WebSocket, each with
// some calls under way. Each message is written by itself, as libraries do it,
// except in bursts, where everything goes by one write that can: then reading
// and writing costs next to nothing, and the rest shows.
func BenchmarkRelay(b *testing.B) {
	for name, load := range map[string]struct {
		size, window, calls int
		bursts              bool
		least               float64
	}{
		"size-200":        {200, 32, 60_000, false, 0.9},
		"size-64KiB":      {64 * kib, 4, 6_000, false, 0.9},
		"size-200/bursts": {200, 32, 200_000, true, 0},
	} {
		b.Run(name, func(b *testing.B) {
			const connections = 8
			r := newReport(b, fmt.Sprintf("%s: %d calls over %d WebSockets, %d under way on each", name, load.calls, connections, load.window))
			apart := separate(b)
			bot := listenBench(b, func(conn *benchConn) error { return answerCalls(conn, load.size, load.bursts) })
			contend := func(name, config string) contender {
				var caddy *instance
				apart(func() { caddy = startCaddy(b, "http://<SITE> {\n"+config+" reverse_proxy "+bot+"\n}") })
				conns := dialBench(b, caddy.addr, connections)
				for _, conn := range conns {
					if err := conn.upgrade(caddy.addr); err != nil {
						b.Fatal(err)
					}
				}
				return contender{name, func(int) cost {
					return together(b, caddy.pid, conns, func(conn *benchConn) error {
						return conn.makeCalls(load.size, load.window, load.calls/connections, load.bursts)
					})
				}}
			}
			got := compare(64*mib, contend(inFront, "onebot_meta {\n pass_thru\n}\n"), contend(alone, ""))
			r.costs(got, inFront, alone)
			r.rate(got, inFront, alone, load.calls, "calls", load.least)
			r.ratio(got, inFront, alone, "CPU", cpu, 0)
		})
	}
}

// BenchmarkIdleRelays holds 1,000 connections that nothing passes on.
func BenchmarkIdleRelays(b *testing.B) {
	const size = 200
	r := newReport(b, "1,000 idle WebSockets")
	bot := listenBench(b, func(conn *benchConn) error { return answerCalls(conn, size, false) })
	rss, heap := make(map[string]float64), make(map[string]float64)
	for name, config := range map[string]string{inFront: "onebot_meta {\n pass_thru\n}\n", alone: ""} {
		caddy := startCaddy(b, "http://<SITE> {\n"+config+" reverse_proxy "+bot+"\n}")
		open := func(n int) {
			for _, conn := range dialBench(b, caddy.addr, n) {
				if err := conn.upgrade(caddy.addr); err != nil {
					b.Fatal(err)
				}
				if err := conn.makeCalls(size, 1, 10, false); err != nil {
					b.Fatal(err)
				}
			}
		}
		open(16) // whatever is made once is there then
		used := inUseOf(b, caddy)
		before := memory(b, caddy.pid, "VmRSS")
		open(many)
		rss[name] = float64(memory(b, caddy.pid, "VmRSS")-before) / many / kib
		heap[name] = float64(inUseOf(b, caddy)-used) / many / kib
		r.line("KiB a connection "+name, fmt.Sprintf("%.1f", rss[name]), fmt.Sprintf("%.1f in use after a collection", heap[name]))
	}
	r.target("KiB a connection above reverse_proxy alone", rss[inFront]-rss[alone], 64)
	r.target("KiB of it in use after a collection", heap[inFront]-heap[alone], 64)
	b.ReportMetric(rss[inFront]-rss[alone], "KiB/connection")
}

var inUseEntries = regexp.MustCompile(`# (?:HeapInuse|Stack) = (\d+)`)

// inUseOf returns the bytes of heap and stacks that a process uses after a
// garbage collection.
func inUseOf(b *testing.B, caddy *instance) (sum int64) {
	b.Helper()
	resp, err := http.Get("http://" + caddy.admin + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	found := inUseEntries.FindAllSubmatch(text, -1)
	if len(found) != 2 {
		b.Fatalf("the profile has %q", found)
	}
	for _, entry := range found {
		n, err := strconv.ParseInt(string(entry[1]), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum
}

// upgrade asks for a WebSocket.
func (c *benchConn) upgrade(host string) error {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the handshake is answered %s", resp.Status)
	}
	return err
}

// echoed is where the digits of the echo stand, from the end of a message.
const echoed = len(`00000000"}`)

// padded returns a message of some size that ends with an echo.
func padded(size int, before, after string) string {
	after += `,"echo":"00000000"}`
	return before + strings.Repeat("x", size-len(before)-len(after)) + after
}

// makeCalls makes calls, a number of which are under way all the time, and
// checks that each is answered in its turn.
func (c *benchConn) makeCalls(size, window, calls int, bursts bool) error {
	frame := piece{wholeText, padded(size, `{"action":"send_group_msg","params":{"group_id":10001,"message":"`, `"}`)}.encode(true)
	answer := len(piece{wholeText, strings.Repeat("x", size)}.encode(false))
	at := len(frame) - echoed
	var batch []byte
	write := func(from, n int) error {
		batch = batch[:0]
		for i := from; i < from+n; i++ {
			batch = append(batch, frame...)
			digits := batch[len(batch)-len(frame)+at:][:8]
			for d, rest := 7, i; d >= 0; d, rest = d-1, rest/10 {
				digits[d] = byte('0'+rest%10) ^ maskKey[(size-echoed+d)%4]
			}
			if !bursts || i == from+n-1 {
				if _, err := c.Write(batch); err != nil {
					return err
				}
				batch = batch[:0]
			}
		}
		return nil
	}
	sent, received := min(window, calls), 0
	if err := write(0, sent); err != nil {
		return err
	}
	for received < calls {
		n := 0
		for n == 0 || bursts && c.r.Buffered() >= answer {
			if err := c.expect(answer, received+n); err != nil {
				return err
			}
			n++
		}
		received += n
		more := min(calls-sent, n)
		if more > 0 {
			if err := write(sent, more); err != nil {
				return err
			}
		}
		sent += more
	}
	return nil
}

// expect reads an answer of some size, frame and all.
func (c *benchConn) expect(size, echo int) error {
	if _, err := c.r.Discard(size - echoed); err != nil {
		return err
	}
	end, err := c.r.Peek(echoed)
	if err != nil {
		return err
	}
	if got, err := strconv.Atoi(string(end[:8])); err != nil || got != echo || string(end[8:]) != `"}` {
		return fmt.Errorf("an answer ends with %q, want %d", end, echo)
	}
	_, err = c.r.Discard(echoed)
	return err
}

// answerCalls is the bot: it answers calls of one size.
func answerCalls(conn *benchConn, size int, bursts bool) error {
	r, err := http.ReadRequest(conn.r)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, switching(r)); err != nil {
		return err
	}
	answer := piece{wholeText, padded(size, `{"status":"ok","retcode":0,"data":{"message_id":1,"more":"`, `"}`)}.encode(false)
	call := len(header(wholeText, true, uint64(size))) + size
	var batch []byte
	for {
		batch = batch[:0]
		for len(batch) == 0 || bursts && conn.r.Buffered() >= call {
			head, err := conn.r.Peek(call - size)
			if err != nil {
				return err
			}
			var key [4]byte
			copy(key[:], head[len(head)-4:])
			if _, err := conn.r.Discard(call - echoed); err != nil {
				return err
			}
			end, err := conn.r.Peek(echoed)
			if err != nil {
				return err
			}
			batch = append(batch, answer...)
			digits := batch[len(batch)-echoed:][:8]
			for d := range digits {
				digits[d] = end[d] ^ key[(size-echoed+d)%4]
			}
			if _, err := conn.r.Discard(echoed); err != nil {
				return err
			}
		}
		if _, err := conn.Write(batch); err != nil {
			return err
		}
	}
}
