// Package sharetest has a storage in memory for tests of what uses one. It
// behaves like the module for Redis, and can be made to fail.
package sharetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"
)

// Memory is a storage in memory, for any number of nodes. It is safe for
// concurrent use; the fields are set before.
type Memory struct {
	Poll    time.Duration // between two looks of Lock at a lock that is held
	TTL     time.Duration // of a lock whose holder was killed
	Latency time.Duration // of each operation

	// Deep is how List does without recursive: if it is set it returns the keys
	// of all levels, as storages do that know none, and otherwise names of
	// directories with them.
	Deep bool

	// Before is called, unless it is nil, before each operation, as the hook of
	// Intercept is.
	Before func(op, key string) error

	mu     sync.Mutex
	values map[string][]byte
	dirs   map[string]map[string]int // how much there is at and below a name
	locks  map[string]time.Time      // until when; the zero time is as long as it is held
	counts map[Kind]Count
	stray  int
	hook   func(op, key string) error
	fail   error
	full   bool
	hung   chan struct{} // closed when it hangs no longer
}

// NewMemory returns an empty storage that polls as the module for Redis does.
func NewMemory() *Memory {
	return &Memory{
		Poll:   time.Second,
		TTL:    5 * time.Second,
		values: make(map[string][]byte),
		dirs:   make(map[string]map[string]int),
		locks:  make(map[string]time.Time),
		counts: make(map[Kind]Count),
	}
}

// Lock waits until it has a lock. Like Redis it looks at it, and looks again
// after Poll.
func (m *Memory) Lock(ctx context.Context, name string) error {
	for op := "lock"; ; op = "poll" {
		if err := m.begin(op, name); err != nil {
			return err
		}
		if m.tryLock(name) {
			return nil
		}
		select {
		case <-time.After(m.Poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Memory) tryLock(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until, held := m.locks[name]; held && (until.IsZero() || time.Now().Before(until)) {
		return false
	}
	m.locks[name] = time.Time{}
	return true
}

// Unlock releases a lock. If it fails the lock ends by itself after TTL.
func (m *Memory) Unlock(_ context.Context, name string) error {
	if err := m.begin("unlock", name); err != nil {
		m.Abandon(name)
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, held := m.locks[name]; !held {
		m.stray++
		return errors.New("redislock: lock not held")
	}
	delete(m.locks, name)
	return nil
}

// Abandon is what becomes of a lock whose holder is killed: it ends by itself
// after TTL.
func (m *Memory) Abandon(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until, held := m.locks[name]; held && until.IsZero() {
		m.locks[name] = time.Now().Add(m.TTL)
	}
}

// Locked returns the names of the locks that are held, sorted.
func (m *Memory) Locked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.locks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Stray returns how many locks were released that were not held.
func (m *Memory) Stray() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stray
}

// Store stores a copy of value.
func (m *Memory) Store(_ context.Context, key string, value []byte) error {
	if err := m.begin("store", key); err != nil {
		return err
	}
	m.Set(key, bytes.Clone(value))
	m.count("store", key, 0, len(value))
	return nil
}

// Load returns what is stored, which is not to be written to.
func (m *Memory) Load(_ context.Context, key string) ([]byte, error) {
	if err := m.begin("load", key); err != nil {
		return nil, err
	}
	value, ok := m.Get(key)
	if !ok {
		return nil, fs.ErrNotExist
	}
	m.count("load", key, 0, len(value))
	return value, nil
}

// Delete removes what is at key, but not what is below it.
func (m *Memory) Delete(_ context.Context, key string) error {
	if err := m.begin("delete", key); err != nil {
		return err
	}
	m.Remove(key)
	return nil
}

// List returns what is below dir.
func (m *Memory) List(_ context.Context, dir string, recursive bool) ([]string, error) {
	if err := m.begin("list", dir); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list(dir, recursive || m.Deep, nil), nil
}

func (m *Memory) list(dir string, recursive bool, keys []string) []string {
	for name := range m.dirs[dir] {
		key := path.Join(dir, name)
		switch _, isDir := m.dirs[key]; {
		case isDir && recursive:
			keys = m.list(key, true, keys)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}
