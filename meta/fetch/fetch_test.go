package fetch

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient returns a client with limits that no test reaches unless change
// lowers them.
func newClient(t testing.TB, change func(*Options)) *Client {
	t.Helper()
	return newClientOf(t, diskcache.New(t.TempDir(), "cache", diskcache.Options{Mode: 0o600}), change)
}

// newClientOf is newClient with a cache of its own.
func newClientOf(t testing.TB, cache *diskcache.Cache, change func(*Options)) *Client {
	t.Helper()
	opts := Options{
		MaxSize:       1 << 20,
		Timeout:       time.Minute,
		StallTimeout:  time.Minute,
		MaxConcurrent: 4,
		MaxRedirects:  3,
		Dial:          new(net.Dialer).DialContext,
		UserAgent:     "test",
	}
	if change != nil {
		change(&opts)
	}
	c := New(cache, NewFlights(), opts)
	c.backoff = time.Millisecond
	t.Cleanup(func() {
		c.flights.Close()
		c.Close()
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// serve starts an origin and returns its URL.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func fetch(t *testing.T, c *Client, rawURL string, headers ...string) (Result, error) {
	t.Helper()
	u, err := ParseURL(rawURL)
	if err != nil {
		return Result{}, err
	}
	header, err := ParseHeaders(headers)
	if err != nil {
		return Result{}, err
	}
	return c.Fetch(t.Context(), Request{URL: u, Header: header}, ignore)
}

// ignore takes no notice of how a download ends.
func ignore(Result, error) {}

func TestAFileIsStoredAsItWasSent(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	for name, handler := range map[string]http.HandlerFunc{
		"with a length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Write(content)
		},
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			w.Write(content[:1000])
			w.(http.Flusher).Flush()
			w.Write(content[1000:])
		},
		"until the connection ends": func(w http.ResponseWriter, _ *http.Request) {
			conn := hijack(w)
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s", content)
		},
		"compressed without being asked": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, nil)
			result, err := fetch(t, c, serve(t, handler))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(result.Path)
			if err != nil || !bytes.Equal(got, content) || result.Size != int64(len(content)) {
				t.Errorf("stored %d bytes, said %d, want %d: %v", len(got), result.Size, len(content), err)
			}
		})
	}
}

func TestFurtherDownloadsWaitTheirTurn(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	})
	c := newClient(t, func(o *Options) { o.MaxConcurrent = 2 })
	var downloads sync.WaitGroup
	for i := range 3 {
		downloads.Go(func() {
			if _, err := fetch(t, c, fmt.Sprint(url, "/", i)); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	<-arrived
	if c.slots.TryAcquire(1) {
		t.Error("a slot is left with two downloads running")
	}
	release <- struct{}{} // the third takes its place
	<-arrived
	close(release)
	downloads.Wait()
	if !c.slots.TryAcquire(2) {
		t.Error("a slot was lost")
	}
}

func TestKeepStoresBase64(t *testing.T) {
	c := newClient(t, nil)
	for content, want := range map[string]string{
		"aGVsbG8=": "hello", "aGVsbG8": "hello", "base64://aGVsbG8=": "hello", "aGVs\r\nbG8=\r\n": "hello",
		"+/+/": "\xfb\xff\xbf", "-_-_": "\xfb\xff\xbf",
	} {
		result, err := c.Keep(content, "a.bin")
		if err != nil {
			t.Errorf("%q: %v", content, err)
			continue
		}
		if got, err := os.ReadFile(result.Path); err != nil || string(got) != want {
			t.Errorf("%q: stored %q, %v", content, got, err)
		}
	}
}

func TestKeepRefusesWhatIsNotBase64OrTooLarge(t *testing.T) {
	c := newClient(t, func(o *Options) { o.MaxSize = 5 })
	for _, content := range []string{"*", "aGVs bG8=", "aGVsbG8=aGVsbG8=", "a", "中文"} {
		_, err := c.Keep(content, "")
		checkFailure(t, err, Error{Kind: BadContent})
	}
	_, err := c.Keep("aGVsbG8h", "")
	checkFailure(t, err, Error{Kind: TooLarge, Detail: "5 B"})
	checkNothingLeft(t, c)
}

func TestTheLargestLimitIsNone(t *testing.T) {
	c := newClient(t, func(o *Options) { o.MaxSize = math.MaxInt64 })
	result, err := fetch(t, c, serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	if err != nil || result.Size != 5 {
		t.Errorf("stored %d bytes: %v", result.Size, err)
	}
}

// hijack takes over the connection of a request.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn
}
