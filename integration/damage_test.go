package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// damages are what may befall a record of the index.
var damages = map[string]func(path string) error{
	"emptied":       func(path string) error { return os.Truncate(path, 0) },
	"filled with 0": func(path string) error { return rewrite(path, func(b []byte) []byte { clear(b); return b }) },
	"cut in half":   func(path string) error { return rewrite(path, func(b []byte) []byte { return b[:len(b)/2] }) },
	"without its last byte": func(path string) error {
		return rewrite(path, func(b []byte) []byte { return b[:max(len(b)-1, 0)] })
	},
	"with a byte more":  func(path string) error { return rewrite(path, func(b []byte) []byte { return append(b, 'x') }) },
	"with one bit less": func(path string) error { return rewrite(path, flip) },
	"twice in a row":    func(path string) error { return rewrite(path, func(b []byte) []byte { return append(b, b...) }) },
	"of garbage":        func(path string) error { return os.WriteFile(path, []byte(letters(10_000)), 0o600) },
	"of nested JSON":    func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("[", 100_000)), 0o600) },
	"removed":           os.Remove,
	"a directory": func(path string) error {
		return firstError(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700))
	},
	"a link to itself": func(path string) error { return firstError(os.Remove(path), os.Symlink(path, path)) },
	"a link elsewhere": func(path string) error { return firstError(os.Remove(path), os.Symlink("/dev/zero", path)) },
}

func rewrite(path string, change func([]byte) []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, change(b), 0o600)
}

func flip(b []byte) []byte {
	if len(b) > 0 {
		b[len(b)*2/3] ^= 4
	}
	return b
}

func TestADamagedIndexIsNoReasonToFail(t *testing.T) {
	const all = 6
	o := newOrigin(t)
	url := o.handle("/a.txt", counted)
	for name, damage := range damages {
		t.Run("records that are "+name, func(t *testing.T) {
			home := t.TempDir()
			c := startBot(t, download(), at(home))
			for i := range all {
				c.fetchCounted(t, url, strconv.Itoa(i))
			}
			c.stop()
			records := cacheFiles(t, c.cacheDir("onebot"), "index")
			if len(records) == 0 {
				t.Fatal("there is no index, so this test proves nothing")
			}
			for _, path := range records {
				if err := damage(path); err != nil {
					t.Fatal(err)
				}
			}
			c = startBot(t, download(), at(home))
			defer c.stop()
			for i := range all {
				c.fetchCounted(t, url, strconv.Itoa(i))
			}
			c.fetchCounted(t, url, "other")
		})
	}
	t.Run("records under each other's names", func(t *testing.T) {
		home := t.TempDir()
		c := startBot(t, download(), at(home))
		for i := range all {
			c.fetchCounted(t, url, strconv.Itoa(i))
		}
		c.stop()
		records := cacheFiles(t, c.cacheDir("onebot"), "index")
		first, err := os.ReadFile(records[0])
		for i := range records {
			next := first
			if i+1 < len(records) {
				next, err = os.ReadFile(records[i+1])
			}
			if err := firstError(err, os.WriteFile(records[i], next, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		c = startBot(t, download(), at(home))
		defer c.stop()
		for i := range all {
			c.fetchCounted(t, url, strconv.Itoa(i))
		}
	})
}

func TestForeignThingsInTheCacheAreNoReasonToFail(t *testing.T) {
	o := newOrigin(t)
	url := o.handle("/a.txt", counted)
	home := t.TempDir()
	c := startBot(t, download(), at(home))
	path := c.fetchCounted(t, url, "first")
	c.stop()
	cache := c.cacheDir("onebot")
	elsewhere := filepath.Join(home, "elsewhere.txt")
	if err := os.WriteFile(elsewhere, []byte("not of the cache"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"", "files", "index", "tmp", filepath.Join("files", filepath.Base(filepath.Dir(path)))} {
		dir := filepath.Join(cache, part)
		for name, put := range map[string]func(path string) error{
			"lost+found":   func(path string) error { return os.Mkdir(path, 0o700) },
			"zz":           func(path string) error { return os.MkdirAll(filepath.Join(path, "a", "b"), 0o700) },
			"Thumbs.db":    func(path string) error { return os.WriteFile(path, []byte("foreign"), 0o600) },
			"no extension": func(path string) error { return os.WriteFile(path, []byte("foreign"), 0o600) },
			"名前.png":       func(path string) error { return os.WriteFile(path, []byte("foreign"), 0o600) },
			"\xff\xfe":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
			"outside":      func(path string) error { return os.Symlink(elsewhere, path) },
			"circle":       func(path string) error { return os.Symlink("circle", path) },
			"above":        func(path string) error { return os.Symlink("..", path) },
			"home":         func(path string) error { return os.Symlink(home, path) },
			strings.Repeat("0", 16) + "-" + strings.Repeat("0", 32) + ".txt": func(path string) error { return os.WriteFile(path, []byte("foreign"), 0o600) },
		} {
			if err := put(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	c = startBot(t, download()+"\ncache {\nmax_size 1MiB\nmax_age 1s\n}", at(home))
	defer c.stop()
	c.fetchCounted(t, url, "next")
	for i := range 10 {
		c.fetch(t, o.handle("/b", content(filler(90_000)))+"?"+strconv.Itoa(i))
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Errorf("what is outside was touched: %v", err)
	}
	wantContent(t, elsewhere, "not of the cache")
	wantContent(t, path, "content of first")
}
