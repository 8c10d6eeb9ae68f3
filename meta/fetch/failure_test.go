package fetch

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

func TestWhatGoesWrongIsToldApartAndLeavesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		change  func(*Options)
		want    Error
		room    int64 // in the cache; 0 is enough
	}{
		"a status of no success": {
			handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusServiceUnavailable) },
			want:    Error{Kind: BadStatus, Detail: "503"},
		},
		"a part that nobody asked for": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); io.WriteString(w, "part") },
			want:    Error{Kind: BadStatus, Detail: "206"},
		},
		"a redirect to nowhere": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) },
			want:    Error{Kind: BadStatus, Detail: "302"},
		},
		"a redirect to another scheme": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "file:///etc/passwd")
				w.WriteHeader(302)
			},
			want: Error{Kind: BadRedirect, Detail: "127.0.0.1"},
		},
		"a redirect to an address in disguise": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://2130706433/")
				w.WriteHeader(302)
			},
			want: Error{Kind: BadRedirect, Detail: "127.0.0.1"},
		},
		"a redirect to what no URL has for a host": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "//::")
				w.WriteHeader(302)
			},
			want: Error{Kind: BadRedirect, Detail: "127.0.0.1"},
		},
		"redirects without end": {
			handler: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
			want:    Error{Kind: TooManyRedirects, Detail: "3"},
		},
		"a length over the limit": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 11)) },
			change:  func(o *Options) { o.MaxSize = 10 },
			want:    Error{Kind: TooLarge, Detail: "10 B"},
		},
		"no length and over the limit": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); w.Write(make([]byte, 11)) },
			change:  func(o *Options) { o.MaxSize = 10 },
			want:    Error{Kind: TooLarge, Detail: "10 B"},
		},
		"less than the length": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn := hijack(w)
				defer conn.Close()
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
			},
			want: Error{Kind: Incomplete, Detail: "127.0.0.1"},
		},
		"a chunked body cut off": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn := hijack(w)
				defer conn.Close()
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
			},
			want: Error{Kind: Incomplete, Detail: "127.0.0.1"},
		},
		"no HTTP": {
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn := hijack(w)
				defer conn.Close()
				io.WriteString(conn, "SSH-2.0-secret\r\n")
			},
			want: Error{Kind: RequestFailed, Detail: "127.0.0.1"},
		},
		"no answer": {
			handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			change:  func(o *Options) { o.StallTimeout = 20 * time.Millisecond },
			want:    Error{Kind: Stalled, Detail: "20ms"},
		},
		"no end of a redirect": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/")
				w.Header().Set("Content-Length", "4")
				w.WriteHeader(302)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			},
			change: func(o *Options) { o.StallTimeout = 20 * time.Millisecond },
			want:   Error{Kind: Stalled, Detail: "20ms"},
		},
		"no more of the answer": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "part")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			},
			change: func(o *Options) { o.StallTimeout = 20 * time.Millisecond },
			want:   Error{Kind: Stalled, Detail: "20ms"},
		},
		"bytes that never end": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					io.WriteString(w, ".")
					w.(http.Flusher).Flush()
				}
			},
			change: func(o *Options) { o.Timeout = 50 * time.Millisecond; o.MaxSize = 0 },
			want:   Error{Kind: TimedOut, Detail: "50ms"},
		},
		"a length over what the cache takes": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<12)) },
			want:    Error{Kind: CacheTooSmall},
			room:    1 << 10,
		},
		"no length and over what the cache takes": {
			handler: func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); w.Write(make([]byte, 1<<12)) },
			want:    Error{Kind: CacheTooSmall},
			room:    1 << 10,
		},
		"a destination that is refused": {
			handler: func(http.ResponseWriter, *http.Request) { t.Error("a refused origin was asked") },
			change:  func(o *Options) { o.Dial = egress.NewDialer(egress.Allow{}, nil).DialContext },
			want:    Error{Kind: Refused, Detail: "127.0.0.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, tt.change)
			c.cache.Configure(diskcache.Options{Mode: 0o600, MaxSize: tt.room})
			_, err := fetch(t, c, serve(t, tt.handler))
			checkFailure(t, err, tt.want)
			checkNothingLeft(t, c)
			if !c.slots.TryAcquire(4) {
				t.Error("a slot was lost")
			}
		})
	}
}

func TestAnOriginThatIsNotThere(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c := newClient(t, nil)
	_, err = fetch(t, c, "http://"+ln.Addr().String())
	checkFailure(t, err, Error{Kind: NoConnection, Detail: "127.0.0.1"})
}

func TestAnOriginWhoseCertificateIsNotTrusted(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	defer server.Close()
	c := newClient(t, nil)
	_, err := fetch(t, c, server.URL)
	checkFailure(t, err, Error{Kind: BadCertificate, Detail: "127.0.0.1"})
}

func TestADirectoryThatCannotBeWritten(t *testing.T) {
	c := newClient(t, nil)
	if err := os.WriteFile(c.cache.Dir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := fetch(t, c, serve(t, func(http.ResponseWriter, *http.Request) {}))
	checkFailure(t, err, Error{Kind: WriteFailed})
}

func TestTheCauseOfAFailedRenameIsToldInFull(t *testing.T) {
	err := os.Rename(filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"))
	if got := failedWrite(err).Cause(); got != err.Error() {
		t.Errorf("got %q, want %q", got, err)
	}
}

func checkFailure(t *testing.T, err error, want Error) {
	t.Helper()
	got, ok := errors.AsType[*Error](err)
	if !ok || got.Kind != want.Kind || got.Detail != want.Detail {
		t.Errorf("got %v, want kind %d with %q", err, want.Kind, want.Detail)
	}
	if ok && strings.Contains(got.Error(), "secret") {
		t.Errorf("the error tells what the origin sent: %v", err)
	}
}

// checkNothingLeft checks that neither a file nor a part of one is in the
// cache.
func checkNothingLeft(t *testing.T, c *Client) {
	t.Helper()
	for _, pattern := range []string{"files/*/*", "tmp/*/*", "index/*/*"} {
		files, err := filepath.Glob(filepath.Join(c.cache.Dir(), filepath.FromSlash(pattern)))
		if err != nil || len(files) > 0 {
			t.Errorf("left over: %v (%v)", files, err)
		}
	}
}
