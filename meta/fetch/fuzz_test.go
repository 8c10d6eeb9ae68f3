package fetch

import (
	"context"
	"encoding/json"
	"math"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/share"
	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// FuzzRedirect follows a redirect. It leads only to what could have been asked
// for at once, and keeps secrets for their origin.
func FuzzRedirect(f *testing.F) {
	for _, seed := range [][2]string{
		{"http://u:p@a/b?c#d", "/e"}, {"http://a/", "https://a/"}, {"http://a/", "http://a:81/"}, {"https://a/", "http://a:443/"}, {"https://A:443/", "//a/x"}, {"http://a/b/", "../../c"},
		{"http://a/", "ftp://a/"}, {"http://a/", "http:opaque"}, {"http://a/", "http://2130706433/"}, {"http://[::1]/", "http://[::1%25a]:80/"},
		{"http://a/", "http://a:0/"}, {"http://a/", "?q=\x7f"}, {"http://a/", "http://A./"}, {"http://a/%2F", "%2e"},
	} {
		f.Add(seed[0], seed[1])
	}
	c := new(Client)
	f.Fuzz(func(t *testing.T, asked, location string) {
		from, err := ParseURL(asked)
		if err != nil {
			return
		}
		to, err := redirected(from, location)
		if err != nil {
			return
		}
		again, err := ParseURL(to.String())
		if err != nil || c.key(again, nil, "") != c.key(to, nil, "") {
			t.Fatalf("%s leads to %s, which parses as %v, %v", from, to, again, err)
		}
		toOrigin := originOf(to)
		upgraded := from.Scheme == "http" && portOf(from) == "80" && toOrigin == "https://"+strings.ToLower(from.Hostname())+" 443"
		if want := originOf(from) == toOrigin || upgraded; keepsSecrets(from, to) != want {
			t.Errorf("%s to %s keeps secrets: %t", from, to, !want)
		}
		place := Place(to)
		if u, err := url.Parse(place); err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host != to.Host || u.Path != to.Path {
			t.Errorf("%s is shown as %s", to, place)
		}
	})
}

// originOf is the origin of RFC 6454.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + " " + port
}

// FuzzRetryAfter reads how long to wait as one would with numbers of any size.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"0", " 120\t", "-1", "+1", "1.5", "99999999999999999999", "Fri, 02 Jan 2026 15:04:15 GMT", "Friday, 02-Jan-26 15:04:05 GMT", "", "x"} {
		f.Add(seed)
	}
	digits := regexp.MustCompile(`^[0-9]+$`)
	f.Fuzz(func(t *testing.T, value string) {
		got, want := retryAfter(http.Header{"Retry-After": {value}}, received), time.Duration(0)
		value = strings.TrimSpace(value)
		if digits.MatchString(value) {
			n, _ := new(big.Int).SetString(value, 10)
			if limit := big.NewInt(math.MaxInt32); n.Cmp(limit) > 0 {
				n = limit
			}
			want = time.Duration(n.Int64()) * time.Second
		} else if at, err := http.ParseTime(value); err == nil && at.After(received) {
			want = at.Sub(received)
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	})
}

// FuzzDate writes a date as it was read: in one of the forms of HTTP, with
// whatever day of the week it has.
func FuzzDate(f *testing.F) {
	for _, seed := range []string{
		"Fri, 02 Jan 2026 15:04:05 GMT", "Friday, 02-Jan-26 15:04:05 GMT", "Fri Jan  2 15:04:05 2026", "Fri, 02 Jan 2026 15:04:05 CET", "Friday, 02-Jan-26 15:04:05 CET",
		"Fri, 31 Feb 2026 15:04:05 GMT", "fri, 02 JAN 2026 24:04:05 GMT", "Fri, 02 Jan 2026 15:04:60 GMT", "Thu, 01 Jan 0000 00:00:00 GMT", "0", "",
	} {
		f.Add(seed)
	}
	zero := regexp.MustCompile(`^([A-Za-z]{3}) 0`) // of a day that may have a space for it
	f.Fuzz(func(t *testing.T, value string) {
		at, ok := parseDate(value)
		if !ok {
			if _, err := http.ParseTime(value); err == nil && at.Format(http.TimeFormat) == value {
				t.Errorf("%q is a date", value)
			}
			return
		}
		_, said, _ := strings.Cut(value, " ")
		for _, layout := range []string{http.TimeFormat, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
			_, date, _ := strings.Cut(at.Format(layout), " ")
			if strings.EqualFold(date, said) || layout == time.ANSIC && strings.EqualFold(date, zero.ReplaceAllString(said, "$1  ")) {
				return
			}
		}
		t.Errorf("%q is %s", value, at)
	})
}

// FuzzDescribed takes any JSON for what another node says of a file.
func FuzzDescribed(f *testing.F) {
	for _, seed := range []string{
		`{"ext":"png","head":{"q":"2026-01-02T15:04:05Z","r":"2026-01-02T15:04:05Z","h":{"Cache-Control":["max-age=60"],"Etag":["\"a\""]}},"passed":"x"}`,
		`{"ext":"../png"}`, `{"ext":"PNG"}`, `{"ext":"a.b"}`, `{"passed":"x"}`, `{"ext":"bin","head":{"once":true,"c":"00"}}`, `{"ext":"bin","head":{"h":{"Etag":["\n"]}}}`,
		`null`, `[]`, `{"ext":1}`,
	} {
		f.Add([]byte(seed), uint32(0))
	}
	const prefix = "onebot_meta/test"
	storage := sharetest.NewMemory()
	ctx, end := context.WithCancel(context.Background())
	locks := share.NewLocks(ctx, storage, prefix, zap.NewNop())
	copies := share.NewCopies(ctx, storage, prefix, locks, share.Options{MaxObject: 1 << 20, Logger: zap.NewNop()})
	f.Cleanup(func() {
		copies.Close()
		end()
	})
	c := &Client{opts: Options{Peers: &Peers{Locks: locks, Copies: copies}}}
	key := diskcache.Key{1}
	found := func(t *testing.T, meta []byte) (found, bool) {
		copy := share.Copy{ID: "00ff", Sum: strings.Repeat("0", 64), Part: 1, Stored: received, Meta: meta}
		if copies.Amend(ctx, key.String(), copy) != nil {
			return found{}, false // no JSON, or too much
		}
		f := c.look(ctx, key)
		if f.unknown || f.file() && f.version.id != "00ff" {
			t.Fatalf("%q: found %+v", meta, f)
		}
		return f, true
	}
	f.Fuzz(func(t *testing.T, meta []byte, after uint32) {
		f, ok := found(t, meta)
		if !ok {
			return
		}
		if f.file() != (f.ext != "") || f.ext != "" && !goodExtension.MatchString(f.ext) {
			t.Errorf("%q: found %+v", meta, f)
		}
		head := f.head
		checkStored(t, head, http.Header{}, received.Add(time.Duration(after)*time.Second))
		if f.file() && (head.Copy != "00ff" || head.Once && (f.fresh(Request{}) || f.validates())) {
			t.Errorf("%q: found %+v", meta, f)
		}
		again, err := json.Marshal(described{Extension: f.ext, Head: diskcache.Head(head), Passed: f.turn})
		if err != nil {
			t.Fatal(err)
		}
		g, ok := found(t, again)
		if twice, err := json.Marshal(described{Extension: g.ext, Head: diskcache.Head(g.head), Passed: g.turn}); !ok || err != nil || string(twice) != string(again) {
			t.Errorf("%q is %s, which is %s, %v", meta, again, twice, err)
		}
	})
}
