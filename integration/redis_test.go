package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// redisModule is the storage module that Caddy is given for a Redis.
const redisModule = "github.com/pberkel/caddy-storage-redis@v1.8.1"

// redisCaddy is a Caddy with that module. It is built when the first test wants
// it: most do not.
var redisCaddy = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(filepath.Dir(caddyBinary), "redis-"+filepath.Base(caddyBinary))
	return path, buildCaddy(path, "--with", redisModule)
})

// redis is a Redis of a test's own.
type redis struct {
	host, port string

	t      testing.TB
	dir    string
	args   []string
	server *exec.Cmd // nil if it is an embedded one
	output *logs
}

const redisServer = "redis-server"

// startRedis starts a Redis: the real one, or where that is not installed one
// that is much like it.
func startRedis(t testing.TB) *redis {
	t.Helper()
	if _, err := exec.LookPath(redisServer); err == nil {
		return startRealRedis(t)
	}
	embedded := miniredis.RunT(t)
	clock, stopped, ended := time.NewTicker(100*time.Millisecond), make(chan struct{}), make(chan struct{})
	go func() { // locks end there when the clock says so, and it has none
		defer close(ended)
		for {
			select {
			case <-clock.C:
				embedded.FastForward(100 * time.Millisecond)
			case <-stopped:
				return
			}
		}
	}()
	t.Cleanup(func() {
		clock.Stop()
		close(stopped)
		<-ended
	})
	return &redis{t: t, host: embedded.Host(), port: embedded.Port()}
}

// startRealRedis is startRedis for tests that do to it what only the real one
// suffers. It takes further options of redis-server.
func startRealRedis(t testing.TB, args ...string) *redis {
	t.Helper()
	if _, err := exec.LookPath(redisServer); err != nil {
		t.Skip(redisServer + " is not installed")
	}
	r := &redis{t: t, dir: t.TempDir(), args: args}
	r.host, r.port, _ = net.SplitHostPort(freeAddr(t))
	r.start()
	t.Cleanup(func() {
		if r.server != nil {
			r.kill()
		}
		if t.Failed() {
			t.Logf("Redis said:\n%s", r.output)
		}
	})
	return r
}

// start starts it, or starts it again where it was.
func (r *redis) start() {
	r.t.Helper()
	r.output = newLogs()
	r.server = exec.Command(redisServer, append([]string{
		"--bind", r.host, "--port", r.port, "--dir", r.dir, "--save", "", "--daemonize", "no",
	}, r.args...)...)
	r.server.Stdout, r.server.Stderr = r.output, r.output
	if err := r.server.Start(); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "Redis to start", func() bool {
		answer, err := r.try("PING")
		return err == nil && answer == "PONG"
	})
}

// kill ends it without a warning.
func (r *redis) kill() {
	r.t.Helper()
	if err := r.server.Process.Kill(); err != nil {
		r.t.Error(err)
	}
	_ = r.server.Wait()
	r.server = nil
}

// do sends a command and returns the answer: nil, a string, an int64, or a list
// of these.
func (r *redis) do(t testing.TB, command ...string) any {
	t.Helper()
	answer, err := r.try(command...)
	if err != nil {
		t.Fatalf("%.200q: %v", command, err)
	}
	return answer
}

// try is do for a Redis that may not answer.
func (r *redis) try(command ...string) (any, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(r.host, r.port), patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return nil, err
	}
	return readRESP(bufio.NewReader(conn))
}

// readRESP reads a value of Redis's protocol.
func readRESP(from *bufio.Reader) (any, error) {
	line, err := from.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line of Redis")
	}
	kind, text := line[0], line[1:]
	if kind == '+' {
		return text, nil
	}
	if kind == '-' {
		return nil, errors.New(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		value := make([]byte, n+2)
		_, err := io.ReadFull(from, value)
		return string(value[:n]), err
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = readRESP(from); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("%q is not of Redis's protocol", line)
}

// keys returns the keys of the storage's values that begin with prefix. What
// the module keeps beside them, to list them, is left out.
func (r *redis) keys(t testing.TB, prefix string) []string {
	t.Helper()
	var keys []string
	cursor := "0"
	for range 10_000 {
		page := r.do(t, "SCAN", cursor, "MATCH", prefix+"*", "COUNT", "1000", "TYPE", "string").([]any)
		for _, key := range page[1].([]any) {
			keys = append(keys, key.(string))
		}
		if cursor = page[0].(string); cursor == "0" {
			return keys
		}
	}
	t.Fatal("Redis has keys without end")
	return nil
}

// wrapped is how the module keeps a value.
type wrapped struct {
	Value       []byte    `json:"value"`
	Modified    time.Time `json:"modified"`
	Size        int64     `json:"size"`
	Compression int       `json:"compression"`
	Encryption  int       `json:"encryption"`
}

// load returns a value that the module has stored, or false if there is none.
func (r *redis) load(t testing.TB, key string) (value []byte, ok bool) {
	t.Helper()
	text, ok := r.do(t, "GET", key).(string)
	if !ok {
		return nil, false
	}
	var w wrapped
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return w.Value, true
}

// store changes a value as the module would.
func (r *redis) store(t testing.TB, key string, value []byte) {
	t.Helper()
	text, err := json.Marshal(wrapped{Value: value, Modified: time.Now(), Size: int64(len(value))})
	if err != nil {
		t.Fatal(err)
	}
	r.do(t, "SET", key, string(text))
}
