package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// counted answers with a text of its own for each query, which stays fresh.
func counted(w http.ResponseWriter, r *http.Request) {
	edition{body: "content of " + r.URL.RawQuery, header: []string{"Cache-Control", "max-age=86400"}}.offer(w, r)
}

// fetchCounted downloads what counted answers a query with.
func (c *instance) fetchCounted(t testing.TB, url, query string) string {
	t.Helper()
	path := c.fetch(t, url+"?"+query)
	wantContent(t, path, "content of "+query)
	return path
}

func TestTheCacheMayBeRemovedWhileCaddyRuns(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	cache := c.cacheDir("onebot")
	url := o.handle("/a.txt", counted)
	for name, gone := range map[string]string{
		"all of it":            cache,
		"with what is above":   filepath.Dir(cache),
		"the files":            filepath.Join(cache, "files"),
		"the temporary files":  filepath.Join(cache, "tmp"),
		"what is known":        filepath.Join(cache, "index"),
		"what marks the cache": filepath.Join(cache, "CACHEDIR.TAG"),
	} {
		t.Run(name, func(t *testing.T) {
			query := strings.ReplaceAll(name, " ", "-")
			c.fetchCounted(t, url, query)
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
			c.fetchCounted(t, url, query+"-new")
			c.fetchCounted(t, url, query)
		})
		t.Run(name+" during a download", func(t *testing.T) {
			g := newGate()
			query := strings.ReplaceAll(name, " ", "-")
			body := filler(100_000)
			call := c.ask(t, 1, params{"url": o.handle("/during", g.after(50_000, content(body))) + "?" + query})
			receive(t, g.passed, "the transfer to begin")
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
			g.open()
			// it may fail; what it must not is to name a file that is not there
			if r := receive(t, call[0].answer, "the answer"); r.status == "ok" {
				wantContent(t, r.file(t), body)
			} else {
				r.wantFailed(t)
			}
			c.fetchCounted(t, url, query+"-after")
		})
	}
	wantNoParts(t, cache)
}

func TestACacheThatCannotBeWrittenFailsAndRecovers(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	cache := c.cacheDir("onebot")
	url := o.handle("/a.txt", counted)
	c.fetchCounted(t, url, "first")
	for i, where := range []string{"", "tmp", "files", "index"} {
		for repair, back := range map[string]bool{"and is put back": true, "and is made anew": false} {
			t.Run(fmt.Sprintf("something else is at %q %s", where, repair), func(t *testing.T) {
				path, away := filepath.Join(cache, where), filepath.Join(c.home, "away"+strconv.Itoa(i)+strconv.FormatBool(back))
				// root may write where it is forbidden, but not below a file;
				// the index comes a little after the file
				if err := firstError(os.MkdirAll(path, 0o700), os.Rename(path, away), os.WriteFile(path, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
				r := c.post(t, "/download_file", params{"url": url + "?" + repair[len(repair)-4:] + where + "-blocked"}.String())
				if where != "index" || r.status != "ok" { // without an index it can do its work
					if r.wantFailed(t); !strings.Contains(r.message, "written") {
						t.Errorf("message is %q", r.message)
					}
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if back {
					if err := os.Rename(away, path); err != nil {
						t.Fatal(err)
					}
				}
				c.fetchCounted(t, url, repair[len(repair)-4:]+where+"-repaired")
				c.fetchCounted(t, url, "first")
			})
		}
	}
	wantNoParts(t, cache)
}

func TestCaddyStartsWithACacheThatCannotBeWritten(t *testing.T) {
	home := t.TempDir()
	root := filepath.Join(home, "data", "caddy", "onebot_meta")
	if err := firstError(os.MkdirAll(filepath.Dir(root), 0o700), os.WriteFile(root, []byte("in the way"), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := startBot(t, download(), at(home))
	o := newOrigin(t)
	url := o.handle("/a.txt", counted)
	for range 2 {
		r := c.post(t, "/download_file", params{"url": url + "?blocked"}.String()).wantFailed(t)
		if !strings.Contains(r.message, "written") {
			t.Errorf("message is %q", r.message)
		}
	}
	c.call(t, "GET", "/get_status", "").wantOK(t)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	c.fetchCounted(t, url, "blocked")
}
