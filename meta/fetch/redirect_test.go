package fetch

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"reflect"
	"testing"

	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

var discardLog = log.New(io.Discard, "", 0)

func TestHeadersAreKeptOnTheSameOriginOnly(t *testing.T) {
	var atFirst, atOther, back *http.Request
	var first string
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		atOther = r
		http.Redirect(w, r, first+"/back", http.StatusFound)
	})
	first = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			http.Redirect(w, r, "/here?rkey=secret", http.StatusMovedPermanently)
		case "/here":
			atFirst = r
			http.Redirect(w, r, other+"/x", http.StatusTemporaryRedirect)
		case "/back":
			back = r
		}
	})
	u, err := url.Parse(first + "/")
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("user", "pass")
	if _, err := fetch(t, newClient(t, nil), u.String(), "Cookie: c", "X-Own: o", "User-Agent: bot", "Host: virtual.example"); err != nil {
		t.Fatal(err)
	}

	user, pass, _ := atFirst.BasicAuth()
	if h := atFirst.Header; h.Get("Cookie") != "c" || h.Get("X-Own") != "o" || h.Get("User-Agent") != "bot" || user != "user" || pass != "pass" || atFirst.Host != "virtual.example" {
		t.Errorf("on the same origin arrived %s %v", atFirst.Host, h)
	}
	for name, r := range map[string]*http.Request{"another origin": atOther, "the first again": back} {
		want := http.Header{"User-Agent": {"test"}, "Accept-Encoding": {"identity"}}
		if !reflect.DeepEqual(r.Header, want) || r.Host == "virtual.example" {
			t.Errorf("at %s arrived %s %v", name, r.Host, r.Header)
		}
	}
	if h := atFirst.Header; h.Get("Referer") != "" || h.Get("Accept-Encoding") != "identity" {
		t.Errorf("Referer is %q, Accept-Encoding is %q", h.Get("Referer"), h.Get("Accept-Encoding"))
	}
}

func TestAProxyIsAskedForNothingThatWasNotJudged(t *testing.T) {
	var asked []string
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.RequestURI)
		io.WriteString(w, "content")
	})
	c := newClient(t, func(o *Options) {
		o.Proxy = mustParse(proxy)
		o.Check = egress.NewDialer(egress.Allow{}, nil).Check
	})
	for _, tt := range []struct {
		url, header string
		want        Kind // 0 if it is asked for
	}{
		{"http://1.1.1.1/a", "", 0},
		{"http://127.0.0.1/a", "", Refused},
		{"http://[::ffff:10.0.0.1]/a", "", Refused},
		{"http://1.1.1.1/latest/meta-data", "Host: 169.254.169.254", HostByProxy},
	} {
		asked = nil
		_, err := fetch(t, c, tt.url, tt.header)
		if e, ok := errors.AsType[*Error](err); ok && e.Kind != tt.want || ok != (tt.want != 0) || (len(asked) != 0) != (tt.want == 0) {
			t.Errorf("%s with %q: %v, and the proxy was asked for %v", tt.url, tt.header, err, asked)
		}
	}
}

func TestAProxyThatIsNotThere(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		c := newClient(t, func(o *Options) {
			o.Proxy = mustParse(scheme + "://127.0.0.1:1")
			o.Check = egress.NewDialer(egress.Allow{}, nil).Check
		})
		_, err := fetch(t, c, "http://1.1.1.1/")
		checkFailure(t, err, Error{Kind: NoProxy, Detail: "1.1.1.1"})
	}
}
