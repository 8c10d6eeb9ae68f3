package integration

import (
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fetch sends a request that need not be answered by an envelope.
func (c client) fetch(t testing.TB, method, path, body string, header ...string) (status int, answer string) {
	t.Helper()
	a := send(t, c, method, c.base+path, body, header...)
	return a.StatusCode, a.body
}

func TestTheHandlerStandsWhereTheCaddyfilePutsIt(t *testing.T) {
	for name, test := range map[string]struct {
		site   string
		ours   []string
		others []string
		header []string
	}{
		"at the root by default": {
			site: "onebot_meta",
			ours: []string{"/get_status", "/get_status/"},
		},
		"below a route": {
			site:   "onebot_meta {\n route /bot/v11\n}",
			ours:   []string{"/bot/v11/get_status", "/bot/v11/get_status/"},
			others: []string{"/get_status", "/bot/get_status", "/bot/v11x/get_status", "/bot/v1/get_status"},
		},
		"below a route that ends in a slash": {
			site:   "onebot_meta {\n route /bot/\n}",
			ours:   []string{"/bot/get_status"},
			others: []string{"/get_status", "/bots/get_status"},
		},
		"behind a path matcher": {
			site:   "onebot_meta /bot/get_* {\n route /bot\n}",
			ours:   []string{"/bot/get_status"},
			others: []string{"/bot/set_restart", "/get_status"},
		},
		"behind a named matcher": {
			site:   "@bots header X-Bot yes\nonebot_meta @bots",
			ours:   []string{"/get_status"},
			header: []string{"X-Bot", "yes"},
		},
		"behind a named matcher that does not match": {
			site:   "@bots header X-Bot yes\nonebot_meta @bots",
			others: []string{"/get_status", "/"},
		},
		"in handle_path": {
			site:   "handle_path /bot/* {\n onebot_meta\n}",
			ours:   []string{"/bot/get_status"},
			others: []string{"/get_status", "/bots/get_status"},
		},
		"in handle": {
			site:   "handle /bot/* {\n onebot_meta {\n route /bot\n}\n}",
			ours:   []string{"/bot/get_status"},
			others: []string{"/get_status"},
		},
		"in a route block": {
			site:   "route {\n onebot_meta {\n route /bot\n}\n}",
			ours:   []string{"/bot/get_status"},
			others: []string{"/get_status"},
		},
		"twice in a site": {
			site:   "onebot_meta {\n route /a\n}\nonebot_meta {\n route /b\n}",
			ours:   []string{"/a/get_status", "/b/get_status"},
			others: []string{"/c/get_status", "/get_status"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			// respond stands first: the module knows that it goes before it
			c := startCaddy(t, "http://<SITE> {\nrespond \"next\"\n"+test.site+"\n}")
			for _, path := range test.ours {
				c.call(t, "GET", path, "", test.header...).wantOK(t)
			}
			for _, path := range test.others {
				if status, answer := c.client.fetch(t, "GET", path, "", test.header...); status != 200 || answer != "next" {
					t.Errorf("%s: %d %s, want it from the next handler", path, status, answer)
				}
			}
		})
	}
}

func TestHandlersOfOneNameShareCountersAndOthersDoNot(t *testing.T) {
	c := startCaddy(t, `
http://<SITE> {
	onebot_meta {
		route /x1
		name x
	}
	onebot_meta {
		route /x2
		name x
	}
	onebot_meta {
		route /y
		name y
	}
	onebot_meta {
		route /default
	}
}
http://<OTHER> {
	onebot_meta {
		name x
	}
	onebot_meta /never {
		name onebot
	}
}`)
	other := newClient("http://" + c.other)
	t.Cleanup(other.CloseIdleConnections)
	for range 5 {
		c.call(t, "GET", "/x1/set_restart", "").wantOK(t)
	}
	for range 3 {
		c.call(t, "GET", "/x2/set_restart", "").wantOK(t)
	}
	for range 2 {
		if _, err := other.try("GET", "/set_restart", ""); err != nil {
			t.Fatal(err)
		}
	}
	c.call(t, "GET", "/y/set_restart", "").wantOK(t)

	for _, want := range []struct {
		path           string
		received, sent int64
	}{{"/x1", 11, 10}, {"/x2", 12, 11}, {"/y", 2, 1}, {"/default", 1, 0}} {
		s := c.stat(t, want.path+"/get_status")
		if s["PacketReceived"] != want.received || s["PacketSent"] != want.sent {
			t.Errorf("%s: stat is %v, want %d received and %d sent", want.path, s, want.received, want.sent)
		}
	}

	// the name also tells where downloads are
	for route, name := range map[string]string{"/x1": "x", "/x2": "x", "/y": "y", "/default": "onebot"} {
		file := c.post(t, route+"/download_file", `{"base64":"aGVsbG8="}`).file(t)
		wantWithin(t, file, c.cacheDir(name))
	}
}

func TestTLSWithCaddysOwnAuthority(t *testing.T) {
	c := startCaddy(t, "https://localhost:<PORT> {\n\ttls internal\n\tonebot_meta {\n\t\taccess_token secret\n\t}\n}",
		global("\tdebug\n\tlocal_certs\n\tauto_https disable_redirects"))
	c.awaitLog("added certificate to cache")
	roots := c.authority(t)
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{
			DialContext:       dialLoopback,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			ForceAttemptHTTP2: http2,
		}
		tlsClient := client{&http.Client{Transport: transport, Timeout: patience}, "https://localhost:" + c.port()}
		t.Cleanup(tlsClient.CloseIdleConnections)
		for path, want := range map[string]int{
			"/get_status?access_token=secret": 200, "/get_status": 401, "/get_status?access_token=public": 403, "/x?access_token=secret": 404,
		} {
			for _, method := range []string{"GET", "POST"} {
				r, err := tlsClient.try(method, path, "")
				if err != nil {
					t.Fatal(err)
				}
				if r.http != want {
					t.Errorf("%s %s: HTTP %d, want %d", method, path, r.http, want)
				}
			}
		}
	}
	untrusting := newClient("https://localhost:" + c.port())
	if _, err := untrusting.try("GET", "/get_status", ""); err == nil {
		t.Error("the certificate is not from Caddy's own authority")
	}
}

func TestInFrontOfABackendOtherRequestsArriveUntouched(t *testing.T) {
	type request struct {
		method, uri, body, host string
		header                  http.Header
		length                  int64
	}
	seen := make(chan request, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- request{r.Method, r.RequestURI, string(body), r.Host, r.Header, r.ContentLength}
		w.Header().Set("X-Backend", "yes")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "from the backend")
	}))
	t.Cleanup(backend.Close)
	c := startCaddy(t, "http://<SITE> {\n\tonebot_meta {\n\t\troute /meta\n\t\taccess_token secret\n\t\tmax_body 10\n\t}\n\treverse_proxy "+
		backend.Listener.Addr().String()+"\n}")

	c.call(t, "GET", "/meta/get_status?access_token=secret", "").wantOK(t)
	c.call(t, "GET", "/meta/get_status", "").wantRefused(t, 401)
	c.call(t, "GET", "/meta/send_msg?access_token=secret", "").wantRefused(t, 404)

	for _, uri := range []string{"/", "/send_msg", "/send_msg?access_token=other&a=%zz;&b=%2F", "/metas/get_status", "/get_status/", "/a%2Fb//c/../d"} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			t.Run(method+" "+uri, func(t *testing.T) {
				body := "\x00\xff {broken JSON \r\n" + filler(100_000)
				status, answer := c.client.fetch(t, method, uri, body,
					"Content-Type", "application/json", "Authorization", "Bearer of another", "X-Self-ID", "1", "X-Self-ID", "2",
					"Cookie", "a=b", "X-Odd", "  \tä", "Range", "bytes=0-1", "Accept-Encoding", "br")
				got := receive(t, seen, "a request at the backend")
				if got.method != method || got.uri != uri || got.body != body || got.host != c.addr || got.length != int64(len(body)) {
					t.Errorf("the backend got %s %s of %s with %d bytes", got.method, got.uri, got.host, len(got.body))
				}
				want := http.Header{
					"Content-Type": {"application/json"}, "Authorization": {"Bearer of another"}, "X-Self-Id": {"1", "2"},
					"Cookie": {"a=b"}, "X-Odd": {"ä"}, "Range": {"bytes=0-1"}, "Accept-Encoding": {"br"},
				}
				for name, values := range want {
					if !slices.Equal(got.header[name], values) {
						t.Errorf("%s is %q", name, got.header[name])
					}
				}
				for name := range maps.Keys(got.header) {
					if _, sent := want[name]; !sent && !strings.HasPrefix(name, "X-Forwarded-") &&
						!slices.Contains([]string{"User-Agent", "Content-Length", "Via"}, name) {
						t.Errorf("%s was added", name)
					}
				}
				if status != http.StatusTeapot || answer != "from the backend" {
					t.Errorf("the answer became %d %s", status, answer)
				}
			})
		}
	}
}

func TestTokensComeFromTheEnvironmentAndFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"plain": "plain-file", "lf": "lf-file\n", "crlf": "crlf-file\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := startBot(t, "access_token {env.ONEBOT_TOKEN} {file."+filepath.Join(dir, "plain")+"}\n"+
		"access_token {file."+filepath.Join(dir, "lf")+"} {file."+filepath.Join(dir, "crlf")+"} {$AT_PARSE}",
		environ("ONEBOT_TOKEN=from-env"), environ("AT_PARSE=at-parse"))
	for _, token := range []string{"from-env", "plain-file", "lf-file", "crlf-file", "at-parse"} {
		c.call(t, "GET", "/get_status", "", "Authorization", "Bearer "+token).wantOK(t)
	}
	for _, token := range []string{"{env.ONEBOT_TOKEN}", "ONEBOT_TOKEN", "{file." + filepath.Join(dir, "plain") + "}"} {
		c.call(t, "GET", "/get_status", "", "Authorization", "Bearer "+token).wantRefused(t, 403)
	}
	c.call(t, "GET", "/get_status", "").wantRefused(t, 401)
}

// wantWithin fails the test if a path is not absolute and below a directory.
func wantWithin(t testing.TB, path, dir string) {
	t.Helper()
	rel, err := filepath.Rel(dir, path)
	if !filepath.IsAbs(path) || err != nil || !filepath.IsLocal(rel) {
		t.Errorf("%s is not below %s", path, dir)
	}
}
