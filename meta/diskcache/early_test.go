package diskcache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestARecordThatIsNotWholeYetIsAMiss(t *testing.T) {
	a, b, _ := twoHosts(t, Options{})
	e := store(t, a, Key{1}, "content")
	path := a.newPath(e.Name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := make(map[string][]byte)
	for n := range whole {
		damaged["cut to "+string(whole[:n])] = whole[:n]
		damaged["zeros behind "+string(whole[:n])] = append(bytes.Clone(whole[:n]), make([]byte, len(whole)-n)...)
	}
	damaged["of another key"] = bytes.Replace(whole, []byte(`"key":"01`), []byte(`"key":"02`), 1)
	damaged["of another size"] = bytes.Replace(whole, []byte(`"size":7`), []byte(`"size":8`), 1)
	damaged["huge"] = append(bytes.Clone(whole), bytes.Repeat([]byte{' '}, maxRecord)...)
	for name, content := range damaged {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		b.Refresh(Key{1})
		if got, ok := b.Get(Key{1}); ok {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	final := a.indexPath(e.Name)
	if err := errors.Join(os.WriteFile(path, whole, 0o600), os.WriteFile(final, whole[:20], 0o600)); err != nil {
		t.Fatal(err)
	}
	wantFound(t, b, Key{1}, Entry{}, Head{}) // whatever is beside what is final
	if err := os.Remove(final); err != nil {
		t.Fatal(err)
	}
	wantFound(t, b, Key{1}, e, headOf("content"))
}

func TestWithoutAnEarlyRecordAFileIsFineAllTheSame(t *testing.T) {
	for name, hinder := range map[string]func(t *testing.T, c *Cache){
		"a file is where the records should be": func(t *testing.T, c *Cache) {
			if err := os.WriteFile(filepath.Join(c.dir, indexDir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"it is removed": func(t *testing.T, c *Cache) {
			c.at = func(step string) {
				if step == "announced" {
					if err := os.RemoveAll(filepath.Join(c.dir, indexDir)); err != nil {
						t.Error(err)
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, _ := twoHosts(t, Options{})
			if err := write(t, a, "x").Abort(); err != nil { // which makes the directory
				t.Fatal(err)
			}
			hinder(t, a)
			e := store(t, a, Key{1}, "content")
			if got, ok := a.Get(Key{1}); !ok || got.Path != e.Path || !a.Return(got) {
				t.Errorf("got %+v, %t", got, ok)
			}
			wantFound(t, b, Key{1}, Entry{}, Head{})
			if info, err := os.Stat(filepath.Join(a.dir, indexDir)); err == nil && !info.IsDir() {
				if err := os.Remove(filepath.Join(a.dir, indexDir)); err != nil {
					t.Fatal(err)
				}
			}
			a.syncAll(never)
			wantFound(t, b, Key{1}, e, headOf("content"))
		})
	}
}

// early reports whether a file has an early record.
func early(c *Cache, e Entry) bool {
	_, err := attributeOf(e.Path)
	return err == nil || exists(c.newPath(e.Name))
}

func TestAFileWithoutAKeyIsNotAnnounced(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{}, "content")
	if early(c, e) {
		t.Error("it is")
	}
	c.syncAll(never)
	if rec, err := readRecord(c.indexPath(e.Name)); err != nil || rec.Key != "" {
		t.Errorf("the record is %+v, %v", rec, err)
	}
}

func TestAnUpdateThatCannotBeWrittenAtOnceIsWrittenLater(t *testing.T) {
	a, b, _ := twoHosts(t, Options{})
	e := store(t, a, Key{1}, "content")
	mend := unreadable(t, a.session.dir)
	a.Update(e, headOf("updated"))
	mend()
	if got, ok := a.Get(Key{1}); !ok || !reflect.DeepEqual(got.Head, headOf("updated")) {
		t.Errorf("got %+v, %t", got, ok)
	}
	wantFound(t, b, Key{1}, e, headOf("content"))
	a.syncAll(never)
	wantFound(t, b, Key{1}, e, headOf("updated"))
	if files := left(t, a, indexDir); len(files) != 1 {
		t.Errorf("there are %v", files)
	}
}

func TestAFileIsAsNewAsItsName(t *testing.T) {
	c, now := open(t, t.TempDir(), Options{})
	for _, age := range []time.Duration{past, -past} { // it took long to end; or a server's clock is wrong
		f := write(t, c, "content")
		then := now.Add(-age)
		if err := os.Chtimes(f.temp.Name(), then, then); err != nil {
			t.Fatal(err)
		}
		e, err := f.Commit(Key{1}, "bin", Head{})
		if err != nil {
			t.Fatal(err)
		}
		if used := modTime(e.Path); !recent(used, now.now()) {
			t.Errorf("it is %s old", now.Sub(used))
		}
	}
}

func FuzzAnEarlyRecordIsRightOrAMiss(f *testing.F) {
	record := `{"v":1,"size":7,"key":"` + Key{1}.String() + `","stored":"2026-01-02T03:04:05Z","head":{"q":"2026-01-02T03:04:05Z","h":{"Etag":["a"]}}}`
	for _, seed := range []string{record, record[:len(record)-1], record + "x", record[:40] + record, "null", ""} {
		f.Add([]byte(seed))
	}
	a, b, _ := twoHosts(f, Options{})
	path := a.newPath(store(f, a, Key{1}, "content").Name)
	a.mu.Lock()
	a.unsynced = nil // as after a crash
	a.mu.Unlock()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b.Refresh(Key{1})
		e, ok := b.Get(Key{1})
		if rec, err := parseRecord(data); ok != (err == nil && len(data) <= maxRecord && rec.Size == 7 && rec.Key == Key{1}.String()) || ok && !reflect.DeepEqual(e.Head, rec.Head) {
			t.Errorf("%q: got %+v, %t", data, e, ok)
		}
	})
}
