package caddymodule

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

func TestASubscriberThatIsSlowHoldsUpNobody(t *testing.T) {
	const name = "events-that-wait"
	subscriber, events := listener()
	began, release := make(chan struct{}, 1), make(chan struct{})
	slow := sync.OnceFunc(func() {
		began <- struct{}{}
		<-release
	})
	mustLoad(t, loadable{names: []string{name, "events-of-another"}, subscriber: func(e caddy.Event) {
		if e.Data["name"] == name {
			slow()
		}
		subscriber(e)
	}})
	for size := range 20 {
		keep(t, name, size+1) // returns when it is answered
	}
	<-began
	keep(t, "events-of-another", 100)
	if e := nextEvent(t, events); e.Data["name"] != "events-of-another" {
		t.Errorf("got an event of %v while its subscriber waits", e.Data["name"])
	}
	close(release)
	for size := range 20 {
		if e := nextEvent(t, events); e.Data["size"] != int64(size+1) {
			t.Fatalf("event %d has the size %v", size, e.Data["size"])
		}
	}
	wantNoMore(t, name, events)
}

func TestSoManyEventsWaitAndTheLogSaysHowManyDoNot(t *testing.T) {
	const name, tooMany = "events-too-many", 7
	subscriber, events := listener()
	began, release := make(chan struct{}, 1), make(chan struct{})
	slow := sync.OnceFunc(func() {
		began <- struct{}{}
		<-release
	})
	mustLoad(t, loadable{names: []string{name}, subscriber: func(e caddy.Event) {
		slow()
		subscriber(e)
	}})
	before := len(logged())
	downloaded := provisioned.of(name).shared.downloaded
	sent := func(size int) { downloaded(meta.Download{Result: "sent", Size: int64(size)}) }
	sent(0)
	<-began
	for size := range maxEvents + tooMany {
		sent(size + 1)
	}
	close(release)
	for size := range maxEvents + 1 {
		if e := nextEvent(t, events); e.Data["size"] != int64(size) {
			t.Fatalf("event %d has the size %v", size, e.Data["size"])
		}
	}
	wantNoMore(t, name, events)
	sent(-1)
	if e := nextEvent(t, events); e.Data["size"] != int64(-1) {
		t.Errorf("the next event has the size %v", e.Data["size"])
	}
	wantNoMore(t, name, events)
	var warnings []string
	for line := range strings.Lines(logged()[before:]) {
		if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "not emitted") {
			warnings = append(warnings, line)
		}
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], fmt.Sprintf(`"waiting":%d`, maxEvents)) || !strings.Contains(warnings[1], fmt.Sprintf(`"events":%d`, tooMany)) {
		t.Errorf("the log says %q", warnings)
	}
}

func TestANameThatIsGoneHasNoEvents(t *testing.T) {
	const name = "events-of-the-past"
	subscriber, events := listener()
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	gone := provisioned.of(name)
	mustLoad(t, loadable{names: []string{"events-of-the-present"}, subscriber: subscriber})
	gone.shared.downloaded(meta.Download{Result: "sent"})
	gone.shared.backendChanged(true)
	wantNoMore(t, name, events)
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	wantNoMore(t, name, events) // and not later, either
	keep(t, name, 1)
	nextEvent(t, events)
	wantNoMore(t, name, events)
}

func TestASubscriberThatNeverEndsDoesNotKeepAConfigFromStopping(t *testing.T) {
	const name = "events-without-end"
	began, release := make(chan struct{}, 1), make(chan struct{})
	mustLoad(t, loadable{names: []string{name}, subscriber: func(e caddy.Event) {
		began <- struct{}{}
		<-release
	}})
	keep(t, name, 1)
	keep(t, name, 2)
	<-began
	stopped := provisioned.of(name)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	close(release)
	stopped.awaitSilence(t)
	select {
	case <-began:
		t.Error("an event is emitted when nothing runs any more")
	default:
	}
}

func TestASubscriberThatPanicsEndsNothing(t *testing.T) {
	const name = "events-that-panic"
	subscriber, events := listener()
	mustLoad(t, loadable{names: []string{name}, subscriber: func(e caddy.Event) {
		if e.Data["size"] == int64(1) {
			panic("a bug of a subscriber")
		}
		subscriber(e)
	}})
	keep(t, name, 1)
	keep(t, name, 2)
	if e := nextEvent(t, events); e.Data["size"] != int64(2) {
		t.Errorf("got %v", e.Data)
	}
	if !strings.Contains(logged(), "event subscriber panicked") {
		t.Error("the log does not tell")
	}
}

// Who comes back under a name may be in front of another implementation.
func TestANameThatComesBackKnowsNothingOfWhatWasBehind(t *testing.T) {
	const name = "relay-that-comes-back"
	subscriber, events := listener()
	online := func() {
		t.Helper()
		provisioned.of(name).shared.backend.Heard(&packet.Packet{PostType: "meta_event", MetaEventType: "lifecycle", SubType: "connect"}, false)
		if e := nextEvent(t, events); e.Name() != eventOnline {
			t.Errorf("got %s", e.Name())
		}
	}
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	online()
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	if h := provisioned.of(name); !h.online() {
		t.Error("a reload forgets")
	}
	mustLoad(t, loadable{names: []string{"another"}, subscriber: subscriber})
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	if h := provisioned.of(name); h.online() {
		t.Error("it is known to be online")
	}
	online()
}

// Caddy starts its apps in any order: calls come, and the bot is heard of, when
// the events app has not yet its subscribers.
func TestWhatHappensWhileAConfigStartsIsAnEventToo(t *testing.T) {
	for i := range 20 {
		name := fmt.Sprintf("relay-starting-%d-%d", len(logged()), i)
		subscriber, events := listener()
		mustLoad(t, loadable{names: []string{name}, subscriber: subscriber, starting: func() error {
			post(t, name, "", `{"post_type":"meta_event","meta_event_type":"lifecycle","sub_type":"connect"}`)
			return nil
		}})
		wantData(t, nextEvent(t, events), eventOnline, map[string]any{"name": name})
		wantNoMore(t, name, events)
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// A subscriber of an old config may block for ever.
func TestEventsStayInOrderWhileAnOldConfigStops(t *testing.T) {
	const name = "events-in-the-grace-period"
	before, old := listener()
	after, events := listener()
	began, release := make(chan struct{}, 1), make(chan struct{})
	mustLoad(t, loadable{names: []string{name}, subscriber: func(e caddy.Event) {
		began <- struct{}{}
		<-release
		before(e)
	}, stopping: func() { keep(t, name, 3) }}) // in the grace period of the old config
	keep(t, name, 1)
	<-began
	keep(t, name, 2) // waits for the slow subscriber
	blocked := provisioned.of(name)
	mustLoad(t, loadable{names: []string{name}, subscriber: after})
	keep(t, name, 4)
	for _, size := range []int64{2, 3, 4} {
		if e := nextEvent(t, events); e.Data["size"] != size {
			t.Errorf("the new subscriber got size %v, want %d", e.Data["size"], size)
		}
	}
	close(release)
	if e := nextEvent(t, old); e.Data["size"] != int64(1) {
		t.Errorf("the old subscriber got %v", e.Data)
	}
	blocked.awaitSilence(t)
	wantNoMore(t, name, events)
	wantNoMore(t, name, old)
}
