//go:build linux

package integration

import (
	"fmt"
	"testing"
)

// BenchmarkDownloadsAtOnce downloads files, more and more at once.
func BenchmarkDownloadsAtOnce(b *testing.B) {
	const files, most = 256, 256
	r := newReport(b, fmt.Sprintf("%d files of 64 KiB, more and more at once", files))
	apart := separate(b)
	var caddy *instance
	apart(func() {
		caddy = startBot(b, "download {\n allow_private 127.0.0.0/8\n max_concurrent 256\n}\n"+unbounded, at(keptDir(b)))
	})
	o := newFastOrigin(b)
	dir := keptDir(b)
	const download, daemon, goCopy = "download_file", "aria2c RPC", "Go copy"
	var aria2 *aria2Daemon
	if r.installed("aria2c") {
		aria2 = startAria2(b, apart)
	}
	walls := r.curve("Downloads at once: wall time", "files at once", "µs a file")
	cpus := r.curve("Downloads at once: CPU time", "files at once", "µs a file")
	for _, n := range []int{1, 4, 16, 64, most} {
		lines := dialLines(b, caddy.addr, n) // Caddy closes those that long say nothing
		urls := func(who string, round int) []string {
			urls := make([]string, files)
			for i := range urls {
				urls[i] = o.at("plain", manySize, fmt.Sprintf("%s-%d-%d-%d", who, n, round, i))
			}
			return urls
		}
		contenders := []contender{{download, func(round int) cost {
			got, c := downloadMany(b, caddy, lines, urls("caddy", round))
			awaitRecords(b, caddy, got...) // in the background, while nobody else is measured
			o.checkMany(b, got)
			return c
		}}, {goCopy, func(round int) cost {
			urls := urls("copy", round)
			c := plainMany(b, apart, n, urls, in(dir, urls))
			o.checkMany(b, in(dir, urls))
			return c
		}}}
		if aria2 != nil {
			aria2.atOnce(n)
			contenders = append(contenders, contender{daemon, func(round int) cost {
				urls := urls("aria2c", round)
				c := aria2.measure(urls)
				o.checkMany(b, in(aria2.dir, urls))
				return c
			}})
		}
		got := compare(256*mib, contenders...)
		for _, name := range []string{download, daemon, goCopy} {
			walls.costs(name, float64(n), got[name], wall, files)
			cpus.costs(name, float64(n), got[name], cpu, files)
		}
	}
}
