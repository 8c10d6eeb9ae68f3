//go:build linux

package integration

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cachesOf are how many files there are in a cache.
var cachesOf = []int{0, 10, 100, 1000, 10_000, 100_000}

// BenchmarkLargeCache starts with caches of more and more files, and downloads
// from them and into them.
func BenchmarkLargeCache(b *testing.B) {
	const starts, calls, downloads = 3, 1000, 50
	r := newReport(b, "Caches of up to 100,000 files")
	apart := separate(b)
	template := newFastOrigin(b) // asked for the file that is multiplied
	url := template.at("fresh", 100, "file")
	start := r.curve("CPU time of a start until the cache answers", "files in the cache", "ms")
	rss := r.curve("Memory after the start", "files in the cache", "MiB")
	bots, calling := make(map[int]*instance), make(map[int]*line)
	for _, n := range cachesOf {
		home := keptDir(b)
		file := fill(b, home, url, n)
		var costs []cost
		for range starts {
			if bots[n] != nil {
				calling[n].conn.Close()
				bots[n].stop()
			}
			began := time.Now()
			apart(func() { bots[n] = startBot(b, openToLoopback+unbounded, at(home)) })
			calling[n] = dialLines(b, bots[n].addr, 1)[0]
			// whoever looks for a file in the cache waits until all of it is known
			got := calling[n].download(b, url)
			costs = append(costs, cost{time.Since(began), cpuTime(b, bots[n].pid)})
			if n > 0 && got != file {
				b.Fatalf("the cache of %d files returned %s for what is in %s", n, got, file)
			}
		}
		r.line(fmt.Sprintf("start with %d files", n), spread(costs, wall), spread(costs, cpu))
		if n > 0 {
			start.costs("start", float64(n), costs, cpu, 1000)
			resident := float64(memory(b, bots[n].pid, "VmRSS")) / mib
			rss.point("resident", float64(n), resident, resident, resident)
			used := float64(inUseOf(b, bots[n])) / mib
			rss.point("heap and stacks in use after a collection", float64(n), used, used, used)
		}
		if n == 100_000 {
			took := median(costs, cpu).cpu.Seconds()
			r.target("CPU seconds to start with 100,000 files", took, 2)
			b.ReportMetric(took, "start-CPU-s")
		}
	}

	o := newFastOrigin(b)
	answer := r.curve("CPU time of a call", "files in the cache", "µs a call")
	compareCaches := func(name string, times int, run func(n, round int) cost) {
		var contenders []contender
		for _, n := range cachesOf[1:] {
			contenders = append(contenders, contender{fmt.Sprint(n), func(round int) cost { return run(n, round) }})
		}
		got := compare(mib, contenders...)
		for _, n := range cachesOf[1:] {
			answer.costs(name, float64(n), got[fmt.Sprint(n)], cpu, times)
		}
	}
	compareCaches("fresh", calls, func(n, _ int) cost {
		return repeat(b, bots[n], []*line{calling[n]}, calls, calling[n].download(b, url), "download_file", params{"url": url})
	})
	compareCaches(fmt.Sprintf("new (%d more files in all)", downloads*(rounds+1)), downloads, func(n, round int) cost {
		urls := make([]string, downloads)
		for i := range urls {
			urls[i] = o.at("plain", manySize, fmt.Sprintf("new-%d-%d-%d", n, round, i))
		}
		files, c := downloadMany(b, bots[n], []*line{calling[n]}, urls)
		awaitRecords(b, bots[n], files...)
		return c
	})

	const full, empty = "100,000 files", "no files"
	contend := func(name string, n int) contender {
		lines := dialLines(b, bots[n].addr, atOnce)
		return contender{name, func(round int) cost {
			files, c := downloadMany(b, bots[n], lines, o.many(strings.ReplaceAll(name, " ", "-"), round))
			awaitRecords(b, bots[n], files...)
			o.checkMany(b, files)
			return c
		}}
	}
	got := compare(256*mib, contend(full, 100_000), contend(empty, 0))
	r.costs(got, full, empty)
	r.ratio(got, full, empty, "wall", wall, 1.2)
	r.ratio(got, full, empty, "CPU", cpu, 1.2)
}

// fill makes a cache of n files in a home and returns the one of a URL, unless
// n is 0.
func fill(b *testing.B, home, url string, n int) (file string) {
	b.Helper()
	if n == 0 {
		return ""
	}
	first := startBot(b, openToLoopback+unbounded, at(home))
	file = dialLines(b, first.addr, 1)[0].download(b, url)
	first.stop() // which syncs the file
	multiply(b, first.cacheDir("onebot"), file, n-1)
	return file
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
