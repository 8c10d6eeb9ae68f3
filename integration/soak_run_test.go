package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// How long the soak takes: a little with all the other tests, and half an hour
// if it is asked for without saying how long.
const (
	briefSoak = 6 * time.Second
	fullSoak  = 30 * time.Minute
)

// soakLength is the flag -soak: alone, in minutes, or as a duration.
type soakLength time.Duration

var soakFor = soakLength(briefSoak)

func init() {
	flag.Var(&soakFor, "soak", "soak for 30 minutes, or `so many`, or for a duration such as 90s")
}

func (l *soakLength) String() string { return time.Duration(*l).String() }

// IsBoolFlag lets the flag stand alone.
func (l *soakLength) IsBoolFlag() bool { return true }

func (l *soakLength) Set(value string) error {
	if minutes, err := strconv.ParseFloat(value, 64); err == nil {
		value = fmt.Sprint(minutes, "m")
	}
	length, err := time.ParseDuration(value)
	switch {
	case value == "true":
		*l = soakLength(fullSoak)
	case value == "false":
		*l = soakLength(briefSoak)
	case err != nil || length <= 0:
		return errors.New("want minutes or a duration")
	default:
		*l = soakLength(length)
	}
	return nil
}

func TestTheSoakFlagTakesMinutesAndDurations(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"true": fullSoak, "false": briefSoak, "5": 5 * time.Minute, "0.5": 30 * time.Second, "90s": 90 * time.Second,
		"": 0, "x": 0, "0": 0, "-1": 0, "-1s": 0, "5x": 0, "NaN": 0,
	} {
		var got soakLength
		if err := got.Set(value); time.Duration(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %v (%v), want %v", value, time.Duration(got), err, want)
		}
	}
}

// soak is a Caddy under all that can happen to it at a time, and what everybody
// who has to do with it has seen.
type soak struct {
	*instance
	t    *testing.T
	seed uint64

	origin          *soakOrigin
	bot, app, dying *backend // behind front and reverse, and behind rough
	apps            *backend // whose ends of connections are outside
	configs         [][]byte
	version         int                // of the config that runs
	scraped         map[string]float64 // counters, as they were last

	unique atomic.Int64 // numbers what must not be twice

	books map[string]*book
	shelf shelf
	done  doings

	// A reload ends WebSocket connections. Whoever could not tell then which of
	// its messages arrived, or what they counted, holds off reloads until it can;
	// rough does not.
	reloads sync.RWMutex
	// Held off by those who use the cache of the name small, which moves.
	moves sync.RWMutex
	// For each bot, held by who waits for a connection at it.
	pairing map[*backend]*sync.Mutex
}

// A soak is a mix of everything for as long as one likes. It goes through the
// same twice, since the first time makes what stays: what is held is compared
// with what was held then.
func TestSoak(t *testing.T) {
	t.Parallel() // it waits much of the time
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("ONEBOT_META_SOAK_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("ONEBOT_META_SOAK_SEED: %v", err)
		}
	}
	t.Logf("soaking for %v; to try this again: ONEBOT_META_SOAK_SEED=%d", &soakFor, seed)
	s := newSoak(t, seed)
	length := time.Duration(soakFor)
	warmUp := min(max(length/4, 3*time.Second), 2*time.Minute)
	s.mix("warm-up", warmUp)
	before := s.settle()
	s.mix("soak", max(length-warmUp, 3*time.Second))
	after := s.settle()
	s.wantNoGrowth(before, after)
	s.wantNothingLeft()
	s.wantLogsExplained()
	t.Logf("done: %v", &s.done)
	t.Logf("held after the warm-up: %+v, and at the end: %+v", before, after)
}

// soaker is somebody who does the same again and again, at random.
type soaker struct {
	name  string
	many  int           // of them at a time
	pause time.Duration // between one round and the next, on average
	round func(*soak, *rand.Rand)
}

// soakers returns all of them.
func soakers() []soaker {
	return []soaker{
		{"callers over HTTP", 3, 60 * time.Millisecond, (*soak).callOverHTTP},
		{"callers over WebSocket", 2, 200 * time.Millisecond, (*soak).callOverWebSocket},
		{"callers that hang up", 1, 300 * time.Millisecond, (*soak).callAndHangUp},
		{"downloads", 4, 300 * time.Millisecond, (*soak).download},
		{"downloads into a small cache", 2, 500 * time.Millisecond, (*soak).downloadSmall},
		{"crowds", 1, 500 * time.Millisecond, (*soak).crowd},
		{"broken transfers", 1, 500 * time.Millisecond, (*soak).downloadUnsure},
		{"stalls", 1, time.Second, (*soak).stall},
		{"readers of files", 1, 100 * time.Millisecond, (*soak).reread},
		{"calls that pass", 2, 100 * time.Millisecond, (*soak).passHTTP},
		{"words of the bot", 1, 500 * time.Millisecond, (*soak).sayWord},
		{"apps", 2, 500 * time.Millisecond, (*soak).relayForward},
		{"bots that dial", 1, 500 * time.Millisecond, (*soak).relayReverse},
		{"rough connections", 2, 400 * time.Millisecond, (*soak).relayRough},
		{"rough calls", 1, 150 * time.Millisecond, (*soak).passRough},
		{"a bot that dies", 1, 3 * time.Second, (*soak).die},
		{"reloads", 1, 2 * time.Second, (*soak).reconfigure},
		{"scrapes", 1, time.Second, (*soak).scrape},
		{"commands", 1, 4 * time.Second, (*soak).command},
	}
}

// mix has everybody do what they do, for a while.
func (s *soak) mix(phase string, length time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), length)
	defer cancel()
	var running sync.WaitGroup
	for i, p := range soakers() {
		for n := range p.many {
			r := rand.New(rand.NewPCG(s.seed, uint64(i*100+n)<<8+uint64(phase[0])))
			running.Go(func() {
				for ctx.Err() == nil && !s.t.Failed() {
					p.round(s, r)
					s.done.add(p.name, 1)
					select {
					case <-time.After(time.Duration(r.Int64N(int64(2 * p.pause)))): // so that it is a mix, and no burn
					case <-ctx.Done():
					}
				}
			})
		}
	}
	running.Wait()
	if s.t.Failed() {
		s.t.Fatalf("the %s failed; to try it again: ONEBOT_META_SOAK_SEED=%d", phase, s.seed)
	}
}

// pick returns one of several.
func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// doings say how often things were done.
type doings struct {
	mu sync.Mutex
	n  map[string]int64
}

func (d *doings) add(what string, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		d.n = make(map[string]int64)
	}
	d.n[what] += n
}
