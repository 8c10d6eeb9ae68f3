package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// caching is the options of a handler that may download from loopback, with a
// bounded cache.
func caching(cache ...string) string {
	return download("retries 0") + "\ncache {\n" + strings.Join(cache, "\n") + "\n}"
}

// aged says that a file was last returned some time ago. Only a Caddy that
// starts after that takes it for true.
func aged(t testing.TB, path string, ago time.Duration) {
	t.Helper()
	then := time.Now().Add(-ago)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// diskUse is how many bytes a cache has in files, whole or not.
func diskUse(t testing.TB, cache string) int64 {
	t.Helper()
	var sum int64
	for _, path := range append(cacheFiles(t, cache, "files"), parts(t, cache)...) {
		if info, err := os.Stat(path); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

const block = 256 << 10 // a quarter of the caches of these tests

// kept answers with a file of a quarter of a cache, which stays fresh.
func kept(name string) http.HandlerFunc {
	return edition{body: name + letters(block-len(name)), header: []string{"Cache-Control", "max-age=86400"}}.offer
}

func TestAFullCacheRefusesDownloadsRatherThanTakeAPathBack(t *testing.T) {
	c := startBot(t, caching("max_size 1MiB"))
	o := newOrigin(t)
	files := make(map[string]string)
	for i := range 3 {
		name := strconv.Itoa(i)
		files[name] = c.fetch(t, o.handle("/"+name, kept(name)))
	}
	for range 3 {
		for how, answer := range map[string]http.HandlerFunc{
			"of known length":   content(filler(2 * block)),
			"of unknown length": chunked(filler(2 * block)),
		} {
			t.Run("a download "+how, func(t *testing.T) {
				r := c.post(t, "/download_file", params{"url": o.handle("/more", answer)}.String()).wantFailed(t)
				if !strings.Contains(r.message, "cache") && !strings.Contains(r.message, "room") && !strings.Contains(r.message, "full") {
					t.Errorf("message is %q", r.message)
				}
				for name, path := range files {
					wantContent(t, path, name+letters(block-len(name)))
				}
				wantNoParts(t, c.cacheDir("onebot"))
			})
		}
	}
	t.Run("but what just fits is kept", func(t *testing.T) {
		wantContent(t, c.fetch(t, o.handle("/more", content(filler(block)))), filler(block))
	})
}

func TestTheLeastRecentlyReturnedGoesFirst(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, caching("max_size 1MiB"), at(home))
	o := newOrigin(t)
	files := make(map[string]string)
	for _, name := range []string{"a", "b", "c", "d"} {
		files[name] = c.fetch(t, o.handle("/"+name, kept(name)))
	}
	c.stop()
	for name, minutes := range map[string]time.Duration{"a": 14, "b": 18, "c": 16, "d": 12} {
		aged(t, files[name], minutes*time.Minute)
	}
	c = startBot(t, caching("max_size 1MiB"), at(home))
	defer c.stop()                                          // before the origin
	if file := c.fetch(t, o.url+"/b"); file != files["b"] { // now the newest
		t.Errorf("b was %s and is now %s", files["b"], file)
	}
	for i, gone := range []string{"c", "a", "d"} {
		name := fmt.Sprintf("new %d", i)
		path := c.fetch(t, o.handle("/"+strconv.Itoa(i), kept(name)))
		for name, path := range files {
			if exists(path) == (name == gone) {
				t.Errorf("%s exists: %t, after download %d, when %s is the oldest", name, exists(path), i, gone)
			}
		}
		delete(files, gone)
		files[name] = path
	}
	// all that is left was returned just now
	c.post(t, "/download_file", params{"url": o.handle("/last", kept("last"))}.String()).wantFailed(t)
	for name, path := range files {
		wantContent(t, path, name+letters(block-len(name)))
	}
	// and what went is not returned any more
	before := o.count()
	c.post(t, "/download_file", params{"url": o.url + "/c"}.String()).wantFailed(t)
	if n := o.count() - before; n != 1 {
		t.Errorf("the origin had %d requests for a file that went", n)
	}
}

func TestManySmallFilesGoOldestFirst(t *testing.T) {
	const all = 60
	home := t.TempDir()
	c := startBot(t, caching("max_size 1MiB"), at(home))
	o := newOrigin(t)
	const size = 16 << 10 // of which 64 fit
	b := o.batch()
	for i := range all {
		b.add(strconv.Itoa(i), content(filler(size)))
	}
	files := make([]string, all)
	for name, r := range b.run(t, c, "") {
		i, _ := strconv.Atoi(name)
		files[i] = r.file(t)
	}
	c.stop()
	for i, path := range files {
		aged(t, path, 30*time.Minute-time.Duration(i)*10*time.Second)
	}
	c = startBot(t, caching("max_size 1MiB"), at(home))
	defer c.stop()
	wantContent(t, c.fetch(t, o.handle("/large", content(filler(2*block)))), filler(2*block))
	wantContent(t, c.fetch(t, o.handle("/large", chunked(filler(block)))), filler(block))
	first := slices.IndexFunc(files, exists)
	if first <= 0 {
		t.Fatalf("the first file that is left is %d", first)
	}
	for i, path := range files[first:] {
		if !exists(path) {
			t.Errorf("file %d went and file %d did not", first+i, first)
		}
	}
	if use := diskUse(t, c.cacheDir("onebot")); use > 1<<20 {
		t.Errorf("the cache has %d bytes", use)
	}
}

func TestFilesThatNobodyAsksForGoAfterMaxAge(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, caching("max_age 1h"), at(home))
	o := newOrigin(t)
	old, young := c.fetch(t, o.handle("/old", kept("old"))), c.fetch(t, o.handle("/young", kept("young")))
	c.stop()
	aged(t, old, 61*time.Minute)
	aged(t, young, 50*time.Minute)

	c = startBot(t, caching("max_age 1h"), at(home))
	defer c.stop()
	c.fetch(t, o.handle("/new", content("new")))
	eventually(t, "the old file to go", func() bool { return !exists(old) })
	wantContent(t, young, "young"+letters(block-len("young")))
	before := o.count()
	wantContent(t, c.fetch(t, o.url+"/old"), "old"+letters(block-len("old")))
	if n := o.count() - before; n != 1 {
		t.Errorf("the origin had %d requests for what went", n)
	}
}

func TestAMaxAgeThatIsShorterTakesNoPathBack(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, caching("max_age 1s"), at(home))
	o := newOrigin(t)
	old := c.fetch(t, o.handle("/old", kept("old")))
	c.stop()
	aged(t, old, 11*time.Minute)
	c = startBot(t, caching("max_age 1s"), at(home))
	defer c.stop()
	young := c.fetch(t, o.handle("/young", kept("young")))
	// when the one is gone, so would be the other
	eventually(t, "the old file to go", func() bool { return !exists(old) })
	wantContent(t, young, "young"+letters(block-len("young")))
}

func TestWhatFollowsALostIndexIsBoundedToo(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, caching("max_size 1MiB"), at(home))
	o := newOrigin(t)
	files := make([]string, 4)
	for i := range files {
		files[i] = c.fetch(t, o.handle("/"+strconv.Itoa(i), kept(strconv.Itoa(i))))
	}
	c.stop()
	if err := os.RemoveAll(filepath.Join(c.cacheDir("onebot"), "index")); err != nil {
		t.Fatal(err)
	}
	for _, path := range files[:2] {
		aged(t, path, 20*time.Minute)
	}
	c = startBot(t, caching("max_size 1MiB"), at(home))
	defer c.stop()
	wantContent(t, c.fetch(t, o.handle("/new", content(filler(2*block)))), filler(2*block))
	if use := diskUse(t, c.cacheDir("onebot")); use > 1<<20 {
		t.Errorf("the cache has %d bytes", use)
	}
	// these were returned just now, whoever remembers it
	for i, path := range files[2:] {
		wantContent(t, path, strconv.Itoa(i+2)+letters(block-1))
	}
}
