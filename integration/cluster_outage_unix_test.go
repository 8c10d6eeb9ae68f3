//go:build unix

package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// outageWarning is what a node logs when it goes on without the storage.
const outageWarning = "the shared storage fails; going on without it"

func TestDownloadsGoOnWithoutTheStorage(t *testing.T) {
	t.Parallel() // it waits much of the time
	persistent := []string{"--appendonly", "yes"}
	signal := func(s syscall.Signal) func(*redis) {
		return func(r *redis) {
			if err := r.server.Process.Signal(s); err != nil {
				r.t.Error(err)
			}
		}
	}
	for name, outage := range map[string]struct {
		options    []string // of Redis
		begin, end func(r *redis)
		unnoticed  bool
	}{
		"is killed and comes back as it was": {persistent, (*redis).kill, (*redis).start, false},
		"is killed and comes back empty":     {nil, (*redis).kill, (*redis).start, false},
		"hangs":                              {nil, signal(syscall.SIGSTOP), signal(syscall.SIGCONT), false},
		"is full": {nil,
			func(r *redis) { r.do(r.t, "CONFIG", "SET", "maxmemory", "1") },
			func(r *redis) { r.do(r.t, "CONFIG", "SET", "maxmemory", "0") }, false},
		"is emptied": {nil, func(r *redis) { r.do(r.t, "FLUSHALL") }, func(*redis) {}, true},
	} {
		t.Run("that "+name, func(t *testing.T) {
			t.Parallel()
			r := startRealRedis(t, outage.options...)
			c := onRedis(t, 2, r, copying())
			o := newOrigin(t)
			run := c.keepCalling(t, o.handle("/run", selfTelling))
			c.awaitSharing(t, o, "before")
			outage.begin(r)
			run.awaitMore(t, 20)
			if !outage.unnoticed {
				for _, node := range c.nodes {
					node.awaitLog(outageWarning)
				}
			}
			outage.end(r)
			c.awaitSharing(t, o, "after")
			run.awaitMore(t, 20)
			run.end()
		})
	}
}

// awaitSharing returns when each node has what another one has fetched.
func (c *cluster) awaitSharing(t testing.TB, o *origin, phase string) {
	t.Helper()
	for i, node := range c.nodes {
		n := 0
		eventually(t, "nodes to share "+phase, func() bool {
			n++
			path := fmt.Sprintf("/sharing-%s-%d-%d", phase, i, n)
			url := o.handle(path, selfTelling) + "?load-shared-1000"
			for _, one := range append([]*instance{node}, c.nodes...) {
				wantContent(t, one.fetch(t, url), tell("load-shared-1000"))
			}
			return len(o.asked(path)) == 1
		})
	}
}

// longRun is a run of calls, each for another file.
type longRun struct {
	answered atomic.Int64
	end      func() // ends the run and waits for it
}

// keepCalling calls each node again and again, until the test or the run ends.
// Every call has to succeed.
func (c *cluster) keepCalling(t testing.TB, url string) *longRun {
	run := new(longRun)
	ended := make(chan struct{})
	var running sync.WaitGroup
	run.end = sync.OnceFunc(func() {
		close(ended)
		running.Wait()
	})
	t.Cleanup(run.end)
	for i := range c.nodes {
		running.Go(func() {
			ticks := time.NewTicker(20 * time.Millisecond) // the rest of the machine is not for it
			defer ticks.Stop()
			for n := 0; ; n++ {
				select {
				case <-ticks.C:
				case <-ended:
					return
				}
				// the nodes ask for the same, each in its time; some of it has two parts
				query := fmt.Sprintf("load-%d-%d", n, n%10*30_000)
				r, err := c.nodes[i].client.try("POST", "/download_file", params{"url": url + "?" + query}.String())
				if err != nil || r.status != "ok" {
					t.Errorf("%s: %v %s", query, err, r.body)
					return
				}
				wantWhole(t, r.file(t))
				run.answered.Add(1)
			}
		})
	}
	return run
}

// awaitMore returns when n more calls have been answered.
func (r *longRun) awaitMore(t testing.TB, n int64) {
	t.Helper()
	before := r.answered.Load()
	eventually(t, "more calls to be answered", func() bool { return t.Failed() || r.answered.Load() >= before+n })
}
