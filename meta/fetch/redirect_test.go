package fetch

import (
	"io"
	"log"
	"net/http"
	"net/url"
	"reflect"
	"testing"
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
