package diskcache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
)

func TestALockIsTriedOnce(t *testing.T) {
	a, b, _ := twoProcesses(t, Options{})
	release, ok := a.TryLock("x")
	if !ok {
		t.Fatal("it is not to be had")
	}
	for name, c := range map[string]*Cache{"another process": b, "this process": a} {
		if _, ok := c.TryLock("x"); ok {
			t.Errorf("%s has it, too", name)
		}
	}
	release()
	if err := b.Lock(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	release() // once more does no harm
	if _, ok := a.TryLock("x"); ok {
		t.Error("two have it")
	}
	if err := b.Unlock(context.Background(), "x"); err != nil {
		t.Error(err)
	}
	again, ok := a.TryLock("x")
	if !ok {
		t.Fatal("it is not to be had again")
	}
	release()
	if _, ok := b.TryLock("x"); ok {
		t.Error("two have it, since one has released what it had before")
	}
	again()
}

func TestALockThatCannotBeRemovedGoesLater(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	path := releaseInVain(t, c, "x")
	c.locking.Lock()
	l := c.locks["x"]
	c.locking.Unlock()
	if l == nil || !l.over {
		t.Fatal("it is forgotten")
	}
	if err := l.create("turn"); err != nil { // as it was
		t.Fatal(err)
	}
	c.beatLocks()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || len(c.locks) != 0 {
		t.Errorf("it is there still, %v", err)
	}
}

func TestALockThatCannotBeLookedAtIsNotRemoved(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	path := releaseInVain(t, c, "x")
	// what leads to itself cannot be opened
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	if c.beatLocks(); len(c.locks) != 1 {
		t.Error("it is forgotten")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("whosever it is by now, it is removed: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if c.beatLocks(); len(c.locks) != 0 {
		t.Error("it is still to be removed")
	}
}

// releaseInVain takes a lock and releases it when its file cannot be removed. It
// returns where that was.
func releaseInVain(t *testing.T, c *Cache, name string) (path string) {
	t.Helper()
	release, ok := c.TryLock(name)
	if !ok {
		t.Fatal("it is not to be had")
	}
	path = c.lockPath(name)
	// a directory that is not empty cannot be removed
	if err := errors.Join(os.Remove(path), os.MkdirAll(path+"/y", 0o700)); err != nil {
		t.Fatal(err)
	}
	release()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	return path
}
