package integration

import (
	"fmt"
	"strings"
	"testing"
)

// What is sent over TLS to somebody is not for everybody on the way.
func TestARedirectFromTLSTakesNothingOfTheCallerWithIt(t *testing.T) {
	c := startBot(t, download(), trusted(t))
	plain, secure := newOrigin(t), newTLSOrigin(t, false)
	other := newTLSOrigin(t, false)
	for _, o := range []*origin{plain, secure, other} {
		o.handle("/a.png", content("a picture"))
	}
	headers := []string{"Authorization: Bearer 5ecret", "Cookie: key=5ecret", "X-Api-Key: 5ecret", "Referer: http://5ecret.invalid/", "User-Agent: 5ecret"}
	for name, test := range map[string]struct {
		to   *origin
		kept bool
	}{
		"to plain HTTP":    {plain, false},
		"to another port":  {other, false},
		"to the same host": {secure, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, code := range []int{301, 302, 303, 307, 308} {
				url := secure.handle("/moved", redirect(code, test.to.url+"/a.png"))
				for how, call := range map[string]params{
					"headers":  {"url": url, "headers": headers},
					"userinfo": {"url": strings.Replace(url, "://", "://user:5ecret@", 1)},
				} {
					wantContent(t, c.post(t, "/download_file", call.String()).file(t), "a picture")
					got := test.to.last(t)
					_, password, _ := got.BasicAuth()
					if kept := strings.Contains(fmt.Sprint(got.Header), "5ecret") || password == "5ecret"; kept != test.kept {
						t.Errorf("%d with %s: the other origin got %v", code, how, got.Header)
					}
				}
			}
		})
	}
	t.Run("and back again", func(t *testing.T) {
		secure.handle("/moved", redirect(302, plain.handle("/back", redirect(302, secure.url+"/a.png"))))
		wantContent(t, c.post(t, "/download_file", params{"url": secure.url + "/moved", "headers": headers}.String()).file(t), "a picture")
		if got := secure.last(t); strings.Contains(fmt.Sprint(got.Header), "5ecret") {
			t.Errorf("a redirect of another's making sent %v", got.Header)
		}
	})
}

func TestACertificateThatNobodyTrustsIsRefused(t *testing.T) {
	c := startBot(t, download())
	o := newTLSOrigin(t, false)
	r := c.post(t, "/download_file", params{"url": o.handle("/a.png", content("a picture"))}.String()).wantFailed(t)
	if !strings.Contains(r.message, "certificate") {
		t.Errorf("message is %q", r.message)
	}
	if n := o.count(); n != 0 {
		t.Errorf("the origin had %d requests", n)
	}
	wantNothingKept(t, c.cacheDir("onebot"))
}
