package integration

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// openLoopback lets a handler download from the origins of these tests.
const openLoopback = "allow_private 127.0.0.1"

func download(options ...string) string {
	return "download {\n" + openLoopback + "\n" + strings.Join(options, "\n") + "\n}"
}

// fetch calls download_file for a URL and returns the path.
func (c *instance) fetch(t testing.TB, url string) string {
	t.Helper()
	return c.post(t, "/download_file", params{"url": url}.String()).file(t)
}

// wantNothingKept fails the test if a cache has a file, whole or not.
func wantNothingKept(t testing.TB, cache string) {
	t.Helper()
	wantNoParts(t, cache)
	if kept := cacheFiles(t, cache, "files"); len(kept) > 0 {
		t.Errorf("it kept %v", kept)
	}
}

// wantNoParts fails the test if a cache has a file that is not whole.
func wantNoParts(t testing.TB, cache string) {
	t.Helper()
	if left := parts(t, cache); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// parts returns the paths of what is being written to a cache, or was. The
// locks beside them say which processes do.
func parts(t testing.TB, cache string) []string {
	t.Helper()
	return slices.DeleteFunc(cacheFiles(t, cache, "tmp"), func(path string) bool { return filepath.Ext(path) == ".lock" })
}

func TestADownloadIsExactlyWhatTheOriginSent(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	var binary strings.Builder
	for i := range 1 << 16 {
		binary.WriteByte(byte(i ^ i>>8))
	}
	for name, body := range map[string]string{
		"nothing":       "",
		"one byte":      "x",
		"line breaks":   "a\r\nb\nc\r\x00",
		"every byte":    binary.String(),
		"several reads": filler(1_000_003),
	} {
		for how, answer := range map[string]http.HandlerFunc{"of known length": content(body), "of unknown length": chunked(body)} {
			t.Run(name+" "+how, func(t *testing.T) {
				wantContent(t, c.fetch(t, o.handle("/file.bin", answer)), body)
			})
		}
	}
	t.Run("to the end of the connection", func(t *testing.T) {
		wantContent(t, c.fetch(t, o.handle("/file.bin", raw("HTTP/1.0 200 OK\r\n\r\nold style", false))), "old style")
	})
	t.Run("and no further than the length that was told", func(t *testing.T) {
		wantContent(t, c.fetch(t, o.handle("/file.bin", rawBody(5, "12345 and more", false))), "12345")
	})
	t.Run("and stays as it is when the origin's file changes", func(t *testing.T) {
		first := c.fetch(t, o.handle("/file.bin", content("first")))
		second := c.fetch(t, o.handle("/file.bin", content("second")))
		if first == second {
			t.Error("the new content has the old path")
		}
		wantContent(t, first, "first")
		wantContent(t, second, "second")
	})
	t.Run("and nothing of it stays in tmp", func(t *testing.T) {
		wantNoParts(t, c.cacheDir("onebot"))
	})
}

func TestADownloadedFileIsPrivateAndClosed(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	path := c.fetch(t, o.handle("/evilmarker/a.png", content("a picture")))
	wantWithin(t, path, filepath.Join(c.cacheDir("onebot"), "files"))
	if strings.Contains(path, "evilmarker") {
		t.Errorf("%s has a part of the URL", path)
	}
	if runtime.GOOS != "windows" { // which has no such modes
		err := filepath.WalkDir(c.cacheDir("onebot"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			want := fs.FileMode(0o600)
			if entry.IsDir() {
				want = fs.ModeDir | 0o700
			}
			if err == nil && info.Mode() != want {
				t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOOS == "linux" { // which tells what a process has open
		handles, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.pid))
		if err != nil || len(handles) == 0 {
			t.Fatalf("no open files: %v", err)
		}
		for _, handle := range handles {
			to, err := os.Readlink(handle)
			if err == nil && strings.HasPrefix(to, c.cacheDir("onebot")) && filepath.Ext(to) != ".lock" {
				t.Errorf("Caddy has %s open", to)
			}
		}
	}
	// nobody can guess one path from another
	if other := c.fetch(t, o.url+"/evilmarker/a.png"); len(filepath.Base(other)) < 20 {
		t.Errorf("%s has a short name", other)
	}
}

func TestTheExtensionTellsTheTypeAndNothingElseComesFromOutside(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	for _, test := range []struct {
		want, name, path, mediaType, disposition string
	}{
		{"txt", "evilmarker.TXT", "/evilmarker.png", "image/gif", ""},
		{"gz", "a.tar.gz", "/a.png", "", ""},
		{"abcdefghij", "a.abcdefghij", "/a.png", "", ""},
		{"png", "a.abcdefghijk", "/a.png", "", ""}, // too long
		{"png", "evilmarker", "/a.png", "", ""},
		{"png", "evilmarker.", "/a.png", "", ""},
		{"png", "a.t*t", "/a.png", "", ""},
		{"png", "a.文本", "/a.png", "", ""},
		{"png", "a.b c", "/a.png", "", ""},
		{"png", "..", "/a.png", "", ""},
		{"png", "a.x/../../evilmarker", "/a.png", "", ""},
		{"txt", "../../../evilmarker.txt", "/a.png", "", ""},
		{"png", "a.txt\x00", "/a.png", "", ""},
		{"jpg", "", "/evilmarker/a.JPG?x=a.gif", "image/gif", ""},
		{"jpg", "", "/a.%4Apg", "image/gif", ""},
		{"pdf", "", "/file", "image/gif", `attachment; filename="evilmarker.PDF"`},
		{"pdf", "", "/file", "image/gif", `attachment; filename*=UTF-8''evil%2Fmarker.pdf`},
		{"pdf", "", "/file", "image/gif", `attachment; filename="../../evilmarker.pdf"`},
		{"gif", "", "/file", "image/gif", `attachment; filename="evilmarker"`},
		{"gif", "", "/file", "image/gif", `attachment; filename="`},
		{"gif", "", "/file", "image/gif", ""},
		{"gif", "", "/evilmarker.d/file", "Image/GIF; charset=evilmarker", ""},
		{"png", "", "/file", "application/octet-stream", ""},
		{"png", "", "/", "evilmarker/../../x", ""},
	} {
		t.Run(fmt.Sprintf("%q %q %q %q is %s", test.name, test.path, test.mediaType, test.disposition, test.want), func(t *testing.T) {
			route, _, _ := strings.Cut(strings.ReplaceAll(test.path, "%4A", "J"), "?")
			o.handle(route, typed(test.mediaType, test.disposition, png))
			path := c.post(t, "/download_file", params{"url": o.url + test.path, "name": test.name}.String()).file(t)
			wantContent(t, path, png)
			wantWithin(t, path, c.cacheDir("onebot"))
			if !regexp.MustCompile(`^[0-9a-zA-Z_-]+\.` + test.want + `$`).MatchString(filepath.Base(path)) {
				t.Errorf("the path is %s, want the extension %s", path, test.want)
			}
			if strings.Contains(path, "evilmarker") {
				t.Errorf("%s has more than an extension from outside", path)
			}
		})
	}
}

func TestHeadersReachTheOriginInBothForms(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	url := o.handle("/a.png", content("a picture"))
	want := http.Header{
		"User-Agent": {"bot"}, "Referer": {"http://127.0.0.1/from?a=b"}, "X-Twice": {"one", "two"}, "X-Empty": {""},
		"Authorization": {"Bearer of it"}, "Cookie": {"a=b; c=d"},
	}
	lines := []string{
		"User-Agent: bot", "Referer:http://127.0.0.1/from?a=b", "X-Twice: one", "x-twice:   two ", "X-Empty:",
		"Authorization: Bearer of it", "Cookie: a=b; c=d", "Host: elsewhere.invalid:81",
	}
	for form, headers := range map[string]any{
		"a string":                        strings.Join(lines, "\r\n"),
		"a string that ends a line":       strings.Join(lines, "\r\n") + "\r\n",
		"an array":                        lines,
		"an array that asks for encoding": append([]string{"Accept-Encoding: gzip, br"}, lines...),
	} {
		t.Run(form, func(t *testing.T) {
			c.post(t, "/download_file", params{"url": url, "headers": headers}.String()).file(t)
			got := o.last(t)
			if got.Method != "GET" || got.Host != "elsewhere.invalid:81" {
				t.Errorf("the origin got %s for %s", got.Method, got.Host)
			}
			encoding := got.Header.Get("Accept-Encoding")
			got.Header.Del("Accept-Encoding")
			if encoding != "" && encoding != "identity" {
				t.Errorf("Accept-Encoding is %s", encoding)
			}
			for name := range got.Header {
				if !slices.Equal(got.Header[name], want[name]) {
					t.Errorf("%s is %q, want %q", name, got.Header[name], want[name])
				}
			}
			if len(got.Header) != len(want) {
				t.Errorf("the origin got %v", got.Header)
			}
		})
	}
	t.Run("a query", func(t *testing.T) {
		c.call(t, "GET", "/download_file?"+query(map[string]string{"url": url, "headers": "X-A: 1\r\nX-B: 2"}), "").file(t)
		if got := o.last(t).Header; got.Get("X-A") != "1" || got.Get("X-B") != "2" {
			t.Errorf("the origin got %v", got)
		}
	})
	t.Run("userinfo in the URL", func(t *testing.T) {
		c.fetch(t, strings.Replace(url, "://", "://u%40:p%40:@", 1))
		if user, password, _ := o.last(t).BasicAuth(); user+" "+password != "u@ p@:" {
			t.Errorf("the origin got %v", o.last(t).Header)
		}
	})
	t.Run("none", func(t *testing.T) {
		c.fetch(t, url)
		for name := range o.last(t).Header {
			if name != "User-Agent" && name != "Accept-Encoding" {
				t.Errorf("%s was made up", name)
			}
		}
	})
	t.Run("and what is compressed all the same is kept as it came", func(t *testing.T) {
		var packed bytes.Buffer
		zip := gzip.NewWriter(&packed)
		_, _ = zip.Write([]byte("a picture"))
		_ = zip.Close()
		file := c.fetch(t, o.handle("/packed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			content(packed.String())(w, r)
		}))
		wantContent(t, file, packed.String())
	})
}

func TestContentCanBeSentAsBase64(t *testing.T) {
	c := startBot(t, "download {\n max_size 1KiB\n}")
	const text = "\xfb\xff\xfe>>>???" // has both letters in which the alphabets differ
	for name, encoded := range map[string]string{
		"standard":             base64.StdEncoding.EncodeToString([]byte(text)),
		"without padding":      base64.RawStdEncoding.EncodeToString([]byte(text)),
		"for URLs":             base64.URLEncoding.EncodeToString([]byte(text)),
		"as OneBot writes it":  "base64://" + base64.StdEncoding.EncodeToString([]byte(text)),
		"of the largest size":  base64.StdEncoding.EncodeToString([]byte(filler(1024))),
		"with a line's length": "AAAA\nAAAA\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := c.post(t, "/download_file", params{"base64": encoded, "name": "a.dat"}.String()).file(t)
			want := text
			switch name {
			case "of the largest size":
				want = filler(1024)
			case "with a line's length":
				want = strings.Repeat("\x00", 6)
			}
			wantContent(t, file, want)
			if filepath.Ext(file) != ".dat" {
				t.Errorf("%s has not the extension of the name", file)
			}
		})
	}
	t.Run("and its type is known by the content", func(t *testing.T) {
		file := c.post(t, "/download_file", params{"base64": base64.StdEncoding.EncodeToString([]byte("GIF89a..."))}.String()).file(t)
		if filepath.Ext(file) != ".gif" {
			t.Errorf("%s is a GIF", file)
		}
	})
}
