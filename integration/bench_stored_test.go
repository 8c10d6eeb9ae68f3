//go:build linux

package integration

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkLargeCache starts with a cache of 100,000 files and downloads more.
func BenchmarkLargeCache(b *testing.B) {
	const stored = 100_000
	r := newReport(b, "A cache of 100,000 files")
	apart := separate(b)
	fullHome, emptyHome := b.TempDir(), b.TempDir()
	config := openToLoopback + unbounded
	o := newFastOrigin(b)
	template := newFastOrigin(b) // asked for the file that is multiplied
	first := startBot(b, config, at(fullHome))
	url := template.at("fresh", 100, "file")
	file := dialLines(b, first.addr, 1)[0].download(b, url)
	first.stop() // which syncs the file
	dir := first.cacheDir("onebot")
	multiply(b, dir, file, stored)

	const full, empty = "100,000 files", "no files"
	homes := map[string]string{full: fullHome, empty: emptyHome}
	bots := make(map[string]*instance)
	calls := make(map[string][]*line)
	for _, name := range []string{empty, full} {
		start := time.Now()
		apart(func() { bots[name] = startBot(b, config, at(homes[name])) })
		calls[name] = dialLines(b, bots[name].addr, atOnce)
		// whoever looks for a file in the cache waits until all of it is known
		got := calls[name][0].download(b, url)
		c := cost{time.Since(start), cpuTime(b, bots[name].pid)}
		if (got == file) != (name == full) {
			b.Fatalf("the cache with %s returned %s for what is in %s", name, got, file)
		}
		r.line("start with "+name, spread([]cost{c}, wall), spread([]cost{c}, cpu))
		if name == full {
			r.target("CPU seconds to start with "+name, c.cpu.Seconds(), 2)
			b.ReportMetric(c.cpu.Seconds(), "start-CPU-s")
		}
	}

	contend := func(name string) contender {
		return contender{name, func(round int) cost {
			files, c := downloadMany(b, bots[name], calls[name], o.many(strings.ReplaceAll(name, " ", "-"), round))
			awaitRecords(b, bots[name], files...)
			o.checkMany(b, files)
			return c
		}}
	}
	got := compare(256*mib, contend(full), contend(empty))
	r.costs(got, full, empty)
	r.ratio(got, full, empty, "wall", wall, 1.2)
	r.ratio(got, full, empty, "CPU", cpu, 1.2)
}

// multiply makes n files of one in a cache that nobody uses, with their
// records, as if each had been downloaded from another URL, one a second.
func multiply(b *testing.B, dir, file string, n int) {
	b.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := os.ReadFile(recordOf(dir, filepath.Base(file)))
	if err != nil {
		b.Fatal(err)
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(raw, &record); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		used := time.Now().Add(-time.Duration(i+1) * time.Second)
		var random [48]byte
		rand.Read(random[:])
		key := hex.EncodeToString(random[:32])
		name := key[:16] + "-" + hex.EncodeToString(random[32:]) + filepath.Ext(file)
		record["key"] = json.RawMessage(`"` + key + `"`)
		raw, err := json.Marshal(record)
		if err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(dir, "files", name[:2], name)
		err = errors.Join(writeAnywhere(path, content), writeAnywhere(recordOf(dir, name), raw), os.Chtimes(path, used, used))
		if err != nil {
			b.Fatal(err)
		}
	}
}

// writeAnywhere writes a file, and makes its directory if it is missing.
func writeAnywhere(path string, data []byte) error {
	err := os.WriteFile(path, data, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
	}
	return err
}
