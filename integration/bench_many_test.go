//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	many     = 1000     // files
	manySize = 64 * kib // of each
	atOnce   = 32
)

// BenchmarkManyFiles downloads 1,000 files of 64 KiB, 32 at once.
func BenchmarkManyFiles(b *testing.B) {
	r := newReport(b, "1,000 files of 64 KiB, 32 at once")
	apart := separate(b)
	var caddy *instance
	apart(func() { caddy = startBot(b, openToLoopback+unbounded, at(keptDir(b))) })
	o := newFastOrigin(b)
	lines := dialLines(b, caddy.addr, atOnce)

	const download, daemon, oneShot, curl, goCopy = "download_file", "aria2c RPC", "aria2c -j 32", "curl -Z", "Go copy"
	contenders := []contender{{download, func(round int) cost {
		files, c := downloadMany(b, caddy, lines, o.many(download, round))
		awaitRecords(b, caddy, files...) // in the background, while nobody else is measured
		o.checkMany(b, files)
		return c
	}}}
	dir := keptDir(b)
	// oneRun is a contender that is a program of which each run downloads all.
	oneRun := func(name, who string, input func(urls []string) string, args ...string) contender {
		return contender{name, func(round int) cost {
			urls := o.many(who, round)
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdin = strings.NewReader(input(urls))
			_, c := runApart(b, apart, cmd)
			o.checkMany(b, in(dir, urls))
			return c
		}}
	}
	if r.installed("aria2c") {
		aria2 := startAria2(b, apart)
		contenders = append(contenders, contender{daemon, func(round int) cost {
			urls := o.many("aria2c", round)
			c := aria2.measure(urls)
			o.checkMany(b, in(aria2.dir, urls))
			return c
		}}, oneRun(oneShot, "aria2c-once", func(urls []string) string { return strings.Join(urls, "\n") },
			"aria2c", "-q", "-x1", "-j", fmt.Sprint(atOnce), "--no-conf", "--file-allocation=none", "-d", dir, "-i", "-"))
	}
	if r.installed("curl") {
		contenders = append(contenders, oneRun(curl, "curl", func(urls []string) string { return curlConfig(urls, in(dir, urls)) },
			"curl", "-s", "-Z", "--parallel-max", fmt.Sprint(atOnce), "-K", "-"))
	}
	contenders = append(contenders, contender{goCopy, func(round int) cost {
		urls := o.many("copy", round)
		c := plainMany(b, apart, atOnce, urls, in(dir, urls))
		o.checkMany(b, in(dir, urls))
		return c
	}})
	got := compare(256*mib, contenders...)
	r.costs(got, download, daemon, oneShot, curl, goCopy)
	r.ratio(got, download, daemon, "wall", wall, 1./3)
	r.ratio(got, download, daemon, "CPU", cpu, 0)
	for _, other := range []string{oneShot, curl, goCopy} {
		r.ratio(got, download, other, "wall", wall, 0)
		r.ratio(got, download, other, "CPU", cpu, 0)
	}
}

const openToLoopback = "download {\n allow_private 127.0.0.0/8\n}\n"

// many returns the URLs of files that nobody has asked for yet.
func (o *fastOrigin) many(who string, round int) []string {
	urls := make([]string, many)
	for i := range urls {
		urls[i] = o.at("plain", manySize, fmt.Sprintf("%s-%d-%d", who, round, i))
	}
	return urls
}

// downloadMany has Caddy download files and measures it.
func downloadMany(b *testing.B, caddy *instance, lines []*line, urls []string) (files []string, c cost) {
	b.Helper()
	start, before := time.Now(), cpuTime(b, caddy.pid)
	files = downloadAll(b, lines, urls)
	return files, cost{time.Since(start), cpuTime(b, caddy.pid) - before}
}

// checkMany checks files that were downloaded. They stay: ext4 is slow to make
// files for half a minute after many were removed.
func (o *fastOrigin) checkMany(b *testing.B, files []string) {
	b.Helper()
	for _, file := range files {
		o.check(b, file, manySize)
	}
}

// in returns where programs that keep names put the files of some URLs.
func in(dir string, urls []string) []string {
	files := make([]string, len(urls))
	for i, url := range urls {
		files[i] = filepath.Join(dir, path.Base(url))
	}
	return files
}

// awaitRecords returns when files are safe from a power cut, as their records
// say, which a cache writes after that.
func awaitRecords(b *testing.B, caddy *instance, files ...string) {
	b.Helper()
	deadline := time.Now().Add(4 * patience)
	for _, file := range files {
		record := recordOf(caddy.cacheDir("onebot"), filepath.Base(file))
		for {
			if _, err := os.Stat(record); err == nil {
				break
			}
			if time.Now().After(deadline) {
				b.Fatalf("%s was not synced", file)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// recordOf returns where the cache in dir has the record of a file.
func recordOf(dir, name string) string {
	return filepath.Join(dir, "index", name[:2], name+".json")
}
