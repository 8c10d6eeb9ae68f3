package diskcache

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// actor is a process that stops between its steps.
type actor struct {
	turn, stopped chan struct{}
	ended         bool
}

func (a *actor) stop() {
	a.stopped <- struct{}{}
	<-a.turn
}

// start has c do something, one step at each call of step.
func start(c *Cache, do func()) *actor {
	a := &actor{turn: make(chan struct{}), stopped: make(chan struct{})}
	now := c.now()
	c.at = func(string) { a.stop() }
	c.now = func() time.Time { // which is asked first of all by who evicts, and after a look by who returns
		a.stop()
		return now
	}
	go func() {
		<-a.turn
		do()
		close(a.stopped)
	}()
	return a
}

// step has an actor go on to its next stop, and reports whether there is one.
func (a *actor) step() bool {
	if a.ended {
		return false
	}
	a.turn <- struct{}{}
	_, more := <-a.stopped
	a.ended = !more
	return more
}

// A file is returned by some and evicted by others, in every order of their
// steps, or in many if there are too many. What was returned has to be there.
func TestNoFileIsReturnedAndEvicted(t *testing.T) {
	const returnSteps, evictSteps = 4, 6
	for _, tt := range []struct{ returners, evictors, orders int }{
		{1, 1, 0}, {2, 1, 1000}, {1, 2, 300}, {2, 2, 300},
	} {
		t.Run(fmt.Sprintf("%d return it, %d evict it", tt.returners, tt.evictors), func(t *testing.T) {
			dir, now := t.TempDir(), &clock{time.Now()}
			owner := newHost(t, "owner").process(t, dir, now, Options{})
			var caches []*Cache
			for i := range tt.returners + tt.evictors {
				caches = append(caches, newHost(t, fmt.Sprint(i)).process(t, dir, now, Options{}))
			}
			returned, evicted, neither := 0, 0, 0
			var e Entry
			try := func(order func(*actor, int) int) {
				if e.Path == "" || !exists(e.Path) {
					e = store(t, owner, Key{1}, "content")
					for _, c := range caches {
						c.Refresh(Key{1})
					}
				}
				now.pass(past)
				var mu sync.Mutex
				ok, gone := 0, 0
				count := func(n *int, yes bool) {
					if yes {
						mu.Lock()
						defer mu.Unlock()
						*n++
					}
				}
				var actors []*actor
				for i, c := range caches {
					if i < tt.returners {
						actors = append(actors, start(c, func() { count(&ok, c.Return(e)) }))
					} else {
						it := c.index.byName[e.Name]
						actors = append(actors, start(c, func() { count(&gone, c.evict(it)) }))
					}
				}
				for going := true; going; {
					going = false
					for i := range actors {
						a := actors[i]
						for range order(a, i) {
							a.step()
						}
						going = going || !a.ended
					}
				}
				for _, c := range caches {
					c.at, c.now = func(string) {}, now.now
				}
				if there := exists(e.Path); ok > 0 && gone > 0 || gone > 1 || there != (gone == 0) || len(marks(t, owner)) != 0 {
					t.Fatalf("returned %d times, evicted %d times, it is there: %t, marks: %v", ok, gone, there, marks(t, owner))
				}
				switch {
				case ok > 0:
					returned++
				case gone > 0:
					evicted++
				default:
					neither++
				}
			}
			if tt.orders > 0 {
				random := rand.New(rand.NewPCG(6, uint64(tt.returners)))
				for range tt.orders {
					try(func(*actor, int) int { return random.IntN(3) })
				}
			} else {
				// which steps of all are those of who returns
				for steps := range 1 << (returnSteps + evictSteps) {
					var mine []bool
					returns := 0
					for i := range returnSteps + evictSteps {
						mine = append(mine, steps>>i&1 == 1)
						returns += steps >> i & 1
					}
					if returns != returnSteps {
						continue
					}
					try(func(a *actor, i int) int {
						if len(mine) == 0 {
							return 1 // what is left of it
						}
						n := 0
						for len(mine) > 0 && mine[0] == (i == 0) {
							mine = mine[1:]
							n++
						}
						return n
					})
				}
			}
			if returned == 0 || evicted == 0 || neither == 0 {
				t.Errorf("returned %d times, evicted %d times, neither %d times", returned, evicted, neither)
			}
		})
	}
}

func TestWhatHostsReturnWhileOthersEvictStays(t *testing.T) {
	const files = 60
	dir, now := t.TempDir(), &clock{time.Now()}
	var hosts []*Cache
	for i := range 3 {
		hosts = append(hosts, newHost(t, fmt.Sprint(i)).process(t, dir, now, Options{MaxSize: 10 * files}))
	}
	entries := storeMany(t, hosts[0], files)
	for _, c := range hosts {
		c.scanOnce()
	}
	now.pass(past)
	var mu sync.Mutex
	var freed Usage
	returned := make(map[string]bool)
	var all sync.WaitGroup
	for n, c := range hosts {
		all.Go(func() {
			got, err := c.Purge()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			freed.Files += got.Files
			freed.Bytes += got.Bytes
		})
		all.Go(func() {
			for i := range files {
				e := entries[(i*(2*n+1)+files/2)%files]
				if c.Return(e) {
					mu.Lock()
					returned[e.Path] = true
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	for path := range returned {
		if !exists(path) {
			t.Errorf("%s was returned and is gone", path)
		}
	}
	there := 0
	for _, e := range entries {
		if exists(e.Path) {
			there++
		}
	}
	if freed.Files != files-there || freed.Bytes != int64(10*freed.Files) {
		t.Errorf("freed %+v of %d files, %d are left", freed, files, there)
	}
	for _, c := range hosts {
		if c.scan(true); c.Usage() != usageOf(there) {
			t.Errorf("one counts %+v, there are %d files", c.Usage(), there)
		}
	}
	if m := marks(t, hosts[0]); len(m) != 0 {
		t.Errorf("left over: %v", m)
	}
}

func TestHostsThatMakeRoomAtOnceTakeNoMoreThanTheyNeed(t *testing.T) {
	const files = 40
	a, b, now := twoHosts(t, Options{MaxSize: 10 * files})
	storeMany(t, a, files)
	b.scanOnce()
	now.pass(past)
	var both sync.WaitGroup
	for _, c := range []*Cache{a, b} {
		both.Go(func() {
			for i := range files / 4 {
				store(t, c, Key{200, byte(i)}, "0123456789")
			}
		})
	}
	both.Wait()
	old := 0
	for _, path := range left(t, a, filesDir) {
		if info, err := os.Stat(path); err != nil {
			t.Error(err)
		} else if mayEvict(info.ModTime(), now.now()) {
			old++
		}
	}
	// each makes room for its own; of what the other stores it hears a little later
	if old < files/2 || old > files*3/4 {
		t.Errorf("%d of %d files are left", old, files)
	}
	for _, c := range []*Cache{a, b} {
		c.scan(true)
		c.expire()
	}
	for _, c := range []*Cache{a, b} {
		if c.scan(true); c.Usage() != usageOf(len(left(t, a, filesDir))) || c.Usage().Bytes > c.MaxSize() {
			t.Errorf("there are %+v, files: %d", c.Usage(), len(left(t, a, filesDir)))
		}
	}
}

func TestAFileIsTouchedAsOftenAsItTakes(t *testing.T) {
	for name, tt := range map[string]struct {
		age     time.Duration
		touched bool
	}{
		"just now":                          {0, false},
		"a moment ago":                      {touchAfter - time.Second, false},
		"a while ago":                       {touchAfter, true},
		"long ago":                          {past, true},
		"by a clock that is a little ahead": {-touchAfter, false},
		"by a clock that has been set back since": {-past, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, now := twoHosts(t, Options{})
			e := store(t, a, Key{1}, "content")
			then := now.Add(-tt.age)
			if err := os.Chtimes(e.Path, then, then); err != nil {
				t.Fatal(err)
			}
			for _, c := range []*Cache{a, b} {
				if !c.Return(e) {
					t.Error("it is gone")
				}
				want := then
				if tt.touched {
					want = now.now()
				}
				if got := modTime(e.Path); !got.Equal(want) {
					t.Errorf("last returned %s ago, it is touched by %s", tt.age, got.Sub(then))
				}
			}
		})
	}
}

// Hosts whose clocks differ return a file and evict it.
func TestClocksMayDiffer(t *testing.T) {
	dir := t.TempDir()
	now := &clock{time.Now()}
	ahead := &clock{now.Time}
	hosts := []*Cache{newHost(t, "a").process(t, dir, now, Options{}), newHost(t, "b").process(t, dir, ahead, Options{})}
	rapid.Check(t, func(rt *rapid.T) {
		ahead.Time = now.Add(time.Duration(rapid.IntRange(-30, 30).Draw(rt, "ahead")) * time.Second)
		host := rapid.SampledFrom(hosts)
		e := store(t, host.Draw(rt, "who stores it"), Key{1}, "content")
		returned := now.Time
		for there := true; there; {
			pass := time.Duration(rapid.IntRange(0, 700).Draw(rt, "seconds")) * time.Second
			now.pass(pass)
			ahead.pass(pass)
			c := host.Draw(rt, "who")
			c.Refresh(Key{1})
			if rapid.Bool().Draw(rt, "returns it") {
				if !c.Return(e) {
					rt.Fatal("it cannot be returned")
				}
				returned = now.Time
			} else if c.evict(c.index.byName[e.Name]) {
				if kept := now.Sub(returned); kept < Keep {
					rt.Fatalf("it is gone after %s", kept)
				}
				there = false
			} else if kept := now.Sub(returned); kept > Keep+2*touchInterval {
				rt.Fatalf("it cannot go after %s", kept)
			}
		}
	})
}
