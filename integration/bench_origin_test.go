//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// fastOrigin answers GET /<kind>/<size>/<name> with size bytes, and costs
// little. The kind fresh may be used again without asking; held waits for
// release.
type fastOrigin struct {
	url   string
	asked atomic.Int64 // requests so far
	held  chan struct{}
	block []byte // what every body repeats
}

func newFastOrigin(b *testing.B) *fastOrigin {
	o := &fastOrigin{held: make(chan struct{}), block: make([]byte, mib)}
	x := uint64(1)
	for i := range o.block { // xorshift: nothing that a file system could leave out
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		o.block[i] = byte(x)
	}
	server := httptest.NewServer(o)
	o.url = server.URL
	b.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return o
}

// at returns the URL of a file.
func (o *fastOrigin) at(kind string, size int64, name string) string {
	return fmt.Sprintf("%s/%s/%d/%s.bin", o.url, kind, size, name)
}

func (o *fastOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked.Add(1)
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) != 4 {
		http.NotFound(w, r)
		return
	}
	left, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	switch parts[1] {
	case "fresh":
		w.Header().Set("Cache-Control", "max-age=86400")
	case "held":
		select {
		case <-o.held:
		case <-r.Context().Done():
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", parts[2])
	w.Header().Set("ETag", `"1"`)
	for err == nil && left > 0 {
		var n int
		n, err = w.Write(o.block[:min(left, mib)])
		left -= int64(n)
	}
}

// check fails the benchmark if a file is not what the origin sends.
func (o *fastOrigin) check(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, mib)
	for at := int64(0); at < size; at += mib {
		want := o.block[:min(size-at, mib)]
		if _, err := io.ReadFull(f, got[:len(want)]); err != nil || !bytes.Equal(got[:len(want)], want) {
			b.Fatalf("%s differs from what was sent after %d bytes (%v)", path, at, err)
		}
	}
	if n, err := f.Read(got); n != 0 || err != io.EOF {
		b.Fatalf("%s is longer than what was sent", path)
	}
}

// line is a connection to Caddy that is kept, and costs little.
type line struct {
	conn net.Conn
	r    *bufio.Reader
	host string
}

// dialLines makes n connections.
func dialLines(b *testing.B, addr string, n int) []*line {
	b.Helper()
	lines := make([]*line, n)
	for i := range lines {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * patience))
		lines[i] = &line{conn, bufio.NewReaderSize(conn, 4*kib), addr}
	}
	return lines
}

func (l *line) request(action, body string) []byte {
	return fmt.Appendf(nil, "POST /%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		action, l.host, len(body), body)
}

func (l *line) write(request []byte) error {
	_, err := l.conn.Write(request)
	return err
}

// receive reads the answer to a call, which must have succeeded, and returns
// the file in it if there is one.
func (l *line) receive() (file string, err error) {
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var answer struct {
		Status string
		Data   struct{ File string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "ok" {
		return "", fmt.Errorf("the answer is %d %s (%w)", resp.StatusCode, body, err)
	}
	return answer.Data.File, nil
}

// do makes a call and returns the file in its answer.
func (l *line) do(request []byte) (file string, err error) {
	if err := l.write(request); err != nil {
		return "", err
	}
	return l.receive()
}

// download calls download_file.
func (l *line) download(b *testing.B, url string) (file string) {
	b.Helper()
	file, err := l.do(l.request("download_file", params{"url": url}.String()))
	if err != nil || file == "" {
		b.Fatalf("downloading %s: %v", url, err)
	}
	return file
}

// downloadAll calls download_file for every URL, as many at once as there are
// lines, and returns the files in the same order.
func downloadAll(b *testing.B, lines []*line, urls []string) (files []string) {
	b.Helper()
	files = make([]string, len(urls))
	errs := make(chan error, len(lines))
	var next atomic.Int64
	var running sync.WaitGroup
	for _, l := range lines {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(urls)); i = next.Add(1) - 1 {
				var err error
				if files[i], err = l.do(l.request("download_file", params{"url": urls[i]}.String())); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	running.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	return files
}
