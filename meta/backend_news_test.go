package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// refused is the answer of an implementation to a caller with a wrong token.
func refused() Ask { ask, _ := saying("", fmt.Errorf("status 403: %w", ErrCallerRefused)); return ask }

// answering is an implementation that answers every question in one way.
func answering(envelope string, err error) Ask { ask, _ := saying(envelope, err); return ask }

func TestNewsIsToldOnceAndInOrder(t *testing.T) {
	on, off := heartbeat(true, time.Minute), heartbeat(false, time.Minute)
	down := answering("", errors.New("it is down"))
	silent := answering("", fmt.Errorf("status 426: %w", ErrNotSpoken))
	heard := func(b *Backend, events ...*packet.Packet) {
		for _, event := range events {
			b.Heard(event, false)
		}
	}
	// of a connection that the app has dialed
	by := func(b *Backend, events ...*packet.Packet) *Watch {
		w := b.NewWatch(false)
		for _, event := range events {
			w.FromImplementation(event, true)
		}
		return w
	}
	for name, tt := range map[string]struct {
		happens func(b *Backend)
		want    []bool
	}{
		"nothing": {func(*Backend) {}, nil},
		"what says nothing of it": {func(b *Backend) {
			heard(b, lifecycle("other"), &packet.Packet{PostType: "message"}, &packet.Packet{PostType: "meta_event", MetaEventType: "heartbeat"})
		}, nil},
		"the first word, if it is online":          {func(b *Backend) { heard(b, on) }, []bool{true}},
		"the first word, if it is offline":         {func(b *Backend) { heard(b, off) }, []bool{false}},
		"a disabled one":                           {func(b *Backend) { heard(b, lifecycle("disable")) }, []bool{false}},
		"the same all the time":                    {func(b *Backend) { heard(b, on, lifecycle("connect"), on, lifecycle("enable"), on) }, []bool{true}},
		"each change":                              {func(b *Backend) { heard(b, off, on, on, off, off, on) }, []bool{false, true, false, true}},
		"a notice of being offline":                {func(b *Backend) { heard(b, on, &packet.Packet{PostType: "notice", NoticeType: "bot_offline"}) }, []bool{true, false}},
		"a connection that is lost":                {func(b *Backend) { by(b, on).Close(true) }, []bool{true, false}},
		"a connection that ends":                   {func(b *Backend) { by(b, on).Close(false) }, []bool{true}},
		"a connection that is lost without a word": {func(b *Backend) { by(b).Close(true) }, []bool{false}},
		"a connection that is lost when it is off": {func(b *Backend) { by(b, off).Close(true) }, []bool{false}},
		"a connection that is made again":          {func(b *Backend) { by(b, on).Close(true); by(b, on) }, []bool{true, false, true}},
		"a connection that is made again, and off": {func(b *Backend) { by(b, on).Close(true); by(b, off) }, []bool{true, false}},
		"one of two, and the other has said more": {func(b *Backend) {
			w := by(b, on)
			by(b, on)
			w.Close(true)
		}, []bool{true}},
		"both of two": {func(b *Backend) {
			w, other := by(b, on), by(b, on)
			w.Close(true)
			other.Close(true)
		}, []bool{true, false}},
		"one of two that differ": {func(b *Backend) {
			w, other := by(b, on), by(b, off)
			w.FromImplementation(on, true)
			other.Close(true)
		}, []bool{true, false, true}},
		"a connection of an app, while the implementation posts": {func(b *Backend) {
			b.Heard(on, true)
			by(b).Close(true)
		}, []bool{true}},
		"an answer that it is online":    {func(b *Backend) { b.isOnline(answering(sayOnline, nil)) }, []bool{true}},
		"an answer that it is offline":   {func(b *Backend) { b.isOnline(answering(sayOffline, nil)) }, []bool{false}},
		"no answer":                      {func(b *Backend) { b.isOnline(down) }, []bool{false}},
		"no answer to one who may not":   {func(b *Backend) { b.isOnline(refused()) }, nil},
		"no answer where there are none": {func(b *Backend) { b.isOnline(silent) }, []bool{false}},
		"no answer after a word": {func(b *Backend) {
			heard(b, on)
			time.Sleep(newsLast)
			b.isOnline(down)
			b.isOnline(down)
		}, []bool{true, false}},
		"no answer where a word holds": {func(b *Backend) {
			by(b, on)
			time.Sleep(newsLast)
			b.isOnline(silent)
		}, []bool{true}},
		"an answer after a loss":            {func(b *Backend) { by(b, on).Close(true); b.isOnline(answering(sayOnline, nil)) }, []bool{true, false, true}},
		"a heartbeat that is overdue":       {func(b *Backend) { heard(b, on); time.Sleep(90*time.Second - 1) }, []bool{true}},
		"a heartbeat that has been overdue": {func(b *Backend) { heard(b, on); time.Sleep(91 * time.Second); heard(b, on) }, []bool{true, false, true}},
		"heartbeats that come, and one of being offline": {func(b *Backend) {
			for range 5 {
				heard(b, on)
				time.Sleep(time.Minute)
			}
			heard(b, off)
			time.Sleep(time.Hour)
		}, []bool{true, false}},
		"a connection that ends for long": {func(b *Backend) { by(b, lifecycle("connect")).Close(false); time.Sleep(time.Hour) }, []bool{true, false}},
		"a framework that restarts": {func(b *Backend) {
			w := by(b, heartbeat(true, 5*time.Second))
			time.Sleep(4 * time.Second)
			w.Close(false)
			time.Sleep(reconnectPatience - 1)
			by(b, heartbeat(true, 5*time.Second))
		}, []bool{true}},
		"heartbeats that come more slowly than they say": {func(b *Backend) {
			for range 5 {
				heard(b, heartbeat(true, time.Second))
				time.Sleep(newsLast - 1)
			}
		}, []bool{true}},
		"one of which all was forgotten": {func(b *Backend) { heard(b, on); b.Forget(); time.Sleep(time.Hour); heard(b, on) }, []bool{true, true}},
		"an answer that is older than the newest word": {func(b *Backend) {
			b.isOnline(func(string) func(context.Context) ([]byte, error) {
				return func(context.Context) ([]byte, error) {
					heard(b, off)
					return []byte(sayOnline), nil
				}
			})
		}, []bool{false}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []bool // before who has it happen goes on
				b := NewBackend(new(Counters), func(online bool) { told = append(told, online) })
				tt.happens(b)
				synctest.Wait() // for what time alone has brought
				if !slices.Equal(told, tt.want) {
					t.Errorf("told %v, want %v", told, tt.want)
				}
			})
		})
	}
}

func TestNewsIsToldByOneAtATime(t *testing.T) {
	var telling atomic.Int32
	var told []bool
	b := NewBackend(new(Counters), func(online bool) {
		if telling.Add(1) != 1 {
			t.Error("it is told twice at a time")
		}
		told = append(told, online)
		telling.Add(-1)
	})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 200 {
				w := b.NewWatch(n%2 == 0)
				w.FromImplementation(heartbeat((i+n)%2 == 0, time.Minute), true)
				b.Heard(lifecycle([]string{"enable", "disable"}[n%2]), false)
				w.Close(n%3 == 0)
				b.isOnline(answering(sayOnline, nil))
				b.KnownOnline()
			}
		})
	}
	all.Wait()
	b.Heard(heartbeat(false, 0), false)
	b.Heard(heartbeat(true, 0), false)
	for i := range told {
		if i > 0 && told[i] == told[i-1] {
			t.Fatalf("%t is told twice in a row", told[i])
		}
	}
	if len(told) < 2 || !told[len(told)-1] {
		t.Errorf("of %d news the last is not the newest", len(told))
	}
}

func TestWhatIsKnownWithoutAsking(t *testing.T) {
	on := heartbeat(true, 30*time.Second)
	silent := answering("", fmt.Errorf("status 426: %w", ErrNotSpoken))
	type steps = func(b *Backend, w *Watch)
	byConnection := func(events ...*packet.Packet) steps {
		return func(_ *Backend, w *Watch) {
			for _, event := range events {
				w.FromImplementation(event, true)
			}
		}
	}
	for name, tt := range map[string]struct {
		happens steps
		dialed  bool          // by the implementation
		after   time.Duration // since the last of it
		want    bool
	}{
		"nothing":                               {happens: byConnection(), want: false},
		"online just now":                       {happens: byConnection(on), want: true},
		"heartbeats whose connection has ended": {happens: func(_ *Backend, w *Watch) { w.FromImplementation(on, true); w.Close(false) }, dialed: true, after: 24 * time.Hour, want: false},
		"heartbeats whose connection the app has ended":     {happens: func(_ *Backend, w *Watch) { w.FromImplementation(on, true); w.Close(false) }, after: 24 * time.Hour, want: false},
		"a connection of one that dials that has ended":     {happens: func(_ *Backend, w *Watch) { w.FromImplementation(lifecycle("connect"), true); w.Close(false) }, dialed: true, after: 24 * time.Hour, want: false},
		"a heartbeat that does not say when the next comes": {happens: byConnection(heartbeat(true, 0)), dialed: true, want: true},
		"offline just now":                             {happens: byConnection(heartbeat(false, time.Minute)), want: false},
		"before the next heartbeat is overdue":         {happens: byConnection(on), after: 45*time.Second - 1, want: true},
		"when the next heartbeat is overdue":           {happens: byConnection(on), after: 45 * time.Second, want: false},
		"before that, of one that dials":               {happens: byConnection(on), dialed: true, after: 45*time.Second - 1, want: true},
		"then, of one that dials":                      {happens: byConnection(on), dialed: true, after: 45 * time.Second, want: false},
		"heartbeats once a day, before they must come": {happens: byConnection(heartbeat(true, 24*time.Hour)), after: longestHeartbeat*3/2 - 1, want: true},
		"heartbeats once a day, when they should come": {happens: byConnection(heartbeat(true, 24*time.Hour)), after: longestHeartbeat * 3 / 2, want: false},
		"a connection without heartbeats":              {happens: byConnection(lifecycle("connect")), dialed: true, after: time.Hour, want: true},
		"an app's connection without heartbeats":       {happens: byConnection(lifecycle("connect")), after: time.Hour, want: true},
		"a connection with heartbeats":                 {happens: byConnection(lifecycle("connect"), on), dialed: true, after: time.Minute, want: false},
		"a heartbeat that came late": {happens: func(_ *Backend, w *Watch) {
			w.FromImplementation(on, true)
			time.Sleep(time.Hour)
			w.FromImplementation(on, true)
		}, want: true},
		"a heartbeat that was posted":                         {happens: func(b *Backend, _ *Watch) { b.Heard(on, true) }, after: 45*time.Second - 1, want: true},
		"none that was posted when it was overdue":            {happens: func(b *Backend, _ *Watch) { b.Heard(on, true) }, after: 45 * time.Second, want: false},
		"a post of one that can be asked":                     {happens: func(b *Backend, _ *Watch) { b.Heard(on, false) }, after: 45*time.Second - 1, want: true},
		"none of it when the next is overdue":                 {happens: func(b *Backend, _ *Watch) { b.Heard(on, false) }, after: 45 * time.Second, want: false},
		"one that was forgotten":                              {happens: func(b *Backend, _ *Watch) { b.Heard(lifecycle("connect"), false); b.Forget() }, want: false},
		"a connection without heartbeats that has just ended": {happens: func(_ *Backend, w *Watch) { w.FromImplementation(lifecycle("connect"), true); w.Close(false) }, after: reconnectPatience - 1, want: true},
		"what it has answered":                                {happens: func(b *Backend, _ *Watch) { b.isOnline(answering(sayOnline, nil)) }, after: time.Hour, want: true},
		"what it has answered, if it is offline":              {happens: func(b *Backend, _ *Watch) { b.isOnline(answering(sayOffline, nil)) }, want: false},
		"no answer": {happens: func(b *Backend, _ *Watch) {
			b.Heard(on, false)
			time.Sleep(newsLast)
			b.isOnline(answering("", errors.New("it is down")))
		}, want: false},
		"no answer that could be had":                   {happens: func(b *Backend, w *Watch) { w.FromImplementation(on, true); time.Sleep(newsLast); b.isOnline(silent) }, want: true},
		"no answer that could be had, and then nothing": {happens: func(b *Backend, w *Watch) { w.FromImplementation(on, true); time.Sleep(newsLast); b.isOnline(silent) }, after: 45*time.Second - newsLast, want: false},
		"a caller whom it refuses": {happens: func(b *Backend, w *Watch) {
			w.FromImplementation(on, true)
			time.Sleep(newsLast)
			b.isOnline(refused())
		}, want: true},
		"a connection that was lost":                    {happens: func(_ *Backend, w *Watch) { w.FromImplementation(on, true); w.Close(true) }, want: false},
		"a connection that was lost, of one that dials": {happens: func(_ *Backend, w *Watch) { w.FromImplementation(lifecycle("connect"), true); w.Close(true) }, dialed: true, want: false},
		"a connection that was made again": {happens: func(b *Backend, w *Watch) {
			w.FromImplementation(on, true)
			w.Close(true)
			b.NewWatch(false).FromImplementation(lifecycle("connect"), true)
		}, want: true},
		"another connection that was lost": {happens: func(b *Backend, w *Watch) {
			other := b.NewWatch(false)
			other.FromImplementation(on, true)
			w.FromImplementation(on, true)
			other.Close(true)
		}, want: true},
		"one of another connection, of which the heartbeat is overdue": {happens: func(b *Backend, w *Watch) {
			w.FromImplementation(heartbeat(true, time.Minute), true)
			b.NewWatch(false).FromImplementation(on, true)
		}, after: 50 * time.Second, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBackend(new(Counters), nil)
				tt.happens(b, b.NewWatch(tt.dialed))
				time.Sleep(tt.after)
				if got := b.KnownOnline(); got != tt.want {
					t.Errorf("got %t", got)
				}
			})
		})
	}
}
