package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What one caller may read another one need not.
func TestAFileIsUsedAgainOnlyForCallsThatAreAlike(t *testing.T) {
	c := startCaddy(t, "http://<SITE> {\n"+
		"onebot_meta {\n"+download()+"\n}\n"+ // this name, and no other network
		"}\nhttp://<OTHER> {\nonebot_meta {\n}\n}")
	o := newOrigin(t)
	secret := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		user, _, _ := r.BasicAuth()
		if user != "user" && r.Header.Get("Authorization") != "Bearer 5ecret" && r.Header.Get("Cookie") != "5ecret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte("a secret"))
	}
	url := o.handle("/private.txt", secret)
	moved := o.handle("/moved", redirect(302, "/private.txt"))
	for name, call := range map[string]params{
		"Authorization": {"url": url, "headers": "Authorization: Bearer 5ecret"},
		"Cookie":        {"url": url, "headers": "Cookie: 5ecret"},
		"userinfo":      {"url": strings.Replace(url, "://", "://user:pass@", 1)},
		"a redirect":    {"url": moved, "headers": "Cookie: 5ecret"},
	} {
		t.Run("with "+name+" and without", func(t *testing.T) {
			wantContent(t, c.post(t, "/download_file", call.String()).file(t), "a secret")
			for _, other := range []params{
				{"url": url}, {"url": moved}, {"url": url, "headers": "Cookie: other"}, {"url": url, "headers": "Authorization: Bearer 5ECRET"},
				{"url": strings.Replace(url, "://", "://other:pass@", 1)}, {"url": url + "?x", "headers": "Cookie: x"},
			} {
				if r := c.post(t, "/download_file", other.String()).wantFailed(t); !strings.Contains(r.message, "403") {
					t.Errorf("message is %q", r.message)
				}
			}
		})
	}
	t.Run("nor where the destination is refused", func(t *testing.T) {
		open := o.handle("/open.txt", numbered("", "Cache-Control", "max-age=3600"))
		wantContent(t, c.fetch(t, open), "content 1")
		other := newClient("http://" + c.other)
		t.Cleanup(other.CloseIdleConnections)
		r, err := other.try("POST", "/download_file", params{"url": open}.String())
		if err != nil {
			t.Fatal(err)
		}
		if r.wantFailed(t); !strings.Contains(r.message, "refused") {
			t.Errorf("message is %q", r.message)
		}
	})
	t.Run("nor for another extension", func(t *testing.T) {
		url := o.handle("/typed", numbered("", "Cache-Control", "max-age=3600"))
		files := make(map[string]string)
		for _, name := range []string{"a.png", "a.txt", "", "b.png"} {
			file := c.post(t, "/download_file", params{"url": url, "name": name}.String()).file(t)
			if want := filepath.Ext(name); want != "" && filepath.Ext(file) != want {
				t.Errorf("%s is for the name %s", file, name)
			}
			files[name] = file
		}
		if files["a.png"] != files["b.png"] {
			t.Error("a name of the same extension made another file")
		}
	})
}

func TestFilesAreUsedAgainAfterARestart(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, download(), at(home))
	o := newOrigin(t)
	fresh := o.handle("/fresh.png", numbered("", "Cache-Control", "max-age=3600"))
	tagged := o.handle("/tagged.png", numbered(`"v1"`))
	first := map[string]string{fresh: c.fetch(t, fresh), tagged: c.fetch(t, tagged)}
	c.stop() // at once after the download: what was returned is known all the same

	c = startBot(t, download(), at(home))
	for url, path := range first {
		if file := c.fetch(t, url); file != path {
			t.Errorf("%s was %s and is now %s", url, path, file)
		}
		wantContent(t, path, "content 1")
	}
	if n := len(o.asked("/fresh.png")); n != 1 {
		t.Errorf("the fresh file had %d requests", n)
	}
	if asked := o.asked("/tagged.png"); len(asked) != 2 || asked[1].Header.Get("If-None-Match") != `"v1"` {
		t.Errorf("the other file had %d requests", len(asked))
	}
	c.stop() // before the origin, which stops when the test ends
}

func TestAFileThatSomebodyElseRemovedIsDownloadedAgain(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	for name, damage := range map[string]func(path string) error{
		"removed":               os.Remove,
		"emptied":               func(path string) error { return os.Truncate(path, 0) },
		"shortened":             func(path string) error { return os.Truncate(path, 5) },
		"made longer":           func(path string) error { return os.WriteFile(path, []byte("something else"), 0o600) },
		"a directory":           func(path string) error { return firstError(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a link to nowhere":     func(path string) error { return firstError(os.Remove(path), os.Symlink("nowhere", path)) },
		"gone with all of them": func(path string) error { return os.RemoveAll(filepath.Dir(filepath.Dir(path))) },
	} {
		for how, etag := range map[string]string{"fresh": "", "to be revalidated": `"v1"`} {
			t.Run(name+", "+how, func(t *testing.T) {
				var header []string
				if etag == "" {
					header = []string{"Cache-Control", "max-age=3600"}
				}
				url := o.handle("/"+strings.ReplaceAll(name+how, " ", "-")+".txt", edition{body: "a text", etag: etag, header: header}.offer)
				path := c.fetch(t, url)
				if err := damage(path); err != nil {
					t.Fatal(err)
				}
				wantContent(t, c.fetch(t, url), "a text")
			})
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
