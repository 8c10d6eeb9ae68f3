package integration

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// matrix is every fault at every stage. What cannot be is left out by a rule
// that says why, and by nothing else; all the rest is run.
type matrix[C fmt.Stringer] struct {
	name  string
	cases []C
	left  map[string]int // how many cases each rule leaves out

	mu     sync.Mutex
	ran    map[string]bool
	passed int
}

// rule says what is not run, and why.
type rule[C any] struct {
	why  string
	left func(C) bool
}

// newMatrix sorts the cases that there could be.
func newMatrix[C fmt.Stringer](name string, all []C, rules []rule[C]) *matrix[C] {
	m := &matrix[C]{name: name, left: make(map[string]int), ran: make(map[string]bool)}
	for _, r := range rules {
		m.left[r.why] = 0
	}
	for _, c := range all {
		if i := slices.IndexFunc(rules, func(r rule[C]) bool { return r.left(c) }); i >= 0 {
			m.left[rules[i].why]++
		} else {
			m.cases = append(m.cases, c)
		}
	}
	return m
}

// of returns the cases of some kind.
func (m *matrix[C]) of(kind func(C) bool) (some []C) {
	for _, c := range m.cases {
		if kind(c) {
			some = append(some, c)
		}
	}
	return some
}

// run runs cases, so many at a time, for most of their time is waiting. ended is
// called after each of them, however it ends.
func (m *matrix[C]) run(t *testing.T, cases []C, atATime int, do func(*testing.T, C), ended func(C)) {
	t.Helper()
	room := make(chan struct{}, atATime)
	var running sync.WaitGroup
	defer running.Wait()
	for _, c := range cases {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			defer ended(c)
			passed := t.Run(c.String(), func(t *testing.T) {
				m.mu.Lock()
				m.ran[c.String()] = true
				m.mu.Unlock()
				do(t, c)
			})
			m.mu.Lock()
			defer m.mu.Unlock()
			if passed && m.ran[c.String()] {
				m.passed++
			}
		})
	}
}

// report prints what was run. It fails the test if anything was not, or if a
// rule has nothing to leave out any more.
func (m *matrix[C]) report(t *testing.T) {
	t.Helper()
	sum := 0
	for _, why := range slices.Sorted(maps.Keys(m.left)) {
		n := m.left[why]
		t.Logf("%5d left out: %s", n, why)
		if sum += n; n == 0 {
			t.Errorf("the rule %q leaves nothing out", why)
		}
	}
	t.Logf("%s: %d cases run, %d passed, %d left out by %d rules", m.name, len(m.ran), m.passed, sum, len(m.left))
	if selected := flag.Lookup("test.run").Value.String(); len(m.ran) != len(m.cases) && !strings.Contains(selected, "/") {
		t.Errorf("%d cases were not run, or have the name of another", len(m.cases)-len(m.ran))
	}
}

// barrier is where cases that share a fault wait for each other.
type barrier struct {
	all  sync.WaitGroup
	once sync.Map      // of each case: counts it as arrived
	open chan struct{} // closed by who strikes
}

func newBarrier[C fmt.Stringer](cases []C) *barrier {
	b := &barrier{open: make(chan struct{})}
	b.all.Add(len(cases))
	for _, c := range cases {
		b.once.Store(c.String(), sync.OnceFunc(b.all.Done))
	}
	return b
}

// arrive counts a case as arrived, once.
func (b *barrier) arrive(c fmt.Stringer) {
	if done, ok := b.once.Load(c.String()); ok {
		done.(func())()
	}
}

// pass arrives and waits until the barrier opens.
func (b *barrier) pass(t testing.TB, c fmt.Stringer) {
	t.Helper()
	b.arrive(c)
	receive(t, b.open, "what happens to all cases")
}

// await returns when all cases have arrived.
func (b *barrier) await(t testing.TB) {
	t.Helper()
	arrived := make(chan struct{})
	go func() { b.all.Wait(); close(arrived) }()
	receive(t, arrived, "all cases to arrive")
}
