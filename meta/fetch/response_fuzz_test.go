package fetch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
)

// said is what net/http reads of an answer.
type said struct {
	status int
	header http.Header
	body   []byte
	whole  bool
}

func readAnswer(script []byte) (s said) {
	r := bufio.NewReader(bytes.NewReader(script))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return said{}
		}
		if resp.StatusCode >= 100 && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		s.status, s.header = resp.StatusCode, resp.Header
		s.body, err = io.ReadAll(resp.Body)
		s.whole = err == nil
		return s
	}
}

// full reports whether content is all of a success.
func (s said) full(content []byte) bool {
	return s.status >= 200 && s.status <= 299 && s.status != http.StatusPartialContent && s.whole && bytes.Equal(content, s.body)
}

// continues reports whether content is what came of s before it broke, and then
// what next says is the rest of the same.
func (s said) continues(next said, content []byte) bool {
	have := len(content) - len(next.body)
	start, total, ok := parseContentRange(next.header.Get("Content-Range"))
	return ok && !s.whole && next.whole && next.status == http.StatusPartialContent && have > 0 && start == int64(have) && total == int64(len(content)) &&
		bytes.Equal(content, append(s.body[:min(have, len(s.body)):have], next.body...)) &&
		s.header.Get("Etag") != "" && s.header.Get("Etag") == next.header.Get("Etag")
}

// FuzzResponse has an origin answer the first request with some bytes and any
// later one with others, for a download that is tried twice and follows a
// redirect. What is stored is one whole answer, or two that belong together.
func FuzzResponse(f *testing.F) {
	const ok, tag = "HTTP/1.1 200 OK\r\n", "ETag: \"a\"\r\n"
	for _, seed := range [][2]string{
		{ok + "Content-Length: 5\r\nCache-Control: max-age=60\r\nContent-Disposition: attachment; filename=\"a.png\"\r\n\r\nhello", ""},
		{ok + "Transfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "x"},
		{"HTTP/1.0 200 OK\r\n\r\nuntil the end", ok + "\r\n"},
		{"HTTP/1.1 302 Found\r\nLocation: /b?c#d\r\nContent-Length: 0\r\n\r\n", ok + "Content-Length: 1\r\n\r\nb"},
		{"HTTP/1.1 301 Moved\r\nLocation: https://u:p@other.example:1/\r\n\r\n", ok},
		{ok + tag + "Content-Length: 10\r\n\r\nhello", "HTTP/1.1 206 Partial\r\n" + tag + "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nworld"},
		{ok + tag + "Content-Length: 10\r\n\r\nhello", "HTTP/1.1 206 Partial\r\nETag: \"b\"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nworld"},
		{ok + tag + "Content-Length: 10\r\n\r\nhello", ok + tag + "Content-Length: 5\r\n\r\nwhole"},
		{"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n"},
		{"HTTP/1.1 204 None\r\n\r\n", ""}, {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", ""}, {"no HTTP", ""},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, first, later []byte) {
		synctest.Test(t, func(t *testing.T) {
			script := first
			c := newClient(t, func(o *Options) {
				o.Retries, o.MaxRedirects = 1, 1
				o.Dial = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go answer(theirs, script)
					script = later
					return ours, nil
				}
			})
			result, err := fetch(t, c, "http://origin.example/")
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || e.Kind == Panicked || result != (Result{Tries: result.Tries}) {
					t.Errorf("got %+v, %v", result, err)
				}
				return
			}
			content, err := os.ReadFile(result.Path)
			if err != nil || int64(len(content)) != result.Size || !goodExtension.MatchString(extensionOf(result)) {
				t.Fatalf("got %+v, %v", result, err)
			}
			one, two := readAnswer(first), readAnswer(later)
			if !one.full(content) && !two.full(content) && !one.continues(two, content) {
				t.Errorf("stored %q of %q and %q", content, first, later)
			}
			again, err := fetch(t, c, "http://origin.example/")
			if err == nil && again.Path == result.Path && again.Source == Fetched {
				t.Errorf("fetched to the same path")
			}
			if now, err := os.ReadFile(result.Path); err != nil || !bytes.Equal(now, content) {
				t.Errorf("it became %q, %v", now, err)
			}
		})
	})
}

func extensionOf(r Result) string {
	_, ext, _ := strings.Cut(r.Name, ".")
	return ext
}

// answer answers the first request of a connection with a script.
func answer(conn net.Conn, script []byte) {
	defer conn.Close()
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = conn.Write(script) // as much as is wanted of it
	}
}

// FuzzKeep compares what is kept of base64 with what a decoder makes of the
// whole.
func FuzzKeep(f *testing.F) {
	for _, seed := range []string{"aGVsbG8=", "base64://aGVsbG8", "a-_b", "a+/b", "aGVs\r\nbG8=\r\n", "a", "aGVsbG8==", "=", "", "a-+b", "YWI=YWI=", "YR"} {
		f.Add(seed, "a.png")
	}
	c := newClient(f, nil)
	f.Fuzz(func(t *testing.T, content, name string) {
		plain := strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(strings.TrimPrefix(content, "base64://"))
		want, wantErr := base64.RawStdEncoding.DecodeString(strings.TrimRight(plain, "="))
		if strings.ContainsAny(content, "-_") && strings.ContainsAny(strings.TrimPrefix(content, "base64://"), "+/") {
			wantErr = errors.New("two alphabets")
		}
		result, err := c.Keep(content, name)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); wantErr == nil || !ok || e.Kind != BadContent {
				t.Errorf("%q: got %v, want %q, %v", content, err, want, wantErr)
			}
			return
		}
		got, err := os.ReadFile(result.Path)
		if wantErr != nil || err != nil || !bytes.Equal(got, want) || result.Size != int64(len(want)) || !goodExtension.MatchString(extensionOf(result)) {
			t.Errorf("%q: got %+v, %q, %v; want %q, %v", content, result, got, err, want, wantErr)
		}
		if err := os.Remove(result.Path); err != nil || c.returns(result) { // and so it is forgotten
			t.Errorf("it is still there: %v", err)
		}
	})
}
