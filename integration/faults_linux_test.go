package integration

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mount puts a file system of a few bytes at a directory until the test ends,
// and returns false if it may not.
func mount(t testing.TB, dir, size string) bool {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,"+size)
	if err != nil {
		t.Logf("no file system of its own: %v", err)
		return false
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return true
}

// limitFiles bounds the files that a process may write, in bytes.
func limitFiles(t testing.TB, c *instance, most uint64) {
	t.Helper()
	if err := unix.Prlimit(c.pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestAWriteThatFailsIsAFailedDownload(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	const most = 64 << 10
	answers := map[string]func(body string) http.HandlerFunc{"known": content, "unknown": chunked}
	for _, size := range []int{most + 1, 4 * most, 2 << 20} {
		body := filler(size)
		for length, answer := range answers {
			t.Run(fmt.Sprintf("of %d bytes, of %s length", size, length), func(t *testing.T) {
				limitFiles(t, c, most)
				url := o.handle("/"+length+strconv.Itoa(size), answer(body))
				for range 3 {
					r := c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
					if !strings.Contains(r.message, "written") {
						t.Errorf("message is %q", r.message)
					}
				}
				wantNoParts(t, c.cacheDir("onebot"))
				wantContent(t, c.fetch(t, o.handle("/small", content(body[:most/2]))), body[:most/2])
				limitFiles(t, c, math.MaxInt64)
				wantContent(t, c.fetch(t, url), body)
			})
		}
	}
}

func TestAFullDiskIsAFailedDownload(t *testing.T) {
	home := t.TempDir()
	dir := home + "/disk"
	if !mount(t, dir, "size=1m,nr_inodes=100") {
		return // TestAWriteThatFailsIsAFailedDownload is the next best
	}
	c := startBot(t, "storage file_system "+dir+"\n"+download("max_concurrent 8"), at(home))
	o := newOrigin(t)
	cache := dir + "/onebot_meta/onebot"
	answers := map[string]func(body string) http.HandlerFunc{"known": content, "unknown": chunked}
	small := c.fetch(t, o.handle("/small", content("a small file")))
	full := func(t *testing.T, url string) {
		t.Helper()
		if r := c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t); !strings.Contains(r.message, "full") {
			t.Errorf("message is %q", r.message)
		}
	}
	for length, answer := range answers {
		t.Run("a file of "+length+" length that does not fit", func(t *testing.T) {
			large := o.handle("/large-"+length, answer(filler(2<<20)))
			for range 3 {
				full(t, large)
			}
			wantNoParts(t, cache)
			wantContent(t, small, "a small file")
			wantContent(t, c.fetch(t, o.handle("/fits-"+length, answer(filler(100_000)))), filler(100_000))
		})
	}
	t.Run("many that do not fit together", func(t *testing.T) {
		b := o.batch()
		for i := range 30 {
			b.add(strconv.Itoa(i), content(letters(100_000)))
		}
		stored := 0
		for _, r := range b.run(t, c, "") {
			if r.status == "ok" {
				wantContent(t, r.file(t), letters(100_000))
				stored++
			} else if r.wantFailed(t); !strings.Contains(r.message, "full") {
				t.Errorf("message is %q", r.message)
			}
		}
		if stored == 30 {
			t.Error("the disk was not full: this test proves nothing")
		}
		wantNoParts(t, cache)
	})
	t.Run("and there is room again when something is removed", func(t *testing.T) {
		for _, path := range cacheFiles(t, cache, "files") {
			if path != small {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantContent(t, c.fetch(t, o.handle("/again", content(filler(500_000)))), filler(500_000))
	})
	t.Run("nor are more files than the disk can name", func(t *testing.T) {
		failed := false
		for i := 0; i < 200 && !failed; i++ {
			r := c.post(t, "/download_file", params{"url": o.handle("/tiny", content("tiny")) + "?" + strconv.Itoa(i)}.String())
			if failed = r.status != "ok"; failed {
				r.wantFailed(t)
			}
		}
		if !failed {
			t.Error("the disk was not full: this test proves nothing")
		}
		wantContent(t, small, "a small file")
	})
}
