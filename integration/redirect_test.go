package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestRedirectsAreFollowed(t *testing.T) {
	c := startBot(t, download("max_redirects 2"))
	o := newOrigin(t)
	o.handle("/a.png", content("a picture"))
	for _, code := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprintf("status %d", code), func(t *testing.T) {
			wantContent(t, c.fetch(t, o.handle("/moved", redirect(code, o.url+"/a.png"))), "a picture")
		})
	}
	for _, to := range []string{"/a.png", "a.png", "./x/../a.png", "//127.0.0.1:" + o.port + "/a.png", o.url + "/a.png#part", "?x=y"} {
		t.Run("to "+to, func(t *testing.T) {
			o.handle("/moved", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery != "" {
					content("a picture")(w, r)
					return
				}
				redirect(302, to)(w, r)
			})
			wantContent(t, c.fetch(t, o.url+"/moved"), "a picture")
		})
	}
	t.Run("as often as max_redirects allows", func(t *testing.T) {
		o.handle("/1", redirect(302, "/a.png"))
		o.handle("/2", redirect(302, "/1"))
		wantContent(t, c.fetch(t, o.url+"/2"), "a picture")
		r := c.post(t, "/download_file", params{"url": o.handle("/3", redirect(302, "/2"))}.String()).wantFailed(t)
		if !strings.Contains(r.message, "redirects") {
			t.Errorf("message is %q", r.message)
		}
		if path := o.last(t).URL.Path; path != "/1" {
			t.Errorf("it gave up at %s", path)
		}
	})
	t.Run("and the file is of the type that was asked for", func(t *testing.T) {
		for from, ext := range map[string]string{"/moved.gif": ".gif", "/moved": ".png"} {
			if file := c.fetch(t, o.handle(from, redirect(302, "/a.png"))); !strings.HasSuffix(file, ext) {
				t.Errorf("%s for %s", file, from)
			}
		}
	})
}

func TestNoRedirectIsFollowedIfNoneIsAllowed(t *testing.T) {
	c := startBot(t, download("max_redirects 0"))
	o := newOrigin(t)
	c.post(t, "/download_file", params{"url": o.handle("/moved", redirect(302, "/a.png"))}.String()).wantFailed(t)
	if n := o.count(); n != 1 {
		t.Errorf("the origin had %d requests", n)
	}
}

// Another port is another server: what was sent to the first is not its
// business. The same port on another name is, too.
func TestARedirectTakesTheCallersHeadersToNoOtherServer(t *testing.T) {
	c := startBot(t, download())
	first, second := newOrigin(t), newOrigin(t)
	first.handle("/a.png", content("first"))
	second.handle("/a.png", content("second"))
	headers := []string{
		"Authorization: Bearer 5ecret", "Cookie: key=5ecret", "X-Api-Key: 5ecret", "Referer: http://5ecret.invalid/",
		"User-Agent: 5ecret", "Host: 5ecret.invalid",
	}
	secrets := func(r *http.Request) int {
		n := strings.Count(fmt.Sprint(r.Header), "5ecret") + strings.Count(r.Host, "5ecret")
		if _, password, ok := r.BasicAuth(); ok && password == "5ecret" {
			n++
		}
		return n
	}
	call := func(t *testing.T, url string, headers []string, want string) {
		t.Helper()
		wantContent(t, c.post(t, "/download_file", params{"url": url, "headers": headers}.String()).file(t), want)
	}
	withUser := func(url string) string {
		return strings.Replace(url, "://", "://user:5ecret@", 1) + "?key=5ecret"
	}

	t.Run("on the same server they are kept", func(t *testing.T) {
		call(t, first.handle("/moved", redirect(302, "/a.png")), headers, "first")
		if n := secrets(first.last(t)); n != len(headers) {
			t.Errorf("%d of %d came: %v", n, len(headers), first.last(t).Header)
		}
	})
	t.Run("userinfo is kept there too", func(t *testing.T) {
		call(t, withUser(first.handle("/moved", redirect(302, "/a.png"))), nil, "first")
		if n := secrets(first.last(t)); n != 1 {
			t.Errorf("the origin got %v", first.last(t).Header)
		}
	})
	for name, to := range map[string]string{
		"another port": second.url + "/a.png",
		"another name": "http://localhost:" + second.port + "/a.png",
	} {
		for how, url := range map[string]string{"headers": first.url + "/moved", "userinfo": withUser(first.url + "/moved")} {
			t.Run(how+" at "+name, func(t *testing.T) {
				first.handle("/moved", redirect(307, to))
				sent := headers
				if how == "userinfo" {
					sent = nil
				}
				call(t, url, sent, "second")
				if n := secrets(first.last(t)); n == 0 {
					t.Errorf("the first origin got none: %v", first.last(t).Header)
				}
				got := second.last(t)
				if n := secrets(got); n != 0 || got.Header.Get("Referer") != "" || got.URL.RawQuery != "" {
					t.Errorf("the second origin got %s %v", got.URL, got.Header)
				}
			})
		}
	}
	t.Run("a name for the same server", func(t *testing.T) {
		call(t, first.handle("/moved", redirect(302, "http://localhost:"+first.port+"/a.png")), headers, "first")
		if n := secrets(first.last(t)); n != 0 {
			t.Errorf("the origin got %v for %s", first.last(t).Header, first.last(t).Host)
		}
	})
}
