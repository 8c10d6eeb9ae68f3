package sharetest

import "strings"

// Kind is a kind of operation.
type Kind struct {
	Op string // load, store, delete, list, lock, unlock; or poll: one look at a lock
	Of string // manifest, part, used, cleaned, probe, lock, or nothing
}

// Count is how many operations there were, and how many bytes they moved.
type Count struct{ Ops, Bytes int64 }

// Counts returns how much was done since it was called last.
func (m *Memory) Counts() map[Kind]Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := m.counts
	m.counts = make(map[Kind]Count)
	return counts
}

func (m *Memory) count(op, key string, ops, bytes int) {
	kind := Kind{op, class(key)}
	m.mu.Lock()
	defer m.mu.Unlock()
	count := m.counts[kind]
	count.Ops += int64(ops)
	count.Bytes += int64(bytes)
	m.counts[kind] = count
}

// class returns what of copies a key is for.
func class(key string) string {
	for part := range strings.SplitSeq(key, "/") {
		switch part {
		case "manifest", "part", "used", "cleaned", "probe", "lock":
			return part
		}
	}
	return ""
}
