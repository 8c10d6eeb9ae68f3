package diskcache

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// FuzzName tells names of files from others as a regular expression does, and
// takes the names that it gives for such.
func FuzzName(f *testing.F) {
	for _, seed := range []string{
		newName(Key{1}, "bin"), newName(Key{}, "a"), newName(Key{1}, "0123456789"), newName(Key{1}, "0123456789a"), newName(Key{1}, "PNG"),
		newName(Key{1}, "bin") + markExt, newName(Key{1}, "b/x"), "../../etc/passwd", "", strings.Repeat("0", stemLen+2),
	} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^[0-9a-f]{16}-[0-9a-f]{32}\.[0-9a-z]{1,10}$`)
	extension := regexp.MustCompile(`^[0-9a-z]{1,10}$`)
	f.Fuzz(func(t *testing.T, name string) {
		if want := form.MatchString(name); isName(name) != want {
			t.Errorf("%q is a name: %t", name, !want)
		}
		var key Key
		copy(key[:], name)
		if ours := newName(key, name); isName(ours) != extension.MatchString(name) {
			t.Errorf("%q is a name: %t", ours, isName(ours))
		}
	})
}

// FuzzLock finds anything in the file of a lock. It says whose turn it is and
// who has it as its first and last words do, and is broken only if it is the one
// that is meant.
func FuzzLock(f *testing.F) {
	f.Add([]byte("TURN a1-owner"), "TURN a1-owner")
	f.Add([]byte("a1-owner"), "b2-other")
	f.Add([]byte(""), "")
	f.Add([]byte(" \x00 "), " ")
	f.Add(bytes.Repeat([]byte("x "), 200), "x")
	c, _ := open(f, f.TempDir(), Options{})
	dir := filepath.Join(c.dir, locksDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.Fatal(err)
	}
	path := c.lockPath("fuzzed")
	f.Fuzz(func(t *testing.T, content []byte, id string) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		words := strings.Split(string(content[:min(len(content), 256)]), " ")
		turn := words[0]
		if got := sight(path); got.turn() != turn || got.owner() != words[len(words)-1] || !got.known || c.Turn("fuzzed") != turn {
			t.Errorf("%q: seen as %+v", content, got)
		}
		c.breakLock(path, id)
		left, err := os.ReadFile(path)
		if meant := strings.Join(words, " ") == id; meant != os.IsNotExist(err) || !meant && !bytes.Equal(left, content) {
			t.Errorf("%q, meant is %q: %q is left, %v", content, id, left, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 {
			t.Errorf("%v, %v", entries, err)
		}
		_ = os.Remove(path) // if it is still there
	})
}

// FuzzLeftover puts a file of any name into a directory of a cache, of an age in
// minutes, and has that read. What was stored stays, what is no file of a cache
// does not count, and what is none of its own goes from its tmp and locks alone.
func FuzzLeftover(f *testing.F) {
	name := newName(Key{2}, "bin")
	shard := name[:2]
	for _, seed := range []struct{ dir, name, content string }{
		{filesDir + "/" + shard, name, "torn"}, {filesDir + "/00", name, "in another's place"}, {filesDir + "/" + shard, name + markExt, ""},
		{indexDir + "/" + shard, name + recordExt, "{}"}, {indexDir + "/" + shard, name + newExt, `{"v":1}`}, {indexDir + "/" + shard, "x" + recordExt, ""},
		{tempDir, "dead.lock", "dead"}, {tempDir, lockSuffix, ""}, {tempDir, "left", ""}, {locksDir, "0123", "A b"}, {filesDir, "stray", ""}, {".", "stray", ""},
	} {
		f.Add(seed.dir, seed.name, []byte(seed.content), uint16(0))
		f.Add(seed.dir, seed.name, []byte(seed.content), uint16(61))
		f.Add(seed.dir, seed.name, []byte(seed.content), uint16(3000))
	}
	root := f.TempDir()
	c, now := open(f, filepath.Join(root, "cache"), Options{})
	e := store(f, c, Key{1}, "content")
	c.syncAll(never)
	f.Fuzz(func(t *testing.T, dir, name string, content []byte, age uint16) {
		if !filepath.IsLocal(dir) || !clean(dir) || !clean(name) || strings.Contains(name, "/") || len(dir) > 100 || len(name) > 200 {
			return // not below the cache
		}
		path := filepath.Join(c.dir, filepath.FromSlash(dir), name)
		if _, err := os.Lstat(path); err == nil || dir != "." && os.MkdirAll(filepath.Dir(path), 0o700) != nil {
			return // one of the cache's own, or below a file
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return // which no system has
		}
		defer func() {
			_ = os.Remove(path) // if it is still there
			c.scan(true)        // so that no other is taken for it
		}()
		then := now.Add(-time.Duration(age) * time.Minute)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
		c.sweepSessions()
		c.sweepLocks()
		c.scan(true)

		wantFound(t, c, Key{1}, e, headOf("content"))
		if got, err := os.ReadFile(e.Path); string(got) != "content" {
			t.Errorf("it is %q, %v", got, err)
		}
		_, err := os.Lstat(path)
		first, _, _ := strings.Cut(dir, "/")
		if gone := os.IsNotExist(err); gone && !ours(first, name) {
			t.Errorf("%s/%s is gone", dir, name)
		}
		usage := Usage{Files: 1, Bytes: e.Size}
		if isName(name) && dir == filesDir+"/"+name[:2] {
			usage.Files, usage.Bytes = 2, e.Size+int64(len(content))
		}
		if got := c.Usage(); got != usage {
			t.Errorf("%s/%s: there are %+v, want %+v", dir, name, got, usage)
		}
		if info, err := os.Stat(c.session.dir); err != nil || !info.IsDir() {
			t.Errorf("the session is gone: %v", err)
		}
	})
}

// ours reports whether a file may go that a crash could have left.
func ours(dir, name string) bool {
	switch dir {
	case tempDir, locksDir:
		return true
	case filesDir:
		name, ok := strings.CutSuffix(name, markExt)
		return ok && isName(name)
	case indexDir:
		name, proven := strings.CutSuffix(name, recordExt)
		name, early := strings.CutSuffix(name, newExt)
		return (proven || early) && isName(name)
	}
	return false
}

// clean reports whether a path is as this package would write it.
func clean(path string) bool {
	return path == "." || filepath.ToSlash(filepath.Clean(path)) == path && !strings.HasPrefix(path, ".") && !strings.ContainsRune(path, 0)
}
