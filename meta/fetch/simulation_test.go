package fetch

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/share"
	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// The storage is like Redis, which keeps values in base64, in a network of 10
// Gbit/s.
const (
	roundTrip = 500 * time.Microsecond
	tenGbit   = 10e9 / 8 * 3 / 4 // bytes of files in a second
)

// simulation is some nodes with a directory each, that share a storage, and an
// origin. All is real but the storage, the network and the time, which passes
// only while everybody waits: what is counted depends on no machine.
type simulation struct {
	storage *sharetest.Memory
	nodes   []*Client
	copies  []*share.Copies
	taps    []*tap

	fresh string       // what the origin says in Cache-Control
	asked atomic.Int64 // requests to the origin
	whole atomic.Int64 // whole files that it sent

	ended     time.Time // when what was counted had been done
	cleanings int64     // in that time
}

// simulate runs f with some nodes and a storage that sends and takes speed bytes
// of files in a second.
func simulate(t *testing.T, nodes int, speed float64, f func(t *testing.T, s *simulation)) {
	today := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today)) // files have real times
		s := &simulation{storage: sharetest.NewMemory(), fresh: "max-age=86400"}
		s.storage.Latency = roundTrip
		origin := s.serve(t)
		in, out := &wire{speed: speed}, &wire{speed: speed}
		for range nodes {
			s.add(t, origin, &tap{Memory: s.storage, in: in, out: out})
		}
		f(t, s)
		time.Sleep(time.Minute) // what was given up goes on, as with Redis
	})
}

func (s *simulation) add(t *testing.T, origin *pipes, storage *tap) {
	const prefix = "onebot_meta/simulation"
	locks := share.NewLocks(t.Context(), storage, prefix, nil)
	copies := share.NewCopies(t.Context(), storage, prefix, locks, share.Options{MaxObject: 64 << 20, MaxAge: 7 * 24 * time.Hour})
	t.Cleanup(copies.Close)
	node := newClientOf(t, diskcache.New(t.TempDir(), "cache", diskcache.Options{Mode: 0o600}), func(o *Options) {
		o.MaxSize, o.MaxConcurrent, o.Dial = 0, 64, origin.dial
		o.Peers = &Peers{Locks: locks, Copies: copies}
	})
	s.nodes, s.copies, s.taps = append(s.nodes, node), append(s.copies, copies), append(s.taps, storage)
}

// serve starts the origin, which takes 200 ms for a file of the size that the
// path begins with.
func (s *simulation) serve(t *testing.T) *pipes {
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		time.Sleep(200 * time.Millisecond)
		if to, ok := strings.CutPrefix(r.URL.Path, "/redirect"); ok {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/404") {
			http.NotFound(w, r)
			return
		}
		var size int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/", &size)
		w.Header().Set("Cache-Control", s.fresh)
		if !strings.HasSuffix(r.URL.Path, "/unversioned") {
			w.Header().Set("Etag", `"1"`)
		}
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		s.whole.Add(1)
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = w.Write(bytes.Repeat([]byte("x"), size))
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(p) }) // which only ever ends because it is closed
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return p
}

// wire lets bytes through in one direction, at some speed.
type wire struct {
	speed float64

	mu   sync.Mutex
	free time.Time // when it has carried what it was given
}

func (w *wire) carry(n int) {
	w.mu.Lock()
	now := time.Now()
	if w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(time.Duration(float64(n) / w.speed * float64(time.Second)))
	wait := w.free.Sub(now)
	w.mu.Unlock()
	time.Sleep(wait)
}

// tap is the storage as a node sees it.
type tap struct {
	*sharetest.Memory
	in, out     *wire
	parts, peak atomic.Int64 // on their way
}

func (s *tap) Load(ctx context.Context, key string) ([]byte, error) {
	defer s.pass(key)()
	value, err := s.Memory.Load(ctx, key)
	s.out.carry(len(value))
	return value, err
}

func (s *tap) Store(ctx context.Context, key string, value []byte) error {
	defer s.pass(key)()
	s.in.carry(len(value))
	return s.Memory.Store(ctx, key, value)
}

func (s *tap) pass(key string) func() {
	if !strings.Contains(key, "/part/") {
		return func() {}
	}
	n := s.parts.Add(1)
	for peak := s.peak.Load(); n > peak && !s.peak.CompareAndSwap(peak, n); peak = s.peak.Load() {
	}
	return func() { s.parts.Add(-1) }
}

// call lets a node be called for a file.
func (s *simulation) call(t *testing.T, node int, path string) {
	t.Helper()
	if _, err := fetch(t, s.nodes[node], "http://127.0.0.1"+path); err != nil {
		t.Errorf("node %d: %v", node, err)
	}
}

// inTurn lets all nodes be called for a file, one after the other has got it.
func (s *simulation) inTurn(t *testing.T, path string) {
	t.Helper()
	for node := range s.nodes {
		s.call(t, node, path)
		s.settle()
	}
}

// atOnce lets all nodes be called for a file.
func (s *simulation) atOnce(t *testing.T, path string) {
	t.Helper()
	var calls sync.WaitGroup
	for node := range s.nodes {
		calls.Go(func() { s.call(t, node, path) })
	}
	calls.Wait()
}

// settle waits until no node has anything to do for a call.
func (s *simulation) settle() {
	for _, node := range s.nodes {
		node.flights.ended.Wait()
	}
	synctest.Wait()
}

// costOf returns what it costs that f runs, and what that leaves to be done.
func (s *simulation) costOf(f func()) cost {
	s.settle()
	s.storage.Counts()
	asked, whole := s.asked.Load(), s.whole.Load()
	f()
	s.ended = time.Now()
	s.settle()
	counts := s.storage.Counts()
	of := func(op, of string) int64 { return counts[sharetest.Kind{Op: op, Of: of}].Ops }
	s.cleanings = of("store", "cleaned")
	return cost{
		asked:     s.asked.Load() - asked,
		whole:     s.whole.Load() - whole,
		finds:     of("load", "manifest"),
		describes: of("store", "manifest"),
		loads:     of("load", "part"),
		stores:    of("store", "part"),
		drops:     of("delete", "part"),
		locks:     of("lock", "lock"),
		unlocks:   of("unlock", "lock"),
		polls:     of("poll", "lock"),
		uses:      of("store", "used"),
	}
}
