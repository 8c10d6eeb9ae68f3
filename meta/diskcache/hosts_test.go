package diskcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// host is a machine whose locks no other one sees.
type host struct{ kernel, locks string }

func newHost(t testing.TB, kernel string) host { return host{kernel: kernel, locks: t.TempDir()} }

// process returns the cache in dir of a process of this host.
func (h host) process(t testing.TB, dir string, clock *clock, opts Options) *Cache {
	t.Helper()
	c, _ := open(t, dir, opts)
	h.runs(c, clock)
	return c
}

func (h host) runs(c *Cache, clock *clock) {
	c.kernel, c.now, c.attribute = h.kernel, clock.now, noAttributes
	c.newLock = func(path string) fileLock {
		return localLock{newLock(filepath.Join(h.locks, filepath.Base(path))), path}
	}
}

// localLock is a lock on a file that only one host knows of.
type localLock struct {
	fileLock
	path string
}

func (l localLock) Path() string { return l.path }

func (l localLock) TryLock() (bool, error) {
	f, err := os.OpenFile(l.path, os.O_CREATE, 0o600)
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	return l.fileLock.TryLock()
}

// noLock is a lock where the file system has none.
type noLock struct{ localLock }

func (l noLock) TryLock() (bool, error) {
	f, err := os.OpenFile(l.path, os.O_CREATE, 0o600)
	return false, errors.Join(err, f.Close(), errors.New("no locks available"))
}

// fullDisk is a lock on a file for which there is no room.
type fullDisk struct{ fileLock }

func (fullDisk) TryLock() (bool, error) { return false, diskFull }

// noAttributes is where a file can have none.
func noAttributes(string, []byte) error { return errors.ErrUnsupported }

// twoHosts returns the caches of two hosts in one directory.
func twoHosts(t testing.TB, opts Options) (a, b *Cache, now *clock) {
	t.Helper()
	dir := t.TempDir()
	now = &clock{time.Now()}
	return newHost(t, "a").process(t, dir, now, opts), newHost(t, "b").process(t, dir, now, opts), now
}

func TestASessionGoesWhenItsProcessIsDeadForSure(t *testing.T) {
	for name, tt := range map[string]struct {
		by      string // the kernel of the process
		crashed bool
		pass    time.Duration
		beats   bool // after that
		noLocks bool
		rename  bool // to what an earlier version would call it
		stays   bool
	}{
		"a process of this host lives":                         {by: "here", stays: true},
		"a process of this host lives and says nothing":        {by: "here", pass: 24 * time.Hour, stays: true},
		"a process of this host has crashed":                   {by: "here", crashed: true},
		"a process of another host lives":                      {by: "there", stays: true},
		"a process of another host lives and says so":          {by: "there", pass: 24 * time.Hour, beats: true, stays: true},
		"a process of another host may have crashed just now":  {by: "there", crashed: true, stays: true},
		"a process of another host has crashed a while ago":    {by: "there", crashed: true, pass: silence + time.Second},
		"another host says nothing any more":                   {by: "there", pass: silence + time.Second},
		"without locks, a process of this host may live":       {by: "here", crashed: true, noLocks: true, stays: true},
		"without locks, a process of this host says it lives":  {by: "here", pass: time.Hour, beats: true, noLocks: true, stays: true},
		"without locks, a process of this host says no more":   {by: "here", pass: silence + time.Second, noLocks: true},
		"without locks, another host says nothing any more":    {by: "there", pass: silence + time.Second, noLocks: true},
		"an earlier version may have crashed just now":         {by: "here", crashed: true, rename: true, stays: true},
		"an earlier version has crashed a while ago":           {by: "here", crashed: true, pass: silence + time.Second, rename: true},
		"an earlier version lives, of which there are no news": {by: "here", pass: time.Hour, rename: true, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, now := t.TempDir(), &clock{time.Now()}
			hosts := map[string]host{"here": newHost(t, "here"), "there": newHost(t, "there")}
			other, _ := crashing(dir, Options{})
			hosts[tt.by].runs(other, now)
			c := hosts["here"].process(t, dir, now, Options{})
			if tt.noLocks {
				for _, c := range []*Cache{c, other} {
					c.newLock = func(path string) fileLock { return noLock{localLock{newLock(path), path}} }
				}
			}
			if tt.rename {
				other.kernel = "0" // of which nothing is known here
			}
			unfinished := write(t, other, "unfinished")
			crash := func() {
				crash(t, other)
				if err := unfinished.temp.Close(); err != nil {
					t.Error(err)
				}
			}
			if tt.crashed {
				crash()
			} else {
				defer crash()
			}
			now.pass(tt.pass)
			if tt.beats {
				other.beat()
			}
			c.sweepSessions()
			if exists(unfinished.temp.Name()) != tt.stays || exists(other.session.lock.Path()) != tt.stays {
				t.Errorf("its file is there: %t, its lock: %t", exists(unfinished.temp.Name()), exists(other.session.lock.Path()))
			}
		})
	}
}

func TestAProcessSaysThatItLives(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, _ := crashing(dir, Options{})
		c.now = time.Now
		c.beat() // without a session yet
		c.Maintain()
		time.Sleep(time.Hour)
		f := write(t, c, "unfinished")
		for range 3 {
			time.Sleep(silence)
			synctest.Wait()
			if age := time.Since(modTime(c.session.lock.Path())); age > beatInterval {
				t.Errorf("it has said nothing for %s", age)
			}
		}
		if err := errors.Join(f.Abort(), c.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestALockThatCannotBeMadeIsAnError(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	c.newLock = func(path string) fileLock { return fullDisk{newLock(path)} }
	if f, err := c.Create(); !IsFull(err) {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestFilesOfAnotherHostAreNotOursToDelete(t *testing.T) {
	for name, tt := range map[string]struct {
		at    time.Duration // when it was stored, by our clock
		up    time.Duration // since when this machine runs
		pass  time.Duration
		there bool
		known bool
	}{
		"stored just now, and found here":              {up: past, there: true, known: true},
		"stored before this machine was started":       {at: -Keep, there: true, known: true},
		"stored long before this machine was started":  {at: -past},
		"stored when nobody had asked for it for long": {at: -past, up: 2 * past},
		"stored by a clock that is ahead":              {at: time.Hour, up: past, there: true},
		"stored by a clock that was ahead":             {at: time.Hour, up: past, pass: time.Hour, there: true, known: true},
		"stored by a clock that was ahead, long ago":   {at: time.Hour, up: past, pass: time.Hour + past},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, now := twoHosts(t, Options{})
			b.uptime = func() (time.Duration, bool) { return tt.up, true }
			b.scanOnce() // before, so that it is not what was found first
			e := store(t, a, Key{1}, "content")
			stored := now.Add(tt.at)
			if err := os.Chtimes(e.Path, stored, stored); err != nil {
				t.Fatal(err)
			}
			now.pass(10 * time.Second) // then a scan relies on the time of the directory
			b.scan(false)
			now.pass(tt.pass)
			b.scan(false) // also if nothing has changed there but time
			b.expire()
			if exists(e.Path) != tt.there || exists(a.newPath(e.Name)) != tt.there {
				t.Errorf("it is there: %t, its record: %t", exists(e.Path), exists(a.newPath(e.Name)))
			}
			if it := b.index.byName[e.Name]; (it != nil) != tt.known {
				t.Errorf("it is known as %+v", it)
			}
			if info, err := os.Stat(e.Path); tt.there && (err != nil || !info.ModTime().Equal(stored)) {
				t.Errorf("its time is %v", info.ModTime())
			}
			trusted := tt.known && tt.up > 0
			if _, ok := b.Get(Key{1}); ok != trusted {
				t.Errorf("it is found: %t", ok)
			}
			f, err := b.Open(e.Name)
			if (err == nil) != trusted || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("opening it: %v", err)
			}
			if err == nil {
				_ = f.Close()
			}
		})
	}
}

func TestAClockThatIsSetBackMakesNothingWhole(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	e := store(t, a, Key{1}, "content")
	b.scanOnce()
	stored := modTime(e.Path)
	now.pass(-time.Hour)
	b.scan(true)
	if b.evict(b.index.byName[e.Name]) || !modTime(e.Path).Equal(stored) {
		t.Errorf("its time is now %v", modTime(e.Path))
	}
	a.syncAll(never)
	if b.scan(true); !modTime(e.Path).Equal(now.Time) {
		t.Errorf("when it is proven its time is %v", modTime(e.Path))
	}
}

func TestARecordWithoutItsFileStaysForAMoment(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	proven, unproven := store(t, a, Key{1}, "content"), store(t, a, Key{2}, "content")
	a.syncAll(never)
	if err := os.Rename(a.indexPath(unproven.Name), a.newPath(unproven.Name)); err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{proven, unproven} {
		if err := os.Remove(e.Path); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(filepath.Dir(a.indexPath(proven.Name)), "notes.json")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, pass := range []time.Duration{0, 10 * time.Second, orphanAge} {
		now.pass(pass)
		b.scan(false) // also if nothing has changed there but time
		if want := pass < orphanAge; exists(a.indexPath(proven.Name)) != want || exists(a.newPath(unproven.Name)) != want || !exists(foreign) {
			t.Errorf("after another %s there are %v", pass, left(t, b, indexDir))
		}
	}
}
