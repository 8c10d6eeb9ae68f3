package diskcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// storeMany keeps n files of 10 bytes each, with their records.
func storeMany(t *testing.T, c *Cache, n int) []Entry {
	t.Helper()
	var files []Entry
	for i := range n {
		files = append(files, store(t, c, Key{byte(i)}, "0123456789"))
	}
	c.syncAll(never)
	return files
}

// usageOf returns how much there is of n files of storeMany.
func usageOf(n int) Usage { return Usage{Files: n, Bytes: int64(10 * n)} }

// isThere reports whether a file or its record is.
func isThere(c *Cache, e Entry) bool { return exists(e.Path) || exists(c.indexPath(e.Name)) }

func TestAPurgeRemovesWhatMayGo(t *testing.T) {
	// of three files, to the first of which something happens
	for name, tt := range map[string]struct {
		after time.Duration
		then  func(t *testing.T, c *Cache, e Entry)
		freed int
		left  int
	}{
		"all of it":                            {after: past, freed: 3},
		"nothing of the last minutes":          {after: Keep, left: 3},
		"nothing at all that is new":           {left: 3},
		"nothing of a clock that was set back": {after: -time.Hour, left: 3},
		"not what was returned again": {after: past, freed: 2, left: 1, then: func(t *testing.T, c *Cache, e Entry) {
			if !c.Return(e) {
				t.Error("it is gone")
			}
		}},
		"not what another process has returned": {after: past, freed: 2, left: 1, then: func(t *testing.T, c *Cache, e Entry) {
			other, _ := open(t, c.dir, Options{})
			other.now = c.now
			if !other.Return(e) {
				t.Error("it is gone")
			}
		}},
		"not what another process stores": {after: past, freed: 3, left: 1, then: func(t *testing.T, c *Cache, _ Entry) {
			other, _ := open(t, c.dir, Options{})
			other.now = c.now
			e := store(t, other, Key{9}, "0123456789")
			if err := os.Chtimes(e.Path, c.now(), c.now()); err != nil {
				t.Fatal(err)
			}
		}},
		"what another process has left": {after: past, freed: 4, then: func(t *testing.T, c *Cache, _ Entry) {
			other, _ := open(t, c.dir, Options{})
			e := store(t, other, Key{9}, "0123456789")
			if old := c.now().Add(-past); os.Chtimes(e.Path, old, old) != nil {
				t.Error("its time cannot be set")
			}
		}},
		"not what is in use": {after: past, freed: 2, left: 1, then: func(t *testing.T, c *Cache, e Entry) {
			t.Cleanup(c.Pin(e.Name))
		}},
		"what was in use": {after: past, freed: 3, then: func(t *testing.T, c *Cache, e Entry) {
			c.Pin(e.Name)()
		}},
		"not twice what somebody has removed": {after: past, freed: 2, then: func(t *testing.T, c *Cache, e Entry) {
			if err := os.Remove(e.Path); err != nil {
				t.Error(err)
			}
		}},
		"what has lost its record": {after: past, freed: 3, then: func(t *testing.T, c *Cache, e Entry) {
			if err := os.Remove(c.indexPath(e.Name)); err != nil {
				t.Error(err)
			}
		}},
		"what is not found by its key any more": {after: past, freed: 3, then: func(t *testing.T, c *Cache, e Entry) {
			c.Forget(e)
		}},
		"not what cannot be removed": {after: past, freed: 2, left: 1, then: func(t *testing.T, c *Cache, e Entry) {
			t.Cleanup(unreadable(t, filepath.Dir(e.Path)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, clock := open(t, t.TempDir(), Options{})
			files := storeMany(t, c, 3)
			if got := c.Usage(); got != usageOf(3) {
				t.Errorf("before there are %+v", got)
			}
			clock.pass(tt.after)
			if tt.then != nil {
				tt.then(t, c, files[0])
			}
			if freed, err := c.Purge(); err != nil || freed != usageOf(tt.freed) {
				t.Errorf("freed %+v, %v, want %d files", freed, err, tt.freed)
			}
			if got := c.Usage(); got != usageOf(tt.left) {
				t.Errorf("%+v are left, want %d files", got, tt.left)
			}
			for i, e := range files[1:] {
				if isThere(c, e) != (tt.freed < 2) {
					t.Errorf("file %d or its record is there: %t", i+1, !(tt.freed < 2))
				}
			}
			if freed, err := c.Purge(); err != nil || freed != (Usage{}) {
				t.Errorf("freed another %+v, %v", freed, err)
			}
		})
	}
}

func TestAPurgeLeavesAloneWhatIsBeingWritten(t *testing.T) {
	c, clock := open(t, t.TempDir(), Options{})
	f := write(t, c, "0123456789")
	clock.pass(past)
	if freed, err := c.Purge(); err != nil || freed != (Usage{}) || c.Usage() != (Usage{}) {
		t.Errorf("freed %+v, %v", freed, err)
	}
	if e, err := f.Commit(Key{1}, "bin", Head{}); err != nil || !exists(e.Path) || c.Usage() != usageOf(1) {
		t.Errorf("it is committed as %+v, %v", e, err)
	}
}

func TestAFileThatIsReturnedDuringAPurgeStays(t *testing.T) {
	for name, returned := range map[string]func(c *Cache, e Entry) bool{
		"by this process":     (*Cache).Return,
		"by another one":      func(c *Cache, e Entry) bool { return os.Chtimes(e.Path, c.now(), c.now()) == nil },
		"and is still in use": func(c *Cache, e Entry) bool { c.Pin(e.Name); return true },
	} {
		t.Run(name, func(t *testing.T) {
			c, clock := open(t, t.TempDir(), Options{})
			files := storeMany(t, c, 3)
			clock.pass(past)
			known := c.purgeable()
			if !returned(c, files[1]) {
				t.Error("it cannot be returned")
			}
			for i, it := range known {
				if gone := c.evict(it); gone == (i == 1) || gone == isThere(c, files[i]) {
					t.Errorf("file %d went: %t", i, gone)
				}
			}
			if len(known) != 3 || c.Usage() != usageOf(1) {
				t.Errorf("%d files could go, %+v are left", len(known), c.Usage())
			}
		})
	}
}

func TestEveryFileIsFreedOnce(t *testing.T) {
	const files = 100
	for name, meanwhile := range map[string]func(c *Cache) (Usage, error){
		"by two purges":                  (*Cache).Purge,
		"by a purge and what is overdue": func(c *Cache) (Usage, error) { c.expire(); return Usage{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, clock := open(t, t.TempDir(), Options{MaxAge: Keep})
			storeMany(t, c, files)
			clock.pass(past)
			var freed, other Usage
			var err, otherErr error
			var both sync.WaitGroup
			both.Go(func() { freed, err = c.Purge() })
			both.Go(func() { other, otherErr = meanwhile(c) })
			both.Wait()
			if err := errors.Join(err, otherErr); err != nil {
				t.Fatal(err)
			}
			sum := freed.Files + other.Files
			if sum > files || name == "by two purges" && sum != files || freed.Bytes+other.Bytes != int64(sum)*10 {
				t.Errorf("freed %+v and %+v, there were %d files", freed, other, files)
			}
			if got := c.Usage(); got != (Usage{}) || len(left(t, c, filesDir))+len(left(t, c, indexDir)) != 0 {
				t.Errorf("%+v are left", got)
			}
		})
	}
}

func TestWhatSomebodyElseFreesIsNotFreedHere(t *testing.T) {
	c, clock := open(t, t.TempDir(), Options{MaxAge: Keep})
	storeMany(t, c, 3)
	clock.pass(past)
	known := c.purgeable()
	c.expire()
	for _, it := range known {
		if c.evict(it) {
			t.Errorf("%s went again", it.name)
		}
	}
	if len(known) != 3 {
		t.Errorf("%d files could go", len(known))
	}
}

func TestAPurgeEndsWithItsCache(t *testing.T) {
	c, clock := crashing(t.TempDir(), Options{})
	files := storeMany(t, c, 3)
	clock.pass(past)
	now := clock.now()
	var once sync.Once
	closed := make(chan error, 1)
	c.now = func() time.Time { // which is asked before each file goes
		if len(left(t, c, filesDir)) == len(files)-1 {
			once.Do(func() {
				go func() { closed <- c.Close() }()
				<-c.closing
			})
		}
		return now
	}
	if freed, err := c.Purge(); !errors.Is(err, fs.ErrClosed) || freed != usageOf(2) {
		t.Errorf("freed %+v, %v", freed, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if freed, err := c.Purge(); !errors.Is(err, fs.ErrClosed) || freed != (Usage{}) || len(left(t, c, filesDir)) != 1 {
		t.Errorf("after Close: freed %+v, %v", freed, err)
	}

	empty, _ := crashing(t.TempDir(), Options{})
	if err := empty.Close(); err != nil {
		t.Error(err)
	}
	if _, err := empty.Purge(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close, with nothing to free: %v", err)
	}
}

func TestACacheThatWasNeverUsedIsEmptyAndStaysUnmade(t *testing.T) {
	c, _ := open(t, filepath.Join(t.TempDir(), "cache"), Options{MaxSize: 30})
	if freed, err := c.Purge(); err != nil || freed != (Usage{}) || c.Usage() != (Usage{}) {
		t.Errorf("freed %+v, %v, there are %+v", freed, err, c.Usage())
	}
	if exists(c.dir) {
		t.Error("its directory was made")
	}
	if c.Configure(Options{MaxSize: 20}); c.MaxSize() != 20 {
		t.Errorf("it may hold %d bytes", c.MaxSize())
	}
}

func TestUsageIsThatOfTheDirectoryAfterARestart(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, c *Cache){
		"that was clean": func(t *testing.T, c *Cache) {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		},
		"after a crash": crash,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c, clock := crashing(dir, Options{})
			storeMany(t, c, 3)
			store(t, c, Key{8}, "without a record yet")
			unfinished := write(t, c, "unfinished")
			end(t, c)
			c, later := open(t, dir, Options{})
			if got := c.Usage(); got != (Usage{Files: 4, Bytes: 50}) {
				t.Errorf("there are %+v", got)
			}
			later.Time = clock.now().Add(past)
			if freed, err := c.Purge(); err != nil || freed != (Usage{Files: 4, Bytes: 50}) || c.Usage() != (Usage{}) {
				t.Errorf("freed %+v, %v, %+v are left", freed, err, c.Usage())
			}
			_ = unfinished.temp.Close()
		})
	}
}

func TestTwoProcessesDoNotFreeTheSame(t *testing.T) {
	dir := t.TempDir()
	c, clock := open(t, dir, Options{})
	storeMany(t, c, 100)
	clock.pass(past)
	other, _ := open(t, dir, Options{})
	other.now = c.now
	known := c.purgeable()
	if freed, err := other.Purge(); err != nil || freed != usageOf(100) {
		t.Errorf("the other freed %+v, %v", freed, err)
	}
	for _, it := range known {
		if c.evict(it) {
			t.Fatalf("%s went again", it.name) // all 100 do
		}
	}
}
