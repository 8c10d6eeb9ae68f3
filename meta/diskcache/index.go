package diskcache

import (
	"container/list"
	"slices"
	"sync"
	"time"
)

// maxRemembered is how many records are kept in memory; others are read from
// disk again.
const maxRemembered = 8192

// item is a file that is known to be in the directory.
type item struct {
	name    string
	size    int64
	used    time.Time // when it was last returned
	pins    int       // how often it is open
	spent   bool      // whether it was only for calls that have returned it
	proven  bool      // whether its final record is on disk
	pending bool      // whether this process has yet to sync it, or its record
	ours    bool      // whether this process has written it
	queued  bool      // whether it is in Cache.unsynced
	doubted bool      // whether another process may have changed its record
	failed  int       // how often it could not be opened to be synced
	record  *record   // nil if it is not remembered
	place   *list.Element

	claimed int64 // Unix time in ns when this process last saw to it that it stays
	shunned int64 // Unix time in ns until when others are evicted rather than this one

	recording sync.Mutex // by who writes its record; taken before any lock of the cache
	written   *record    // what this process has put on disk, while it is pending
	attached  bool       // whether the file has a record as its attribute
}

// evictable reports whether a file may go, if it was returned long enough ago.
func (it *item) evictable(now time.Time) bool {
	return it.pins == 0 && it.shunned <= now.UnixNano()
}

// index knows the files of a directory. It touches no disk.
type index struct {
	byName   map[string]*item
	byDigest map[string][]*item
	recent   *list.List // of *item, the least recently returned first
	size     int64      // of all items, in bytes

	reserved  int64 // for files being written, whole
	unwritten int64 // of that, what the disk does not have yet

	remembered int // records in memory
	tooMany    int // of them
}

func newIndex() index {
	return index{
		byName:   make(map[string]*item),
		byDigest: make(map[string][]*item),
		recent:   list.New(),
		tooMany:  maxRemembered,
	}
}

// candidates returns the files that may have been stored for a key, which is
// in hexadecimal.
func (x *index) candidates(key string) []*item {
	if key == "" {
		return nil
	}
	return slices.Clone(x.byDigest[key[:digestLen]])
}

// put adds a file of this process that was returned just now. If it has been
// found in the directory meanwhile, it returns what it is known as.
func (x *index) put(it *item) *item {
	if known := x.byName[it.name]; known != nil {
		known.pending, known.ours = it.pending, it.ours
		known.written, known.attached, known.claimed = it.written, it.attached, it.claimed
		x.setRecord(known, it.record)
		it = known
	} else {
		x.addAll([]*item{it})
	}
	for _, other := range x.candidates(it.record.Key) {
		if other != it && other.record != nil && other.record.Key == it.record.Key {
			x.supersede(other)
		}
	}
	return it
}

// supersede keeps a file from being found by its key. It stays as long as
// others do.
func (x *index) supersede(it *item) {
	it.spent = it.spent || it.record != nil && it.record.Head.Once
	digest := it.name[:digestLen]
	rest := slices.DeleteFunc(x.byDigest[digest], func(other *item) bool { return other == it })
	if len(rest) == 0 {
		delete(x.byDigest, digest)
	} else {
		x.byDigest[digest] = rest
	}
}

// addAll adds files, each at its place in the order of use. Those that are
// known already stay as they are.
func (x *index) addAll(items []*item) {
	items = slices.DeleteFunc(items, func(it *item) bool { return x.byName[it.name] != nil })
	for _, it := range items {
		if x.byName[it.name] != nil {
			continue // twice
		}
		x.byName[it.name] = it
		digest := it.name[:digestLen]
		x.byDigest[digest] = append(x.byDigest[digest], it)
		x.size += it.size
		rec := it.record
		it.record = nil
		x.setRecord(it, rec)
	}
	x.placeAll(items)
}

// useAll notes when files were returned, as use does for one.
func (x *index) useAll(used map[*item]time.Time) {
	var items []*item
	for it, at := range used {
		if x.byName[it.name] == it {
			x.recent.Remove(it.place)
			it.used = at
			items = append(items, it)
		}
	}
	x.placeAll(items)
}

// placeAll is place for many files, in one go.
func (x *index) placeAll(items []*item) {
	slices.SortFunc(items, func(a, b *item) int { return b.used.Compare(a.used) })
	after := x.recent.Back()
	for _, it := range items {
		if x.byName[it.name] == it {
			after = x.place(it, after)
		}
	}
}

// use notes when a file was returned, or is known to have been.
func (x *index) use(name string, now time.Time) {
	if it := x.byName[name]; it != nil {
		it.used = now
		x.recent.Remove(it.place)
		after := x.recent.Back()
		if first := x.recent.Front(); first != nil && first.Value.(*item).used.After(now) {
			after = nil // the clock was set back
		}
		x.place(it, after)
	}
}

// place puts a file where it belongs in the order of use, which is behind after
// or before it. It returns what is before the file then.
func (x *index) place(it *item, after *list.Element) *list.Element {
	for after != nil && after.Value.(*item).used.After(it.used) {
		after = after.Prev()
	}
	if after == nil {
		it.place = x.recent.PushFront(it)
	} else {
		it.place = x.recent.InsertAfter(it, after)
	}
	return after
}

func (x *index) remove(name string) {
	it := x.byName[name]
	if it == nil {
		return
	}
	delete(x.byName, name)
	x.supersede(it)
	x.recent.Remove(it.place)
	x.size -= it.size
	x.setRecord(it, nil)
}

// setRecord sets the record of a file. When there are too many, those that are
// on disk are forgotten.
func (x *index) setRecord(it *item, rec *record) {
	if it.record != nil {
		x.remembered--
	}
	it.record = rec
	if rec == nil {
		return
	}
	if x.remembered++; x.remembered < x.tooMany {
		return
	}
	for _, other := range x.byName {
		if other != it && other.record != nil && !other.pending {
			other.record = nil
			x.remembered--
		}
	}
	x.tooMany = max(maxRemembered, 2*x.remembered)
}

// doubtRecords forgets the records that are on disk. Those that are not, yet, are
// to be compared with what is there until they are.
func (x *index) doubtRecords() {
	for _, it := range x.byName {
		if it.pending {
			it.doubted = true
		} else {
			x.setRecord(it, nil)
		}
	}
}

// doubted reports whether another process may have changed the record of one of
// some files.
func doubted(items []*item) bool {
	return slices.ContainsFunc(items, func(it *item) bool { return it.doubted })
}

// evictable reports whether files of size bytes in all may be evicted.
func (x *index) evictable(size int64, now time.Time) bool {
	for e := x.recent.Front(); e != nil && size > 0; e = e.Next() {
		it := e.Value.(*item)
		if !mayEvict(it.used, now) {
			break
		}
		if it.evictable(now) {
			size -= it.size
		}
	}
	return size <= 0
}

// victim returns the least recently returned file that may be evicted, or nil
// if there is none.
func (x *index) victim(now time.Time) *item {
	for e := x.recent.Front(); e != nil; e = e.Next() {
		it := e.Value.(*item)
		if !mayEvict(it.used, now) {
			return nil // nor may any that were returned later
		}
		if it.evictable(now) {
			return it
		}
	}
	return nil
}

// mayEvict reports whether a file that was last returned at used, as its
// modification time has it, was returned long enough ago.
func mayEvict(used, now time.Time) bool {
	return now.Sub(used) >= Keep+touchInterval
}
