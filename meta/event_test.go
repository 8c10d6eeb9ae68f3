package meta

import (
	"testing"
	"time"
)

func TestEventsAreAsOneBotHasThem(t *testing.T) {
	d, _ := newDispatcher(t)
	d.opts.Counters.PacketsReceived.Add(3)
	d.opts.Counters.PacketsSent.Add(2)
	d.opts.Counters.PacketsLost.Add(1)
	now := time.Date(2024, 5, 6, 7, 8, 9, 999_999_999, time.FixedZone("", 8*60*60))
	for _, tt := range []struct{ name, got, want string }{
		{
			"lifecycle", string(Connected(1<<62, now)),
			`{"time":1714950489,"self_id":4611686018427387904,"post_type":"meta_event","meta_event_type":"lifecycle","sub_type":"connect"}`,
		},
		{
			"heartbeat", string(d.Heartbeat(10001, 1500*time.Millisecond, now)),
			`{"time":1714950489,"self_id":10001,"post_type":"meta_event","meta_event_type":"heartbeat",` +
				`"status":` + string(do(t, d, "get_status", "").Data) + `,"interval":1500}`,
		},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is\n%s, want\n%s", tt.name, tt.got, tt.want)
		}
	}
}
