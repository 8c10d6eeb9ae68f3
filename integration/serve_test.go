package integration

import (
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// served returns the path and the URL in the data of download_file.
func (r reply) served(t testing.TB) (file, url string) {
	t.Helper()
	var data struct{ File, URL string }
	r.wantOK(t).decode(t, &data)
	if data.File == "" || data.URL == "" {
		t.Fatalf("data must be a file and a url: %s", r.data)
	}
	return data.File, data.URL
}

// answered is an answer whose body has been read.
type answered struct {
	*http.Response
	body string
}

// get sends a request without a body to an absolute URL, with headers given as
// names and values.
func get(t testing.TB, c client, method, url string, header ...string) answered {
	t.Helper()
	return send(t, c, method, url, "", header...)
}

// send is get with a body.
func send(t testing.TB, c client, method, url, body string, header ...string) answered {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp, string(text)}
}

func TestFilesAreServedToBotsElsewhere(t *testing.T) {
	c := startBot(t, "route /bot\naccess_token good better\n"+download()+"\ncache {\nserve\n}")
	o := newOrigin(t)
	auth := []string{"Authorization", "Bearer good"}
	body := filler(100_000)
	page := o.handle("/page.html", typed("text/html", "", "<script>alert(1)</script>"+body))
	file, url := c.post(t, "/bot/download_file", params{"url": page}.String(), auth...).served(t)
	wantContent(t, file, "<script>alert(1)</script>"+body)
	body = "<script>alert(1)</script>" + body
	if want := "http://" + c.addr + "/bot/files/" + filepath.Base(file); url != want {
		t.Errorf("the URL of %s is %s, want %s", file, url, want)
	}

	whole := get(t, c.client, "GET", url, auth...)
	if whole.StatusCode != 200 || whole.body != body || whole.ContentLength != int64(len(body)) {
		t.Fatalf("got %d, %d bytes", whole.StatusCode, len(whole.body))
	}
	etag := whole.Header.Get("ETag")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff",
		"Cache-Control":          "private, max-age=31536000, immutable",
		"Accept-Ranges":          "bytes",
	} {
		if got := whole.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := whole.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment") {
		t.Errorf("Content-Disposition is %q", got)
	}
	if !strings.HasPrefix(etag, `"`) {
		t.Errorf("ETag is %q, want a strong one", etag)
	}
	for name, test := range map[string]struct {
		method string
		header []string
		status int
		body   string
	}{
		"a range":                          {"GET", []string{"Range", "bytes=10-19"}, 206, body[10:20]},
		"the rest":                         {"GET", []string{"Range", "bytes=99990-"}, 206, body[99990:]},
		"the last bytes":                   {"GET", []string{"Range", "bytes=-5"}, 206, body[len(body)-5:]},
		"a range of this version":          {"GET", []string{"Range", "bytes=0-0", "If-Range", etag}, 206, body[:1]},
		"a range of another version":       {"GET", []string{"Range", "bytes=0-0", "If-Range", `"other"`}, 200, body},
		"a range beyond the end":           {"GET", []string{"Range", "bytes=1000000-"}, 416, ""},
		"what is known":                    {"GET", []string{"If-None-Match", etag}, 304, ""},
		"what is known, weakly":            {"GET", []string{"If-None-Match", `"x", W/` + etag}, 304, ""},
		"what is known in another version": {"GET", []string{"If-None-Match", `"other"`}, 200, body},
		"the head":                         {"HEAD", nil, 200, ""},
		"the head of what is known":        {"HEAD", []string{"If-None-Match", etag}, 304, ""},
		"what must be another":             {"GET", []string{"If-Match", `"other"`}, 412, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := get(t, c.client, test.method, url, append(test.header, auth...)...)
			if got.StatusCode != test.status || test.status < 400 && got.body != test.body {
				t.Errorf("got %d and %d bytes %.50q, want %d and %d bytes", got.StatusCode, len(got.body), got.body, test.status, len(test.body))
			}
			if test.method == "HEAD" && test.status == 200 && got.ContentLength != int64(len(body)) {
				t.Errorf("Content-Length is %d", got.ContentLength)
			}
			if got.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("a browser may sniff")
			}
		})
	}
	t.Run("to those who have a token", func(t *testing.T) {
		path := strings.TrimPrefix(url, "http://"+c.addr)
		for _, path := range []string{path, "/bot/files/", "/bot/files/x.png"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				c.call(t, method, path, "").wantRefused(t, 401)
				c.call(t, method, path, "", "Authorization", "Bearer bad").wantRefused(t, 403)
				c.call(t, method, path+"?access_token=bad", "").wantRefused(t, 403)
			}
		}
		for _, header := range [][]string{auth, {"Authorization", "Bearer better"}, {"Authorization", "Token good"}} {
			if got := get(t, c.client, "GET", url, header...); got.StatusCode != 200 || got.body != body {
				t.Errorf("%v: got %d", header, got.StatusCode)
			}
		}
		if got := get(t, c.client, "GET", url+"?access_token=better"); got.StatusCode != 200 || got.body != body {
			t.Errorf("got %d with a token in the query", got.StatusCode)
		}
		if got := get(t, c.client, "HEAD", url); got.StatusCode != 401 {
			t.Errorf("got %d without a token", got.StatusCode)
		}
	})
	t.Run("content that came as base64, too", func(t *testing.T) {
		_, url := c.post(t, "/bot/download_file", `{"base64":"aGVsbG8="}`, auth...).served(t)
		if got := get(t, c.client, "GET", url, auth...); got.StatusCode != 200 || got.body != "hello" {
			t.Errorf("got %d %q", got.StatusCode, got.body)
		}
	})
	t.Run("under the same URL for the same file", func(t *testing.T) {
		page := o.handle("/fresh", edition{body: "fresh", header: []string{"Cache-Control", "max-age=60"}}.offer)
		_, first := c.post(t, "/bot/download_file", params{"url": page}.String(), auth...).served(t)
		if _, again := c.post(t, "/bot/download_file", params{"url": page}.String(), auth...).served(t); again != first {
			t.Errorf("first it is %s and then %s", first, again)
		}
	})
	t.Run("and not when they are gone", func(t *testing.T) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		c.call(t, "GET", strings.TrimPrefix(url, "http://"+c.addr), "", auth...).wantRefused(t, 404)
	})
}

func TestNothingElseIsServed(t *testing.T) {
	c := startBot(t, download()+"\ncache {\nserve\n}")
	o := newOrigin(t)
	file, url := c.post(t, "/download_file", params{"url": o.handle("/a.txt", edition{body: "a text", etag: `"v1"`}.offer)}.String()).served(t)
	name := filepath.Base(file)
	hash, ext := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	cache := c.cacheDir("onebot")
	if got := get(t, c.client, "GET", url); got.StatusCode != 200 || got.body != "a text" {
		t.Fatalf("got %d %q", got.StatusCode, got.body)
	}
	if err := os.WriteFile(filepath.Join(cache, "files", "foreign.txt"), []byte("foreign"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "foreign.txt"), []byte("foreign"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"", "/", "//", ".", "..", "../", "%2e%2e/", "..%2f", "%2e%2e%2f%2e%2e%2f",
		"x", "x.txt", "foreign.txt", filepath.Base(filepath.Dir(file)), filepath.Base(filepath.Dir(file)) + "/",
		filepath.Base(filepath.Dir(file)) + "/" + name, filepath.Base(filepath.Dir(file)) + "/foreign.txt",
		filepath.Base(filepath.Dir(file)) + "%2f" + name, "../files/" + filepath.Base(filepath.Dir(file)) + "/" + name,
		"..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "../../../../../../etc/passwd", "%2fetc%2fpasswd", "/etc/passwd",
		"..%5c..%5cCaddyfile", `..\..\Caddyfile`, "%5c" + name, "..%252fCACHEDIR.TAG", "../CACHEDIR.TAG", "..%2fCACHEDIR.TAG",
		"../index/", "..%2findex%2f", "../tmp/", "..%2ftmp", name + "%00", name + "%00.png", "%00", name + "/", name + "/x", name + "/..", name + "/../" + name + "x",
		name + "%20", name + ".", name + "~", name + "::$DATA", strings.ToUpper(name), hash, hash + ".", hash + ".png", hash + ext + ext,
		hash[:len(hash)-1] + ext, hash[1:] + ext, hash[:16] + "-" + strings.Repeat("0", 32) + ext, hash[:16] + "-*" + ext, "*", "?", "%3f", "./" + name + "/.", name + ";x", name + ":x",
		"con", "nul.txt", strings.Repeat("a", 5000), strings.Repeat("../", 500), strings.Repeat("%2e%2e%2f", 500) + "etc/passwd", "\xff",
	} {
		t.Run(path[:min(len(path), 60)], func(t *testing.T) {
			// as it is: http.Client would tidy it up
			got := c.raw(t, func(conn *net.TCPConn) {
				_, _ = fmt.Fprintf(conn, "GET /files/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, c.addr)
			})
			if got.http != 404 && got.http != 400 {
				t.Errorf("got %d %.200s", got.http, got.body)
			}
			if strings.Contains(got.body, "a text") || strings.Contains(got.body, "root:") || strings.Contains(got.body, name) {
				t.Errorf("it tells too much: %.200s", got.body)
			}
		})
	}
	t.Run("and only for reading", func(t *testing.T) {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			got := get(t, c.client, method, url)
			if got.StatusCode != 405 || got.Header.Get("Allow") != "GET, HEAD" || !strings.Contains(got.body, `"retcode":1400`) {
				t.Errorf("%s: got %d, Allow %q, %s", method, got.StatusCode, got.Header.Get("Allow"), got.body)
			}
		}
		wantContent(t, file, "a text")
	})
}

func TestNothingIsServedByDefault(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	file := c.fetch(t, o.handle("/a.txt", content("a text"))) // and no url besides
	for _, path := range []string{"/files/" + filepath.Base(file), "/files/", "/files"} {
		c.call(t, "GET", path, "").wantRefused(t, 404)
	}
}

func TestURLsOfFilesSayHowCaddyWasReached(t *testing.T) {
	c := startCaddy(t, "https://localhost:<PORT> {\n\ttls internal\n\tonebot_meta {\n"+download()+"\ncache {\nserve\n}\n}\n}\n"+
		"http://<OTHER> {\nhandle_path /below/* {\nonebot_meta {\nroute /bot\n"+download()+"\ncache {\nserve\n}\n}\n}\n}",
		global("\tdebug\n\tlocal_certs\n\tauto_https disable_redirects"))
	c.awaitLog("added certificate to cache")
	roots := c.authority(t)
	o := newOrigin(t)
	call := params{"url": o.handle("/a.txt", content("a text"))}.String()
	secure := client{&http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: dialLoopback, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
	}}, "https://localhost:" + c.port()}
	t.Cleanup(secure.CloseIdleConnections)
	plain := newClient("http://" + c.other + "/below/bot")
	t.Cleanup(plain.CloseIdleConnections)
	for name, client := range map[string]client{"over TLS": secure, "below a path that is stripped": plain} {
		t.Run(name, func(t *testing.T) {
			r, err := client.try("POST", "/download_file", call)
			if err != nil {
				t.Fatal(err)
			}
			_, url := r.served(t)
			if !strings.HasPrefix(url, client.base+"/files/") {
				t.Errorf("the URL is %s, want it below %s", url, client.base)
			}
			if got := get(t, client, "GET", url); got.StatusCode != 200 || got.body != "a text" {
				t.Errorf("got %d %q", got.StatusCode, got.body)
			}
		})
	}
}

func TestModeOpensFilesForOtherUsers(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no such modes
	}
	for mode, want := range map[string]struct{ file, dir fs.FileMode }{
		"":          {0o600, 0o700},
		"mode 0600": {0o600, 0o700},
		"mode 0640": {0o640, 0o750},
		"mode 0644": {0o644, 0o755},
		"mode 644":  {0o644, 0o755},
		"mode 0660": {0o660, 0o750},
	} {
		t.Run(mode, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			c := startBot(t, "storage file_system "+root+"\n"+caching(mode))
			o := newOrigin(t)
			path := c.fetch(t, o.handle("/a.txt", content("a text")))
			kept := c.post(t, "/download_file", `{"base64":"aGVsbG8="}`).file(t)
			for _, path := range []string{path, kept} {
				if info, err := os.Stat(path); err != nil || info.Mode() != want.file {
					t.Errorf("%s has mode %v, want %v: %v", path, info.Mode(), want.file, err)
				}
				for dir := filepath.Dir(path); dir != filepath.Dir(root); dir = filepath.Dir(dir) {
					if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want.dir {
						t.Errorf("%s has mode %v, want %v: %v", dir, info.Mode(), want.dir, err)
					}
				}
			}
		})
	}
}
