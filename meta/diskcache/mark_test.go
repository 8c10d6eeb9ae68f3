package diskcache

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// age says that a file was last returned so long ago that it may be evicted.
func age(t *testing.T, c *Cache, e Entry) {
	t.Helper()
	old := c.now().Add(-past)
	if err := os.Chtimes(e.Path, old, old); err != nil {
		t.Fatal(err)
	}
}

// marks returns what says in a cache that files are being evicted.
func marks(t *testing.T, c *Cache) []string {
	t.Helper()
	return slices.DeleteFunc(left(t, c, filesDir), func(path string) bool { return filepath.Ext(path) != markExt })
}

func TestAMarkThatACrashHasLeftIsInNobodysWayForLong(t *testing.T) {
	a, b, now := twoHosts(t, Options{MaxSize: 30})
	files := storeMany(t, a, 3)
	marked := files[0]
	b.scanOnce()
	now.pass(past)
	a.exclusive = func(path string) error { // on a server whose clock is wrong
		err := createExclusive(path)
		if old := now.Add(-24 * time.Hour); err == nil {
			err = os.Chtimes(path, old, old)
		}
		return err
	}
	if !a.mark(a.index.byName[marked.Name], now.now()) {
		t.Fatal("it cannot be marked")
	}
	for _, c := range []*Cache{a, b} {
		if c.Return(marked) {
			t.Error("a file was returned that somebody may be removing")
		}
		age(t, c, marked)
		it := c.index.byName[marked.Name]
		if c.evict(it) || !exists(marked.Path) {
			t.Error("a file was removed that somebody else is removing")
		}
		if !mayEvict(it.used, now.now()) {
			t.Error("it is taken for returned")
		}
	}
	f, err := b.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := f.Reserve(20); err != nil || exists(files[1].Path) || exists(files[2].Path) {
		t.Errorf("others are not evicted rather: %v", err)
	}
	if err := f.Reserve(30); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v", err)
	}
	a.exclusive = createExclusive
	now.pass(markAge - past)
	b.scan(false)
	if len(marks(t, b)) != 1 {
		t.Error("a mark went that may be in use")
	}
	now.pass(past + time.Second)
	b.scan(false) // though nothing has changed there but time
	if m := marks(t, b); len(m) != 0 {
		t.Errorf("left over: %v", m)
	}
	if !b.Return(marked) || a.evict(a.index.byName[marked.Name]) {
		t.Error("it is not as it was")
	}
	now.pass(past)
	if err := f.Reserve(30); err != nil || exists(marked.Path) || isThere(a, marked) {
		t.Errorf("it cannot go: %v", err)
	}
}

func TestAFullDiskCanBeMarked(t *testing.T) {
	c, now := open(t, t.TempDir(), Options{})
	files := storeMany(t, c, 3)
	store(t, c, Key{9}, "0123456789") // of which there is no final record
	c.exclusive = func(path string) error { return &os.PathError{Op: "open", Path: path, Err: diskFull} }
	now.pass(past)
	other := c.index.byName[files[0].Name]
	if err := createExclusive(c.markPath(other.name)); err != nil {
		t.Fatal(err)
	}
	if freed, err := c.Purge(); err != nil || freed != usageOf(3) || !exists(files[0].Path) {
		t.Errorf("freed %+v, %v", freed, err)
	}
	if m := marks(t, c); len(m) != 1 {
		t.Errorf("marks: %v", m)
	}
}

func TestWhatIsGoneWithItsDirectoryIsForgotten(t *testing.T) {
	c, now := open(t, t.TempDir(), Options{})
	e := storeMany(t, c, 1)[0]
	now.pass(past)
	if err := os.RemoveAll(filepath.Dir(e.Path)); err != nil {
		t.Fatal(err)
	}
	if c.evict(c.index.byName[e.Name]) || c.Usage() != (Usage{}) {
		t.Errorf("there still are %+v", c.Usage())
	}
}

func TestWhatCannotBeMarkedStays(t *testing.T) {
	c, now := open(t, t.TempDir(), Options{MaxSize: 30})
	files := storeMany(t, c, 3)
	c.exclusive = func(path string) error { return &os.PathError{Op: "open", Path: path, Err: os.ErrPermission} }
	now.pass(past)
	f, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if err := f.Reserve(10); !errors.Is(err, ErrNoRoom) || len(left(t, c, filesDir)) != len(files) {
		t.Errorf("got %v", err)
	}
	c.exclusive = createExclusive
	now.pass(past)
	if err := f.Reserve(10); err != nil {
		t.Errorf("later: %v", err)
	}
}
