//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// How reverse_proxy with pass_thru in front of it compares to reverse_proxy
// alone. Both run on one core, and clients and bot on another one.
const inFront, alone = "with pass_thru", "reverse_proxy alone"

// BenchmarkPassThru calls send_private_msg of a bot over HTTP.
func BenchmarkPassThru(b *testing.B) {
	const requests, connections = 8_000, 16
	r := newReport(b, fmt.Sprintf("%d small calls over HTTP, by %d connections", requests, connections))
	apart := separate(b)
	bot := listenBench(b, serveOK)
	request := func(addr string) []byte {
		const call = `{"user_id":10001,"message":"hello there, this is a message of usual length","auto_escape":false}`
		return fmt.Appendf(nil, "POST /send_private_msg HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nUser-Agent: bench\r\nContent-Length: %d\r\n\r\n%s",
			addr, len(call), call)
	}
	contend := func(name, config string) contender {
		var caddy *instance
		apart(func() { caddy = startCaddy(b, "http://<SITE> {\n"+config+" reverse_proxy "+bot+"\n}") })
		conns := dialBench(b, caddy.addr, connections)
		call := request(caddy.addr)
		return contender{name, func(int) cost {
			return together(b, caddy.pid, conns, func(conn *benchConn) error {
				for range requests / connections {
					if _, err := conn.Write(call); err != nil {
						return err
					}
					if err := conn.skipHTTP(); err != nil {
						return err
					}
				}
				return nil
			})
		}}
	}
	got := compare(64*mib, contend(inFront, "onebot_meta {\n pass_thru\n}\n"), contend(alone, ""))
	r.costs(got, inFront, alone)
	r.rate(got, inFront, alone, requests, "requests", 0.9)
	r.ratio(got, inFront, alone, "CPU", cpu, 0)
}

// benchConn is a connection that costs little.
type benchConn struct {
	net.Conn
	r *bufio.Reader
}

// dialBench makes n connections.
func dialBench(b *testing.B, addr string, n int) []*benchConn {
	b.Helper()
	conns := make([]*benchConn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * patience))
		conns[i] = &benchConn{conn, bufio.NewReaderSize(conn, 64*kib)}
	}
	return conns
}

// listenBench serves connections until the benchmark ends.
func listenBench(b *testing.B, serve func(*benchConn) error) (addr string) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = serve(&benchConn{conn, bufio.NewReaderSize(conn, 64*kib)}) // whoever waits for it notices
			}()
		}
	}()
	return listener.Addr().String()
}

// together does something on all connections at once and measures it, with the
// CPU time of one process.
func together[Conn any](b *testing.B, pid int, conns []Conn, do func(Conn) error) cost {
	b.Helper()
	errs := make(chan error, len(conns))
	start, before := time.Now(), cpuTime(b, pid)
	var running sync.WaitGroup
	for _, conn := range conns {
		running.Go(func() {
			if err := do(conn); err != nil {
				errs <- err
			}
		})
	}
	running.Wait()
	c := cost{time.Since(start), cpuTime(b, pid) - before}
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	return c
}

// serveOK answers every request of a connection.
func serveOK(conn *benchConn) error {
	const answer = `{"status":"ok","retcode":0,"data":{"message_id":1234567}}`
	response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	for {
		if err := conn.skipHTTP(); err != nil {
			return err
		}
		if _, err := conn.Write(response); err != nil {
			return err
		}
	}
}

var contentLength, okStatus, aPost = []byte("Content-Length: "), []byte("HTTP/1.1 200 "), []byte("POST /send_private_msg ")

// skipHTTP reads a request or an answer, with no more work than needed.
func (c *benchConn) skipHTTP() error {
	length := 0
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case first && !bytes.HasPrefix(line, okStatus) && !bytes.HasPrefix(line, aPost):
			return errors.New("what came begins with " + string(line))
		case bytes.HasPrefix(line, contentLength):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return err
			}
		case len(line) == 2:
			_, err := c.r.Discard(length)
			return err
		}
	}
}
