package fetch

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rateWindow is how much of the past a rate tells of, at least.
const rateWindow = time.Second

// Status tells how a download is getting on.
type Status struct {
	ID      uint64    // unique in the process
	URL     string    // scheme, host and path
	Started time.Time // when it was asked for
	Tries   int       // so far; 0 as long as it waits for its turn
	Callers int       // that wait for it
	Done    int64     // bytes of the file that are there
	Total   int64     // that it will have, or -1 if that is not known
	Rate    int64     // in bytes a second, lately
}

// Status returns how the downloads that are under way are getting on, the
// oldest first.
func (f *Flights) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Status, 0, len(f.running))
	for _, current := range f.running {
		status := current.progress.status(time.Now())
		status.Callers = current.waiting
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Running returns how many downloads are under way, those that wait for their
// turn included.
func (f *Flights) Running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.running)
}

var lastID atomic.Uint64

// progress is how a download is getting on.
type progress struct {
	id      uint64
	url     string
	started time.Time

	mu          sync.Mutex
	tries       int
	done, total int64
	received    int64 // in all tries

	// The rate is measured from before; since is where it is measured from next.
	before, since mark
}

// mark is how much had been received by some time.
type mark struct {
	at       time.Time
	received int64
}

func newProgress(url string) *progress {
	now := time.Now()
	start := mark{at: now}
	return &progress{id: lastID.Add(1), url: url, started: now, total: -1, before: start, since: start}
}

// try notes that another try begins.
func (p *progress) try() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	// what it waited for its turn says nothing about the rate
	p.since = mark{time.Now(), p.received}
	p.before = p.since
}

// tried returns how many tries there were.
func (p *progress) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// begin notes that done bytes of total are there, or of a number that is not
// known if total is negative.
func (p *progress) begin(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
}

// add notes that n more bytes have come.
func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(time.Now())
	p.done += int64(n)
	p.received += int64(n)
}

// turn moves the window of the rate on. It must be called before what has come
// is counted.
func (p *progress) turn(now time.Time) {
	switch age := now.Sub(p.since.at); {
	case age >= 2*rateWindow: // in the last of which nothing has come
		p.before, p.since = mark{now.Add(-rateWindow), p.received}, mark{now, p.received}
	case age >= rateWindow:
		p.before, p.since = p.since, mark{now, p.received}
	}
}

func (p *progress) status(now time.Time) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	var rate int64
	if took := now.Sub(p.before.at); took > 0 {
		rate = int64(float64(p.received-p.before.received) / took.Seconds())
	}
	return Status{
		ID: p.id, URL: p.url, Started: p.started,
		Tries: p.tries, Done: p.done, Total: p.total, Rate: rate,
	}
}
