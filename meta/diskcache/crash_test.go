package diskcache

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestFilesAreFoundAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	c, _ := crashing(dir, Options{})
	want := store(t, c, Key{1}, "content")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, _ = open(t, dir, Options{})
	e, ok := c.Get(Key{1})
	if !ok || e.Path != want.Path || !reflect.DeepEqual(e.Head, headOf("content")) || !c.Return(e) {
		t.Errorf("got %+v, %t", e, ok)
	}
	if files := left(t, c, tempDir); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
}

func TestWhatACrashLeftUnprovenGoesWhenItMay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		up    time.Duration // of the machine
		pass  time.Duration
		there bool
		found bool
	}{
		{"the process was killed just now: the file is whole", 24 * past, 0, true, true},
		{"the process was killed a while ago, and nobody has asked for it", 24 * past, past, false, false},
		{"the machine has been started since: the file may be torn, and somebody has the path", 0, bootSlack, true, false},
		{"the machine has been started a while ago", 0, past, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c, _ := crashing(dir, Options{})
			e := store(t, c, Key{1}, "content")
			unfinished := write(t, c, "unfinished")
			crash(t, c)

			c, clock := open(t, dir, Options{})
			c.uptime = func() (time.Duration, bool) { return tt.up, true }
			clock.pass(tt.pass)
			c.sweepSessions()
			c.scanOnce()
			c.expire()
			if got, ok := c.Get(Key{1}); ok != tt.found || ok && !c.Return(got) {
				t.Errorf("it is found: %t", ok)
			}
			if exists(e.Path) != tt.there || early(c, e) != tt.there {
				t.Errorf("it is there: %t, its record: %t", exists(e.Path), early(c, e))
			}
			if exists(unfinished.temp.Name()) {
				t.Error("the unfinished file is there")
			}
			if entries, err := os.ReadDir(filepath.Join(dir, tempDir)); len(entries) != 0 {
				t.Errorf("in the temporary directory is %v, %v", entries, err)
			}
			_ = unfinished.temp.Close()
		})
	}
}

func TestFilesOfARunningProcessAreNotSweptUp(t *testing.T) {
	dir := t.TempDir()
	other, _ := open(t, dir, Options{})
	unfinished := write(t, other, "unfinished")
	e := store(t, other, Key{1}, "content")

	c, time := open(t, dir, Options{})
	time.pass(Keep)
	c.sweepSessions()
	c.scanOnce()
	c.expire()
	if !exists(unfinished.temp.Name()) || !exists(e.Path) {
		t.Error("it was swept up")
	}
	if _, err := unfinished.Commit(Key{2}, "bin", Head{}); err != nil {
		t.Error(err)
	}
}

func TestADoubtfulFileOrRecordIsAMiss(t *testing.T) {
	for name, damage := range map[string]func(file, record string) error{
		"the record is missing":           func(_, record string) error { return os.Remove(record) },
		"the record is empty":             func(_, record string) error { return os.Truncate(record, 0) },
		"the record is torn":              func(_, record string) error { return os.Truncate(record, 20) },
		"the record is zeros":             func(_, record string) error { return os.WriteFile(record, make([]byte, 100), 0o600) },
		"the record is of a later format": func(_, record string) error { return replace(record, `"v":1`, `"v":2`) },
		"the record has another key":      func(_, record string) error { return replace(record, `"key":"01`, `"key":"02`) },
		"the record is huge":              func(_, record string) error { return os.WriteFile(record, make([]byte, 1<<20), 0o600) },
		"the record is a directory": func(_, record string) error {
			return join(os.Remove(record), os.Mkdir(record, 0o700))
		},
		"the file is shorter":     func(file, _ string) error { return os.Truncate(file, 3) },
		"the file is longer":      func(file, _ string) error { return os.Truncate(file, 30) },
		"the file is missing":     func(file, _ string) error { return os.Remove(file) },
		"the file is a directory": func(file, _ string) error { return join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"the index is missing": func(_, record string) error {
			return os.RemoveAll(filepath.Dir(filepath.Dir(record)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c, _ := crashing(dir, Options{})
			e := store(t, c, Key{1}, "content")
			record := c.indexPath(e.Name)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(e.Path, record); err != nil {
				t.Fatal(err)
			}
			c, _ = open(t, dir, Options{})
			if got, ok := c.Get(Key{1}); ok && c.Return(got) {
				t.Errorf("got %+v", got)
			}
			again := store(t, c, Key{1}, "content")
			if got, ok := c.Get(Key{1}); !ok || got.Path != again.Path || !c.Return(got) {
				t.Errorf("after a new download: %+v, %t", got, ok)
			}
		})
	}
}

func TestWhatIsNotOursStays(t *testing.T) {
	dir := t.TempDir()
	c, time := open(t, dir, Options{MaxAge: 1})
	for _, path := range []string{"files/01/notes.txt", "files/notes.txt", "files/zz/x", "other/file"} {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	time.pass(24 * Keep)
	c.scanOnce()
	c.expire()
	if files := append(left(t, c, filesDir), left(t, c, "other")...); len(files) != 2 || len(c.index.byName) != 0 {
		t.Errorf("there is %v", files)
	}
}

func TestAFileWithoutARecordStaysForThoseWhoHaveItsPath(t *testing.T) {
	c, time := open(t, t.TempDir(), Options{})
	e := store(t, c, Key{1}, "content")
	// a file where the records should be, so that none can be written
	index := filepath.Join(c.dir, indexDir)
	if err := join(os.RemoveAll(index), os.WriteFile(index, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	c.syncAll(never)
	c.expire()
	if !exists(e.Path) {
		t.Error("it is gone at once")
	}
	time.pass(past)
	c.expire()
	if exists(e.Path) {
		t.Error("it stays for ever")
	}
	if files := left(t, c, tempDir); len(files) != 0 {
		t.Errorf("left over: %v", files)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"v":1,"size":7,"key":"` + Key{1}.String() + `","stored":"2026-01-02T03:04:05Z","head":{"q":"2026-01-02T03:04:05Z","h":{"Etag":["a"]}}}`))
	f.Add([]byte(`{"v":1,"size":-7}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := parseRecord(data)
		if (rec == nil) != (err != nil) {
			t.Fatalf("%v, %v", rec, err)
		}
		if rec == nil {
			return
		}
		if rec.Size < 0 || rec.Version != recordVersion {
			t.Fatalf("accepted %+v", rec)
		}
		written, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRecord(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(twice, written) {
			t.Errorf("%s became %s, %v", written, twice, err)
		}
	})
}

func replace(path, old, new string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, new)), 0o600)
}

func join(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
