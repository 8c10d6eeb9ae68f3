package fetch

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// cost has what is counted of what nodes do.
type cost struct {
	asked, whole          int64 // requests to the origin, and whole files that it sent
	finds, describes      int64 // manifests that were loaded and stored
	loads, stores, drops  int64 // parts
	locks, unlocks, polls int64 // polls are further looks at a lock
	uses                  int64 // notes of when a file was returned
}

// What the README says that files cost in calls to the storage and the origin.
func TestFilesOnNodesCostWhatTheReadmeSays(t *testing.T) {
	const nodes, parts = 16, 3
	const path = "/700000"
	first := cost{asked: 1, whole: 1, finds: 4, describes: 1, stores: parts, locks: 1, unlocks: 1}
	again := cost{asked: 1, finds: 3, describes: 1, locks: 1, unlocks: 1}
	simulate(t, nodes, tenGbit, func(t *testing.T, s *simulation) {
		for _, step := range []struct {
			does string
			do   func()
			want cost
		}{
			{"the first call for a file", func() { s.call(t, 0, path+"/a") }, first},
			{"the first call on each other node", func() { s.inTurn(t, path+"/a") }, cost{finds: 15, loads: 15 * parts}},
			{"calls while it is fresh", func() { s.atOnce(t, path+"/a") }, cost{}},
			{"the first calls on all nodes at once", func() { s.atOnce(t, path+"/b") }, cost{
				asked: 1, whole: 1, finds: 4 * nodes, describes: 1, loads: 15 * parts, stores: parts, locks: nodes, unlocks: 1}},

			{"a call when it has expired", func() { time.Sleep(25 * time.Hour); s.call(t, 0, path+"/a") }, again},
			{"the next call on each other node", func() { s.inTurn(t, path+"/a") }, cost{finds: 15}},
			{"calls on all nodes at once when it has expired", func() { time.Sleep(25 * time.Hour); s.atOnce(t, path+"/a") }, cost{
				asked: 1, finds: 4*nodes - 1, describes: 1, locks: nodes, unlocks: 1}},

			{"the first call for a file without age", func() { s.fresh = ""; s.call(t, 0, path+"/c") }, first},
			{"each further call for it", func() { s.call(t, 0, path+"/c") }, again},
			{"the first call for a file without age and version", func() { s.call(t, 0, path+"/unversioned") }, first},
			{"each further call for it", func() { s.call(t, 5, path+"/unversioned") }, cost{
				asked: 1, whole: 1, finds: 4, describes: 1, stores: parts, drops: parts, locks: 1, unlocks: 1}},

			{"a call for what is too large to be shared", func() { s.call(t, 0, "/70000000/") }, cost{
				asked: 1, whole: 1, finds: 4, describes: 1, locks: 1, unlocks: 1}},
		} {
			if got := s.costOf(step.do); got != step.want {
				t.Errorf("%s:\ngot  %+v\nwant %+v", step.does, got, step.want)
			}
		}
	})
}

// What one node waited for in vain, the others do not wait for one by one.
func TestNodesDoNotQueueForWhatIsNotShared(t *testing.T) {
	const nodes = 16
	simulate(t, nodes, tenGbit, func(t *testing.T, s *simulation) {
		for what, path := range map[string]string{
			"what is too large": "/70000000/",
			"an error":          "/404/",
			"a redirect":        "/redirect/10000/",
		} {
			var calls sync.WaitGroup
			began := time.Now()
			for _, node := range s.nodes {
				calls.Go(func() { _, _ = fetch(t, node, "http://127.0.0.1"+path) })
			}
			calls.Wait()
			if took := time.Since(began); took > 2500*time.Millisecond { // of the bubble
				t.Errorf("%s: it took the nodes %s", what, took)
			}
			s.settle()
		}
	})
}

func TestANodeHasEightPartsOnTheirWayAtMost(t *testing.T) {
	const path, files = "/4194304/%d", 5
	simulate(t, 2, tenGbit, func(t *testing.T, s *simulation) {
		for node, tap := range s.taps {
			var calls sync.WaitGroup
			for file := range files {
				calls.Go(func() { s.call(t, node, fmt.Sprintf(path, file)) })
			}
			calls.Wait()
			s.settle()
			if peak := tap.peak.Load(); peak != 8 {
				t.Errorf("node %d had %d at a time", node, peak)
			}
		}
	})
}

// hour lets every node be called for each of some files every other minute, for
// nearly an hour, in which the files expire each ten minutes.
func (s *simulation) hour(t *testing.T, files int) {
	s.fresh = "max-age=600"
	for range 29 {
		for node := range s.nodes {
			for file := range files {
				s.call(t, node, fmt.Sprintf("/10000/%d", file))
			}
			time.Sleep(2 * time.Minute / time.Duration(len(s.nodes)))
		}
	}
}

// What the README says that the nodes cost the origin and the storage in an hour.
func TestAnHourOfManyNodesCostsWhatTheReadmeSays(t *testing.T) {
	const nodes, files, ages = 16, 5, 6 // ages are how often files expire, and the first time
	simulate(t, nodes, tenGbit, func(t *testing.T, s *simulation) {
		for _, c := range s.copies {
			c.Maintain()
			defer c.Close()
		}
		got := s.costOf(func() { s.hour(t, files) })
		if want := int64(files * ages); got.asked != want || got.describes != want || got.whole != files {
			t.Errorf("the origin was asked %d times and sent %d files, of which %d things were said; want %d, %d, %[4]d",
				got.asked, got.whole, got.describes, want, files)
		}
		// a call that asks the origin needs 3, of a new file 4, and each of the
		// other nodes 1; who cleans up looks at all files
		calls, cleaning := int64(files*(4+3*(ages-1)+(nodes-1)*ages)), int64(files*s.cleanings)
		if got.finds != calls+cleaning {
			t.Errorf("manifests were loaded %d times, want %d for calls and %d for cleaning", got.finds, calls, cleaning)
		}
		if want := int64(files * (nodes - 1)); got.loads != want || got.uses != 0 {
			t.Errorf("%d parts were loaded and %d uses noted, want %d and none within the first hour", got.loads, got.uses, want)
		}
		if s.cleanings < 4 || s.cleanings > 6 {
			t.Errorf("the nodes cleaned up %d times", s.cleanings)
		}
		// and each node tries to clean up as often as one does
		if want := int64(files * ages); got.locks < want+4*nodes || got.locks > want+6*nodes || got.unlocks != got.locks {
			t.Errorf("%d locks were taken, %d were released, want %d and 4 to 6 for each of %d nodes", got.locks, got.unlocks, want, nodes)
		}
	})
}

// BenchmarkNodes prints what is in the README's table, as measured with the real
// code: of a file of 1 MiB that all nodes are called for at once, and of an hour
// with 10 files. One run says all: -benchtime 1x.
func BenchmarkNodes(b *testing.B) {
	run := func(b *testing.B, nodes int, speed float64, f func(t *testing.T, s *simulation)) {
		for b.Loop() {
			// a bubble needs a test
			test := testing.InternalTest{Name: b.Name(), F: func(t *testing.T) {
				simulate(t, nodes, speed, func(t *testing.T, s *simulation) {
					began := time.Now()
					c := s.costOf(func() { f(t, s) })
					b.ReportMetric(float64(c.asked), "requests")
					b.ReportMetric(float64(c.finds+c.describes+c.uses), "small")
					b.ReportMetric(float64(c.loads+c.stores), "parts")
					b.ReportMetric(float64(c.locks+c.polls+c.unlocks), "locks")
					b.ReportMetric(s.ended.Sub(began).Seconds(), "s")
					b.ReportMetric(0, "ns/op")
				})
			}}
			if !testing.RunTests(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{test}) {
				b.Fatal("it failed")
			}
		}
	}
	for _, nodes := range []int{1, 4, 16, 64, 250, 1000} {
		crowd := func(t *testing.T, s *simulation) { s.atOnce(t, "/1048576/") }
		b.Run(fmt.Sprintf("nodes-%d/at-once/10Gbit", nodes), func(b *testing.B) { run(b, nodes, tenGbit, crowd) })
		b.Run(fmt.Sprintf("nodes-%d/at-once/1Gbit", nodes), func(b *testing.B) { run(b, nodes, tenGbit/10, crowd) })
		b.Run(fmt.Sprintf("nodes-%d/hour", nodes), func(b *testing.B) {
			run(b, nodes, tenGbit, func(t *testing.T, s *simulation) {
				for _, c := range s.copies {
					c.Maintain()
					defer c.Close()
				}
				s.hour(t, 10)
			})
		})
	}
}
