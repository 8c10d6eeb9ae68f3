package share

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

func TestAPutThatHangsIsGivenUp(t *testing.T) {
	for _, what := range []string{"/part/", "/manifest/"} {
		inBubble(t, what, func(t *testing.T) {
			m := sharetest.NewMemory()
			n := newNode(t, m, Options{})
			healed := make(chan struct{})
			m.Intercept(func(op, key string) error {
				if op == "store" && strings.Contains(key, what) {
					<-healed
				}
				return nil
			})
			began := time.Now()
			_, err := n.Put(t.Context(), keyOf(0), bytes.NewReader(random(1, 20*partSize)), 20*partSize, nil, time.Time{})
			if !errors.Is(err, ErrDown) || time.Since(began) > partPatience {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			if err := n.find(t); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it can no longer be read: %v", err)
			}
			close(healed)
			synctest.Wait()
			time.Sleep(firstPause)
			n.puts(t, keyOf(0), random(2, partSize))
			n.wants(t, keyOf(0), random(2, partSize))
			n.wantLogs(t, warning, allWell)
		})
	}
}

func TestFewErrorsMakeNoOutage(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{})
	for range 10 {
		m.Fail(errors.New("connection reset"))
		for range maxFailures - 1 {
			if err := n.find(t); err == nil || errors.Is(err, ErrDown) {
				t.Error(err)
			}
		}
		m.Heal()
		if err := n.find(t); !errors.Is(err, fs.ErrNotExist) { // which is none
			t.Error(err)
		}
	}
	n.wantLogs(t)
}

func TestValuesThatCannotBeReadMakeNoOutage(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{})
	m.Intercept(func(op, key string) error {
		if op == "load" && strings.HasSuffix(key, keyOf(0)) {
			return errors.New("unable to unmarshal value")
		}
		return nil
	})
	for range 10 * maxFailures {
		if err := n.find(t); err == nil || errors.Is(err, ErrDown) || errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	n.wantLogs(t)
}

func TestAFullStorageIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		content := random(1, 3*partSize)
		n.puts(t, keyOf(0), content)
		m.Fill()
		for range 10 {
			if _, err := n.Put(t.Context(), keyOf(0), bytes.NewReader(random(2, partSize)), partSize, nil, time.Time{}); err == nil {
				t.Error("there is room")
			}
			if n.locks.Acquire(t.Context(), keyOf(0), time.Minute, nil) != nil {
				t.Error("it is locked")
			}
			n.wants(t, keyOf(0), content)
		}
		if parts := m.Keys(prefix + "/part"); len(parts) != 3 {
			t.Errorf("%d parts, want 3", len(parts))
		}
		n.wantLogs(t, warning)
		m.Heal()
		time.Sleep(lastPause)
		n.puts(t, keyOf(0), random(2, partSize))
		n.wants(t, keyOf(0), random(2, partSize))
		n.wantLogs(t, allWell)
	})
}

func TestAnOutageIsOneWhateverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Fill()
		for range 3 * maxFailures {
			_ = n.Amend(t.Context(), keyOf(0), sample)
		}
		m.Hang()
		n.find(t)
		m.Heal()
		time.Sleep(lastPause)
		n.find(t)
		n.wantLogs(t, warning) // whether it can be written to is not known
		n.puts(t, keyOf(0), nil)
		n.wantLogs(t, allWell)
	})
}

func TestWhatWasBegunBeforeAnOutageDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		copy := n.puts(t, keyOf(0), []byte("content"))
		m.Intercept(func(op, key string) error {
			switch {
			case strings.Contains(key, "/part/"):
				time.Sleep(smallPatience + firstPause/2)
			case strings.Contains(key, "/manifest/"):
				time.Sleep(time.Minute)
			}
			return nil
		})
		go n.find(t)
		if err := n.Load(t.Context(), keyOf(0), copy, io.Discard); err != nil {
			t.Error(err)
		}
		began := time.Now()
		if err := n.find(t); !errors.Is(err, ErrDown) || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		time.Sleep(time.Minute)
	})
}

func TestWhatCanBeReadAgainIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sharetest.NewMemory()
		n := newNode(t, m, Options{})
		m.Fill()
		for n.health.writes.pause < lastPause {
			if n.Amend(t.Context(), keyOf(0), sample) == nil {
				t.Fatal("it is not full")
			}
			time.Sleep(time.Second)
		}
		m.Hang()
		n.find(t)
		m.Heal()
		time.Sleep(firstPause)
		n.find(t)
		if err := n.Amend(t.Context(), keyOf(0), sample); err != nil {
			t.Error(err)
		}
	})
}

func TestAStorageThatPanicsFails(t *testing.T) {
	m := sharetest.NewMemory()
	n := newNode(t, m, Options{})
	m.Intercept(func(string, string) error { panic("at sea") })
	if err := n.find(t); err == nil || !strings.Contains(err.Error(), "at sea") {
		t.Error(err)
	}
	if n.locks.Acquire(t.Context(), keyOf(0), time.Minute, nil) != nil {
		t.Error("it is locked")
	}
}
