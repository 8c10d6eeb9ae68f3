package diskcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// unreadable makes what is in a directory unreadable, and returns what mends
// that.
func unreadable(t *testing.T, dir string) (mend func()) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "aside")
	if err := errors.Join(os.Rename(dir, aside), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := errors.Join(os.Remove(dir), os.Rename(aside, dir)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatCannotBeReadIsNotTakenForEmpty(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	c.syncAll(never)
	for _, dir := range []string{filepath.Dir(c.filePath(e.Name)), filepath.Dir(c.indexPath(e.Name))} {
		mend := unreadable(t, dir)
		c.scan(true)
		if c.index.byName[e.Name] == nil || c.index.size != e.Size {
			t.Errorf("the file is forgotten, %d bytes are counted", c.index.size)
		}
		mend()
		c.scan(false)
		if got, ok := c.Get(Key{1}); !ok || !c.Return(got) || !exists(c.indexPath(e.Name)) {
			t.Errorf("afterwards: %+v, %t", got, ok)
		}
	}
}

func TestAFileThatCannotBeSyncedNowIsSyncedLater(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	mend := unreadable(t, filepath.Dir(e.Path))
	c.syncAll(never)
	mend()
	if exists(c.indexPath(e.Name)) || !exists(e.Path) {
		t.Error("it is taken for synced, or gone")
	}
	c.syncAll(never)
	if !exists(c.indexPath(e.Name)) {
		t.Error("it was given up")
	}
}

func TestAFileThatCannotBeRemovedNowIsRemovedLater(t *testing.T) {
	for name, later := range map[string]func(*Cache){
		"with the next file": func(c *Cache) { store(t, c, Key{1}, "content") },
		"or in time":         func(c *Cache) { c.removeLeft() },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, t.TempDir(), Options{})
			f, err := c.Create()
			if err != nil {
				t.Fatal(err)
			}
			mend := unreadable(t, filepath.Join(c.dir, tempDir))
			if f.Abort() == nil {
				t.Error("it could be removed: this test proves nothing")
			}
			c.removeLeft() // still in vain
			mend()
			if !exists(f.temp.Name()) {
				t.Error("it is gone already: this test proves nothing")
			}
			if later(c); exists(f.temp.Name()) {
				t.Error("it is still there")
			}
			if len(c.left) > 0 {
				t.Errorf("still remembered: %v", c.left)
			}
		})
	}
}

func TestAFileThatAPowerCutMayHaveTornIsNotOpened(t *testing.T) {
	for _, tt := range []struct {
		name   string
		up     time.Duration
		synced bool
		want   bool
	}{
		{"written long before the start", 0, false, false},
		{"written about when the machine was started", past + bootSlack/2, false, false},
		{"written since", 2 * past, false, true},
		{"synced", 0, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c, _ := crashing(dir, Options{})
			e := store(t, c, Key{1}, "content")
			if tt.synced {
				c.syncAll(never)
			}
			crash(t, c)

			c, clock := open(t, dir, Options{})
			clock.pass(past)
			c.uptime = func() (time.Duration, bool) { return tt.up, true }
			f, err := c.Open(e.Name)
			if (err == nil) != tt.want || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAClockThatIsSetRightTearsNothing(t *testing.T) {
	dir := t.TempDir()
	c, clock := open(t, dir, Options{})
	c.uptime = func() (time.Duration, bool) { return time.Hour, true }
	clock.pass(8 * time.Hour) // it is ahead
	c.scanOnce()
	clock.pass(-8 * time.Hour)
	other, _ := open(t, dir, Options{})
	e := store(t, other, Key{1}, "content")
	c.scan(false)
	if !exists(e.Path) {
		t.Error("another process's file is gone")
	}
}

func TestOldVersionsDoNotAddUp(t *testing.T) {
	dir := t.TempDir()
	c, clock := crashing(dir, Options{})
	var newest Entry
	for i := range 10 {
		clock.pass(1)
		newest = store(t, c, Key{1}, fmt.Sprint("version ", i))
		if n := len(c.index.candidates(Key{1}.String())); n != 1 {
			t.Fatalf("%d versions are found", n)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, _ = open(t, dir, Options{})
	for range 2 {
		if e, ok := c.Get(Key{1}); !ok || e.Name != newest.Name {
			t.Errorf("got %+v, want %+v", e, newest)
		}
	}
	if n := len(c.index.candidates(Key{1}.String())); n != 1 || len(c.index.byName) != 10 {
		t.Errorf("%d versions are found, %d files are there", n, len(c.index.byName))
	}
}

func TestNothingIsEvictedInVain(t *testing.T) {
	c, clock := open(t, t.TempDir(), Options{MaxSize: 100})
	var old []Entry
	for i := range 4 {
		old = append(old, store(t, c, Key{byte(i)}, "0123456789"))
	}
	clock.pass(past)
	young := store(t, c, Key{9}, string(make([]byte, 55))) // which must stay
	if err := os.Chtimes(young.Path, clock.now(), clock.now()); err != nil {
		t.Fatal(err)
	}
	f, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := f.Reserve(50); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v", err)
	}
	for _, e := range old {
		if !exists(e.Path) {
			t.Error("a file is gone, and there is no room for all that")
		}
	}
	if err := f.Reserve(45); err != nil {
		t.Errorf("with all of them gone: %v", err)
	}
}

func TestAFileIsQueuedForSyncingOnce(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	for range 100 {
		c.Update(e, headOf("new"))
	}
	if n := len(c.unsynced); n != 1 {
		t.Errorf("it is queued %d times", n)
	}
	c.syncAll(func() bool { return true })
	if n := len(c.unsynced); n != 1 {
		t.Errorf("after a pass that was stopped %d files wait", n)
	}
	c.syncAll(never)
	if rec, err := readRecord(c.indexPath(e.Name)); err != nil || rec.Head.Header.Get("Etag") != "new" || len(c.unsynced) != 0 {
		t.Errorf("the record is %+v, %v", rec, err)
	}
}

func TestAFileThatAScanFindsFirstIsOurs(t *testing.T) {
	x := newIndex()
	name := newName(Key{1}, "bin")
	found := &item{name: name, size: 7}
	x.addAll([]*item{found})
	rec := &record{Key: Key{1}.String()}
	ours := &item{name: name, size: 7, pending: true, ours: true, record: rec, written: rec, claimed: 1}
	if got := x.put(ours); got != found || !got.pending || !got.ours || got.record != rec || got.written != rec || got.claimed != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestACacheThatIsClosedOpensNoSession(t *testing.T) {
	c, _ := crashing(t.TempDir(), Options{})
	store(t, c, Key{1}, "content")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err := c.Create(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestAFileThatOutgrowsTheCacheIsToldSo(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{MaxSize: 10})
	f, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	for i := range 3 { // without saying how much it will be
		_, err = f.Write([]byte("01234"))
		if tooLarge := errors.Is(err, ErrTooLarge); tooLarge != (i == 2) {
			t.Errorf("write %d: %v", i, err)
		}
	}
}

func TestAFileFromTheFutureIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	c, _ := crashing(dir, Options{})
	e := store(t, c, Key{1}, "content")
	crash(t, c)
	c, clock := open(t, dir, Options{})
	clock.pass(-time.Hour) // as of a machine that forgets the time
	c.uptime = func() (time.Duration, bool) { return 5 * time.Minute, true }
	if f, err := c.Open(e.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestAScanHidesNothing(t *testing.T) {
	dir := t.TempDir()
	c, clock := open(t, dir, Options{})
	e := store(t, c, Key{1}, "content")
	c.syncAll(never)
	later := clock.now().Add(past)
	if err := os.Chtimes(e.Path, later, later); err != nil { // by another process
		t.Fatal(err)
	}
	clock.pass(past)
	used := make(map[*item]time.Time)
	items, _, err := c.scanShard(e.Name[:2], []string{e.Name}, used)
	if _, ok := c.Get(Key{1}); err != nil || len(items) != 0 || !ok || len(used) != 1 {
		t.Errorf("%d files to add, %d returned, found: %t, %v", len(items), len(used), ok, err)
	}
	c.scan(true)
	if it := c.index.byName[e.Name]; !it.used.Equal(later) {
		t.Errorf("used at %s, want %s", it.used, later)
	}
}
