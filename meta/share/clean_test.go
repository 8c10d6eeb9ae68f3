package share

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

var (
	cleanings = sharetest.Kind{Op: "list", Of: "manifest"}
	cleanPath = lockPath + "clean"
)

// eachList runs a test with either way that storages have to list.
func eachList(t *testing.T, test func(t *testing.T, m *sharetest.Memory)) {
	for name, deep := range map[string]bool{"which lists names": false, "which lists keys": true} {
		inBubble(t, name, func(t *testing.T) {
			m := sharetest.NewMemory()
			m.Deep = deep
			test(t, m)
		})
	}
}

// wantCopies checks which keys have copies, and that nothing else is left.
func wantCopies(t *testing.T, m *sharetest.Memory, n *node, keys ...int) {
	t.Helper()
	var there []int
	parts := 0
	for i := range 10 {
		if copy, err := n.Find(t.Context(), keyOf(i)); err == nil {
			there = append(there, i)
			parts += int(copy.parts())
			if _, err := n.gets(t.Context(), keyOf(i)); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	if fmt.Sprint(there) != fmt.Sprint(keys) {
		t.Errorf("there are copies of %d, want %d", there, keys)
	}
	if m, p, u := len(m.Keys(prefix+"/manifest")), len(m.Keys(prefix+"/part")), len(m.Keys(prefix+"/used")); m != len(keys) || p != parts || u > len(keys) {
		t.Errorf("there are %d manifests, %d parts and %d uses; want %d, %d and %d at most", m, p, u, len(keys), parts, len(keys))
	}
}

func TestWhatNobodyReturnsForLongIsRemoved(t *testing.T) {
	eachList(t, func(t *testing.T, m *sharetest.Memory) {
		opts := Options{MaxAge: 24 * time.Hour, MaxSize: 1 << 30}
		n, other := newNode(t, m, opts), newNode(t, m, opts)
		n.Maintain()
		other.Maintain()
		for i := range 3 {
			n.puts(t, keyOf(i), random(1, 2*partSize+1))
		}
		for range 30 {
			time.Sleep(time.Hour)
			other.Used(keyOf(1))
		}
		wantCopies(t, m, n, 1)
		time.Sleep(opts.MaxAge - 2*cleanInterval)
		wantCopies(t, m, n, 1)
		time.Sleep(2*cleanInterval + 2*time.Hour)
		wantCopies(t, m, n)
		if left := m.Keys(prefix); fmt.Sprint(left) != "["+prefix+"/cleaned]" {
			t.Errorf("left: %v", left)
		}
		wantNothingLeft(t, m)
	})
}

func TestAShortLifeIsWatchedClosely(t *testing.T) {
	for age, within := range map[time.Duration]time.Duration{
		8 * time.Minute:  10*time.Minute + 12*time.Second,
		30 * time.Second: 2*time.Minute + 6*time.Second,
	} {
		inBubble(t, age.String(), func(t *testing.T) {
			m := sharetest.NewMemory()
			n := newNode(t, m, Options{MaxAge: age})
			n.Maintain()
			n.puts(t, keyOf(0), nil)
			time.Sleep(age - time.Second)
			wantCopies(t, m, n, 0)
			time.Sleep(within - age + time.Second)
			wantCopies(t, m, n)
		})
	}
}

func TestWhatIsOfUseOnlyForAWhileIsRemoved(t *testing.T) {
	eachList(t, func(t *testing.T, m *sharetest.Memory) {
		n, other := newNode(t, m, Options{}), newNode(t, m, Options{})
		content := random(1, 2*partSize)
		put := func(key int, until time.Time) Copy {
			copy, err := n.Put(t.Context(), keyOf(key), bytes.NewReader(content), 2*partSize, nil, until)
			if err != nil {
				t.Fatal(err)
			}
			return copy
		}
		put(0, time.Now().Add(time.Minute))
		put(1, time.Time{})
		put(2, time.Now().Add(time.Minute))
		other.wants(t, keyOf(0), content)
		time.Sleep(time.Minute)
		wantCopies(t, m, n, 0, 1, 2)
		time.Sleep(time.Nanosecond)
		for _, key := range []int{0, 2} {
			if _, err := other.Find(t.Context(), keyOf(key)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what is over is found: %v", err)
			}
		}
		put(2, time.Time{}) // which takes the parts of the other away
		if parts := len(m.Keys(prefix + "/part")); parts != 6 {
			t.Errorf("%d parts are left, want 6", parts)
		}
		if err := other.clean(time.Now()); err != nil {
			t.Fatal(err)
		}
		wantCopies(t, m, n, 1, 2)
	})
}

func TestWhatIsInOrderIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{MaxSize: 1 << 30})
		for i := range 10 {
			n.puts(t, keyOf(i), random(1, partSize+1))
		}
		m.Set(prefix+"/used/"+keyOf(0), formatTime(time.Now()))
		m.Counts()
		if err := n.clean(time.Now()); err != nil {
			t.Fatal(err)
		}
		counts := m.Counts()
		for kind, want := range map[sharetest.Kind]int64{
			{Op: "lock", Of: "lock"}: 1, {Op: "unlock", Of: "lock"}: 1,
			{Op: "list", Of: "manifest"}: 1, {Op: "list", Of: "part"}: 1, {Op: "list", Of: "used"}: 1,
			{Op: "load", Of: "manifest"}: 10, {Op: "load", Of: "used"}: 1,
			{Op: "load", Of: "cleaned"}: 1, {Op: "store", Of: "cleaned"}: 1,
		} {
			if got := counts[kind].Ops; got != want {
				t.Errorf("%s of %s: %d times, want %d", kind.Op, kind.Of, got, want)
			}
			delete(counts, kind)
		}
		if len(counts) > 0 {
			t.Errorf("besides: %v", counts)
		}
	})
}

func TestTheLeastRecentlyUsedMakesRoom(t *testing.T) {
	eachList(t, func(t *testing.T, m *sharetest.Memory) {
		opts := Options{MaxSize: 3 * partSize}
		n, other := newNode(t, m, opts), newNode(t, m, opts)
		n.Maintain()
		other.Maintain()
		for i := range 4 {
			n.puts(t, keyOf(i), random(1, partSize))
			time.Sleep(time.Second)
		}
		wantCopies(t, m, n, 0, 1, 2, 3) // since cleaning has to wait
		other.Used(keyOf(0))
		time.Sleep(fullInterval)
		wantCopies(t, m, n, 0, 2, 3)
		other.puts(t, keyOf(4), random(2, 2*partSize))
		synctest.Wait() // the first time it need not wait
		wantCopies(t, m, n, 0, 4)
		m.Counts()
		other.puts(t, keyOf(5), make([]byte, opts.MaxSize/10)) // which is not much
		time.Sleep(cleanInterval / 2)
		if n := m.Counts()[cleanings].Ops; n > 0 {
			t.Errorf("cleaned %d times for little", n)
		}
		wantNothingLeft(t, m)
	})
}

func TestRoomIsMadeWhenTheStorageAllowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{MaxSize: partSize})
		n.Maintain()
		m.Intercept(func(op, key string) error {
			if op == "lock" && key == cleanPath {
				return errors.New("refused")
			}
			return nil
		})
		n.puts(t, keyOf(0), random(1, partSize))
		n.puts(t, keyOf(1), random(1, partSize))
		time.Sleep(maxFailures * fullInterval)
		wantCopies(t, m, n, 0, 1)
		m.Intercept(nil)
		time.Sleep(lastPause)
		wantCopies(t, m, n, 1)
	})
}

func TestOneOfManyNodesCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, intervals = 8, 50
		m := sharetest.NewMemory()
		m.Latency = time.Millisecond
		m.Intercept(func(op, key string) error {
			if locked := m.Locked(); op == "list" && (len(locked) == 0 || locked[0] != cleanPath) {
				t.Errorf("%s is listed while this is locked: %v", key, locked)
			}
			return nil
		})
		for range nodes {
			newNode(t, m, Options{MaxSize: 1 << 30}).Maintain()
		}
		time.Sleep(intervals * cleanInterval)
		if n := m.Counts()[cleanings].Ops; n > intervals || n < intervals*3/4 {
			t.Errorf("%d cleanings in %d intervals", n, intervals)
		}
		wantNothingLeft(t, m)
	})
}

func TestNodesThatWantRoomAtOneTimeCleanUpOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		m.Latency = 10 * time.Millisecond
		for i := range 8 {
			n := newNode(t, m, Options{MaxSize: 10 * partSize})
			n.Maintain()
			go func() {
				content := bytes.NewReader(random(1, 2*partSize))
				if _, err := n.Put(t.Context(), keyOf(i), content, content.Size(), nil, time.Time{}); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(2 * fullInterval)
		n := m.Counts()[cleanings].Ops
		if size := m.Size(prefix + "/part"); n > 2 || size != 10*partSize {
			t.Errorf("%d cleanings left %d bytes", n, size)
		}
	})
}

func TestCloseDoesNotWaitForTheStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{MaxSize: 10})
		n.Maintain()
		m.Intercept(func(op, _ string) error {
			if op == "list" {
				m.Hang()
			}
			return nil
		})
		copies := n.puts(t, keyOf(0), make([]byte, 10))
		synctest.Wait() // it cleans up
		n.Used(keyOf(1))
		began := time.Now()
		n.Close()
		if took := time.Since(began); took > smallPatience { // for what it had locked
			t.Errorf("it took %v", took)
		}
		m.Intercept(nil)
		m.Heal()
		if err := n.Load(t.Context(), keyOf(0), copies, new(bytes.Buffer)); err != nil {
			t.Errorf("it cannot be read any more: %v", err)
		}
		wantNothingLeft(t, m)
	})
}
