package sharetest

import (
	"bytes"
	"path"
	"slices"
)

// Get returns what is at key, past all faults and counts.
func (m *Memory) Get(key string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.values[key]
	return value, ok
}

// Set stores value at key, past all faults and counts.
func (m *Memory) Set(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[key]; !ok {
		m.index(key, 1)
	}
	m.values[key] = value
}

// Remove removes what is at key, past all faults and counts.
func (m *Memory) Remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[key]; ok {
		delete(m.values, key)
		m.index(key, -1)
	}
}

// Damage replaces what is at each key, past all faults and counts, and returns
// how many there are.
func (m *Memory) Damage(damage func(value []byte) []byte, keys ...string) int {
	n := 0
	for _, key := range keys {
		if value, ok := m.Get(key); ok {
			m.Set(key, damage(bytes.Clone(value)))
			n++
		}
	}
	return n
}

// Keys returns all keys below dir, sorted, past all faults and counts.
func (m *Memory) Keys(dir string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := m.list(dir, true, nil)
	slices.Sort(keys)
	return keys
}

// Size returns how many bytes are stored below dir.
func (m *Memory) Size(dir string) (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range m.list(dir, true, nil) {
		n += int64(len(m.values[key]))
	}
	return n
}

// index counts n more values at key, in the directories above it.
func (m *Memory) index(key string, n int) {
	for key != "." && key != "/" {
		dir, name := path.Dir(key), path.Base(key)
		names := m.dirs[dir]
		if names == nil {
			names = make(map[string]int)
			m.dirs[dir] = names
		}
		if names[name] += n; names[name] == 0 {
			delete(names, name)
		}
		if len(names) == 0 {
			delete(m.dirs, dir)
		}
		key = dir
	}
}
