package integration

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A media URL's query opens the media to everybody. This is
// TestNoSecretIsAnsweredOrLogged for what goes on behind a call: tries, the
// cache, a proxy, and files that are fetched.
func TestNoSecretIsLoggedByWhatGoesOnBehindACall(t *testing.T) {
	const secret = "5ecret"
	p := newProxy(t, "user:proxy-"+secret, false)
	site := ""
	for route, options := range map[string]string{"/direct": "", "/proxied": "proxy {env.PROXY}"} {
		site += "onebot_meta {\nroute " + route + "\nname " + route[1:] + "\naccess_token {env.TOKEN}\n" +
			download("stall_timeout 200ms", "max_size 200kB", "retries 1", options) + "\ncache {\nserve\nmax_size 400kB\n}\n}\n"
	}
	home := t.TempDir()
	start := func() *instance {
		return startCaddy(t, "http://<SITE> {\n"+site+"}", at(home), global("\tdebug"),
			environ("TOKEN=token-"+secret), environ("PROXY=http://user:proxy-"+secret+"@"+p.addr))
	}
	c := start()
	o := newOrigin(t)
	auth := []string{"Authorization", "Bearer token-" + secret}
	e := edition{body: filler(50_000), etag: `"` + secret + `"`}
	calls := map[string]string{ // and how each ends
		"/fresh":   "ok",
		"/tagged":  "ok",
		"/cut":     "ok",
		"/stuck":   "ok",
		"/later":   "ok",
		"/changed": "ok",
		"/moved":   "ok",
		"/503":     "failed",
		"/gone":    "failed",
		"/never":   "failed",
		"/large":   "failed",
	}
	handlers := func() {
		o.handle("/fresh", with(e.offer, "Cache-Control", "max-age=60", "X-Key", secret, "Set-Cookie", "key="+secret))
		o.handle("/tagged", e.offer)
		o.handle("/cut", steps(reset(20_000, e.offer), e.offer))
		o.handle("/stuck", steps(stuck(20_000, e.offer), e.offer))
		o.handle("/later", steps(with(status(429), "Retry-After", "0", "X-Key", secret), e.offer))
		o.handle("/changed", steps(cut(20_000, e.offer), edition{body: "new", etag: `"new-` + secret + `"`}.offer))
		o.handle("/moved", redirect(302, "/tagged?key="+secret))
		o.handle("/503", with(status(503), "Retry-After", "99999", "X-Key", secret))
		o.handle("/gone", steps(cut(20_000, e.offer), status(410)))
		o.handle("/never", cut(0, e.offer))
		o.handle("/large", content(filler(300_000)))
	}
	check := func(t *testing.T, text string) {
		t.Helper()
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("user:proxy-" + secret))} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("it has the secret: %s", text[max(0, i-300):min(len(text), i+100)])
			}
		}
	}
	for _, route := range []string{"/direct", "/proxied"} {
		handlers()
		for range 2 { // the second time with what the first has left
			b := o.batch()
			for path := range calls {
				b.calls[path] = params{
					"url":     strings.Replace(o.url, "://", "://user:"+secret+"@", 1) + path + "?rkey=" + secret + "#" + secret,
					"headers": []string{"X-Key: " + secret, "Cookie: key=" + secret, "Referer: http://" + secret + ".invalid/"},
					"name":    secret + ".txt",
				}
			}
			for path, call := range b.calls {
				t.Run(route+path, func(t *testing.T) {
					r := c.post(t, route+"/download_file", call.String(), auth...)
					check(t, r.body)
					if r.status != calls[path] {
						t.Fatalf("it is %s: %s", r.status, r.body)
					}
					if r.status == "ok" {
						_, url := r.served(t)
						for _, get := range []answered{
							get(t, c.client, "GET", url, auth...), get(t, c.client, "GET", url+"?access_token=wrong-"+secret),
							get(t, c.client, "GET", url+"?access_token=token-"+secret, "Range", "bytes=0-1"),
							get(t, c.client, "GET", url+"x?access_token=token-"+secret),
						} {
							if get.StatusCode >= 400 {
								check(t, get.body)
							}
						}
					}
				})
			}
		}
	}
	c.stop()
	log := c.logs.String()
	c = start() // and with an index that is read
	c.post(t, "/direct/download_file", params{"url": o.url + "/fresh?rkey=" + secret}.String(), auth...).wantOK(t)
	c.stop()
	log += c.logs.String()
	t.Run("the log", func(t *testing.T) {
		check(t, log)
		if !strings.Contains(log, `"level":"debug"`) {
			t.Error("it has no details, so this test proves little")
		}
	})
	t.Run("names in the cache", func(t *testing.T) {
		err := filepath.WalkDir(c.dataDir(), func(path string, _ os.DirEntry, err error) error {
			check(t, strings.TrimPrefix(path, c.dataDir()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
