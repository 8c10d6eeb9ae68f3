package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// wantLogs checks the messages since the last call.
func (n *node) wantLogs(t *testing.T, messages ...string) {
	t.Helper()
	var got []string
	for _, entry := range n.logs.TakeAll() {
		got = append(got, entry.Level.String()+": "+entry.Message)
	}
	if fmt.Sprint(got) != fmt.Sprint(messages) {
		t.Errorf("logged %q, want %q", got, messages)
	}
}

const (
	warning = "warn: the shared storage fails; going on without it"
	allWell = "info: the shared storage works again"
)

// find returns what is said of a key.
func (n *node) find(t *testing.T) error {
	_, err := n.Find(t.Context(), keyOf(0))
	return err
}

func TestNothingWaitsForAStorageThatHangs(t *testing.T) {
	for name, tt := range map[string]struct {
		call  func(n *node, copy Copy) error
		bound time.Duration
	}{
		"Find": {func(n *node, _ Copy) error {
			_, err := n.Find(context.Background(), keyOf(0))
			return err
		}, smallPatience},
		"Load": {func(n *node, copy Copy) error {
			return n.Load(context.Background(), keyOf(0), copy, io.Discard)
		}, partPatience},
		"Put": {func(n *node, _ Copy) error {
			_, err := n.Put(context.Background(), keyOf(0), bytes.NewReader(nil), 0, nil, time.Time{})
			return err
		}, smallPatience},
		"Amend": {func(n *node, copy Copy) error {
			return n.Amend(context.Background(), keyOf(0), copy)
		}, smallPatience},
		"Purge": {func(n *node, _ Copy) error {
			_, _, err := n.Purge(context.Background())
			return err
		}, purgePatience},
		"Acquire": {func(n *node, _ Copy) error {
			if n.locks.Acquire(context.Background(), keyOf(0), time.Hour, nil) != nil {
				return nil
			}
			return ErrDown
		}, 3*smallPatience + lastPoll},
	} {
		inBubble(t, name, func(t *testing.T) {
			m := sharetest.NewMemory()
			n := newNode(t, m, Options{})
			copy := n.puts(t, keyOf(0), random(1, 9*partSize))
			m.Hang()
			began := time.Now()
			if err := tt.call(n, copy); !errors.Is(err, ErrDown) {
				t.Errorf("%v, want %v", err, ErrDown)
			}
			if took := time.Since(began); took > tt.bound {
				t.Errorf("it took %v, want %v at most", took, tt.bound)
			}
			n.wantLogs(t, warning)
			n.find(t)
			began = time.Now()
			if err := tt.call(n, copy); !errors.Is(err, ErrDown) || time.Since(began) > 0 {
				t.Errorf("at once again it took %v: %v", time.Since(began), err)
			}
			m.Heal()
			time.Sleep(lastPause)
			n.find(t)
			if err := tt.call(n, copy); err != nil {
				t.Errorf("when it works again: %v", err)
			}
			n.wantLogs(t, allWell)
		})
	}
}

func TestAStorageThatIsDownIsTriedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Fail(errors.New("connection refused"))
		var tries []int // seconds
		for second := range 200 {
			m.Counts()
			if err := n.find(t); err == nil {
				t.Fatal("found")
			}
			if m.Counts()[sharetest.Kind{Op: "load", Of: "manifest"}].Ops > 0 {
				tries = append(tries, second)
			}
			time.Sleep(time.Second)
		}
		if want := []int{0, 1, 2, 3, 5, 9, 17, 33, 63, 93, 123, 153, 183}; !slices.Equal(tries, want) {
			t.Errorf("tried after %v seconds, want %v", tries, want)
		}
		n.wantLogs(t, warning)
		m.Heal()
		time.Sleep(lastPause)
		if err := n.find(t); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		n.wantLogs(t, allWell)
	})
}

func TestOneTriesForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Hang()
		n.find(t)
		time.Sleep(firstPause)
		errs := make(chan error)
		for range 20 {
			go func() { errs <- n.find(t) }()
		}
		synctest.Wait()
		for range 19 {
			if err := <-errs; !errors.Is(err, ErrDown) {
				t.Error(err)
			}
		}
		m.Heal()
		if err := <-errs; !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := n.find(t); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		n.wantLogs(t, warning, allWell)
	})
}

func TestAStorageThatIsDownIsLeftAloneAltogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Hang()
		n.find(t)
		m.Counts()
		if err := n.remove(t.Context(), prefix+"/x"); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		if _, err := n.storeParts(t.Context(), keyOf(0), sample, bytes.NewReader(make([]byte, sample.Size))); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		if counts := m.Counts(); len(counts) > 0 {
			t.Errorf("used: %v", counts)
		}
		m.Heal()
	})
}

func TestItIsNoticedThatAStorageHangsAlsoIfNobodyWaitsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Find(ctx, keyOf(0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		n.wantLogs(t)
		time.Sleep(smallPatience)
		n.wantLogs(t, warning)
		m.Heal()
	})
}

func TestOperationsThatHangAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Hang()
		for range 2 * maxStuck {
			n.find(t)
			time.Sleep(lastPause)
		}
		n.health.mu.Lock()
		stuck := n.health.stuck
		n.health.mu.Unlock()
		if ops := m.Counts()[sharetest.Kind{Op: "load", Of: "manifest"}].Ops; ops != maxStuck || stuck != maxStuck {
			t.Errorf("%d operations of %d hang, want %d", stuck, ops, maxStuck)
		}
		m.Heal()
		synctest.Wait()
		if err := n.find(t); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		n.wantLogs(t, warning, allWell)
	})
}

func TestAStorageIsNotUsedAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Hang()
		errs := make(chan error)
		go func() { errs <- n.find(t) }()
		synctest.Wait()
		began := time.Now()
		n.end()
		if err := <-errs; !errors.Is(err, ErrDown) || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		time.Sleep(time.Minute)
		m.Heal()
		m.Counts()
		if err := n.find(t); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		if n.locks.Acquire(t.Context(), keyOf(0), time.Minute, nil) != nil {
			t.Error("it is locked")
		}
		if counts := m.Counts(); len(counts) > 0 {
			t.Errorf("used: %v", counts)
		}
		n.wantLogs(t)
	})
}
