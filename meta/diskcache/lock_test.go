package diskcache

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A file system may have no further names for files.
func TestLocksNeedNoFurtherNamesForFiles(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		c := nodes[0]
		l, err := c.take(c.lockPath("a"), "another") // as such a file is made
		if err != nil {
			t.Fatal(err)
		}
		c.hold("a", l)
		if canLock(t, nodes[1], "a", time.Minute) {
			t.Error("it is not kept up")
		}
		mustUnlock(t, c, "a")
		mustLock(t, nodes[1], "a")
	})
}

// inBubble runs f with some caches on one directory, as other hosts have it, and
// with a time of its own.
func inBubble(t *testing.T, n int, f func(t *testing.T, nodes []*Cache)) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		var nodes []*Cache
		for range n {
			c := New(root, "cache", Options{Mode: 0o600})
			t.Cleanup(func() { _ = c.Close() })
			nodes = append(nodes, c)
		}
		f(t, nodes)
	})
}

func mustLock(t *testing.T, c *Cache, name string) {
	t.Helper()
	if err := c.Lock(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func mustUnlock(t *testing.T, c *Cache, name string) {
	t.Helper()
	if err := c.Unlock(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// canLock reports whether a lock is to be had within some time.
func canLock(t *testing.T, c *Cache, name string, within time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err := c.Lock(ctx, name)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// die is what becomes of the locks of a process that is killed.
func die(c *Cache) {
	c.locking.Lock()
	defer c.locking.Unlock()
	c.beating.Stop()
}

func TestALockIsHeldByOneAtATime(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, nodes []*Cache) {
		var holders, turns atomic.Int64
		var all sync.WaitGroup
		for _, c := range nodes {
			all.Go(func() {
				for range 3 {
					mustLock(t, c, "x/y/a")
					if n := holders.Add(1); n > 1 {
						t.Errorf("%d have the lock", n)
					}
					time.Sleep(25 * time.Second) // longer than one lives without a sign
					holders.Add(-1)
					turns.Add(1)
					mustUnlock(t, c, "x/y/a")
				}
			})
		}
		all.Wait()
		if n := turns.Load(); n != 15 {
			t.Errorf("%d turns, want 15", n)
		}
		if entries, _ := readDir(nodes[0].dir + "/" + locksDir); len(entries) > 0 {
			t.Errorf("left behind: %v", entries)
		}
	})
}

func TestLocksOfDifferentNamesAreIndependent(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		mustLock(t, nodes[1], "b")
	})
}

func TestTheLockOfADeadProcessIsTakenOver(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		time.Sleep(5 * time.Second)
		die(nodes[0])
		if canLock(t, nodes[1], "a", lockLost/2) {
			t.Error("it was taken from who may live")
		}
		var owners atomic.Int64
		var all sync.WaitGroup
		for _, c := range nodes[1:] {
			all.Go(func() {
				if canLock(t, c, "a", lockLost+2*lockPoll) {
					owners.Add(1)
				}
			})
		}
		all.Wait()
		if n := owners.Load(); n != 1 {
			t.Errorf("%d took it over, want one", n)
		}
	})
}

// Who had a lock before does not keep it up for who has it now.
func TestNobodyKeepsUpTheLockOfAnother(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		time.Sleep(lockBeat - time.Second)
		mustUnlock(t, nodes[0], "a")
		mustLock(t, nodes[1], "a")
		die(nodes[1])
		if !canLock(t, nodes[2], "a", lockLost+2*lockPoll) {
			t.Error("it was kept up")
		}
	})
}

// A process that was held up for so long that it has lost its lock leaves that
// of the next one alone.
func TestALostLockIsNotReleased(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		die(nodes[0])
		mustLock(t, nodes[1], "a")
		mustUnlock(t, nodes[0], "a")
		if canLock(t, nodes[2], "a", time.Minute) {
			t.Error("the lock of another was released")
		}
	})
}

// Of those that break a lock, the slower one may find a new one.
func TestANewLockIsNotBrokenForAnOldOne(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		path := nodes[1].lockPath("a")
		nodes[1].breakLock(path, "who is gone")
		if canLock(t, nodes[1], "a", time.Minute) {
			t.Error("it was broken")
		}
		nodes[1].breakLock(path, sight(path).id)
		if !canLock(t, nodes[1], "a", time.Second) {
			t.Error("it was not broken")
		}
	})
}

func TestWhatHasNoDirectoryCannotBeLocked(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(root+"/cache", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := New(root, "cache", Options{Mode: 0o600})
	defer c.Close()
	if err := c.Lock(t.Context(), "a"); err == nil {
		t.Error("it was locked")
	}
}

func TestATurnEndsWhenItsLockIsReleased(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		if turn := nodes[1].Turn("a"); turn != "" {
			t.Errorf("it is the turn of %q, want nobody's", turn)
		}
		var turns []string
		for _, c := range nodes {
			mustLock(t, c, "a")
			turns = append(turns, nodes[1].Turn("a"))
			mustUnlock(t, c, "a")
		}
		if turns[0] == "" || turns[1] == "" || turns[0] == turns[1] {
			t.Errorf("the turns are %q, want two", turns)
		}
		if turn := nodes[1].Turn("a"); turn != "" {
			t.Errorf("it is the turn of %q, want nobody's", turn)
		}
	})
}

func TestWhoTakesALockOverHasTheTurnOfTheDead(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		before := nodes[1].Turn("a")
		die(nodes[0])
		mustLock(t, nodes[1], "a")
		if now := nodes[0].Turn("a"); now != before {
			t.Errorf("the turn is %q, and was %q", now, before)
		}
	})
}

func TestLocksThatNobodyTookOverAreSweptUp(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		die(nodes[0])
		nodes[1].now = func() time.Time { return time.Now().AddDate(50, 0, 0) } // the files have real times
		nodes[1].sweepLocks()
		if turn := nodes[1].Turn("a"); turn != "" {
			t.Error("it is left")
		}
	})
}

func TestTurnsOfOneProcessAreToldApart(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		seen := make(map[string]bool)
		for range 3 {
			mustLock(t, nodes[0], "a")
			seen[nodes[1].Turn("a")] = true
			mustUnlock(t, nodes[0], "a")
		}
		if len(seen) != 3 {
			t.Errorf("3 turns are %d", len(seen))
		}
		time.Sleep(lockLost + 2*lockBeat) // nobody looks at those any more
		nodes[0].locking.Lock()
		defer nodes[0].locking.Unlock()
		if len(nodes[0].had) > 0 {
			t.Errorf("they are remembered: %v", nodes[0].had)
		}
	})
}

// The other locks of the process keep up the file that all of them are.
func TestALockThatCouldNotBeReleasedIsAtTheNextTry(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, nodes []*Cache) {
		mustLock(t, nodes[0], "a")
		mustLock(t, nodes[0], "other")
		dir := nodes[0].dir + "/" + locksDir
		if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := nodes[0].Unlock(t.Context(), "a"); err == nil {
			t.Error("it was released")
		}
		if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
			t.Fatal(err)
		}
		mustUnlock(t, nodes[0], "a")
		if !canLock(t, nodes[1], "a", time.Second) {
			t.Error("it is still held")
		}
	})
}
