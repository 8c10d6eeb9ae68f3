//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
)

// largeEnv is the size of the file whose download must take no more memory
// than one of 1 GiB: 4GiB unless it is set.
const largeEnv = "ONEBOT_META_BENCH_LARGE"

// BenchmarkLargeFile downloads one file of 1 GiB after the other.
func BenchmarkLargeFile(b *testing.B) {
	r := newReport(b, "One file of 1 GiB")
	apart := separate(b)
	var caddy *instance
	apart(func() {
		caddy = startBot(b, "download {\n allow_private 127.0.0.0/8\n max_size 0\n}\n"+unbounded)
	})
	l := &largeFile{b: b, apart: apart, origin: newFastOrigin(b), path: filepath.Join(b.TempDir(), "file")}
	call := dialLines(b, caddy.addr, 1)[0]
	l.finish(call.download(b, l.origin.at("plain", manySize, "warm-up")), manySize)
	l.memory(r, caddy, call, gib) // first, while it has never had more
	l.memory(r, caddy, call, l.even(largeEnv, 4*gib))

	const download, curl, aria2, daemon, goCopy, floor = "download_file", "curl", "aria2c", "aria2c RPC", "Go copy, 1 MiB reads", "splice(2)"
	contenders := []contender{
		{download, func(round int) cost { return l.download(caddy, call, l.url(download, round)) }},
		l.plain(goCopy, "copy"),
		l.plain(floor, "splice"),
	}
	if r.installed(curl) {
		contenders = append(contenders, l.program(curl, "-s", "-o", "<file>", "<url>"))
	}
	if r.installed(aria2) {
		contenders = append(contenders, l.program(aria2, "-q", "-x1", "--no-conf", "-d", "<dir>", "-o", "<base>", "<url>"))
		rpc := startAria2(b, apart)
		contenders = append(contenders, contender{daemon, func(round int) cost {
			url := []string{l.url(daemon, round)}
			c := rpc.measure(url)
			l.finish(in(rpc.dir, url)[0], gib)
			return c
		}})
	}
	got := compare(gib, contenders...)
	r.costs(got, download, curl, aria2, daemon, goCopy, floor)
	r.ratio(got, download, curl, "wall", wall, 0.6)
	r.ratio(got, download, curl, "CPU", cpu, 0.6)
	for _, other := range []string{aria2, daemon, goCopy} {
		r.ratio(got, download, other, "wall", wall, 0)
		r.ratio(got, download, other, "CPU", cpu, 0)
	}
	r.ratio(got, download, floor, "wall", wall, 1.15)
	r.ratio(got, download, floor, "CPU", cpu, 1.15)

	l.sync(r, caddy, call)
}

// even returns the size in a variable of the environment, if it is set.
func (l *largeFile) even(variable string, otherwise int64) int64 {
	l.b.Helper()
	value := os.Getenv(variable)
	if value == "" {
		return otherwise
	}
	size, err := humanize.ParseBytes(value)
	if err != nil {
		l.b.Fatalf("%s: %v", variable, err)
	}
	return int64(size)
}

// unbounded keeps the cache from evicting what is measured.
const unbounded = "cache {\n max_size 0\n}\n"

// largeFile is a file of 1 GiB that is downloaded again and again.
type largeFile struct {
	b      *testing.B
	apart  func(func())
	origin *fastOrigin
	path   string // where others than Caddy put it
}

// url returns a URL that nobody has asked for yet.
func (l *largeFile) url(who string, round int) string {
	who = strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, who)
	return l.origin.at("plain", gib, fmt.Sprintf("%s-%d", who, round))
}

// finish checks a download and removes it, before the disk has to write it.
func (l *largeFile) finish(path string, size int64) {
	l.b.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Size() != size {
		l.b.Fatalf("%s is not whole: %v %v", path, info, err)
	}
	if err := os.Remove(path); err != nil {
		l.b.Fatal(err)
	}
}

// download has Caddy download a file of 1 GiB.
func (l *largeFile) download(caddy *instance, call *line, url string) cost {
	l.b.Helper()
	start, before := time.Now(), cpuTime(l.b, caddy.pid)
	file := call.download(l.b, url)
	c := cost{time.Since(start), cpuTime(l.b, caddy.pid) - before}
	l.finish(file, gib)
	return c
}

// plain returns a contender that is this program as a plain downloader. It
// tells what it cost itself, since starting it is not part of the floor.
func (l *largeFile) plain(name, how string) contender {
	return contender{name, func(round int) cost {
		l.b.Helper()
		program, err := os.Executable()
		if err != nil {
			l.b.Fatal(err)
		}
		cmd := exec.Command(program, l.url(name, round), l.path)
		cmd.Env = append(os.Environ(), plainEnv+"="+how)
		output, _ := runApart(l.b, l.apart, cmd)
		var c cost
		if _, err := fmt.Sscan(output, &c.wall, &c.cpu); err != nil {
			l.b.Fatalf("%s printed %q", name, output)
		}
		l.finish(l.path, gib)
		return c
	}}
}

// program returns a contender that is a program of which <url>, <file>, <dir>
// and <base> are arguments, or that says that it is missing.
func (l *largeFile) program(args ...string) contender {
	return contender{args[0], func(round int) cost {
		l.b.Helper()
		replace := strings.NewReplacer("<url>", l.url(args[0], round), "<file>", l.path,
			"<dir>", filepath.Dir(l.path), "<base>", filepath.Base(l.path))
		given := make([]string, len(args))
		for i, arg := range args {
			given[i] = replace.Replace(arg)
		}
		cmd := exec.Command(given[0], given[1:]...)
		_, c := runApart(l.b, l.apart, cmd)
		l.finish(l.path, gib)
		return c
	}}
}

// memory measures how much more memory Caddy has at most while it downloads a
// file.
func (l *largeFile) memory(r *report, caddy *instance, call *line, size int64) {
	l.b.Helper()
	before := memory(l.b, caddy.pid, "VmRSS")
	forgetPeak(l.b, caddy.pid)
	name := humanize.IBytes(uint64(size))
	file := call.download(l.b, l.origin.at("plain", size, "memory"))
	grown := float64(memory(l.b, caddy.pid, "VmHWM")-before) / mib
	l.origin.check(l.b, file, size)
	l.finish(file, size)
	r.target("MiB of memory more for "+name, grown, 16)
	r.b.ReportMetric(grown, "MiB/"+strings.ReplaceAll(name, " ", "-"))
}

// sync measures what is left to do after a download was answered: what makes
// it safe from a power cut.
func (l *largeFile) sync(r *report, caddy *instance, call *line) {
	l.b.Helper()
	file := call.download(l.b, l.url("sync", 0))
	start, before := time.Now(), cpuTime(l.b, caddy.pid)
	awaitRecords(l.b, caddy, file)
	r.line("download_file, later, to sync", spread([]cost{{wall: time.Since(start)}}, wall),
		spread([]cost{{cpu: cpuTime(l.b, caddy.pid) - before}}, cpu))
	l.finish(file, gib)
}
