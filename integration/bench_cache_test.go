//go:build linux

package integration

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkCachedAnswer calls download_file for a file that is fresh, and
// get_status.
func BenchmarkCachedAnswer(b *testing.B) {
	const calls, fromCache, status = 4000, "download_file, fresh", "get_status"
	r := newReport(b, fmt.Sprintf("%d calls answered from the cache", calls))
	apart := separate(b)
	var caddy *instance
	apart(func() { caddy = startBot(b, openToLoopback) })
	o := newFastOrigin(b)
	lines := dialLines(b, caddy.addr, atOnce)
	url := o.at("fresh", manySize, "file")
	file := lines[0].download(b, url)

	for _, lines := range [][]*line{lines[:1], lines} {
		how := fmt.Sprintf(", %d at once", len(lines))
		got := compare(mib,
			contender{fromCache + how, func(int) cost {
				return repeat(b, caddy, lines, calls, file, "download_file", params{"url": url})
			}},
			contender{status + how, func(int) cost {
				return repeat(b, caddy, lines, calls, "", "get_status", params{})
			}},
		)
		r.costs(got, fromCache+how, status+how)
		r.ratio(got, fromCache+how, status+how, "wall", wall, 1.5)
		r.ratio(got, fromCache+how, status+how, "CPU", cpu, 1.5)
	}
	if asked := o.asked.Load(); asked != 1 {
		b.Fatalf("the origin was asked %d times", asked)
	}
}

// repeat makes the same call again and again, on every line, and measures it.
func repeat(b *testing.B, caddy *instance, lines []*line, calls int, file, action string, p params) cost {
	b.Helper()
	return together(b, caddy.pid, lines, func(l *line) error {
		request := l.request(action, p.String())
		for range calls / len(lines) {
			if got, err := l.do(request); err != nil || got != file {
				return fmt.Errorf("%s returned %q (%w)", action, got, err)
			}
		}
		return nil
	})
}

// BenchmarkWaitingCalls makes 1,000 calls for one file while the origin holds
// it back.
func BenchmarkWaitingCalls(b *testing.B) {
	r := newReport(b, "1,000 identical calls at once")
	apart := separate(b)
	var caddy *instance
	apart(func() { caddy = startBot(b, openToLoopback) })
	o := newFastOrigin(b)
	status := dialLines(b, caddy.addr, 1)[0]
	for i := range 16 { // whatever is made once is there then
		status.download(b, o.at("plain", manySize, fmt.Sprint("warm-up-", i)))
	}
	url := o.at("held", manySize, "file")
	asked, received := o.asked.Load(), caddy.stat(b, "/get_status")["PacketReceived"]
	before := memory(b, caddy.pid, "VmRSS")
	forgetPeak(b, caddy.pid)

	start, cpuBefore := time.Now(), cpuTime(b, caddy.pid)
	lines := dialLines(b, caddy.addr, many)
	for _, l := range lines {
		if err := l.write(l.request("download_file", params{"url": url}.String())); err != nil {
			b.Fatal(err)
		}
	}
	for polls := int64(1); caddy.stat(b, "/get_status")["PacketReceived"] < received+many+polls; polls++ {
		if time.Since(start) > patience {
			b.Fatal("not all of the calls arrived")
		}
	}
	waiting := memory(b, caddy.pid, "VmRSS") - before
	close(o.held)
	files := make(map[string]bool)
	for _, l := range lines {
		file, err := l.receive()
		if err != nil {
			b.Fatal(err)
		}
		files[file] = true
	}
	c := cost{time.Since(start), cpuTime(b, caddy.pid) - cpuBefore}
	peak := memory(b, caddy.pid, "VmHWM") - before
	if n := o.asked.Load() - asked; n != 1 || len(files) != 1 {
		b.Fatalf("the origin was asked %d times, and there are %d files", n, len(files))
	}
	r.line("requests at the origin", "1")
	r.line("wall ms", spread([]cost{c}, wall))
	r.line("CPU ms", spread([]cost{c}, cpu))
	r.target("KiB of memory a waiting call", float64(waiting)/many/kib, 32)
	r.target("KiB a call at the peak, while all are answered", float64(peak)/many/kib, 0)
	b.ReportMetric(float64(waiting)/many/kib, "KiB/waiting-call")
}
