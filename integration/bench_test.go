//go:build linux

package integration

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmarks compare download_file with other programs that do the same
// work, and with itself, in one run on one machine: only the ratios tell
// something, and each is printed beside the most that it should be. See the
// README for the command.
//
// Whatever downloads is pinned to one core. This process, which is the origin
// and the client, has another one to itself.

// rounds is how often contenders take turns, after one round that only warms
// up.
const rounds = 5

// cost is what it took to do something.
type cost struct{ wall, cpu time.Duration }

func wall(c cost) time.Duration { return c.wall }
func cpu(c cost) time.Duration  { return c.cpu }

// contender does the work that is compared, once a round, and says what it
// cost.
type contender struct {
	name string
	run  func(round int) cost
}

// results are the costs of contenders by their names, one a round.
type results map[string][]cost

// compare lets contenders take turns. Each round begins with another one. memory
// is how many bytes each of them needs.
func compare(memory int, contenders ...contender) results {
	got := make(results)
	for round := range rounds + 1 {
		for i := range contenders {
			c := contenders[(round+i)%len(contenders)]
			heatMemory(memory)
			if cost := c.run(round); round > 0 {
				got[c.name] = append(got[c.name], cost)
			}
		}
	}
	return got
}

// heatMemory uses some memory and gives it back, for the next contender to take.
// Otherwise whoever comes after a pause may pay for it on a virtual machine: what
// is free goes back to the host there, and is slow to come again.
func heatMemory(size int) {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return // there is no more
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE)
	for i := 0; i < size; i += os.Getpagesize() {
		memory[i] = 1
	}
	_ = unix.Munmap(memory)
}

// report is the table that a benchmark prints.
type report struct {
	b    *testing.B
	text strings.Builder
	tabs *tabwriter.Writer
}

// newReport starts a table, which is printed when the benchmark ends.
func newReport(b *testing.B, title string) *report {
	r := &report{b: b}
	r.tabs = tabwriter.NewWriter(&r.text, 0, 0, 2, ' ', 0)
	b.Cleanup(func() {
		_ = r.tabs.Flush()
		fmt.Printf("\n\n%s\n%s\n", title, r.text.String()) // b.Log would cut it after ten lines
	})
	b.ReportMetric(0, "ns/op") // what a whole benchmark takes says nothing
	return r
}

// line adds a line of cells, aligned with those of other lines.
func (r *report) line(cells ...string) {
	_, _ = fmt.Fprintln(r.tabs, strings.Join(cells, "\t"))
}

// costs adds a line for each of the named contenders that took part.
func (r *report) costs(got results, names ...string) {
	r.line("", "wall ms", "CPU ms", fmt.Sprintf("(median, least-most of %d)", rounds))
	for _, name := range names {
		if of, ok := got[name]; ok {
			r.line(name, spread(of, wall), spread(of, cpu))
		}
	}
}

// ratio adds how one contender compares to another in wall or CPU time, and
// the most that is wanted of it, unless that is 0.
func (r *report) ratio(got results, one, other, what string, by func(cost) time.Duration, most float64) {
	if len(got[one]) == 0 || len(got[other]) == 0 {
		return
	}
	each := make([]float64, 0, rounds)
	for i := range got[one] {
		each = append(each, float64(by(got[one][i]))/float64(by(got[other][i])))
	}
	ratio := float64(by(median(got[one], by))) / float64(by(median(got[other], by)))
	name := fmt.Sprintf("%s of %s / %s", what, one, other)
	r.target(name, ratio, most, fmt.Sprintf("(%.2f-%.2f)", slices.Min(each), slices.Max(each)))
	r.b.ReportMetric(ratio, strings.ReplaceAll(what+"/"+other, " ", "-"))
}

// target adds a number and the most that is wanted of it, unless that is 0.
func (r *report) target(name string, got, most float64, more ...string) {
	cells := append([]string{name, strconv.FormatFloat(got, 'f', 2, 64)}, more...)
	switch {
	case most == 0:
	case got <= most:
		cells = append(cells, fmt.Sprintf("at most %.3g: met", most))
	default:
		cells = append(cells, fmt.Sprintf("at most %.3g: MISSED", most))
	}
	r.line(cells...)
}

// median returns the middle one of costs.
func median(of []cost, by func(cost) time.Duration) cost {
	sorted := slices.SortedFunc(slices.Values(of), func(x, y cost) int { return int(by(x) - by(y)) })
	return sorted[len(sorted)/2]
}

// spread says what costs were, in milliseconds.
func spread(of []cost, by func(cost) time.Duration) string {
	ms := make([]float64, 0, len(of))
	for _, c := range of {
		ms = append(ms, float64(by(c))/float64(time.Millisecond))
	}
	slices.Sort(ms)
	digits := max(0, 2-int(math.Log10(ms[len(ms)/2]+1)))
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, ms[len(ms)/2], digits, ms[0], digits, ms[len(ms)-1])
}

// separate moves this process to a core of its own and returns what starts a
// process on the other one.
func separate(b *testing.B) (apart func(start func())) {
	b.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	var cores []int
	for core := range len(all) * strconv.IntSize {
		if all.IsSet(core) {
			cores = append(cores, core)
		}
	}
	if len(cores) == 1 {
		b.Log("there is but one core: what downloads shares it with the origin and the client")
	}
	var theirs, ours unix.CPUSet
	theirs.Set(cores[0])
	ours.Set(cores[len(cores)-1])
	confine(b, &ours)
	b.Cleanup(func() { confine(b, &all) })
	return func(start func()) {
		runtime.LockOSThread() // a process runs where the thread does that starts it
		defer runtime.UnlockOSThread()
		if err := unix.SchedSetaffinity(0, &theirs); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = unix.SchedSetaffinity(0, &ours) }()
		start()
	}
}

// confine makes every thread of this process run on some cores only.
func confine(b *testing.B, cores *unix.CPUSet) {
	b.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.SchedSetaffinity(id, cores); err != nil && err != unix.ESRCH { // it has ended
			b.Fatal(err)
		}
	}
}

// cpuTime returns the time that a process has had a core, exactly.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	// what clock_getcpuclockid(3) returns
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &spent); err != nil {
		b.Fatal(err)
	}
	return time.Duration(spent.Nano())
}

// memory returns an entry of a process's status, such as VmRSS, in bytes.
func memory(b *testing.B, pid int, entry string) int64 {
	b.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == entry+":" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Fatalf("no %s in the status of process %d", entry, pid)
	return 0
}

// forgetPeak makes VmHWM of a process start from what it has now.
func forgetPeak(b *testing.B, pid int) {
	b.Helper()
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "clear_refs"), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}
