package diskcache

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// wantFound fails the test if c, after a look at what others have done, does
// not find what e is with a head; or if it finds anything, when that is zero.
func wantFound(t *testing.T, c *Cache, key Key, e Entry, head Head) {
	t.Helper()
	c.Refresh(key)
	got, ok := c.Get(key)
	if ok != (head.Header != nil) || ok && (got.Path != e.Path || got.Size != e.Size || !reflect.DeepEqual(got.Head, head) || !c.Return(got)) {
		t.Errorf("got %+v, %t, want %+v with %+v", got, ok, e, head)
	}
}

func TestWhatAnotherHostDoesIsSeenAtOnce(t *testing.T) {
	key := Key{1}
	for name, step := range map[string]func(t *testing.T, a, b *Cache, e Entry, now *clock) (Entry, Head){
		"a file": func(t *testing.T, a, _ *Cache, e Entry, _ *clock) (Entry, Head) {
			if exists(a.indexPath(e.Name)) {
				t.Error("it is synced already")
			}
			return e, headOf("content")
		},
		"a newer file": func(t *testing.T, a, _ *Cache, _ Entry, now *clock) (Entry, Head) {
			now.pass(time.Second)
			return store(t, a, key, "newer"), headOf("newer")
		},
		"an update before it is synced": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			a.Update(e, headOf("updated"))
			return e, headOf("updated")
		},
		"an update after it is synced": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			a.syncAll(never)
			wantFound(t, b, key, e, headOf("content"))
			a.Update(e, headOf("updated"))
			return e, headOf("updated")
		},
		"an update that is synced": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			a.Update(e, headOf("updated"))
			a.syncAll(never)
			return e, headOf("updated")
		},
		"that it is forgotten": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			a.Forget(e)
			return Entry{}, Head{}
		},
		"that it is removed": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			a.drop(e.Name)
			b.Refresh(key)
			if b.Usage() != (Usage{}) {
				t.Errorf("there still are %+v", b.Usage())
			}
			return Entry{}, Head{}
		},
		"that the directory is removed": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			if err := os.RemoveAll(a.dir); err != nil {
				t.Fatal(err)
			}
			return Entry{}, Head{}
		},
		"what it was told": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			b.Update(e, headOf("theirs"))
			a.syncAll(never)
			wantFound(t, a, key, e, headOf("theirs"))
			return e, headOf("theirs")
		},
		"what it was told when it was syncing": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			wantFound(t, b, key, e, headOf("content"))
			b.index.byName[e.Name].proven = false
			a.syncAll(never) // of which b has seen nothing
			b.Update(e, headOf("theirs"))
			if exists(a.newPath(e.Name)) {
				t.Error("there are two records")
			}
			wantFound(t, a, key, e, headOf("theirs"))
			return e, headOf("theirs")
		},
		"what it was told of what is synced": func(t *testing.T, a, b *Cache, e Entry, _ *clock) (Entry, Head) {
			a.syncAll(never)
			wantFound(t, b, key, e, headOf("content"))
			b.Update(e, headOf("theirs"))
			wantFound(t, a, key, e, headOf("theirs"))
			return e, headOf("theirs")
		},
	} {
		for name, two := range map[string]func(testing.TB, Options) (a, b *Cache, now *clock){
			name + ", on another host":    twoHosts,
			name + ", in another process": twoProcesses,
		} {
			t.Run(name, func(t *testing.T) {
				a, b, now := two(t, Options{})
				b.Refresh(key) // when there is nothing yet
				if exists(a.dir + "/" + filesDir) {
					t.Error("a directory was made")
				}
				e, head := step(t, a, b, store(t, a, key, "content"), now)
				wantFound(t, b, key, e, head)
				wantFound(t, b, Key{2}, Entry{}, Head{})
				a.syncAll(never)
				b.syncAll(never)
				wantFound(t, b, key, e, head)
				if news, err := filepath.Glob(filepath.Join(a.dir, indexDir, "*", "*"+newExt)); err != nil || len(news) != 0 {
					t.Errorf("when all is synced, %v are left", news)
				}
				if _, err := attributeOf(e.Path); err == nil {
					t.Error("when all is synced, the file has a record still")
				}
			})
		}
	}
}

// twoProcesses returns the caches of two processes of one host in one directory.
func twoProcesses(t testing.TB, opts Options) (a, b *Cache, now *clock) {
	t.Helper()
	dir := t.TempDir()
	a, now = open(t, dir, opts)
	b, _ = open(t, dir, opts)
	b.now = now.now
	return a, b, now
}

func TestWhatAnotherHostHasYetToSyncIsNotForUsToProve(t *testing.T) {
	a, b, _ := twoHosts(t, Options{})
	e := store(t, a, Key{1}, "content")
	wantFound(t, b, Key{1}, e, headOf("content"))
	b.Update(e, headOf("updated"))
	b.syncAll(never)
	if exists(b.indexPath(e.Name)) || len(b.unsynced) != 0 || b.index.byName[e.Name].pending {
		t.Error("it was proven")
	}
}

func TestWhatAnotherHostHasSyncedStays(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	e := store(t, a, Key{1}, "content")
	b.Refresh(Key{1})
	a.syncAll(never)
	b.Refresh(Key{1})
	now.pass(past)
	if b.expire(); !exists(e.Path) {
		t.Error("it is gone as if it were not")
	}
}

func TestARecordThatIsFinalIsNotWrittenAgain(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	c.syncAll(never)
	c.Update(e, headOf("updated"))
	before, err := os.Stat(c.indexPath(e.Name))
	if err != nil {
		t.Fatal(err)
	}
	c.syncAll(never)
	if after, err := os.Stat(c.indexPath(e.Name)); err != nil || !os.SameFile(before, after) {
		t.Errorf("it is another file now, %v", err)
	}
}

func TestWhatIsPendingIsNotForgotten(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	c.attribute = noAttributes
	e := store(t, c, Key{1}, "content")
	if err := os.Remove(c.newPath(e.Name)); err != nil {
		t.Fatal(err)
	}
	mend := without(t, e.Path) // as who reads a directory while it is stored
	c.Refresh(Key{1})
	mend()
	wantFound(t, c, Key{1}, e, headOf("content"))
	c.syncAll(never)
	if !exists(c.indexPath(e.Name)) {
		t.Error("there is no record")
	}
	wantFound(t, c, Key{1}, e, headOf("content"))
	if it := c.index.byName[e.Name]; it.pending || it.written != nil {
		t.Error("it is pending still")
	}
}

// without has a file go until mend is called.
func without(t *testing.T, path string) (mend func()) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "aside")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(path, aside)
	return func() { move(aside, path) }
}

func TestWhatCannotBeReadIsNotForgotten(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	c.syncAll(never)
	for _, dir := range []string{filepath.Dir(e.Path), filepath.Dir(c.indexPath(e.Name))} {
		mend := unreadable(t, dir)
		c.Refresh(Key{1})
		if c.Usage() != (Usage{Files: 1, Bytes: e.Size}) || !c.index.byName[e.Name].proven {
			t.Errorf("there are %+v", c.Usage())
		}
		mend()
		wantFound(t, c, Key{1}, e, headOf("content"))
	}
}

func BenchmarkRefresh(b *testing.B) {
	c := New(b.TempDir(), "cache", Options{Mode: 0o600})
	key := Key{1}
	for i := range 400 { // as many as a directory of 100,000 files has in one part
		key[1] = byte(i)
		f, err := c.Create()
		if err == nil {
			_, err = f.Commit(key, "bin", Head{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		c.Refresh(key)
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
}
