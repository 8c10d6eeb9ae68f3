package meta

import (
	"encoding/json"
	"time"
)

// event is what every event has that the module itself sends, all of them meta
// events of OneBot v11.
type event struct {
	Time          int64  `json:"time"` // Unix time, in seconds
	SelfID        int64  `json:"self_id"`
	PostType      string `json:"post_type"`
	MetaEventType string `json:"meta_event_type"`
}

// lifecycleEvent is the event that a new connection begins with.
type lifecycleEvent struct {
	event
	SubType string `json:"sub_type"`
}

// heartbeatEvent is the event that says at intervals how the bot is.
type heartbeatEvent struct {
	event
	Status   json.RawMessage `json:"status"`   // as get_status has it
	Interval int64           `json:"interval"` // until the next one, in milliseconds
}

// Connected returns the event, in JSON, that tells an app of a new connection
// to the bot with an account.
func Connected(selfID int64, now time.Time) []byte {
	return encodeEvent(lifecycleEvent{newEvent(selfID, now, "lifecycle"), "connect"})
}

// Heartbeat returns the event, in JSON, that tells an app that the bot with an
// account is there, and when the next one follows. It is for a module that
// stands alone.
func (d *Dispatcher) Heartbeat(selfID int64, interval time.Duration, now time.Time) []byte {
	return encodeEvent(heartbeatEvent{newEvent(selfID, now, "heartbeat"), d.status(true), interval.Milliseconds()})
}

func newEvent(selfID int64, now time.Time, metaEventType string) event {
	return event{Time: now.Unix(), SelfID: selfID, PostType: "meta_event", MetaEventType: metaEventType}
}

func encodeEvent(v any) []byte {
	b, err := marshal(v)
	if err != nil { // encoding numbers and strings cannot fail
		panic(err)
	}
	return b
}
