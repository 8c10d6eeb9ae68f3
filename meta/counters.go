package meta

import (
	"strconv"
	"sync/atomic"
)

// Counters count what get_status reports. The zero value is ready to use, and
// all of it is safe for concurrent use.
type Counters struct {
	// PacketsReceived counts the calls and events that were taken.
	PacketsReceived atomic.Int64
	// PacketsSent counts those of them that were answered or handed on.
	PacketsSent atomic.Int64
	// PacketsLost counts those that were neither. What is in none of the two
	// is still under way.
	PacketsLost atomic.Int64

	// MessagesReceived counts the events that are messages.
	MessagesReceived atomic.Int64
	// MessagesSent counts the calls of send_*msg that the implementation
	// accepted.
	MessagesSent atomic.Int64
	// Disconnects counts how often the implementation was lost.
	Disconnects atomic.Int64
}

// Settle counts a packet that was received before as delivered or as lost.
func (c *Counters) Settle(delivered bool) {
	if delivered {
		c.PacketsSent.Add(1)
	} else {
		c.PacketsLost.Add(1)
	}
}

// Stat is the stat object of get_status, field for field as go-cqhttp has it.
type Stat struct {
	PacketReceived  int64
	PacketSent      int64
	PacketLost      int64
	MessageReceived int64
	MessageSent     int64
	DisconnectTimes int64
	LostTimes       int64 // always the same as PacketLost
	LastMessageTime int64 // always 0
}

// Stat returns the counters as they are now. Those of the packets that are
// settled are read first, so that they are never more than were received.
func (c *Counters) Stat() Stat {
	sent, lost := c.PacketsSent.Load(), c.PacketsLost.Load()
	return Stat{
		PacketReceived:  c.PacketsReceived.Load(),
		PacketSent:      sent,
		PacketLost:      lost,
		MessageReceived: c.MessagesReceived.Load(),
		MessageSent:     c.MessagesSent.Load(),
		DisconnectTimes: c.Disconnects.Load(),
		LostTimes:       lost,
	}
}

// appendJSON appends what encoding/json makes of s.
func (s Stat) appendJSON(b []byte) []byte {
	b = append(b, `{"PacketReceived":`...)
	b = strconv.AppendInt(b, s.PacketReceived, 10)
	b = appendNumber(b, "PacketSent", s.PacketSent)
	b = appendNumber(b, "PacketLost", s.PacketLost)
	b = appendNumber(b, "MessageReceived", s.MessageReceived)
	b = appendNumber(b, "MessageSent", s.MessageSent)
	b = appendNumber(b, "DisconnectTimes", s.DisconnectTimes)
	b = appendNumber(b, "LostTimes", s.LostTimes)
	b = appendNumber(b, "LastMessageTime", s.LastMessageTime)
	return append(b, '}')
}

// appendNumber appends another member of an object. Its name must need no
// escapes.
func appendNumber(b []byte, name string, value int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, value, 10)
}
