package integration

import (
	"cmp"
	"testing"
)

// processTroubles are those that all downloads of a Caddy have together.
func processTroubles() []trouble {
	return append([]trouble{reloads, forgets, stops, stopsSoon, dies}, systemTroubles()...)
}

// disaster is what happens to a Caddy in the middle of its downloads.
type disaster struct {
	global string // options
	// strike returns when it has happened, and mend when all is well again. If
	// that takes another Caddy, it returns that.
	strike func(t testing.TB, c *instance, cases []downloadCase)
	mend   func(t testing.TB, c *instance, cases []downloadCase) *instance
	silent bool   // what is held is not let go before there is an answer
	anew   bool   // the counters begin anew
	binary string // of another Caddy than the usual one
}

func reloaded(t testing.TB, c *instance, edition string, cases []downloadCase) {
	t.Helper()
	if output, ok := c.reload(caseSite(edition, cases)); !ok {
		t.Fatal(output)
	}
}

func stays(_ testing.TB, c *instance, _ []downloadCase) *instance { return c }

// startsAgain waits for the end of a Caddy and starts another one in its place.
func startsAgain(t testing.TB, c *instance, cases []downloadCase) *instance {
	t.Helper()
	if c.killed {
		<-c.exited
	} else if c.awaitExit(); c.exitErr != nil {
		t.Errorf("Caddy ended with %v", c.exitErr)
	}
	return startCaddy(t, caseSite("again", cases), at(c.home), trusted(t))
}

func disasterOf(t testing.TB, f trouble) disaster {
	switch f {
	case reloads:
		return disaster{mend: stays, strike: func(t testing.TB, c *instance, cases []downloadCase) {
			reloaded(t, c, "another", cases)
		}}
	case forgets:
		return disaster{
			strike: func(t testing.TB, c *instance, _ []downloadCase) { reloaded(t, c, "without", nil) },
			mend: func(t testing.TB, c *instance, cases []downloadCase) *instance {
				reloaded(t, c, "with", cases)
				return c
			},
		}
	case stops:
		return disaster{mend: startsAgain, anew: true, strike: func(t testing.TB, c *instance, _ []downloadCase) {
			c.terminate()
			c.awaitLog("servers shutting down with eternal grace period")
		}}
	case stopsSoon:
		return disaster{global: "\tgrace_period 300ms", mend: startsAgain, anew: true, silent: true,
			strike: func(t testing.TB, c *instance, _ []downloadCase) { c.terminate() }}
	case dies:
		return disaster{mend: startsAgain, anew: true, silent: true,
			strike: func(t testing.TB, c *instance, _ []downloadCase) { c.kill() }}
	}
	return systemDisaster(t, f)
}

// runTogether runs all cases of one trouble, which has all of them at once, each
// where it is.
func runTogether(t *testing.T, m downloadMatrix, f trouble, cases []downloadCase) {
	d := disasterOf(t, f)
	c := startCaddy(t, caseSite("first", cases), trusted(t), global(d.global), program(cmp.Or(d.binary, caddyBinary)))
	begun, ended, checked := newBarrier(cases), newBarrier(cases), newBarrier(cases)
	struck := make(chan struct{})
	mended := c // is set before ended opens
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		m.run(t, cases, len(cases), func(t *testing.T, one downloadCase) {
			r := one.begin(t, c)
			begun.pass(t, one)
			if one.stage == committing {
				r.release()
			}
			if !d.silent {
				receive(t, struck, "the trouble")
				r.release()
			}
			r.collect(t)
			r.origin.heal()
			ended.pass(t, one)
			if mended != c {
				r.caddy, r.before, r.under, r.blocked = mended, 0, nil, nil
				r.tally = newTally(mended, one.route())
			}
			r.again(t)
			r.checkCounters(t)
			checked.arrive(one)
		}, func(one downloadCase) {
			begun.arrive(one)
			ended.arrive(one)
			checked.arrive(one)
		})
	}()
	defer func() { receive(t, finished, "the cases to end") }()
	begun.await(t)
	close(begun.open)
	d.strike(t, c, cases)
	close(struck)
	ended.await(t)
	mended = d.mend(t, c, cases)
	close(ended.open)
	checked.await(t)
	for sample, n := range mended.metrics(t).of("downloads_in_flight") {
		t.Errorf("of %s there are %v downloads in flight", sample, n)
	}
}
