package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Every trouble at every stage of a download, wherever it can be. Of each case a
// rule says what its callers must see. In the end nothing may be left of it, the
// counters must add up, and the next call must get the file.
func TestEveryFaultAtEveryStageOfADownload(t *testing.T) {
	t.Parallel() // it waits much of the time
	m := newMatrix("download matrix", downloadCases(), downloadRules)
	t.Cleanup(func() { m.report(t) })
	var running sync.WaitGroup
	defer running.Wait()
	together := func(troubles ...trouble) {
		for _, f := range troubles {
			t.Run(f.name, func(t *testing.T) {
				runTogether(t, m, f, m.of(func(c downloadCase) bool { return c.trouble == f }))
			})
		}
	}
	running.Go(func() { together(dies) }) // it waits most of the time
	running.Go(func() {
		together(slices.DeleteFunc(processTroubles(), func(f trouble) bool { return f == dies })...)
	})
	if _, err := exec.LookPath(redisServer); err != nil {
		t.Run("the shared storage", func(t *testing.T) { t.Skip(redisServer + " is not installed") })
	}
	t.Run("alone", func(t *testing.T) {
		runAlone(t, m, m.of(func(c downloadCase) bool { return c.trouble.class != ofProcess }))
	})
}

// runAlone runs cases that do not touch each other, in one Caddy.
func runAlone(t *testing.T, m downloadMatrix, cases []downloadCase) {
	c := startCaddy(t, caseSite("nothing", nil), trusted(t))
	before := c.holds(t)
	reload := func(edition string, cases []downloadCase) {
		t.Helper()
		if output, ok := c.reload(caseSite(edition, cases)); !ok {
			t.Fatal(output)
		}
	}
	reload("all cases", cases)
	m.run(t, cases, 100, func(t *testing.T, one downloadCase) {
		r := one.begin(t, c)
		r.strike(t)
		r.collect(t)
		r.origin.heal()
		r.mend(t)
		r.again(t)
		r.checkCounters(t)
	}, func(downloadCase) {})
	for sample, n := range c.metrics(t).of("downloads_in_flight") {
		t.Errorf("of %s there are %v downloads in flight", sample, n)
	}
	reload("nothing again", nil)
	wantNothingOpen(t, c, before, 6)
}

type downloadMatrix = *matrix[downloadCase]

// running is a case that runs.
type running struct {
	downloadCase
	caddy          *instance
	origin         *scripted
	tally          *tally
	before         int64       // calls that were answered
	first          *scripted   // the origin of the download before it in the queue
	under, blocked []*inFlight // the calls of the case, and what is before them
}

// inFlight is a call that is answered later.
type inFlight struct {
	answer chan answer // also if the caller gives up
	giveUp context.CancelFunc
}

func (r *running) call(t testing.TB, url string) *inFlight {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	f := &inFlight{make(chan answer, 1), cancel}
	go func() {
		req, err := http.NewRequestWithContext(ctx, "POST", r.caddy.client.base+r.route()+"/download_file", strings.NewReader(params{"url": url}.String()))
		if err != nil {
			f.answer <- answer{err: err}
			return
		}
		resp, err := r.caddy.client.Do(req)
		if err != nil {
			f.answer <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		got, err := parseReply(resp)
		f.answer <- answer{got, err}
	}()
	return f
}

// begin brings a download to the place where the trouble is to come.
func (c downloadCase) begin(t testing.TB, caddy *instance) *running {
	t.Helper()
	r := &running{downloadCase: c, caddy: caddy, origin: newScripted(t, c), tally: newTally(caddy, c.route())}
	if c.way == askedAgain {
		wantContent(t, r.fetch(t), r.origin.now())
	}
	if c.stage == queued {
		r.first = newScripted(t, downloadCase{known, directly, inBody, oneLeaves, 0})
		r.blocked = append(r.blocked, r.call(t, r.first.url))
		receive(t, r.first.reached, "the download before it to begin")
	}
	if c.stage == accepting && c.way == directly {
		receive(t, r.origin.reached, "nobody to accept a connection")
	}
	r.under = append(r.under, r.call(t, r.origin.url))
	if c.stage != queued {
		receive(t, r.origin.reached, "the place of the trouble")
	}
	for len(r.under) < c.calls() {
		r.under = append(r.under, r.call(t, r.origin.url))
	}
	if c.held() {
		r.tally.want(t, stat{"PacketReceived": r.received()})
	}
	return r
}

// held reports whether the trouble comes when this test wants it to.
func (c downloadCase) held() bool {
	return c.trouble.class >= ofCallers || c.stage == joining && c.trouble.class == ofWire
}

func (r *running) received() int64 { return r.before + int64(len(r.under)+len(r.blocked)) }

// fetch downloads the file and returns its path.
func (r *running) fetch(t testing.TB) string {
	t.Helper()
	for try := 1; ; try++ {
		r.before++
		got, err := r.caddy.client.insist("POST", r.route()+"/download_file", params{"url": r.origin.url}.String())
		if err != nil {
			t.Fatal(err)
		}
		// where time is short, a machine may be too busy
		if short := r.trouble.is(stalls) || r.trouble == timesOut; got.status == "ok" || !short || try == 5 {
			return got.file(t)
		}
	}
}

// strike does what a case does to its callers or to its directory.
func (r *running) strike(t testing.TB) {
	t.Helper()
	cache := r.caddy.cacheDir(r.bot())
	if r.stage == committing {
		r.release()
	}
	switch r.trouble {
	case allLeave, oneLeaves:
		for _, call := range r.under[:r.leavers()] {
			call.giveUp()
		}
		if r.stage != committing { // where they may be answered first
			r.tally.want(t, stat{"PacketLost": int64(r.leavers())})
		}
	case deleted:
		if err := removeAll(cache); err != nil {
			t.Error(err)
		}
	case unwritable:
		if err := firstError(os.MkdirAll(filepath.Dir(cache), 0o700), rename(cache, cache+".away"), os.WriteFile(cache, nil, 0o600)); err != nil {
			t.Error(err)
		}
	}
	r.release()
}

// release lets what is held go on.
func (r *running) release() {
	r.origin.release()
	if r.first != nil {
		r.first.release()
	}
}

// collect waits for what comes of the calls.
func (r *running) collect(t testing.TB) {
	t.Helper()
	expected := r.expected()
	for i, call := range slices.Concat(r.under[r.leavers():], r.blocked) {
		want := r.origin.want()
		if r.first != nil && i >= len(r.under)-r.leavers() {
			want = r.first.now()
		}
		expected.check(t, receive(t, call.answer, "the answer to a call"), want)
	}
}

// mend undoes what was done to the directory.
func (r *running) mend(t testing.TB) {
	t.Helper()
	if cache := r.caddy.cacheDir(r.bot()); r.trouble == unwritable {
		if err := firstError(os.Remove(cache), rename(cache+".away", cache)); err != nil {
			t.Error(err)
		}
	}
}

// again checks what must be true afterwards.
func (r *running) again(t testing.TB) {
	t.Helper()
	wantContent(t, r.fetch(t), r.origin.now())
	if n := r.origin.asked(); r.trouble == allLeave && r.stage != committing && n != r.origin.affected() {
		t.Errorf("the origin had %d connections, want %d: what nobody waited for is left to the next", n, r.origin.affected())
	}
	cache := r.caddy.cacheDir(r.bot())
	eventually(t, "nothing to be under way", func() bool { return len(parts(t, cache)) == 0 })
	for _, path := range cacheFiles(t, cache, "files") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !r.origin.mayKeep(string(content)) && (r.first == nil || string(content) != r.first.now()) {
			t.Errorf("%s has %d bytes %.100q", path, len(content), content)
		}
	}
}

// checkCounters fails the test if a call is not counted as what came of it.
func (r *running) checkCounters(t testing.TB) {
	t.Helper()
	all, lost := r.received(), int64(r.leavers())
	if r.stage == committing && lost > 0 { // who leaves may have the answer before
		var s stat
		eventually(t, "all calls to be settled", func() bool {
			s = r.tally.now(t)
			return s["PacketSent"]+s["PacketLost"] == all
		})
		if s["PacketReceived"] != all || s["PacketLost"] > lost {
			t.Errorf("the counters are %v after %d calls", s, all)
		}
		return
	}
	r.tally.wantAll(t, stat{"PacketReceived": all, "PacketSent": all - lost, "PacketLost": lost})
}

// removeAll is [os.RemoveAll] for a directory that others write to meanwhile.
func removeAll(dir string) (err error) {
	for range 100 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
	}
	return fmt.Errorf("removing a directory: %w", err)
}

// rename is [os.Rename] for what need not be there.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
