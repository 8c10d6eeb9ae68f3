package meta

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

func heartbeat(online bool, interval time.Duration) *packet.Packet {
	return &packet.Packet{PostType: "meta_event", MetaEventType: "heartbeat", Online: &online, Interval: interval}
}

func lifecycle(subType string) *packet.Packet {
	return &packet.Packet{PostType: "meta_event", MetaEventType: "lifecycle", SubType: subType}
}

// saying returns an implementation that answers every question in one way, and
// how often it was asked.
func saying(envelope string, err error) (ask Ask, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	return func(string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) {
			asked.Add(1)
			return []byte(envelope), err
		}
	}, asked
}

// online returns what get_status would say.
func (b *Backend) isOnline(ask Ask) bool {
	online, asked := b.Online(ask)
	if asked != nil {
		<-asked.done
		return asked.online
	}
	return online
}

const (
	sayOnline  = `{"status":"ok","retcode":0,"data":{"online":true,"good":true}}`
	sayOffline = `{"status":"ok","retcode":0,"data":{"online":false}}`
)

func TestTheNewestWordWins(t *testing.T) {
	bad, _ := saying("", errors.New("nobody may ask"))
	for name, tt := range map[string]struct {
		words []*packet.Packet
		want  bool
		lost  int64
	}{
		"a heartbeat that says online":         {[]*packet.Packet{heartbeat(true, 0)}, true, 0},
		"a heartbeat that says offline":        {[]*packet.Packet{heartbeat(false, 0)}, false, 0},
		"a heartbeat after another":            {[]*packet.Packet{heartbeat(true, 0), heartbeat(false, 0)}, false, 1},
		"a connection":                         {[]*packet.Packet{heartbeat(false, 0), lifecycle("connect")}, true, 0},
		"being enabled":                        {[]*packet.Packet{lifecycle("enable")}, true, 0},
		"being disabled":                       {[]*packet.Packet{lifecycle("enable"), lifecycle("disable")}, false, 1},
		"being disabled twice":                 {[]*packet.Packet{lifecycle("enable"), lifecycle("disable"), lifecycle("disable")}, false, 1},
		"a notice of being offline":            {[]*packet.Packet{heartbeat(true, 0), {PostType: "notice", NoticeType: "bot_offline"}}, false, 1},
		"a life cycle that says nothing of it": {[]*packet.Packet{heartbeat(true, 0), lifecycle("other")}, true, 0},
		"a heartbeat without a status":         {[]*packet.Packet{heartbeat(true, 0), {PostType: "meta_event", MetaEventType: "heartbeat"}}, true, 0},
		"another notice":                       {[]*packet.Packet{heartbeat(true, 0), {PostType: "notice", NoticeType: "group_ban"}}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			counters := new(Counters)
			b := NewBackend(counters, nil)
			for _, word := range tt.words {
				b.Heard(word, false)
			}
			if got, lost := b.isOnline(bad), counters.Disconnects.Load(); got != tt.want || lost != tt.lost {
				t.Errorf("got online %t after %d losses, want %t after %d", got, lost, tt.want, tt.lost)
			}
		})
	}
}

func TestWhatIsNotCurrentIsAskedForAtMostOnceIn5Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackend(new(Counters), nil)
		ask, asked := saying(sayOnline, nil)
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if !b.isOnline(ask) {
					t.Error("not online")
				}
			})
		}
		callers.Wait()
		time.Sleep(newsLast - time.Nanosecond)
		b.isOnline(ask)
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times within 5 s", n)
		}
		time.Sleep(time.Nanosecond)
		b.isOnline(ask)
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times after 5 s, want 2", n)
		}
		b.Heard(heartbeat(false, 0), false)
		if b.isOnline(ask) || asked.Load() != 2 {
			t.Error("asked though there is a newer word")
		}
	})
}

func TestNoProperAnswerIsOffline(t *testing.T) {
	for name, tt := range map[string]struct {
		envelope string
		err      error
		want     bool
	}{
		"online":                {sayOnline, nil, true},
		"offline":               {sayOffline, nil, false},
		"null":                  {`{"status":"ok","data":{"online":null}}`, nil, false},
		"nothing of it":         {`{"status":"ok","data":{}}`, nil, false},
		"a number":              {`{"status":"ok","data":{"online":1}}`, nil, false},
		"no data":               {`{"status":"ok","data":null}`, nil, false},
		"a failure":             {`{"status":"failed","retcode":1404,"data":{"online":true}}`, nil, false},
		"no envelope":           {`[true]`, nil, false},
		"no JSON":               {`<html>`, nil, false},
		"nothing":               {``, nil, false},
		"an error and envelope": {sayOnline, errors.New("it broke off"), false},
	} {
		t.Run(name, func(t *testing.T) {
			ask, _ := saying(tt.envelope, tt.err)
			if got := NewBackend(new(Counters), nil).isOnline(ask); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestAnImplementationThatNeverAnswersIsOfflineAfter2Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := new(Counters)
		b := NewBackend(counters, nil)
		b.Heard(heartbeat(true, 0), false)
		time.Sleep(newsLast)
		hung := make(chan struct{})
		start := time.Now()
		online := b.isOnline(func(string) func(context.Context) ([]byte, error) {
			return func(context.Context) ([]byte, error) { // does not heed its context
				<-hung
				return []byte(sayOnline), nil
			}
		})
		if online || time.Since(start) != askPatience || counters.Disconnects.Load() != 1 {
			t.Errorf("got online %t after %v and %d losses", online, time.Since(start), counters.Disconnects.Load())
		}
		close(hung)
	})
}

// What an implementation says that cannot be asked holds longer.
func TestAWordHoldsIfNobodyCanBeAsked(t *testing.T) {
	vain, _ := saying("", fmt.Errorf("status 426: %w", ErrNotSpoken))
	down, _ := saying("", errors.New("it is down"))
	offline, _ := saying(sayOffline, nil)
	byPost := func(dialed bool) func(*Backend, *packet.Packet) {
		return func(b *Backend, p *packet.Packet) { b.Heard(p, dialed) }
	}
	byConnection := func(dialed bool) func(*Backend, *packet.Packet) {
		return func(b *Backend, p *packet.Packet) { b.NewWatch(dialed).FromImplementation(p, true) }
	}
	byClosedConnection := func(b *Backend, p *packet.Packet) {
		w := b.NewWatch(true)
		w.FromImplementation(p, true)
		w.Close(false)
	}
	beat := heartbeat(true, 30*time.Second)
	for name, tt := range map[string]struct {
		word  *packet.Packet
		by    func(*Backend, *packet.Packet)
		ask   Ask
		after time.Duration
		want  bool
	}{
		"a heartbeat, before the next is overdue":                      {beat, byConnection(false), vain, 44 * time.Second, true},
		"a heartbeat, when the next is overdue":                        {beat, byConnection(false), vain, 46 * time.Second, false},
		"not against what the implementation says":                     {beat, byConnection(false), offline, 6 * time.Second, false},
		"not if it is down":                                            {beat, byConnection(false), down, 6 * time.Second, false},
		"not if it came by a post":                                     {beat, byPost(false), vain, 6 * time.Second, false},
		"not if its connection has ended":                              {beat, byClosedConnection, vain, 6 * time.Second, false},
		"of one that dials, whatever the app behind says":              {beat, byConnection(true), down, 44 * time.Second, true},
		"of one that posts, whatever the app behind says":              {beat, byPost(true), down, 44 * time.Second, true},
		"of one that dials without heartbeats":                         {lifecycle("connect"), byConnection(true), down, time.Hour, true},
		"not a connection of an app, without heartbeats":               {lifecycle("connect"), byConnection(false), vain, 6 * time.Second, false},
		"of one that posts without heartbeats, which may be gone long": {lifecycle("enable"), byPost(true), down, 6 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBackend(new(Counters), nil)
				tt.by(b, tt.word)
				time.Sleep(tt.after)
				if got := b.isOnline(tt.ask); got != tt.want {
					t.Errorf("got %t", got)
				}
			})
		})
	}
}

func TestALostConnectionMakesItUnknownAndCountsOnce(t *testing.T) {
	counters := new(Counters)
	b := NewBackend(counters, nil)
	w := b.NewWatch(false)
	w.FromImplementation(heartbeat(true, time.Minute), true)
	w.Close(true)
	vain, asked := saying("", errors.New("it is down"))
	if b.isOnline(vain) || asked.Load() != 1 {
		t.Error("it was not asked, or is online")
	}
	if n := counters.Disconnects.Load(); n != 1 {
		t.Errorf("counted %d times", n)
	}
}

func TestALostConnectionTakesNothingBackThatAnotherSaid(t *testing.T) {
	b := NewBackend(new(Counters), nil)
	one, other := b.NewWatch(false), b.NewWatch(false)
	other.FromImplementation(heartbeat(true, time.Minute), true)
	one.Close(true)
	vain, _ := saying("", errors.New("nobody may ask"))
	if !b.isOnline(vain) {
		t.Error("it is offline")
	}
}

// One who has the wrong token for the implementation learns nothing of it, and
// makes nobody else believe anything.
func TestACallerWhomTheImplementationRefusesSaysNothingOfIt(t *testing.T) {
	counters := new(Counters)
	b := NewBackend(counters, nil)
	good, _ := saying(sayOnline, nil)
	bad, _ := saying("", fmt.Errorf("status 403: %w", ErrCallerRefused))
	if b.isOnline(bad) {
		t.Error("online, though nothing is known")
	}
	if !b.isOnline(good) {
		t.Error("the next one is not heard")
	}
	synctest.Test(t, func(t *testing.T) {
		b := NewBackend(counters, nil)
		b.isOnline(good)
		time.Sleep(newsLast)
		b.isOnline(bad)
		if !b.isOnline(good) || counters.Disconnects.Load() != 0 {
			t.Errorf("it is offline, after %d losses", counters.Disconnects.Load())
		}
	})
}

func TestAWordThatCameWhileTheImplementationWasAskedIsNewer(t *testing.T) {
	counters := new(Counters)
	b := NewBackend(counters, nil)
	if b.isOnline(func(string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) {
			b.Heard(heartbeat(false, 0), false)
			return []byte(sayOnline), nil
		}
	}) {
		t.Error("an old answer won")
	}
}

// An answer that comes at once is one, although what asked ends with it.
func TestAnAnswerIsNotMissed(t *testing.T) {
	ask := func(context.Context) ([]byte, error) { return []byte(sayOnline), nil }
	var askers sync.WaitGroup
	for range 50 { // so that who asks has to wait for a processor
		askers.Go(func() {
			for n := range 2000 {
				if envelope, err := within(t.Context(), ask); err != nil || string(envelope) != sayOnline {
					t.Errorf("question %d: %q, %v", n, envelope, err)
					return
				}
			}
		})
	}
	askers.Wait()
}
