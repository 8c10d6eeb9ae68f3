package sharetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestItStoresWhatItIsGiven(t *testing.T) {
	m := NewMemory()
	value := []byte("value")
	if err := m.Store(t.Context(), "a/b", value); err != nil {
		t.Fatal(err)
	}
	value[0] = 'x' // which is the caller's
	if got, err := m.Load(t.Context(), "a/b"); err != nil || string(got) != "value" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := m.Load(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: %v", err)
	}
	for range 2 { // what is not there can be removed, too
		if err := m.Delete(t.Context(), "a/b"); err != nil {
			t.Error(err)
		}
	}
	if _, err := m.Load(t.Context(), "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed: %v", err)
	}
}

func TestItListsAsStoragesDo(t *testing.T) {
	m := NewMemory()
	for _, key := range []string{"a/b", "a/c/d", "a/c/e", "a/f/g/h", "b/i", "a/x/y"} {
		m.Set(key, nil)
	}
	m.Set("a/b", []byte("again"))
	m.Remove("a/x/y") // and with it the directory
	for _, tt := range []struct {
		dir             string
		recursive, deep bool
		want            []string
	}{
		{"a", false, false, []string{"a/b", "a/c", "a/f"}},
		{"a", true, false, []string{"a/b", "a/c/d", "a/c/e", "a/f/g/h"}},
		{"a", false, true, []string{"a/b", "a/c/d", "a/c/e", "a/f/g/h"}},
		{"a/f", false, false, []string{"a/f/g"}},
		{"a/b", true, false, nil},
		{"a/x", true, true, nil},
	} {
		m.Deep = tt.deep
		got, err := m.List(t.Context(), tt.dir, tt.recursive)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
	}
	_ = m.Delete(t.Context(), "a/c") // which leaves what is below it
	if n := len(m.Keys("a")); n != 4 {
		t.Errorf("%d keys, want 4", n)
	}
	if size := m.Size("a"); size != 5 {
		t.Errorf("%d bytes, want 5", size)
	}
}

func TestALockIsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		if err := m.Lock(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := m.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second lock: %v", err)
		}
		began := time.Now()
		time.AfterFunc(1500*time.Millisecond, func() { _ = m.Unlock(t.Context(), "x") })
		if err := m.Lock(t.Context(), "x"); err != nil || time.Since(began) != 2*m.Poll {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		m.Abandon("x")
		began = time.Now()
		if err := m.Lock(t.Context(), "x"); err != nil || time.Since(began) != m.TTL {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if locked := fmt.Sprint(m.Locked()); locked != "[x]" {
			t.Errorf("locked: %s", locked)
		}
		if err := errors.Join(m.Unlock(t.Context(), "x"), m.Lock(t.Context(), "x"), m.Unlock(t.Context(), "x")); err != nil {
			t.Error(err)
		}
		if err := m.Unlock(t.Context(), "x"); err == nil || m.Stray() != 1 {
			t.Errorf("%v, %d", err, m.Stray())
		}
	})
}

func TestItFailsAsItIsTold(t *testing.T) {
	refused := errors.New("refused")
	ops := map[string]func(m *Memory) error{
		"load":   func(m *Memory) error { _, err := m.Load(context.Background(), "a"); return err },
		"store":  func(m *Memory) error { return m.Store(context.Background(), "b", nil) },
		"delete": func(m *Memory) error { return m.Delete(context.Background(), "b") },
		"list":   func(m *Memory) error { _, err := m.List(context.Background(), "b", true); return err },
		"lock":   func(m *Memory) error { return m.Lock(context.Background(), "b") },
		"unlock": func(m *Memory) error { return m.Unlock(context.Background(), "x") },
	}
	for name, do := range ops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory()
				m.Set("a", nil)
				_ = m.Lock(t.Context(), "x")
				m.Fail(refused)
				if err := do(m); !errors.Is(err, refused) {
					t.Errorf("it fails: %v", err)
				}
				m.Heal()
				_, _ = m.Unlock(t.Context(), "x"), m.Lock(t.Context(), "x")
				m.Intercept(func(op, _ string) error {
					if op == name {
						return refused
					}
					return nil
				})
				if err := do(m); !errors.Is(err, refused) {
					t.Errorf("it is intercepted: %v", err)
				}
				m.Intercept(nil)
				m.Fill()
				if err, full := do(m), name == "store" || name == "lock"; errors.Is(err, ErrFull) != full {
					t.Errorf("it is full: %v", err)
				}
				m.Heal()
				m.Hang()
				ended := make(chan error, 1)
				go func() { ended <- do(m) }()
				time.Sleep(time.Hour)
				select {
				case <-ended:
					t.Error("it does not hang")
				default:
				}
				m.Heal()
				if err := <-ended; err != nil && name != "unlock" {
					t.Errorf("after it hung: %v", err)
				}
			})
		})
	}
}

func TestItCountsWhatItDoes(t *testing.T) {
	m := NewMemory()
	const prefix = "onebot_meta/x/"
	for range 3 {
		_ = m.Store(t.Context(), prefix+"part/00-00/1", make([]byte, 10))
	}
	_, _ = m.Load(t.Context(), prefix+"part/00-00/1")
	_, _ = m.Load(t.Context(), prefix+"part/00-00/2")
	_, _ = m.Load(t.Context(), prefix+"manifest/00")
	_ = m.Lock(t.Context(), prefix+"lock/00")
	m.Damage(func(b []byte) []byte { return bytes.ToUpper(b) }, prefix+"part/00-00/1") // which counts for nothing
	counts := m.Counts()
	for kind, want := range map[Kind]Count{
		{"store", "part"}: {3, 30}, {"load", "part"}: {2, 10}, {"load", "manifest"}: {1, 0}, {"lock", "lock"}: {1, 0},
	} {
		if counts[kind] != want {
			t.Errorf("%v: %v, want %v", kind, counts[kind], want)
		}
	}
	if len(counts) != 4 || len(m.Counts()) != 0 {
		t.Errorf("%v", counts)
	}
}
