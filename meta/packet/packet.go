// Package packet recognises the packets of OneBot v11 (calls, responses and
// events, each a JSON object) while they pass by in pieces, in constant memory.
package packet

import (
	"encoding/json"
	"time"
)

// Kind is what a packet is.
type Kind uint8

// The kinds of packets. Unknown is everything else that somebody sends.
const (
	Unknown Kind = iota
	Call
	Response
	Event
)

// Packet is what a JSON object says of itself. Of a name that occurs twice the
// first value counts. What is too long to be one of OneBot's, or of another
// type, is as if it were not there.
type Packet struct {
	Action string // of a call, with any suffix

	// Status and Retcode are of a response; Retcode says whether there is one,
	// as a number or as a string of one.
	Status  string
	Retcode bool

	// Echo is of a call or a response: one JSON value as it was sent, and nil
	// if there is none. See EchoKey.
	Echo json.RawMessage

	// The types of an event.
	PostType, MetaEventType, NoticeType, SubType string

	// Online is status.online, which a heartbeat has. It is nil if there is no
	// status object; null, or none in it, is false.
	Online *bool

	// Interval is how long it is until the next heartbeat: 0 if that is not
	// said, or cannot be, and never more than an hour.
	Interval time.Duration
}

// Kind returns what the packet is. Some events have an action, too.
func (p *Packet) Kind() Kind {
	switch {
	case p.PostType != "":
		return Event
	case p.Action != "":
		return Call
	case p.Retcode || p.Status != "":
		return Response
	}
	return Unknown
}
