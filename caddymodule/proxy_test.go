package caddymodule

import (
	"strings"
	"testing"
)

func TestProxiesAreURLsOfAHostAndNothingBehindIt(t *testing.T) {
	t.Setenv("TEST_PROXY", "socks5h://user:p%40ss@127.0.0.1:1080")
	t.Setenv("TEST_PASSWORD", "SECRET")
	t.Setenv("TEST_BAD_PROXY", "user:SECRET@127.0.0.1:1080")
	t.Setenv("EMPTY", "")
	const bad, unknown = "must be an http://, https://, socks5:// or socks5h:// URL", "has a placeholder that is unknown or empty"
	for configured, want := range map[string]string{ // the URL, or the beginning of the error
		"http://127.0.0.1:3128":                      "http://127.0.0.1:3128",
		"http://proxy.lan":                           "http://proxy.lan",
		"HTTPS://proxy.lan/":                         "https://proxy.lan/",
		"socks5://[::1]:1080":                        "socks5://[::1]:1080",
		"socks5h://user:p%40ss%2F@127.0.0.1:1080":    "socks5h://user:p%40ss%2F@127.0.0.1:1080",
		"{env.TEST_PROXY}":                           "socks5h://user:p%40ss@127.0.0.1:1080",
		"http://user:{env.TEST_PASSWORD}@127.0.0.1/": "http://user:SECRET@127.0.0.1/",

		"127.0.0.1:3128":                      bad,
		"proxy.lan":                           bad,
		"//proxy.lan:3128":                    bad,
		"http:proxy.lan:3128":                 bad,
		"http:///x":                           bad,
		"http://:3128":                        bad,
		"http://user:SECRET@":                 bad,
		"http://user:SECRET@:3128":            bad,
		"http://a:0":                          bad,
		"http://a:65536":                      bad,
		"http://a:port":                       bad,
		"http://a b":                          bad,
		"ftp://a":                             bad,
		"socks4://user:SECRET@a":              bad,
		"socks://a":                           bad,
		"file:///etc/passwd":                  bad,
		"http://a/path":                       bad,
		"http://a?":                           bad,
		"http://a?query":                      bad,
		"http://a#SECRET":                     bad,
		"http://user:SECRET/1@127.0.0.1:3128": bad,
		"http://user:SECRET?1@127.0.0.1:3128": bad,
		"http://user#SECRET@127.0.0.1:3128":   bad,
		"http://user:%zzSECRET@127.0.0.1":     bad,
		"http://user:SECRET\n@127.0.0.1":      bad,
		"http://user:SECRET@[::1":             bad,
		"{env.TEST_BAD_PROXY}":                bad,
		"{env.EMPTY}":                         unknown,
		"{env.NOT_SET_AT_ALL}":                unknown,
		"http://{SECRET}@a":                   unknown,
		"http://{http.request.host}:3128":     unknown,
	} {
		u, err := newProxy(configured)
		if err != nil {
			if !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%q: got %v", configured, err)
			}
		} else if u.String() != want {
			t.Errorf("%q: got %s, want %s", configured, u, want)
		}
	}
	if u, err := newProxy(""); u != nil || err != nil {
		t.Errorf("none: got %v, %v", u, err)
	}
}
