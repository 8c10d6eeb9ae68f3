package diskcache

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// past is more than a file is kept for sure.
const past = Keep + touchInterval + time.Second

func TestTheLeastRecentlyReturnedGoesFirst(t *testing.T) {
	c, time := open(t, t.TempDir(), Options{MaxSize: 30})
	var files []Entry
	for i := range 3 {
		files = append(files, store(t, c, Key{byte(i)}, "0123456789"))
		time.pass(touchInterval)
	}
	if !c.Return(files[0]) {
		t.Fatal("the first file is gone")
	}
	time.pass(past)
	for i, want := range [][]int{{0, 2}, {0}, {}} {
		store(t, c, Key{9, byte(i)}, "0123456789")
		for n, e := range files {
			if exists(e.Path) != slices.Contains(want, n) {
				t.Errorf("after %d more files, file %d is there: %t", i+1, n, exists(e.Path))
			}
		}
	}
}

func TestTheOrderOfReturnsSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	c, time := crashing(dir, Options{MaxSize: 20})
	first, second := store(t, c, Key{1}, "0123456789"), store(t, c, Key{2}, "0123456789")
	time.pass(past)
	if !c.Return(first) {
		t.Fatal("the first file is gone")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	now := time.Time
	c, time = open(t, dir, Options{MaxSize: 20})
	time.Time = now.Add(past)
	store(t, c, Key{3}, "0123456789")
	if !exists(first.Path) || exists(second.Path) {
		t.Errorf("there are: first %t, second %t", exists(first.Path), exists(second.Path))
	}
}

func TestWhatMustStayIsNotEvicted(t *testing.T) {
	for name, tt := range map[string]struct {
		after time.Duration
		use   func(t *testing.T, c *Cache, e Entry)
		want  error
	}{
		"it was returned lately":  {after: Keep, want: ErrNoRoom},
		"it was returned a while": {after: past},
		"it was returned again": {after: past, want: ErrNoRoom, use: func(t *testing.T, c *Cache, e Entry) {
			if !c.Return(e) {
				t.Error("it is gone")
			}
		}},
		"another process has returned it": {after: past, want: ErrNoRoom, use: func(t *testing.T, c *Cache, e Entry) {
			other, _ := open(t, c.dir, Options{})
			other.now = c.now
			if !other.Return(e) {
				t.Error("it is gone")
			}
		}},
		"the clock was set back": {after: -24 * time.Hour, want: ErrNoRoom},
		"it is being read": {after: past, want: ErrNoRoom, use: func(t *testing.T, c *Cache, e Entry) {
			f, err := c.Open(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			// as if it had been opened long ago
			old := c.now().Add(-past)
			if err := os.Chtimes(e.Path, old, old); err != nil {
				t.Fatal(err)
			}
			c.index.use(e.Name, old)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, time := open(t, t.TempDir(), Options{MaxSize: 10, MaxAge: Keep})
			e := store(t, c, Key{1}, "0123456789")
			time.pass(tt.after)
			if tt.use != nil {
				tt.use(t, c, e)
			}
			f, err := c.Create()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Abort()
			if _, err := f.Write([]byte("x")); !errors.Is(err, tt.want) {
				t.Errorf("writing: %v, want %v", err, tt.want)
			}
			c.expire()
			if exists(e.Path) != (tt.want != nil) {
				t.Errorf("it is there: %t", exists(e.Path))
			}
		})
	}
}

func TestAFileSetBackInTimeCanGoLater(t *testing.T) {
	c, time := open(t, t.TempDir(), Options{MaxSize: 10})
	e := store(t, c, Key{1}, "0123456789")
	time.pass(-24 * 60 * touchInterval)
	for _, want := range []error{ErrNoRoom, nil} {
		f, err := c.Create()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Reserve(1); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("got %v, want %v", err, want)
		}
		if err := f.Abort(); err != nil {
			t.Fatal(err)
		}
		time.pass(past)
	}
	if exists(e.Path) {
		t.Error("it is still there")
	}
}

func TestRoomIsReservedBeforeItIsFilled(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{MaxSize: 10})
	create := func() *File {
		f, err := c.Create()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a, b := create(), create()
	if err := a.Reserve(11); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than all: %v", err)
	}
	if err := a.Reserve(6); err != nil {
		t.Error(err)
	}
	if err := b.Reserve(5); !errors.Is(err, ErrNoRoom) || errors.Is(err, ErrTooLarge) {
		t.Errorf("more than is left: %v", err)
	}
	if _, err := b.Write([]byte("0123")); err != nil {
		t.Errorf("what is left: %v", err)
	}
	if n, err := b.Write([]byte("4")); n != 0 || !errors.Is(err, ErrNoRoom) {
		t.Errorf("more than is left: wrote %d, %v", n, err)
	}
	if err := errors.Join(a.Abort(), b.Reserve(10), b.Abort()); err != nil {
		t.Errorf("what was given back: %v", err)
	}
}

func TestWhatNobodyAsksForExpires(t *testing.T) {
	c, time := open(t, t.TempDir(), Options{MaxAge: 24 * past})
	old, kept := store(t, c, Key{1}, "old"), store(t, c, Key{2}, "kept")
	c.syncAll(never)
	time.pass(23 * past)
	if !c.Return(kept) {
		t.Fatal("it is gone")
	}
	time.pass(past)
	c.expire()
	if exists(old.Path) || exists(c.indexPath(old.Name)) || !exists(kept.Path) {
		t.Errorf("there are: old %t, its record %t, kept %t", exists(old.Path), exists(c.indexPath(old.Name)), exists(kept.Path))
	}
}

func TestALoweredLimitIsKept(t *testing.T) {
	c, time := open(t, t.TempDir(), Options{})
	var files []Entry
	for i := range 5 {
		files = append(files, store(t, c, Key{byte(i)}, "0123456789"))
	}
	c.Configure(Options{MaxSize: 20, Mode: 0o600})
	c.syncAll(never)
	time.pass(past)
	c.expire()
	for i, e := range files {
		if exists(e.Path) != (i >= 3) {
			t.Errorf("file %d is there: %t", i, exists(e.Path))
		}
	}
}

func TestFilesOfAnotherProcessCount(t *testing.T) {
	dir := t.TempDir()
	c, time := open(t, dir, Options{MaxSize: 20})
	store(t, c, Key{1}, "0123456789")
	other, _ := open(t, dir, Options{MaxSize: 20})
	theirs := store(t, other, Key{2}, "0123456789")
	other.syncAll(never)

	f := write(t, c, "0123456789") // as far as is known, there is room
	defer f.Abort()
	if err := f.Reserve(11); !errors.Is(err, ErrNoRoom) { // so it looks
		t.Errorf("got %v", err)
	}
	if e, ok := c.Get(Key{2}); !ok || e.Path != theirs.Path || !c.Return(e) {
		t.Errorf("what the other has stored is not found: %+v, %t", e, ok)
	}
	time.pass(past)
	if err := f.Reserve(20); err != nil || exists(theirs.Path) {
		t.Errorf("there is no room: %v", err)
	}
}

func TestTheIndexKeepsItsOrderAndItsSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		start := time.Now()
		name := rapid.Map(rapid.IntRange(0, 9), func(i int) string { return fmt.Sprintf("%016x-%032x.bin", i%3, i) })
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				var items []*item
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					items = append(items, &item{
						name: name.Draw(t, "name"), size: rapid.Int64Range(0, 100).Draw(t, "size"),
						used: start.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "used"))), record: new(record),
					})
				}
				x.addAll(items)
			},
			"use": func(t *rapid.T) {
				x.use(name.Draw(t, "name"), start.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "used"))))
			},
			"remove": func(t *rapid.T) { x.remove(name.Draw(t, "name")) },
			"": func(t *rapid.T) {
				var sum int64
				var before time.Time
				n := 0
				for e := x.recent.Front(); e != nil; e = e.Next() {
					it := e.Value.(*item)
					if it.used.Before(before) || x.byName[it.name] != it || !slices.Contains(x.byDigest[it.name[:digestLen]], it) {
						t.Fatalf("%s is out of place", it.name)
					}
					before, sum, n = it.used, sum+it.size, n+1
				}
				byDigest := 0
				for _, items := range x.byDigest {
					byDigest += len(items)
				}
				if n != len(x.byName) || n != byDigest || n != x.remembered || sum != x.size {
					t.Fatalf("%d in order, %d by name, %d by digest, %d remembered; %d bytes, counted %d",
						n, len(x.byName), byDigest, x.remembered, sum, x.size)
				}
			},
		})
	})
}

func TestFewRecordsAreRemembered(t *testing.T) {
	x := newIndex()
	for i := range 2*maxRemembered + 1 {
		x.addAll([]*item{{name: fmt.Sprintf("%016x-%032x.bin", i, i), record: new(record), pending: i == 0}})
	}
	if x.remembered > maxRemembered {
		t.Errorf("%d records are remembered", x.remembered)
	}
	first := x.byName[fmt.Sprintf("%016x-%032x.bin", 0, 0)]
	if first.record == nil {
		t.Error("a record that is not on disk was forgotten")
	}
}
