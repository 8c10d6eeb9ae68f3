package meta

import "sync/atomic"

// Counters count what get_status reports. The zero value is ready to use, and
// all of it is safe for concurrent use.
type Counters struct {
	// PacketsReceived counts the calls that were taken.
	PacketsReceived atomic.Int64
	// PacketsSent counts the replies that were delivered.
	PacketsSent atomic.Int64
	// PacketsLost counts the replies that nobody was there to take.
	PacketsLost atomic.Int64
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

// Stat returns the counters as they are now.
func (c *Counters) Stat() Stat {
	lost := c.PacketsLost.Load()
	return Stat{
		PacketReceived: c.PacketsReceived.Load(),
		PacketSent:     c.PacketsSent.Load(),
		PacketLost:     lost,
		LostTimes:      lost,
	}
}
