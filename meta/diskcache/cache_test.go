package diskcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestACommittedFileIsWholePrivateAndAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := New(dir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("New made the directory")
	}
	f := write(t, c, "content")
	if files := list(t, dir, filesDir); len(files) != 0 {
		t.Errorf("visible before Commit: %v", files)
	}
	path, err := f.Commit("png")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "content" {
		t.Errorf("file has %q, %v", got, err)
	}
	if rel, err := filepath.Rel(dir, path); err != nil || !regexp.MustCompile(`^files.([0-9a-f]{2}).[0-9a-f]{32}\.png$`).MatchString(rel) {
		t.Errorf("path is %s", path)
	}
	if files := list(t, dir, tempDir); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
	if runtime.GOOS != "windows" {
		for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): fs.ModeDir | 0o700, dir: fs.ModeDir | 0o700, filepath.Dir(dir): fs.ModeDir | 0o700} {
			if info, err := os.Stat(p); err != nil || info.Mode() != want {
				t.Errorf("mode of %s is %v, want %v (%v)", p, info.Mode(), want, err)
			}
		}
	}
	if tag, err := os.ReadFile(filepath.Join(dir, "CACHEDIR.TAG")); err != nil || string(tag) != cacheDirTag {
		t.Errorf("CACHEDIR.TAG has %q, %v", tag, err)
	}
}

func TestNoTwoFilesShareAPath(t *testing.T) {
	c := New(t.TempDir())
	seen := make(map[string]bool)
	for range 100 {
		path, err := write(t, c, "same content").Commit("bin")
		if err != nil || seen[path] {
			t.Fatalf("%s again, or %v", path, err)
		}
		seen[path] = true
	}
}

func TestAnAbortedFileLeavesNothing(t *testing.T) {
	c := New(t.TempDir())
	if err := write(t, c, "content").Abort(); err != nil {
		t.Fatal(err)
	}
	if left := append(list(t, c.Dir(), tempDir), list(t, c.Dir(), filesDir)...); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestAFailedCommitLeavesNothing(t *testing.T) {
	c := New(t.TempDir())
	f := write(t, c, "content")
	// a file where the directory should be
	if err := os.WriteFile(filepath.Join(c.Dir(), filesDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if path, err := f.Commit("png"); err == nil {
		t.Fatalf("committed as %s", path)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	if left := list(t, c.Dir(), tempDir); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestTheDirectoryMayVanishBetweenFiles(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "cache"))
	for range 2 {
		if _, err := write(t, c, "content").Commit("png"); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(c.Dir()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnlyWhatACrashLeftBehindIsSwept(t *testing.T) {
	dir := t.TempDir()
	old, running := write(t, New(dir), "old"), write(t, New(dir), "running")
	defer old.Abort()
	defer running.Abort()
	long := time.Now().Add(-leftoverAge - time.Minute)
	if err := os.Chtimes(old.temp.Name(), long, long); err != nil {
		t.Fatal(err)
	}
	kept, err := write(t, New(dir), "kept").Commit("png") // sweeps
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(kept, long, long); err != nil {
		t.Fatal(err)
	}
	defer write(t, New(dir), "sweeps again").Abort()
	for path, want := range map[string]bool{old.temp.Name(): false, running.temp.Name(): true, kept: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %t", path, !want)
		}
	}
}

func TestALongRunningCacheSweepsAgain(t *testing.T) {
	c := New(t.TempDir())
	now := time.Now()
	c.now = func() time.Time { return now }
	crashed := write(t, c, "left by a crash")
	defer crashed.Abort()
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {leftoverAge + time.Minute, false}} {
		now = time.Now().Add(tt.after)
		defer write(t, c, "another").Abort()
		if _, err := os.Stat(crashed.temp.Name()); (err == nil) != tt.want {
			t.Errorf("after %s the leftover is there: %t", tt.after, !tt.want)
		}
	}
}

func TestIsFull(t *testing.T) {
	if !IsFull(fmt.Errorf("wrapped: %w", &fs.PathError{Err: diskFull})) {
		t.Error("a full disk is not recognised")
	}
	if IsFull(&fs.PathError{Err: syscall.EACCES}) || IsFull(nil) {
		t.Error("another error is taken for a full disk")
	}
}

func write(t *testing.T, c *Cache, content string) *File {
	t.Helper()
	f, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	return f
}

// list returns the files below the folder sub of dir.
func list(t *testing.T, dir, sub string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, sub, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	flat, err := filepath.Glob(filepath.Join(dir, sub, "*.part"))
	if err != nil {
		t.Fatal(err)
	}
	return append(files, flat...)
}
