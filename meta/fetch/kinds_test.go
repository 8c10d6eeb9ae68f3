package fetch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

func TestAFailedRequestIsOfTheKindThatItsCauseSays(t *testing.T) {
	noHost := &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true}
	for name, tt := range map[string]struct {
		err  error
		want Kind
	}{
		"a name that does not resolve":      {&net.OpError{Op: "dial", Net: "tcp", Err: noHost}, NoSuchHost},
		"the name of a proxy that does not": {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: noHost}, NoProxy},
		"a name that the check cannot find": {noHost, NoSuchHost},
		"nobody listens":                    {&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errors.New("refused"))}, NoConnection},
		"a destination that is not allowed": {&net.OpError{Op: "dial", Net: "tcp", Err: egress.ErrRefused}, Refused},
		"a certificate of another":          {&tls.CertificateVerificationError{}, BadCertificate},
		"an answer that is none":            {errors.New("malformed HTTP response"), RequestFailed},
		"what the proxy said":               {refusedByProxy(407), ProxyRefused},
	} {
		t.Run(name, func(t *testing.T) {
			err := &url.Error{Op: "Get", URL: "http://a/", Err: fmt.Errorf("wrapped: %w", tt.err)}
			if got := failedRequest("a", err); got.Kind != tt.want {
				t.Errorf("got %v, want the kind %d", got, tt.want)
			}
		})
	}
}

func TestContentThatCannotBeStoredIsNotKept(t *testing.T) {
	t.Run("because the directory cannot be made", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "root")
		if err := os.WriteFile(root, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := newClientOf(t, diskcache.New(root, "cache", diskcache.Options{Mode: 0o600}), nil)
		wantKind(t, c, WriteFailed)
	})
	t.Run("because its place is taken", func(t *testing.T) {
		root := t.TempDir()
		c := newClientOf(t, diskcache.New(root, "cache", diskcache.Options{Mode: 0o600}), nil)
		dir := filepath.Join(root, "cache")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "files"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		wantKind(t, c, WriteFailed)
	})
	t.Run("because there is no room for it", func(t *testing.T) {
		wantKind(t, newClientOf(t, diskcache.New(t.TempDir(), "cache", diskcache.Options{Mode: 0o600, MaxSize: 3}), nil), CacheTooSmall)
	})
}

// wantKind checks of what kind the failure to keep some content is.
func wantKind(t *testing.T, c *Client, want Kind) {
	t.Helper()
	got, err := c.Keep("aGVsbG8=", "")
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != want || got != (Result{}) {
		t.Errorf("got %+v, %v, want the kind %d", got, err, want)
	}
}

// What nobody has waited for is left for a while, and no more of it than may be
// under way.
func TestWhatWasLeftIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlights()
		defer f.Close()
		left := func(n int) route { return route{maxSize: int64(n)} }
		leave := func(n int) { f.land(left(n), &flight{done: make(chan struct{}), result: Result{Size: int64(n)}}) }
		leave(0)
		time.Sleep(diskcache.Keep + time.Nanosecond)
		for n := 1; n < maxFlights; n++ {
			f.landed[left(n)] = landed{Result{Size: int64(n)}, time.Now()}
			time.Sleep(time.Nanosecond)
		}
		leave(maxFlights) // in the room that the one has left that is over
		if n := len(f.landed); n != maxFlights {
			t.Fatalf("%d are left, want %d", n, maxFlights)
		}
		leave(maxFlights + 1)
		for n, want := range map[int]bool{0: false, 1: false, 2: true, maxFlights + 1: true} {
			if got, ok := f.claim(left(n)); ok != want || ok && got.Size != int64(n) {
				t.Errorf("of %d is left: %+v, %t", n, got, ok)
			}
		}
	})
}
