package fetch

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestKeepsSecrets(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"http://a/", "http://a/b", true},
		{"http://a/", "http://A:80/", true},
		{"https://a/", "https://a:443/", true},
		{"http://a/", "https://a/", true},
		{"https://a/", "http://a/", false},
		{"https://a/", "http://a:443/", false},
		{"http://a/", "http://a:81/", false},
		{"http://a:81/", "https://a/", false},
		{"http://a/", "https://a:444/", false},
		{"http://a/", "http://b/", false},
		{"http://a/", "http://sub.a/", false},
		{"http://a/", "http://a./", false},
	} {
		from, err := url.Parse(tt.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.Parse(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := keepsSecrets(from, to); got != tt.want {
			t.Errorf("%s to %s: %t", tt.from, tt.to, got)
		}
	}
}

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Kind{
		"http://a/b?c#d":         0,
		"https://user:p@a:8443/": 0,
		"http://[::1]:80/":       0,
		"http://a/b c/中.png":     0,
		"":                       BadScheme,
		"a/b":                    BadScheme,
		"//a/b":                  BadScheme,
		"ftp://a/":               BadScheme,
		"HTTP://a/":              BadScheme,
		"Https://a/":             BadScheme,
		"file:///etc/passwd":     BadScheme,
		"\thttp://a/":            BadScheme,
		"http://":                BadURL,
		"http:///b":              BadURL,
		"http://:80/":            BadURL,
		"http://a:0/":            BadURL,
		"http://a:65536/":        BadURL,
		"http://a:x/":            BadURL,
		"http://a/%zz":           BadURL,
		"http://a\r\nX: y/":      BadURL,
		"http://a b/":            BadURL,
		"http://a]b/":            BadURL,
		"http://0x7f000001/":     BadURL,
		"http://127.0.0.1.:80/":  BadURL,
	} {
		u, err := ParseURL(raw)
		if want != 0 {
			checkFailure(t, err, Error{Kind: want})
		} else if err != nil || u == nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestPlaceHasNoSecret(t *testing.T) {
	u, err := url.Parse("https://user:pass@a:1/b%2Fc?rkey=secret#frag")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Place(u), "https://a:1/b/c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"http://a/", "https://u:p@a:1/?q#f", "http://[::1%25lo]/", "http://0x7f.1/", "http://a\x00/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseURL(raw)
		if err != nil {
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			t.Errorf("%q got through as %v", raw, u)
		}
		if port := u.Port(); port != "" {
			if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
				t.Errorf("%q got through", raw)
			}
		}
		// net/url reads zones that it does not write
		if again, err := ParseURL(u.String()); !strings.Contains(u.Host, "%") && (err != nil || again.String() != u.String()) {
			t.Errorf("%q became %v, and that %v, %v", raw, u, again, err)
		}
	})
}
