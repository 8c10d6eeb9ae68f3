//go:build linux

package integration

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmarks compare the module with other programs that do the same work,
// and with itself, in one run on one machine: only the ratios tell something, and
// each is printed beside what is wanted of it. Curves show how a cost grows.
//
//	go test ./integration -run '^$' -bench . -benchtime 1x -timeout 0 -chart bench.svg
//
// runs them all, sums up what is wanted, and draws bench.svg in the root of the
// checkout. Without -chart nothing is drawn. See the README for what it needs.
//
// Whatever is measured is pinned to one core. This process, which is the origin,
// the bot and the client, has another one to itself.

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

// keptDir returns a directory that stays until all benchmarks are over: ext4 is
// slow to make files for half a minute after many were removed.
func keptDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(caddyBinary), "bench-")
	if err != nil {
		b.Fatal(err)
	}
	return dir
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
