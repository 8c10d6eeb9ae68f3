package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

func TestWhatOneNodePutsAnotherLoads(t *testing.T) {
	for i, size := range []int{0, 1, partSize - 1, partSize, partSize + 1, 3 << 20} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			m := sharetest.NewMemory()
			content := random(uint64(i), size)
			put := newNode(t, m, Options{}).puts(t, keyOf(0), content)
			other := newNode(t, m, Options{})
			found, err := other.Find(t.Context(), keyOf(0))
			if err != nil {
				t.Fatal(err)
			}
			if found.ID != put.ID || found.Size != int64(size) || found.Sum != put.Sum || string(found.Meta) != `{"a":1}` || !found.Stored.Equal(put.Stored) {
				t.Errorf("found %+v, want %+v", found, put)
			}
			other.wants(t, keyOf(0), content)
			for _, key := range m.Keys(prefix) {
				if value, _ := m.Get(key); len(value) > partSize {
					t.Errorf("%s has %d bytes", key, len(value))
				}
			}
		})
	}
}

func TestASecondVersionReplacesTheFirst(t *testing.T) {
	m := sharetest.NewMemory()
	a, b := newNode(t, m, Options{}), newNode(t, m, Options{})
	a.puts(t, keyOf(0), random(1, 3*partSize))
	b.puts(t, keyOf(0), random(2, partSize))
	a.wants(t, keyOf(0), random(2, partSize))
	if parts := m.Keys(prefix + "/part"); len(parts) != 1 {
		t.Errorf("%d parts are left, want 1", len(parts))
	}
}

// hooked calls a function at each write.
type hooked struct {
	bytes.Buffer
	hook func()
}

func (w *hooked) Write(b []byte) (int, error) {
	w.hook()
	return w.Buffer.Write(b)
}

func TestWhoReadsTheFirstVersionGetsNoneOfTheSecond(t *testing.T) {
	for _, parts := range []int{1, transferParts, transferParts + 1, 3 * transferParts} {
		for at := range parts {
			m := sharetest.NewMemory()
			a, b := newNode(t, m, Options{}), newNode(t, m, Options{})
			a.part, b.part = 1<<10, 1<<10
			first := random(1, parts<<10)
			copy := a.puts(t, keyOf(0), first)
			writes := 0
			w := hooked{hook: func() {
				if writes == at {
					a.puts(t, keyOf(0), random(2, parts<<10))
				}
				writes++
			}}
			switch err := b.Load(t.Context(), keyOf(0), copy, &w); {
			case err == nil && !bytes.Equal(w.Bytes(), first):
				t.Errorf("replaced at part %d of %d: something else was read", at, parts)
			case err != nil && !errors.Is(err, ErrDamaged):
				t.Error(err)
			case err == nil && at+transferParts < parts:
				t.Errorf("replaced at part %d of %d: how can it be read to the end?", at, parts)
			}
			b.wants(t, keyOf(0), random(2, parts<<10))
		}
	}
}

func TestADamagedPartIsNeverTakenForAWholeOne(t *testing.T) {
	const parts = 5
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	extend := func(b []byte) []byte { return append(b, 0) }
	empty := func([]byte) []byte { return nil }
	for name, damage := range map[string]func(m *sharetest.Memory, path, another string){
		"missing":  func(m *sharetest.Memory, path, _ string) { m.Remove(path) },
		"cut":      func(m *sharetest.Memory, path, _ string) { m.Damage(cut, path) },
		"extended": func(m *sharetest.Memory, path, _ string) { m.Damage(extend, path) },
		"empty":    func(m *sharetest.Memory, path, _ string) { m.Damage(empty, path) },
		"changed":  func(m *sharetest.Memory, path, _ string) { m.Damage(flip, path) },
		"swapped": func(m *sharetest.Memory, path, another string) {
			a, _ := m.Get(path)
			b, _ := m.Get(another)
			m.Set(path, b)
			m.Set(another, a)
		},
		"another one": func(m *sharetest.Memory, path, another string) {
			b, _ := m.Get(another)
			m.Set(path, b)
		},
		"shifted to the next": func(m *sharetest.Memory, path, another string) {
			a, _ := m.Get(path)
			b, _ := m.Get(another)
			m.Set(path, a[:len(a)-1])
			m.Set(another, append(a[len(a)-1:len(a):len(a)], b...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range parts {
				m := sharetest.NewMemory()
				n := newNode(t, m, Options{})
				n.part = 1 << 10
				content := random(1, parts<<10-100)
				copy := n.puts(t, keyOf(0), content)
				damage(m, n.partPath(keyOf(0), copy, int64(i)), n.partPath(keyOf(0), copy, int64((i+1)%parts)))
				if _, err := n.gets(t.Context(), keyOf(0)); !errors.Is(err, ErrDamaged) {
					t.Errorf("part %d: %v", i, err)
				}
				n.puts(t, keyOf(0), content)
				n.wants(t, keyOf(0), content)
			}
		})
	}
}

func TestWhatCannotBeStoredIsNotFound(t *testing.T) {
	const parts = 6
	for _, before := range []string{"", "an older version"} {
		for step := range parts + 1 {
			m := sharetest.NewMemory()
			n := newNode(t, m, Options{})
			n.part = 1 << 10
			if before != "" {
				n.puts(t, keyOf(0), []byte(before))
			}
			there := m.Keys(prefix)
			stores, refused := 0, errors.New("refused")
			release := n.acquire(t, keyOf(0))
			m.Intercept(func(op, key string) error {
				if op == "store" && (strings.HasSuffix(key, fmt.Sprintf("/%d", step)) || step == parts && strings.Contains(key, "/manifest/")) {
					stores++
					return refused
				}
				return nil
			})
			content := random(1, parts<<10)
			if _, err := n.Put(t.Context(), keyOf(0), bytes.NewReader(content), parts<<10, nil, time.Time{}); !errors.Is(err, refused) || stores != 1 {
				t.Errorf("step %d: %v, after %d failures", step, err, stores)
			}
			if now := m.Keys(prefix); step < parts && fmt.Sprint(now) != fmt.Sprint(there) {
				t.Errorf("step %d: %v are left, want %v", step, now, there)
			}
			if before != "" {
				n.wants(t, keyOf(0), []byte(before))
			} else if _, err := n.Find(t.Context(), keyOf(0)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("step %d: it is found: %v", step, err)
			}
			m.Intercept(nil)
			release()
			n.puts(t, keyOf(0), content)
			n.wants(t, keyOf(0), content)
		}
	}
}

func TestNoPartIsStoredAfterTheOthersWereRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		refused := errors.New("refused")
		m.Intercept(func(op, key string) error {
			switch {
			case op == "store" && strings.HasSuffix(key, "/1"):
				return refused
			case op == "store":
				time.Sleep(time.Second)
			}
			return nil
		})
		if _, err := n.Put(t.Context(), keyOf(0), bytes.NewReader(make([]byte, 4*partSize)), 4*partSize, nil, time.Time{}); !errors.Is(err, refused) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if left := m.Keys(prefix); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// failing is a reader and a writer that fails.
type failing struct{ error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.error }
func (f failing) Write([]byte) (int, error)         { return 0, f.error }

func TestFailuresOfTheCallerAreNotThoseOfTheStorage(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{MaxObject: 4 << 20})
	broken := errors.New("broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	whole := bytes.NewReader(random(1, 1<<20))
	copy := n.puts(t, keyOf(1), random(1, 1<<20))
	there := fmt.Sprint(m.Keys(prefix))
	put := func(ctx context.Context, key string, r io.ReaderAt, size int64, meta string) error {
		_, err := n.Put(ctx, key, r, size, []byte(meta), time.Time{})
		return err
	}
	for name, tt := range map[string]struct {
		err  error
		want error // nil for any
	}{
		"a file that cannot be read":         {put(t.Context(), keyOf(0), failing{broken}, 1<<20, "1"), broken},
		"a file that is shorter":             {put(t.Context(), keyOf(0), whole, 1<<20+1, "1"), io.EOF},
		"a file that is too large":           {put(t.Context(), keyOf(0), whole, 4<<20+1, "1"), ErrTooLarge},
		"a size below zero":                  {put(t.Context(), keyOf(0), whole, -1, "1"), ErrDamaged},
		"a meta that is no JSON":             {put(t.Context(), keyOf(0), whole, 1<<20, "{"), nil},
		"a meta that is large":               {put(t.Context(), keyOf(0), whole, 1<<20, `"`+strings.Repeat("x", maxManifest)+`"`), ErrTooLarge},
		"a key that is none":                 {put(t.Context(), "../x", whole, 1<<20, "1"), nil},
		"a put that is over":                 {put(ended, keyOf(0), whole, 1<<20, "1"), context.Canceled},
		"a load that is over":                {n.Load(ended, keyOf(1), copy, io.Discard), context.Canceled},
		"a search that is over":              {func() error { _, err := n.Find(ended, keyOf(1)); return err }(), context.Canceled},
		"a search for a key that is none":    {func() error { _, err := n.Find(t.Context(), "../x"); return err }(), fs.ErrNotExist},
		"a file that cannot be written":      {n.Load(t.Context(), keyOf(1), copy, failing{broken}), broken},
		"a copy without parts":               {n.Load(t.Context(), keyOf(1), Copy{}, io.Discard), ErrDamaged},
		"a change of a copy that makes none": {n.Amend(t.Context(), keyOf(1), Copy{}), ErrDamaged},
	} {
		if tt.err == nil || tt.want != nil && !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
	if err := n.Load(t.Context(), keyOf(1), copy, failing{broken}); err != broken {
		t.Errorf("the error of the writer is not returned as it is: %v", err)
	}
	if now := fmt.Sprint(m.Keys(prefix)); now != there {
		t.Errorf("left: %s, want %s", now, there)
	}
	n.wants(t, keyOf(1), random(1, 1<<20))
	if n.logs.Len() > 0 {
		t.Errorf("logged: %v", n.logs.All())
	}
}

func TestWhoLeavesHasNothingPut(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{})
	for _, what := range []string{"/manifest/", "/part/"} {
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			m.Intercept(func(_, key string) error {
				if strings.Contains(key, what) {
					cancel()
				}
				return nil
			})
			if copy, err := n.Put(ctx, keyOf(0), bytes.NewReader([]byte("content")), 7, nil, time.Time{}); !errors.Is(err, context.Canceled) {
				t.Errorf("%+v, %v", copy, err)
			}
		}
	}
	m.Intercept(nil)
	if err := n.find(t); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestAmendChangesTheMeta(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{})
	copy := n.puts(t, keyOf(0), []byte("content"))
	copy.Meta = []byte(`"new"`)
	if err := n.Amend(t.Context(), keyOf(0), copy); err != nil {
		t.Fatal(err)
	}
	if found, err := n.Find(t.Context(), keyOf(0)); err != nil || string(found.Meta) != `"new"` || found.ID != copy.ID {
		t.Errorf("%+v, %v", found, err)
	}
	n.wants(t, keyOf(0), []byte("content"))
}
