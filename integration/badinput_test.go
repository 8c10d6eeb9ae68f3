package integration

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestABodyThatDoesNotParseIs400(t *testing.T) {
	c := startBot(t, "")
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, body := range map[string]string{
		"an open object":             "{",
		"an array":                   `[]`,
		"an array of an object":      `[{"action":"get_status"}]`,
		"a string":                   `"get_status"`,
		"a number":                   `5`,
		"true":                       `true`,
		"half a null":                `nul`,
		"no JSON":                    `get_status`,
		"a form":                     `a=b`,
		"two objects":                `{}{}`,
		"something after the object": `{"a":1}x`,
		"a trailing comma":           `{"a":1,}`,
		"single quotes":              `{'a':1}`,
		"a bare name":                `{a:1}`,
		"a comment":                  "{} // nothing",
		"an odd number":              `{"a":01}`,
		"a bad escape":               `{"a":"\x"}`,
		"a line break in a string":   "{\"a\":\"\n\"}",
		"a zero byte":                "\x00",
		"invalid UTF-8":              "{\"a\":\"\xff\xfe\"}",
		"half a character":           "{\"a\":\"\xe4\xbd\"}",
		"a surrogate in UTF-8":       "{\"a\":\"\xed\xa0\x80\"}",
		"arrays 100,000 deep":        `{"a":` + deep(100_000) + `}`,
		"an echo 100,000 deep":       `{"echo":` + deep(100_000) + `}`,
		"params 100,000 deep":        `{"action":"get_status","params":{"a":` + deep(100_000) + `}}`,
		"objects 100,000 deep":       strings.Repeat(`{"a":`, 100_000) + "{}" + strings.Repeat("}", 100_000),
		"open arrays 1,000,000 deep": `{"a":` + strings.Repeat("[", 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			c.post(t, "/get_status", body).wantRefused(t, 400)
			c.call(t, "POST", "/get_status_async", body).wantRefused(t, 400)
			c.post(t, "/", body).wantRefused(t, 400)
		})
	}
	for _, inner := range []string{`[]`, `[1]`, `"x"`, `5`, `true`} {
		t.Run("params that are "+inner, func(t *testing.T) {
			c.post(t, "/", `{"action":"get_status","params":`+inner+`}`).wantRefused(t, 400)
		})
	}
	for _, form := range []string{"a=%zz", "a=%", "%=a", "a=1&b=%e"} {
		t.Run("a form with "+form, func(t *testing.T) {
			c.call(t, "POST", "/get_status", form, "Content-Type", "application/x-www-form-urlencoded").wantRefused(t, 400)
		})
	}
}

func TestStrangeInputGetsAProperAnswer(t *testing.T) {
	c := startBot(t, "")
	t.Run("of a name that occurs twice one value counts", func(t *testing.T) {
		r := c.post(t, "/download_file", `{"base64":"aGVsbG8=","name":"a.one","name":"a.two"}`)
		if ext := filepath.Ext(r.file(t)); ext != ".one" && ext != ".two" {
			t.Errorf("extension is %s", ext)
		}
	})
	t.Run("bytes outside of JSON that are not UTF-8", func(t *testing.T) {
		// to take or to refuse them is both fine; that the answer is UTF-8 is
		// seen to for every answer
		for _, r := range []reply{
			c.call(t, "GET", "/get_status?echo=%ff%fe", ""),
			c.call(t, "POST", "/get_status", "echo=%ff%fe", "Content-Type", "application/x-www-form-urlencoded"),
		} {
			if r.http != 200 && r.http != 400 {
				t.Errorf("got %d %s", r.http, r.body)
			}
		}
		c.call(t, "GET", "/%ff%fe", "").wantRefused(t, 404)
		c.call(t, "GET", "/get_status?a=%00", "").wantOK(t)
	})
	for name, action := range map[string]string{
		"long":              strings.Repeat("a", 10_000),
		"long of suffixes":  strings.Repeat("_async", 2_000),
		"long of slashes":   strings.Repeat("a/", 5_000),
		"long and no ASCII": strings.Repeat("é", 2_000),
	} {
		t.Run("an action's name that is "+name, func(t *testing.T) {
			for _, r := range []reply{
				c.call(t, "GET", "/"+action, "").wantRefused(t, 404),
				c.post(t, "/", params{"action": action}.String()).wantRefused(t, 404),
			} {
				if len(r.body) > 2000 {
					t.Errorf("the answer repeats %d bytes", len(r.body))
				}
			}
		})
	}
	t.Run("an action's name of 10 MB", func(t *testing.T) {
		c.post(t, "/", params{"action": strings.Repeat("a", 10<<20)}.String()).wantRefused(t, 404)
	})
	t.Run("100,000 parameters", func(t *testing.T) {
		p := make(params)
		for i := range 100_000 {
			p[strconv.Itoa(i)] = i
		}
		c.post(t, "/get_status", p.String()).wantOK(t)
	})
}

// raw sends bytes to Caddy that no client of HTTP would send, and reads the
// answer meanwhile.
func (c *instance) raw(t testing.TB, send func(conn *net.TCPConn)) reply {
	t.Helper()
	conn, err := dialLoopback(t.Context(), "tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(conn.(*net.TCPConn))
	}()
	defer func() {
		_ = conn.Close()
		<-sent
	}()
	r, err := readReply(conn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestABodyThatBreaksOffIs400(t *testing.T) {
	c := startBot(t, "")
	head := "POST /get_status HTTP/1.1\r\nHost: " + c.addr + "\r\nContent-Type: application/json\r\n"
	for name, request := range map[string]string{
		"half of the promised length": head + "Content-Length: 4\r\n\r\n{}",
		"none of the promised length": head + "Content-Length: 4\r\n\r\n",
		"half a chunk":                head + "Transfer-Encoding: chunked\r\n\r\n4\r\n{}",
		"no last chunk":               head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"no chunk at all":             head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c.raw(t, func(conn *net.TCPConn) {
				_, _ = io.WriteString(conn, request)
				_ = conn.CloseWrite()
			}).wantRefused(t, 400)
		})
	}
	c.post(t, "/get_status", "{}").wantOK(t)
}

func TestABodyOf100MBIsRefusedWithoutHoldingIt(t *testing.T) {
	c := startBot(t, "")
	c.post(t, "/get_status", "{}").wantOK(t)
	before := peakMemory(t, c.pid)
	megabyte := bytes.Repeat([]byte{'x'}, 1<<20)
	head := "POST /get_status HTTP/1.1\r\nHost: " + c.addr + "\r\nContent-Type: application/json\r\n"

	t.Run("of known length", func(t *testing.T) {
		c.raw(t, func(conn *net.TCPConn) {
			_, err := fmt.Fprintf(conn, head+"Content-Length: %d\r\n\r\n", 100<<20)
			for i := 0; i < 100 && err == nil; i++ {
				_, err = conn.Write(megabyte)
			}
		}).wantRefused(t, 413)
	})
	t.Run("of unknown length", func(t *testing.T) {
		c.raw(t, func(conn *net.TCPConn) {
			_, err := io.WriteString(conn, head+"Transfer-Encoding: chunked\r\n\r\n")
			for i := 0; i < 100 && err == nil; i++ {
				_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(megabyte), megabyte)
			}
			_, _ = io.WriteString(conn, "0\r\n\r\n")
		}).wantRefused(t, 413)
	})
	c.post(t, "/get_status", "{}").wantOK(t)
	// the race detector multiplies what is held
	if grown := peakMemory(t, c.pid) - before; grown >= 100<<20 && !raceEnabled {
		t.Errorf("Caddy grew by %d bytes", grown)
	}
}

var highWater = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// peakMemory returns the most memory that a process ever held, in bytes, where
// the system tells; elsewhere always the same.
func peakMemory(t testing.TB, pid int) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := highWater.FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmHWM in %s", text)
	}
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
