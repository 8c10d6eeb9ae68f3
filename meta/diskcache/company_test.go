package diskcache

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAProcessThatIsAloneReadsNothingAgain(t *testing.T) {
	a, now := open(t, t.TempDir(), Options{})
	store(t, a, Key{1}, "first")
	if a.alone() {
		t.Fatal("it is alone as soon as it begins, when another may come in the same moment")
	}
	now.pass(mtimeSlack + time.Second)
	if a.alone() {
		t.Fatal("it is alone with what it has not read")
	}
	settle(t, a, now)
	if !a.alone() {
		t.Fatal("it is not alone")
	}
	unreadable := filepath.Join(a.dir, filesDir, Key{2}.digest()[:2])
	if err := os.WriteFile(unreadable, nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	if !a.Refresh(Key{2}) {
		t.Error("it has looked at the directory")
	}
}

func TestAProcessThatIsNotAloneAnyMoreFindsWhatAnotherStores(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, b *Cache) (Entry, Head){
		"while the other is there": func(t *testing.T, b *Cache) (Entry, Head) {
			return store(t, b, Key{2}, "content"), headOf("content")
		},
		"when the other has gone": func(t *testing.T, b *Cache) (Entry, Head) {
			e := store(t, b, Key{2}, "content")
			leave(t, b)
			return e, headOf("content")
		},
		"what the other has learned": func(t *testing.T, b *Cache) (Entry, Head) {
			b.Refresh(Key{1})
			e, ok := b.Get(Key{1})
			if !ok {
				t.Fatal("it is not there")
			}
			store(t, b, Key{3}, "else") // so that it has a session
			b.Update(e, headOf("updated"))
			return e, headOf("updated")
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, now := twoHosts(t, Options{})
			first := store(t, a, Key{1}, "first")
			a.syncAll(never)
			settle(t, a, now)
			wantFound(t, a, Key{1}, first, headOf("first"))
			if !a.alone() {
				t.Fatal("it is not alone")
			}
			e, head := meet(t, b)
			if a.alone() {
				t.Fatal("it still is")
			}
			key := Key{2}
			if e.Name == first.Name {
				key = Key{1}
			}
			wantFound(t, a, key, e, head)
			settle(t, a, now)
			wantFound(t, a, key, e, head)
		})
	}
}

func TestWhatOthersHaveLearnedIsReadWhenTheyAreGone(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	first := store(t, a, Key{1}, "first")
	a.syncAll(never)
	settle(t, a, now)
	store(t, b, Key{2}, "content")
	b.Refresh(Key{1})
	e, _ := b.Get(Key{1})
	b.Update(e, headOf("updated"))
	leave(t, b)
	settle(t, a, now)
	if !a.alone() {
		t.Fatal("it is not alone")
	}
	wantFound(t, a, Key{1}, first, headOf("updated"))
}

func TestAProcessSoonKnowsThatItIsAlone(t *testing.T) {
	t.Parallel() // it waits
	c, now := crashing(t.TempDir(), Options{})
	store(t, c, Key{1}, "content")
	c.lookForOthers()
	now.pass(mtimeSlack + time.Second)
	c.background.Wait() // until the file has been synced
	if !c.alone() {
		t.Error("it is not")
	}
}

// leave does what the end of a process does.
func leave(t *testing.T, c *Cache) {
	t.Helper()
	c.syncAll(never)
	if err := c.session.close(); err != nil {
		t.Fatal(err)
	}
}

// settle lets time pass until a process knows what is in the directory.
func settle(t *testing.T, c *Cache, now *clock) {
	t.Helper()
	c.lookForOthers()
	now.pass(mtimeSlack + time.Second)
	c.scan(false)
}

func TestWhatOthersHaveLearnedOfAFileThatIsNotSyncedIsNotMissed(t *testing.T) {
	for name, tt := range map[string]struct {
		learn func(b *Cache, e Entry, now *clock)
		head  Head
	}{
		"an update": {func(b *Cache, e Entry, now *clock) {
			head := headOf("updated")
			head.Received = now.now()
			b.Update(e, head)
		}, headOf("updated")},
		"that it must not be reused": {func(b *Cache, e Entry, _ *clock) { b.Forget(e) }, Head{}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, now := twoHosts(t, Options{})
			first := store(t, a, Key{1}, "first") // which a slow disk takes long to sync
			wantFound(t, b, Key{1}, first, headOf("first"))
			tt.learn(b, first, now)
			if err := b.session.close(); err != nil {
				t.Fatal(err)
			}
			settle(t, a, now)
			if !a.alone() {
				t.Fatal("it is not alone")
			}
			a.syncAll(never)
			a.Refresh(Key{1})
			got, ok := a.Get(Key{1})
			if ok != (tt.head.Header != nil) || got.Head.Header.Get("Etag") != tt.head.Header.Get("Etag") {
				t.Errorf("got %+v, %t", got, ok)
			}
		})
	}
}

// A network file system may show the times of directories as they were.
func TestWhatOthersLeftIsReadWhateverIsRememberedOfItsDirectory(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	store(t, a, Key{1}, "first")
	a.syncAll(never)
	settle(t, a, now)
	remembered := make(map[string]time.Time)
	for _, dir := range []string{filesDir, indexDir} {
		shard := filepath.Join(a.dir, dir, Key{1}.digest()[:2])
		remembered[shard] = modTime(shard)
	}
	a.dirTime = func(path string) time.Time { return remembered[path] }
	e := store(t, b, Key{1}, "content")
	leave(t, b)
	settle(t, a, now)
	if !a.alone() {
		t.Fatal("it is not alone")
	}
	wantFound(t, a, Key{1}, e, headOf("content"))
}

func TestATimeIsAsOldAsItWasSeenToBe(t *testing.T) {
	a, now := open(t, t.TempDir(), Options{})
	store(t, a, Key{1}, "first")
	temp := filepath.Join(a.dir, tempDir)
	a.now = func() time.Time { // when the process is held up, and another one comes and goes
		a.now = now.now
		then := now.now()
		now.pass(mtimeSlack + time.Second)
		if err := os.Chtimes(temp, now.now(), now.now()); err != nil {
			t.Fatal(err)
		}
		return then
	}
	a.lookForOthers()
	if a.lookForOthers().settled {
		t.Error("no other change can hide behind one of this moment")
	}
}

func TestASessionIsFoundAlsoIfNoTimeTellsOfIt(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	store(t, a, Key{1}, "first")
	settle(t, a, now)
	temp := filepath.Join(a.dir, tempDir)
	before := modTime(temp)
	e := store(t, b, Key{2}, "content")
	if err := os.Chtimes(temp, before, before); err != nil {
		t.Fatal(err)
	}
	a.scan(false)
	wantFound(t, a, Key{2}, e, headOf("content"))
	if a.alone() {
		t.Error("it is alone")
	}
	later := store(t, b, Key{3}, "later")
	wantFound(t, a, Key{3}, later, headOf("later"))
}

func TestASessionWithoutALockIsOneOfOthers(t *testing.T) {
	a, b, now := twoHosts(t, Options{})
	store(t, a, Key{1}, "first")
	store(t, b, Key{2}, "content")
	if err := os.Remove(b.session.lock.Path()); err != nil { // as by who takes it for dead
		t.Fatal(err)
	}
	settle(t, a, now)
	e := store(t, b, Key{3}, "more")
	wantFound(t, a, Key{3}, e, headOf("more"))
}
