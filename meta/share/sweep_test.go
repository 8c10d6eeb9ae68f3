package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

func TestWhatIsReplacedMeanwhileIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n, cleaner := newNode(t, m, Options{}), newNode(t, m, Options{MaxAge: time.Hour})
		n.puts(t, keyOf(0), []byte("old"))
		time.Sleep(time.Hour)
		m.Intercept(func(op, key string) error {
			if op == "lock" && key == lockPath+keyOf(0) {
				m.Intercept(nil)
				n.puts(t, keyOf(0), []byte("new"))
			}
			return nil
		})
		if err := cleaner.clean(time.Now()); err != nil {
			t.Fatal(err)
		}
		n.wants(t, keyOf(0), []byte("new"))
	})
}

// confused is a storage that lists more than it is asked for.
type confused struct{ *sharetest.Memory }

func (c confused) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	keys, err := c.Memory.List(ctx, dir, recursive)
	return append(keys, c.Keys(".")...), err
}

func TestNothingElseIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, confused{m}, Options{})
		m.Set("certificates/x", []byte("x"))
		m.Set(prefix+"/part/"+keyOf(0)+"-00/0", nil)
		n.puts(t, keyOf(1), []byte("content"))
		if err := n.clean(time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.Get("certificates/x"); !ok {
			t.Error("a certificate is gone")
		}
		wantCopies(t, m, n, 1)
	})
}

func TestPartsOfNoCopyAreRemoved(t *testing.T) {
	eachList(t, func(t *testing.T, m *sharetest.Memory) {
		n, cleaner := newNode(t, m, Options{}), newNode(t, m, Options{})
		copy := n.puts(t, keyOf(0), random(1, 3*partSize))
		_, set, _ := strings.Cut(n.partPath(keyOf(0), copy, 0), "/part/")
		part, _, _ := strings.Cut(set, "/")
		for _, orphan := range []string{
			"/part/" + strings.Replace(part, "-", "-0", 1) + "/0", // of an older version
			"/part/" + keyOf(1) + "-00ff/0",
			"/part/" + keyOf(1) + "-00ff/1",
			"/used/" + keyOf(2),
		} {
			m.Set(prefix+orphan, []byte("x"))
		}
		foreign := []string{prefix + "/part/README", prefix + "/manifest/README/0", prefix + "/used/README"}
		for _, key := range foreign {
			m.Set(key, []byte("x"))
		}
		if err := cleaner.clean(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		for _, key := range foreign {
			if _, ok := m.Get(key); !ok {
				t.Errorf("%s is gone", key)
			}
			m.Remove(key)
		}
		wantCopies(t, m, n, 0)
		wantNothingLeft(t, m)
	})
}

func TestPartsThatAreBeingPutAreKept(t *testing.T) {
	for _, last := range []string{"/part/", "/manifest/"} { // what is yet to come
		eachList(t, func(t *testing.T, m *sharetest.Memory) {
			n, cleaner := newNode(t, m, Options{}), newNode(t, m, Options{MaxSize: 1, MaxAge: time.Minute})
			proceed := make(chan struct{})
			stored := 0
			m.Intercept(func(op, key string) error {
				if op == "store" && strings.Contains(key, last) {
					if stored++; stored == 3 || last == "/manifest/" {
						time.Sleep(smallPatience - time.Second) // before it counts as a failure
						<-proceed
					}
				}
				return nil
			})
			go func() {
				time.Sleep(time.Second)
				if err := cleaner.clean(time.Now().Add(time.Second)); err != nil {
					t.Error(err)
				}
				if size := m.Size(prefix + "/part"); size == 0 {
					t.Error("there was nothing to keep")
				}
				close(proceed)
			}()
			n.puts(t, keyOf(0), random(1, 3*partSize))
			n.wants(t, keyOf(0), random(1, 3*partSize))
		})
	}
}

func TestDamagedManifestsAreRemoved(t *testing.T) {
	eachList(t, func(t *testing.T, m *sharetest.Memory) {
		n, cleaner := newNode(t, m, Options{}), newNode(t, m, Options{})
		for i := range 9 {
			n.puts(t, keyOf(i), random(1, partSize+1))
		}
		m.Set(n.path(manifestDir, keyOf(0)), []byte("{}"))
		m.Intercept(func(op, key string) error {
			if _, ok := m.Get(key); op != "load" || !ok {
				return nil
			}
			for i := 1; i < 6; i++ {
				if key == n.path(manifestDir, keyOf(i)) {
					return errors.New("unable to unmarshal value")
				}
			}
			if key == n.path(manifestDir, keyOf(6)) {
				return fs.ErrNotExist // it is only listed
			}
			return nil
		})
		if err := cleaner.clean(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		m.Intercept(nil)
		wantCopies(t, m, n, 7, 8)
		cleaner.wantLogs(t)
	})
}

func TestNothingIsRemovedByAStorageThatFails(t *testing.T) {
	for name, fail := range map[string]func(op, key string) error{
		"to load": func(op, key string) error {
			if op == "load" && !strings.HasSuffix(key, cleanedKey) {
				return errors.New("connection reset")
			}
			return nil
		},
		"to list": func(op, _ string) error {
			if op == "list" {
				return errors.New("connection reset")
			}
			return nil
		},
		"to delete": func(op, _ string) error {
			if op == "delete" {
				return errors.New("read only")
			}
			return nil
		},
		"to lock": func(op, key string) error {
			if op == "lock" && key != cleanPath {
				return errors.New("read only")
			}
			return nil
		},
	} {
		for _, files := range []int{1, 2, 9} {
			inBubble(t, fmt.Sprintf("%s %d", name, files), func(t *testing.T) {
				m := sharetest.NewMemory()
				opts := Options{MaxAge: time.Hour}
				n, cleaner := newNode(t, m, opts), newNode(t, m, opts)
				for i := range files {
					n.puts(t, keyOf(i), random(1, partSize+1))
				}
				there := fmt.Sprint(m.Keys(prefix))
				time.Sleep(opts.MaxAge)
				m.Intercept(fail)
				if err := cleaner.clean(time.Now()); err == nil && name != "to lock" {
					t.Error("it was cleaned")
				}
				m.Intercept(nil)
				m.Remove(prefix + "/" + cleanedKey)
				if now := fmt.Sprint(m.Keys(prefix)); now != there {
					t.Errorf("there are %s, want %s", now, there)
				}
				time.Sleep(lastPause)
				if err := cleaner.clean(time.Now()); err != nil {
					t.Error(err)
				}
				wantCopies(t, m, n)
				wantNothingLeft(t, m)
			})
		}
	}
}

func TestClocksMayDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		opts := Options{MaxAge: 7 * 24 * time.Hour}
		n := newNode(t, m, opts)
		now := time.Now()
		for i, at := range []time.Time{now, now.Add(-8 * 24 * time.Hour), now.Add(time.Hour), now.Add(100 * 24 * time.Hour)} {
			copy := n.puts(t, keyOf(i), nil)
			copy.Stored = at
			if err := n.Amend(t.Context(), keyOf(i), copy); err != nil {
				t.Fatal(err)
			}
		}
		for i, used := range []time.Time{now.Add(time.Hour), now.Add(100 * 24 * time.Hour)} {
			copy := n.puts(t, keyOf(4+i), nil)
			copy.Stored = now.Add(-8 * 24 * time.Hour)
			if err := n.Amend(t.Context(), keyOf(4+i), copy); err != nil {
				t.Fatal(err)
			}
			m.Set(prefix+"/used/"+keyOf(4+i), formatTime(used))
		}
		if err := n.clean(now); err != nil {
			t.Fatal(err)
		}
		wantCopies(t, m, n, 0, 2, 4)
	})
}

func TestAPurgeRemovesAllCopies(t *testing.T) {
	eachList(t, func(t *testing.T, m *sharetest.Memory) {
		opts := Options{MaxAge: time.Hour}
		n, other := newNode(t, m, opts), newNode(t, m, opts)
		other.Maintain()
		for i := range 5 {
			n.puts(t, keyOf(i), random(1, partSize+1))
			other.Used(keyOf(i))
		}
		release := n.acquire(t, keyOf(2)) // for something new
		files, size, err := other.Purge(t.Context())
		if files != 4 || size != 4*(partSize+1) || err != nil {
			t.Errorf("it removed %d files of %d bytes, want 4 of %d: %v", files, size, 4*(partSize+1), err)
		}
		wantCopies(t, m, n, 2)
		release()
		clean := n.acquire(t, "clean")
		if _, _, err := other.Purge(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("%v, want %v", err, ErrBusy)
		}
		clean()
		if files, _, err := other.Purge(t.Context()); files != 1 || err != nil {
			t.Errorf("it removed %d files, want 1: %v", files, err)
		}
		wantCopies(t, m, n)
		n.end()
		if _, _, err := n.Purge(t.Context()); !errors.Is(err, ErrDown) {
			t.Errorf("%v, want %v", err, ErrDown)
		}
		wantNothingLeft(t, m)
	})
}

// treeless is a storage that knows no empty directories, as that in a file
// system does not.
type treeless struct{ *sharetest.Memory }

func (s treeless) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	keys, err := s.Memory.List(ctx, dir, recursive)
	if err == nil && len(keys) == 0 {
		return nil, fs.ErrNotExist
	}
	return keys, err
}

func TestWhereNothingIsThereIsNothingToClean(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, treeless{m}, Options{MaxAge: time.Hour})
	if err := n.clean(time.Now()); err != nil {
		t.Error(err)
	}
	n.puts(t, keyOf(0), []byte("content"))
	for want := range 2 {
		if files, _, err := n.Purge(t.Context()); files != 1-want || err != nil {
			t.Errorf("%d files are removed, want %d: %v", files, 1-want, err)
		}
	}
	n.wantLogs(t)
}
