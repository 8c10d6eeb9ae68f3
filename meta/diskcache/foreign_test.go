package diskcache

import (
	"os"
	"testing"
	"time"
)

// The index of a process is a while behind: a file that another has returned
// stays at hand while this one finds that out.
func TestAFileThatOthersReturnedIsNotEvenMarked(t *testing.T) {
	dir := t.TempDir()
	a, clockA := open(t, dir, Options{})
	b, clockB := open(t, dir, Options{})
	e := store(t, a, Key{1}, "content")
	b.scanOnce()
	clockA.pass(past)
	clockB.pass(past)
	if !a.Return(e) {
		t.Fatal("it is gone")
	}
	b.at = func(step string) { t.Errorf("b has %s", step) }
	b.mu.Lock()
	it := b.index.byName[e.Name]
	b.mu.Unlock()
	if b.evict(it) {
		t.Error("it was evicted")
	}
}

func TestAMarkFromTheFutureGoesAsOthersDo(t *testing.T) {
	a, clock := open(t, t.TempDir(), Options{})
	e := store(t, a, Key{1}, "content")
	if err := os.WriteFile(a.markPath(e.Name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	future := clock.now().AddDate(1, 0, 0)
	if err := os.Chtimes(a.markPath(e.Name), future, future); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !exists(a.markPath(e.Name)) {
			t.Fatal("it is gone too early: it may be somebody's")
		}
		a.scan(true)
		clock.pass(markAge + time.Second)
	}
	a.scan(true)
	if exists(a.markPath(e.Name)) {
		t.Error("it is still there")
	}
}

// A process may have died after it wrote a record, before it put that in the
// place of the last one.
func TestAnOldRecordDoesNotReplaceALaterOne(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir, Options{})
	e := store(t, a, Key{1}, "content")
	a.syncAll(never)
	data, err := os.ReadFile(a.indexPath(e.Name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.newPath(e.Name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Forget(e)
	a.syncAll(never)
	other, _ := open(t, dir, Options{})
	if _, ok := other.Get(Key{1}); ok {
		t.Error("what was forgotten is found")
	}
}

// What was only for calls that have returned it goes as soon as it may.
func TestAFileThatNobodyCanFindAnyMoreGoes(t *testing.T) {
	a, clock := open(t, t.TempDir(), Options{})
	var once []Entry
	for range 2 {
		f := write(t, a, "content")
		e, err := f.Commit(Key{1}, "bin", Head{Once: true})
		if err != nil {
			t.Fatal(err)
		}
		once = append(once, e)
	}
	a.syncAll(never)
	clock.pass(Keep)
	a.expire()
	if !exists(once[0].Path) {
		t.Error("it went too early")
	}
	clock.pass(past - Keep)
	a.expire()
	if exists(once[0].Path) || !exists(once[1].Path) {
		t.Errorf("the first is there: %t, the last: %t", exists(once[0].Path), exists(once[1].Path))
	}
}

// Nobody else looks for files in a directory that is a process's own.
func TestWhatIsPrivateIsNotAnnounced(t *testing.T) {
	a, _ := open(t, t.TempDir(), Options{Private: true})
	e := store(t, a, Key{1}, "content")
	if early(a, e) {
		t.Error("it is announced")
	}
	a.Update(e, Head{Copy: "x"})
	if exists(a.newPath(e.Name)) || exists(a.indexPath(e.Name)) {
		t.Error("its change is announced")
	}
	a.syncAll(never)
	if !exists(a.indexPath(e.Name)) {
		t.Error("it has no record")
	}
}
