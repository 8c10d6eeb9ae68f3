//go:build unix

package diskcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// A directory that cannot be used for a while, whichever and from whatever step
// on, fails what is done then and nothing later.
func TestADirectoryThatBreaksBetweenAnyTwoStepsLeavesNothingWrong(t *testing.T) {
	steps := 0
	c, now := open(t, t.TempDir(), Options{})
	c.at = func(string) { steps++ }
	if err := inSteps(c, now, func(Entry, time.Time) {}); err != nil {
		t.Fatal(err)
	}
	c.at = func(string) {}
	var failures atomic.Int64
	t.Cleanup(func() {
		if failures.Load() == 0 {
			t.Error("nothing has failed")
		}
	})
	for name, sub := range map[string]string{
		"the whole":    ".",
		"of the files": filesDir,
		"of records":   indexDir,
		"to write in":  tempDir,
	} {
		for i := range steps {
			t.Run(fmt.Sprintf("%s, at %d", name, i), func(t *testing.T) {
				t.Parallel() // it waits for the disk
				c, now := open(t, t.TempDir(), Options{})
				mend, at := func() {}, 0
				c.at = func(string) {
					if at++; at != i+1 {
						return
					}
					if dir := filepath.Join(c.dir, sub); exists(dir) {
						mend = unreadable(t, dir)
					}
				}
				var returned []string
				err := inSteps(c, now, func(e Entry, at time.Time) {
					if e.Path != "" {
						returned = append(returned, e.Path, strconv.FormatInt(e.Size, 10), strconv.FormatInt(at.UnixNano(), 10))
					}
				})
				if err != nil {
					failures.Add(1)
				}
				c.at = func(string) {}
				mend()
				now.pass(past)
				wantNothingWrong(t, c, now, returned)
			})
		}
	}
}

func TestAFileThatCanNeverBeSyncedIsGivenUp(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	mend := unreadable(t, filepath.Dir(e.Path))
	for range maxFailures + 1 {
		if len(c.unsynced) != 1 {
			t.Fatal("it is given up too early")
		}
		c.syncAll(never)
	}
	mend()
	if len(c.unsynced) != 0 || exists(c.indexPath(e.Name)) {
		t.Error("it is still queued, or taken for synced")
	}
	c.uptime = func() (time.Duration, bool) { return past, true } // as the machine has run ever since
	if got, ok := c.Get(Key{1}); !ok || !c.Return(got) {
		t.Errorf("it is not returned: %+v", got)
	}
}

func TestAFileThatIsNotWholeIsForgottenWhenItCanBeRemoved(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	c.attribute = noAttributes // its record is a file
	e := store(t, c, Key{1}, "content")
	if err := os.Truncate(e.Path, 3); err != nil {
		t.Fatal(err)
	}
	mend := unreadable(t, filepath.Join(c.dir, indexDir))
	if c.Return(e) {
		t.Error("it is returned")
	}
	if c.Usage().Files != 1 {
		t.Error("it is forgotten, and its record is still there")
	}
	mend()
	if c.Return(e) || c.Usage().Files != 0 || exists(c.newPath(e.Name)) {
		t.Error("it is returned, or there is something of it")
	}
}

func TestALockThatCannotBeTakenFails(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	store(t, c, Key{1}, "content")
	if err := os.WriteFile(filepath.Join(c.dir, locksDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Lock(t.Context(), "a"); err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("it is taken: %v", err)
	}
	c.sweepLocks() // which has nothing to sweep
	if err := c.Unlock(t.Context(), "a"); err != nil {
		t.Errorf("there is nothing to release: %v", err)
	}
	if err := os.Remove(filepath.Join(c.dir, locksDir)); err != nil {
		t.Fatal(err)
	}
	if err := c.Lock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := c.Unlock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestAFileOfAnotherProcessIsOpenedByItsRecord(t *testing.T) {
	dir := t.TempDir()
	c, _ := open(t, dir, Options{})
	c.uptime = func() (time.Duration, bool) { return 0, true } // which tells nothing
	c.scanOnce()
	other, _ := open(t, dir, Options{})
	e := store(t, other, Key{1}, "content")
	if f, err := c.Open(e.Name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what may be torn is opened: %v, %v", f, err)
	}
	e = store(t, other, Key{2}, "content")
	other.syncAll(never)
	f, err := c.Open(e.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhatWasWrittenInLongAgoIsSweptWithoutALock(t *testing.T) {
	c, clock := open(t, t.TempDir(), Options{})
	store(t, c, Key{1}, "content")
	left := filepath.Join(c.dir, tempDir, "left")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	c.sweepSessions()
	if !exists(left) {
		t.Error("what is new is gone")
	}
	clock.pass(lostAfter + time.Hour)
	c.sweepSessions()
	if exists(left) || !exists(c.session.dir) {
		t.Error("what is old is there, or our own session gone")
	}
}

func TestADiskThatHangsHoldsUpNobodyWhoAsksHowMuchThereIs(t *testing.T) {
	t.Parallel() // it waits for a second
	dir := t.TempDir()
	stored, _ := open(t, dir, Options{})
	store(t, stored, Key{1}, "content")
	c, _ := open(t, dir, Options{})
	c.scanning.Lock() // as if the directory were being read
	if got := c.Usage(); got != (Usage{}) {
		t.Errorf("before it is read it has %+v", got)
	}
	c.scanning.Unlock()
	<-c.first
	if got := c.Usage(); got != (Usage{Files: 1, Bytes: 7}) {
		t.Errorf("afterwards it has %+v", got)
	}
}

func TestAnOldVersionIsNotFoundAgain(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir, Options{})
	second, clock := open(t, dir, Options{})
	store(t, first, Key{1}, "old")
	first.syncAll(never)
	clock.pass(time.Second)
	newest := store(t, second, Key{1}, "new")
	second.syncAll(never)
	c, _ := open(t, dir, Options{})
	for range 3 {
		if e, ok := c.Get(Key{1}); !ok || e.Name != newest.Name {
			t.Errorf("got %+v, want %+v", e, newest)
		}
		if n := len(c.index.candidates(Key{1}.String())); n != 1 {
			t.Errorf("%d versions can be found", n)
		}
		if !c.Refresh(Key{1}) {
			t.Error("it cannot be read")
		}
	}
}
