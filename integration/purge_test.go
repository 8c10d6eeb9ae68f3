package integration

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// purgeStatus is what the admin API tells of a cache that was purged.
type purgeStatus struct {
	Name       string `json:"name"`
	Directory  string `json:"directory"`
	FreedFiles int    `json:"freed_files"`
	FreedBytes int64  `json:"freed_bytes"`
	KeptFiles  int    `json:"kept_files"`
	KeptBytes  int64  `json:"kept_bytes"`
}

// purge sends a request to purge caches, and returns what it has freed, by name.
func (c *instance) purge(t testing.TB, query string) map[string]purgeStatus {
	t.Helper()
	purged := make(map[string]purgeStatus)
	for _, one := range administer[purgeStatus](t, c, "DELETE", "/onebot_meta/cache"+query) {
		if _, twice := purged[one.Name]; twice || one.Directory != c.cacheDir(one.Name) {
			t.Errorf("the cache %s of %s, twice: %t", one.Directory, one.Name, twice)
		}
		one.Directory = ""
		purged[one.Name] = one
	}
	return purged
}

func TestACacheIsPurgedOfWhatMayGo(t *testing.T) {
	home := t.TempDir()
	config := "http://<SITE> {\n"
	for _, name := range []string{"one", "two"} {
		config += "onebot_meta {\n route /" + name + "\n name " + name + "\n" + download() + "\n}\n"
	}
	config += "onebot_meta {\n route /again\n name one\n" + download() + "\n}\n}" // which shares a cache
	c := startCaddy(t, config, at(home))
	o := newOrigin(t)
	files := make(map[string]string)
	fetch := func(route, name string) string {
		t.Helper()
		return c.post(t, "/"+route+"/download_file", params{"url": o.url + "/" + name}.String()).file(t)
	}
	for name, route := range map[string]string{"old": "one", "older": "one", "young": "one", "asked": "one", "other": "two"} {
		o.handle("/"+name, kept(name))
		files[name] = fetch(route, name)
	}
	c.stop()
	for name, minutes := range map[string]time.Duration{"old": 11, "older": 24 * 60, "young": 9, "asked": 20, "other": 11} {
		aged(t, files[name], minutes*time.Minute)
	}
	c = startCaddy(t, config, at(home))
	defer c.stop() // before the origin
	if got := fetch("one", "asked"); got != files["asked"] {
		t.Errorf("asked was %s and is now %s", files["asked"], got)
	}
	wantKept := func(when string, names ...string) {
		t.Helper()
		for name, path := range files {
			if want := slices.Contains(names, name); exists(path) != want {
				t.Errorf("%s %s exists: %t", when, name, !want)
			}
		}
		for _, name := range names {
			wantContent(t, files[name], name+letters(block-len(name)))
		}
	}

	for request, want := range map[string]struct {
		status int
		allow  string
	}{
		"DELETE /onebot_meta/cache?name=":             {400, ""},
		"DELETE /onebot_meta/cache?name":              {400, ""},
		"DELETE /onebot_meta/cache?nmae=one":          {400, ""},
		"DELETE /onebot_meta/cache?name=one&name=two": {400, ""},
		"DELETE /onebot_meta/cache?name=one&all=true": {400, ""},
		"DELETE /onebot_meta/cache?name=%zz":          {400, ""},
		"DELETE /onebot_meta/cache?name=three":        {404, ""},
		"DELETE /onebot_meta/cache?name=One":          {404, ""},
		"DELETE /onebot_meta/cache/one":               {404, ""},
		"DELETE /onebot_meta/":                        {405, "GET"},
		"POST /onebot_meta/cache":                     {405, "DELETE"},
		"GET /onebot_meta/cache?name=one":             {405, "DELETE"},
		"PUT /onebot_meta/":                           {405, "GET"},
		"GET /onebot_meta/nothing":                    {404, ""},
	} {
		method, target, _ := strings.Cut(request, " ")
		a := get(t, c.client, method, "http://"+c.admin+target)
		var failed struct{ Error string }
		if err := json.Unmarshal([]byte(a.body), &failed); err != nil || failed.Error == "" {
			t.Errorf("%s is answered by %s", request, a.body)
		}
		if a.StatusCode != want.status || a.Header.Get("Allow") != want.allow {
			t.Errorf("%s is answered by %d, Allow: %s; want %d, %s", request, a.StatusCode, a.Header.Get("Allow"), want.status, want.allow)
		}
	}
	wantKept("after requests that are refused", "old", "older", "young", "asked", "other")

	want := map[string]purgeStatus{"one": {Name: "one", FreedFiles: 2, FreedBytes: 2 * block, KeptFiles: 2, KeptBytes: 2 * block}}
	if got := c.purge(t, "?name=one"); !maps.Equal(got, want) {
		t.Errorf("purging one gives %+v, want %+v", got, want)
	}
	wantKept("after one was purged", "young", "asked", "other")
	before := o.count()
	for name, route := range map[string]string{"young": "one", "asked": "again"} {
		if fetch(route, name) != files[name] {
			t.Errorf("%s has another path now", name)
		}
	}
	if n := o.count() - before; n != 0 {
		t.Errorf("the origin had %d requests for what is kept", n)
	}
	if path := fetch("again", "old"); !exists(path) || o.count()-before != 1 {
		t.Errorf("what went is not fetched again: %s, %d requests", path, o.count()-before)
	}

	want = map[string]purgeStatus{
		"one": {Name: "one", KeptFiles: 3, KeptBytes: 3 * block},
		"two": {Name: "two", FreedFiles: 1, FreedBytes: block},
	}
	if got := c.purge(t, ""); !maps.Equal(got, want) {
		t.Errorf("purging all gives %+v, want %+v", got, want)
	}
	if exists(files["other"]) {
		t.Error("the other cache was not purged")
	}
	c.awaitLogs("purged cache", 2)
	if got := c.gauge(t, "cache_bytes", "one") + c.gauge(t, "cache_bytes", "two"); got != 3*block {
		t.Errorf("the metrics say that %v bytes are left", got)
	}
}

// As long as somebody reads a file it is in use, however long ago it was
// returned.
func TestWhatIsBeingServedOrAskedAboutIsNotPurged(t *testing.T) {
	const size = 24 << 20 // more than what is on the way between here and there
	home := t.TempDir()
	options := caching("serve")
	c := startBot(t, options, at(home))
	o := newOrigin(t)
	body := filler(size)
	e := edition{body: filler(1000), etag: `"v1"`}
	read, url := c.post(t, "/download_file", params{"url": o.handle("/read", content(body))}.String()).served(t)
	url = url[strings.Index(url, "/files/"):]
	asked, _ := c.post(t, "/download_file", params{"url": o.handle("/asked", e.offer)}.String()).served(t)
	c.stop()
	aged(t, read, 20*time.Minute)
	aged(t, asked, 20*time.Minute)
	c = startBot(t, options, at(home))
	defer c.stop()
	finish := c.reading(t, url, body)
	g := newGate()
	o.handle("/asked", func(w http.ResponseWriter, r *http.Request) {
		g.passed <- struct{}{}
		<-g.closed
		e.offer(w, r)
	})
	call := c.ask(t, 1, params{"url": o.url + "/asked"})
	receive(t, g.passed, "the question whether it has changed")
	want := purgeStatus{Name: "onebot", KeptFiles: 2, KeptBytes: size + 1000}
	if got := c.purge(t, "")["onebot"]; got != want {
		t.Errorf("purging gives %+v, want %+v", got, want)
	}
	g.open()
	if file, _ := receive(t, call[0].answer, "the answer to a call").served(t); file != asked {
		t.Errorf("the file is now %s", file)
	}
	finish()
	wantContent(t, read, body)
}

func TestAFileThatAnotherProcessIsRemovingIsLeftToIt(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, download(), at(home))
	path := c.post(t, "/download_file", `{"base64":"aGVsbG8="}`).file(t)
	c.stop()
	aged(t, path, 20*time.Minute)
	mark := path + ".evicting" // as another process has it
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c = startBot(t, download(), at(home))
	if got := c.purge(t, "")["onebot"]; got.FreedFiles != 0 || got.KeptFiles != 1 || !exists(path) {
		t.Errorf("it is purged of %+v", got)
	}
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	if got := c.purge(t, "")["onebot"]; got.FreedFiles != 1 || exists(path) {
		t.Errorf("after that it is purged of %+v", got)
	}
}
