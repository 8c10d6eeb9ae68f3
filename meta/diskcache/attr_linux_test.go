package diskcache

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAnAttributeThatIsNotARecordIsAMiss(t *testing.T) {
	a, b, _ := twoProcesses(t, Options{})
	e := store(t, a, Key{1}, "content")
	whole, err := attributeOf(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty":           {},
		"cut":             whole[:len(whole)-1],
		"zeros":           make([]byte, len(whole)),
		"of another key":  bytes.Replace(whole, []byte(`"key":"01`), []byte(`"key":"02`), 1),
		"of another size": bytes.Replace(whole, []byte(`"size":7`), []byte(`"size":8`), 1),
	} {
		if err := setAttribute(e.Path, content); err != nil {
			t.Fatal(err)
		}
		b.Refresh(Key{1})
		if got, ok := b.Get(Key{1}); ok {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if err := setAttribute(e.Path, whole); err != nil {
		t.Fatal(err)
	}
	wantFound(t, b, Key{1}, e, headOf("content"))
	if err := removeAttribute(e.Path); err != nil {
		t.Fatal(err)
	}
	wantFound(t, b, Key{1}, Entry{}, Head{})
	if err := setAttribute(e.Path, whole); err != nil {
		t.Fatal(err)
	}
	b.uptime = func() (time.Duration, bool) { return 0, true }
	wantFound(t, b, Key{1}, Entry{}, Head{}) // a power cut may have torn the file
}

// A process that has the record of a file changed while another one is about to
// prove it.
func TestWhatIsLearnedWhileAFileIsProvenIsKept(t *testing.T) {
	var steps []string
	c, now := open(t, t.TempDir(), Options{})
	store(t, c, Key{1}, "content")
	c.at = func(step string) { steps = append(steps, step) }
	c.syncAll(never)
	c.at = func(string) {}
	if len(steps) < 3 {
		t.Fatalf("there are only the steps %v", steps)
	}
	for _, last := range steps {
		t.Run("when it has "+last, func(t *testing.T) {
			a, b, _ := twoProcesses(t, Options{})
			e := store(t, a, Key{1}, "content")
			wantFound(t, b, Key{1}, e, headOf("content"))
			a.at = func(step string) {
				if step == last {
					theirs := headOf("theirs")
					theirs.Received = now.now()
					b.Update(e, theirs)
				}
			}
			a.syncAll(never)
			a.at = func(string) {}
			third, _ := open(t, a.dir, Options{})
			for _, c := range []*Cache{a, b, third} {
				c.Refresh(Key{1})
				if got, ok := c.Get(Key{1}); !ok || got.Head.Header.Get("Etag") != "theirs" {
					t.Errorf("got %+v, %t", got, ok)
				}
			}
			if early(a, e) {
				t.Error("there is an early record still")
			}
		})
	}
}

// Who sees the directory from elsewhere may not see attributes.
func TestFilesHaveNoAttributesWhileOthersAreThere(t *testing.T) {
	dir := t.TempDir()
	other := newHost(t, "other")
	c, now := crashing(dir, Options{})
	stranger, _ := crashing(dir, Options{})
	other.runs(stranger, now)
	n := byte(0)
	want := func(attached bool) {
		t.Helper()
		n++
		e := store(t, c, Key{n}, "content")
		if _, err := attributeOf(e.Path); (err == nil) != attached || exists(c.newPath(e.Name)) == attached {
			t.Errorf("it has an attribute: %v, a file: %t", err, exists(c.newPath(e.Name)))
		}
	}
	temp := filepath.Join(dir, tempDir)
	want(true)
	before := modTime(temp)
	now.pass(mtimeSlack / 2)
	want(true)
	f := write(t, stranger, "x")
	if err := os.Chtimes(temp, before, before); err != nil { // within the same tick
		t.Fatal(err)
	}
	want(false)
	now.pass(2 * mtimeSlack)
	want(false)
	want(false)
	if err := errors.Join(f.Abort(), stranger.Close()); err != nil {
		t.Fatal(err)
	}
	want(true)
	now.pass(2 * mtimeSlack)
	want(true)
	if !c.company.seen.settled {
		t.Error("it looks each time")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFileWithoutAttributesHasNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := attributeOf(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := attributeOf(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a file: %v", err)
	}
}

// A file that cannot be removed, as after its sync has failed, may be torn.
func TestTheEarlyRecordOfAFileGoesBeforeIt(t *testing.T) {
	a, b, _ := twoProcesses(t, Options{})
	e := store(t, a, Key{1}, "content")
	wantFound(t, b, Key{1}, e, headOf("content"))
	a.at = func(step string) {
		if step == "removed its records" {
			wantFound(t, b, Key{1}, Entry{}, Head{})
		}
	}
	a.drop(e.Name)
	a.at = func(string) {}
	if exists(e.Path) {
		t.Error("it is there")
	}
}
