package diskcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashVariable); dir != "" {
		crashInSteps(dir)
	}
	goleak.VerifyTestMain(m)
}

// clock is a time that tests set.
type clock struct{ time.Time }

// What runs in the background looks at the clocks, too.
var clocks sync.Mutex

func (c *clock) now() time.Time {
	clocks.Lock()
	defer clocks.Unlock()
	return c.Time
}

func (c *clock) pass(by time.Duration) {
	clocks.Lock()
	defer clocks.Unlock()
	c.Time = c.Add(by)
}

// open returns a cache in dir whose time stands still. It is closed at the end
// of the test.
func open(t testing.TB, dir string, opts Options) (*Cache, *clock) {
	t.Helper()
	c, time := crashing(dir, opts)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c, time
}

// crashing is open for a process that ends without closing its cache.
func crashing(dir string, opts Options) (*Cache, *clock) {
	if opts.Mode == 0 {
		opts.Mode = 0o600
	}
	c := New(filepath.Dir(dir), filepath.Base(dir), opts)
	clock := &clock{time.Now()}
	c.now = clock.now
	return c, clock
}

// crash gives back what the end of a process would.
func crash(t *testing.T, c *Cache) {
	t.Helper()
	if c.session != nil {
		if err := c.session.lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(c.closing)
	c.background.Wait()
}

func write(t testing.TB, c *Cache, content string) *File {
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

// store keeps content under a key.
func store(t testing.TB, c *Cache, key Key, content string) Entry {
	t.Helper()
	e, err := write(t, c, content).Commit(key, "bin", headOf(content))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// headOf returns a head that nothing else has.
func headOf(content string) Head { return Head{Header: http.Header{"Etag": {content}}} }

// left returns the files below a folder of the cache, in which locks do not
// count.
func left(t *testing.T, c *Cache, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, folder, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func never() bool { return false }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestACommittedFileIsWholeAndAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c, _ := open(t, dir, Options{})
	if exists(dir) {
		t.Error("New made the directory")
	}
	f := write(t, c, "content")
	if files := left(t, c, filesDir); len(files) != 0 {
		t.Errorf("visible before Commit: %v", files)
	}
	e, err := f.Commit(Key{1}, "png", Head{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	if got, err := os.ReadFile(e.Path); err != nil || string(got) != "content" || e.Size != 7 {
		t.Errorf("file has %q, size %d, %v", got, e.Size, err)
	}
	want := regexp.MustCompile(`^files.01.0100000000000000-[0-9a-f]{32}\.png$`)
	if rel, err := filepath.Rel(dir, e.Path); err != nil || !want.MatchString(rel) || filepath.Base(e.Path) != e.Name {
		t.Errorf("path is %s", e.Path)
	}
	if files := left(t, c, tempDir); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
	if tag, err := os.ReadFile(filepath.Join(dir, "CACHEDIR.TAG")); err != nil || string(tag) != cacheDirTag {
		t.Errorf("CACHEDIR.TAG has %q, %v", tag, err)
	}
}

func TestModesLetThoseSearchWhoMayRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a system with modes is not installed")
	}
	for _, tt := range []struct{ mode, dir fs.FileMode }{
		{0o600, 0o700}, {0o640, 0o750}, {0o644, 0o755}, {0o660, 0o750}, {0o666, 0o755},
	} {
		t.Run(tt.mode.String(), func(t *testing.T) {
			root := t.TempDir()
			c := New(root, filepath.Join("onebot_meta", "bot"), Options{Mode: 0o600})
			defer c.Close()
			old := store(t, c, Key{1}, "old")
			c.Configure(Options{Mode: tt.mode})
			e := store(t, c, Key{1}, "content") // in a directory that is there already
			if !c.Return(old) {
				t.Fatal("the old file is gone")
			}
			for _, path := range []string{old.Path, e.Path} {
				if info, err := os.Stat(path); err != nil || info.Mode() != tt.mode {
					t.Errorf("mode is %v (%v)", info.Mode(), err)
				}
			}
			for dir := filepath.Dir(e.Path); dir != root; dir = filepath.Dir(dir) {
				if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != tt.dir {
					t.Errorf("mode of %s is %v, want %v (%v)", dir, info.Mode(), tt.dir, err)
				}
			}
			for _, dir := range []string{tempDir, indexDir} {
				if info, err := os.Stat(filepath.Join(c.dir, dir)); err == nil && info.Mode().Perm() != 0o700 {
					t.Errorf("mode of %s is %v", dir, info.Mode())
				}
			}
		})
	}
}

func TestNoTwoFilesShareAPath(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	seen := make(map[string]bool)
	for range 100 {
		e := store(t, c, Key{1}, "same content")
		if seen[e.Path] {
			t.Fatalf("%s again", e.Path)
		}
		seen[e.Path] = true
	}
}

func TestTheNewestFileOfAKeyIsFound(t *testing.T) {
	c, time := open(t, t.TempDir(), Options{})
	if _, ok := c.Get(Key{1}); ok {
		t.Error("found what was never stored")
	}
	for _, content := range []string{"old", "new"} {
		time.pass(1)
		want := store(t, c, Key{1}, content)
		store(t, c, Key{2}, "another")
		store(t, c, Key{}, "not to be found")
		e, ok := c.Get(Key{1})
		if !ok || e.Path != want.Path || e.Size != want.Size || !reflect.DeepEqual(e.Head, headOf(content)) {
			t.Errorf("got %+v, %t, want %+v", e, ok, want)
		}
	}
	if _, ok := c.Get(Key{}); ok {
		t.Error("found what has no key")
	}
	alike := Key{1}
	alike[31] = 1 // the same in names
	if _, ok := c.Get(alike); ok {
		t.Error("one key is taken for another")
	}
}

func TestWhatIsRememberedOfAFileChanges(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name   string
		change func(c *Cache, e Entry)
		want   Head // zero if it is not found
	}{
		{"not at all", func(*Cache, Entry) {}, headOf("a")},
		{"updated", func(c *Cache, e Entry) { c.Update(e, headOf("b")) }, headOf("b")},
		{"forgotten", (*Cache).Forget, Head{}},
		{"of a file that is gone", func(c *Cache, e Entry) { c.drop(e.Name); c.Update(e, headOf("b")) }, Head{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := Key{1, byte(len(tt.name))}
			c, _ := crashing(dir, Options{})
			tt.change(c, store(t, c, key, "a"))
			check := func(c *Cache) {
				if e, ok := c.Get(key); !reflect.DeepEqual(e.Head, tt.want) || ok != (tt.want.Header != nil) {
					t.Errorf("got %v, %t", e.Head, ok)
				}
			}
			check(c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			c, _ = open(t, dir, Options{})
			check(c)
		})
	}
}

func TestAnAbortedFileLeavesNothing(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{MaxSize: 10})
	f := write(t, c, "content")
	if err := f.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Errorf("again: %v", err)
	}
	if files := append(left(t, c, tempDir), left(t, c, filesDir)...); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
	if x := c.index; x.reserved != 0 || x.unwritten != 0 || x.size != 0 {
		t.Errorf("still counted: %+v", x)
	}
}

func TestAFailedCommitLeavesNothing(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	f := write(t, c, "content")
	// a file where the directory should be
	if err := os.WriteFile(filepath.Join(c.dir, filesDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := f.Commit(Key{1}, "png", Head{}); err == nil {
		t.Fatalf("committed as %s", e.Path)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	if files := left(t, c, tempDir); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
}

func TestAFileCanBeBegunAgain(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{MaxSize: 8})
	f := write(t, c, "too long")
	if err := errors.Join(f.Restart(), f.Restart()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.NewSectionReader(f, 0, 100)); err != nil || b.String() != "content" || f.Size() != 7 {
		t.Errorf("reads back as %q, size %d, %v", b.String(), f.Size(), err)
	}
	e, err := f.Commit(Key{}, "txt", Head{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(e.Path); string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	if x := c.index; x.reserved != 0 || x.unwritten != 0 || x.size != 7 {
		t.Errorf("counted wrong: %+v", x)
	}
}

func TestTheDirectoryMayVanish(t *testing.T) {
	c, _ := open(t, filepath.Join(t.TempDir(), "cache"), Options{})
	for range 2 {
		e := store(t, c, Key{1}, "content")
		unfinished := write(t, c, "unfinished")
		if err := os.RemoveAll(c.Dir()); err != nil {
			t.Fatal(err)
		}
		if got, ok := c.Get(Key{1}); ok && c.Return(got) {
			t.Error("returned a file that is gone")
		}
		if c.Return(e) {
			t.Error("returned a file that is gone")
		}
		if _, err := unfinished.Commit(Key{2}, "bin", Head{}); err == nil {
			t.Error("a file that is gone was committed")
		}
		if err := unfinished.Abort(); err != nil {
			t.Error(err)
		}
	}
}

func TestFilesAreOpenedByTheirNameAlone(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	f, err := c.Open(e.Name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); string(got) != "content" {
		t.Errorf("read %q, %v", got, err)
	}
	if c.index.byName[e.Name].pins != 1 {
		t.Error("an open file is not pinned")
	}
	if err := f.Close(); err != nil || c.index.byName[e.Name].pins != 0 {
		t.Errorf("a closed file is pinned (%v)", err)
	}
	secret := filepath.Join(c.dir, filesDir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := newName(Key{2}, "bin")
	if err := os.MkdirAll(filepath.Dir(c.filePath(link)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, c.filePath(link)); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	for _, name := range []string{
		"", ".", "..", "secret", "../secret", e.Name + "/", "/" + e.Name, e.Name[:2] + "/" + e.Name, e.Name + "x!",
		e.Name[:len(e.Name)-4], e.Name + "\x00", newName(Key{1}, "bin"), "../" + e.Name[3:], link,
	} {
		if f, err := c.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, %v", name, f, err)
		}
	}
}

func TestIsFull(t *testing.T) {
	if !IsFull(fmt.Errorf("wrapped: %w", &fs.PathError{Err: diskFull})) || !IsFull(errFull) {
		t.Error("a full disk is not recognised")
	}
	if IsFull(&fs.PathError{Err: syscall.EACCES}) || IsFull(nil) || IsFull(ErrNoRoom) {
		t.Error("another error is taken for a full disk")
	}
}
