package integration

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// newProxy starts an HTTP proxy.
func newProxy(t testing.TB, login string, overTLS bool) *proxy {
	t.Helper()
	p := &proxy{login: login}
	server := httptest.NewUnstartedServer(p)
	if overTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	p.addr = server.Listener.Addr().String()
	return p
}

// proxyKinds are the kinds of proxies, with the scheme of each.
var proxyKinds = map[string]struct {
	scheme string
	start  func(t testing.TB, login string) *proxy
}{
	"HTTP":   {"http", func(t testing.TB, login string) *proxy { return newProxy(t, login, false) }},
	"HTTPS":  {"https", func(t testing.TB, login string) *proxy { return newProxy(t, login, true) }},
	"SOCKS5": {"socks5", newSOCKS},
}

func TestDownloadsGoThroughTheProxy(t *testing.T) {
	for name, kind := range proxyKinds {
		for how, login := range map[string]string{"": "", " with a login": "user:5ecret"} {
			t.Run(name+how, func(t *testing.T) {
				p := kind.start(t, login)
				url := kind.scheme + "://" + p.addr
				if login != "" {
					url = kind.scheme + "://" + login + "@" + p.addr
				}
				c := startBot(t, "download {\nallow_private localhost 127.0.0.1\nproxy {env.PROXY}\n}",
					environ("PROXY="+url), trusted(t), global("\tdebug"))
				plain, secure := newOrigin(t), newTLSOrigin(t, false)
				body := filler(100_000)
				e := edition{body: body, etag: `"v1"`}
				secure.handle("/b.txt", e.offer)
				for name, url := range map[string]string{
					"an address":         plain.handle("/a.txt", e.offer),
					"a name":             "http://localhost:" + plain.port + "/a.txt",
					"an address by TLS":  secure.handle("/a.txt", e.offer),
					"a redirect":         plain.handle("/moved", redirect(302, secure.url+"/b.txt")),
					"a broken transfer":  plain.handle("/broken", steps(cut(50_000, e.offer), e.offer)),
					"one broken by TLS":  secure.handle("/broken", steps(cut(50_000, e.offer), e.offer)),
					"what is that there": plain.url + "/a.txt",
				} {
					r := c.post(t, "/download_file", params{"url": url, "headers": "X-Key: k"}.String())
					if r.status != "ok" {
						t.Errorf("%s: %s", name, r.body)
						continue
					}
					wantContent(t, r.file(t), body)
				}
				asked := p.destinations()
				slices.Sort(asked)
				want := []string{"127.0.0.1:" + plain.port, "127.0.0.1:" + secure.port, "localhost:" + plain.port}
				slices.Sort(want)
				if asked = slices.Compact(asked); !slices.Equal(asked, want) {
					t.Errorf("the proxy was asked for %v, want %v", asked, want)
				}
				for _, r := range append(plain.asked("/a.txt"), secure.asked("/a.txt")...) {
					if r.Header.Get("Proxy-Authorization") != "" || r.Header.Get("X-Key") != "k" {
						t.Errorf("the origin got %v", r.Header)
					}
				}
				if n := len(plain.asked("/broken")); n != 2 {
					t.Errorf("the transfer that broke took %d requests", n)
				}
				c.stop()
				if log := c.logs.String(); strings.Contains(log, "5ecret") {
					t.Error("the log has the proxy's password")
				}
			})
		}
	}
}

func TestARefusedDestinationIsNoneForTheProxyEither(t *testing.T) {
	for name, kind := range proxyKinds {
		t.Run(name, func(t *testing.T) {
			p := kind.start(t, "")
			c := startBot(t, "download {\nallow_private localhost\nproxy "+kind.scheme+"://"+p.addr+"\n}", trusted(t))
			o := newOrigin(t)
			o.handle("/a.png", content("a picture"))
			open := "http://localhost:" + o.port
			for name, url := range loopbackURLs(o.port) {
				if strings.HasPrefix(url, open) {
					continue
				}
				for _, url := range []string{url, strings.Replace(url, "http:", "https:", 1)} {
					c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
					if asked := p.destinations(); len(asked) > 0 {
						t.Errorf("%s: the proxy was asked for %v", name, asked)
					}
				}
				o.handle("/moved", redirect(302, url))
				c.post(t, "/download_file", params{"url": open + "/moved"}.String()).wantFailed(t)
				if asked := p.destinations(); slices.ContainsFunc(asked, func(to string) bool { return to != "localhost:"+o.port }) {
					t.Errorf("%s: the proxy was asked for %v", name, asked)
				}
			}
			// nor is the proxy itself one
			c.post(t, "/download_file", params{"url": "http://" + p.addr + "/"}.String()).wantFailed(t)
			wantContent(t, c.fetch(t, open+"/a.png"), "a picture")
		})
	}
}

func TestAProxyThatFailsIsAFailedDownload(t *testing.T) {
	dead := freeAddr(t)
	p, socks, wrong := newProxy(t, "user:right", false), newSOCKS(t, "user:right"), newProxy(t, "", false)
	site, opts := "http://<SITE> {\n", []option{global("\tdebug")}
	for route, url := range map[string]string{
		"/dead": "http://user:5ecret@" + dead, "/deadsocks": "socks5://user:5ecret@" + dead, "/deadtls": "https://user:5ecret@" + dead,
		"/login": "http://user:5ecret@" + p.addr, "/loginsocks": "socks5://user:5ecret@" + socks.addr,
		"/notls": "https://user:5ecret@" + wrong.addr, "/nosocks": "socks5://user:5ecret@" + wrong.addr, "/sick": "http://" + wrong.addr,
	} {
		site += "onebot_meta {\nroute " + route + "\nname " + route[1:] + "\n" + download("retries 0", "stall_timeout 300ms", "proxy {env.PROXY_"+route[1:]+"}") + "\n}\n"
		opts = append(opts, environ("PROXY_"+route[1:]+"="+url))
	}
	c := startCaddy(t, site+"}", opts...)
	plain, secure := newOrigin(t), newTLSOrigin(t, false)
	plain.handle("/a.png", content("not for you"))
	secure.handle("/a.png", content("not for you"))
	for name, sick := range map[string]http.HandlerFunc{
		"is well": nil, "answers 502": status(502), "answers 403": status(403), "hangs up": raw("", false), "speaks no HTTP": raw("SSH-2.0\r\n\r\n", false),
		"never answers": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run("one that "+name, func(t *testing.T) {
			wrong.fallSick(sick)
			for _, route := range []string{"/dead", "/deadsocks", "/deadtls", "/login", "/loginsocks", "/notls", "/nosocks", "/sick"} {
				if sick != nil && route != "/sick" || sick == nil && route == "/sick" {
					continue
				}
				for _, o := range []*origin{plain, secure} {
					r := c.post(t, route+"/download_file", params{"url": o.url + "/a.png"}.String()).wantFailed(t)
					if strings.Contains(r.body, "5ecret") {
						t.Errorf("%s: the answer has the proxy's password: %s", route, r.body)
					}
					// what waits for an answer in another language stalls
					if !strings.Contains(r.message, "proxy") && route != "/sick" && route != "/nosocks" {
						t.Errorf("%s: message is %q", route, r.message)
					}
				}
				wantNothingKept(t, c.cacheDir(route[1:]))
			}
		})
	}
	if n := plain.count() + secure.count(); n != 0 {
		t.Errorf("the origins had %d requests", n)
	}
	c.stop()
	if log := c.logs.String(); strings.Contains(log, "5ecret") {
		t.Error("the log has the proxy's password")
	}
}

func TestNoProxyIsUsedThatTheConfigDoesNotName(t *testing.T) {
	p := newProxy(t, "", false)
	c := startBot(t, download(), environ("HTTP_PROXY=http://"+p.addr), environ("http_proxy=http://"+p.addr), environ("ALL_PROXY=http://"+p.addr))
	o := newOrigin(t)
	wantContent(t, c.fetch(t, o.handle("/a.png", content("a picture"))), "a picture")
	if asked := p.destinations(); len(asked) > 0 {
		t.Errorf("the proxy was asked for %v", asked)
	}
}
