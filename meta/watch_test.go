package meta

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

func TestOnlyAcceptedMessagesAreSent(t *testing.T) {
	for action, want := range map[string]bool{
		"send_msg": true, "send_private_msg": true, "send_group_forward_msg": true, "send_msg_async": true, "send_group_msg_rate_limited": true,
		"send_like": false, "delete_msg": false, "get_msg": false, "sendmsg": false, "": false,
	} {
		if SendsMessage(action) != want {
			t.Errorf("%q: want %t", action, want)
		}
	}
}

// What an app and an implementation say to each other, in any order, is counted
// as a model counts it that looks at all of it.
func TestAConnectionIsCountedAsAModelCountsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want Stat
		type call struct {
			echo int
			send bool
		}
		var pending []call
		counters := new(Counters)
		w := NewBackend(counters, nil).NewWatch(false)
		t.Repeat(map[string]func(*rapid.T){
			"call": func(t *rapid.T) {
				c := call{rapid.IntRange(0, 3).Draw(t, "echo"), rapid.Bool().Draw(t, "send")}
				action := "get_msg"
				if c.send {
					action = "send_msg"
				}
				w.ToImplementation(&packet.Packet{Action: action, Echo: echo(c.echo)})
				pending = append(pending, c)
				want.PacketReceived++
			},
			"response": func(t *rapid.T) {
				e, accepted, delivered := rapid.IntRange(0, 3).Draw(t, "echo"), rapid.Bool().Draw(t, "accepted"), rapid.Bool().Draw(t, "delivered")
				status := "failed"
				if accepted {
					status = rapid.SampledFrom([]string{"ok", "async"}).Draw(t, "status")
				}
				w.FromImplementation(&packet.Packet{Status: status, Retcode: true, Echo: echo(e)}, delivered)
				for i, c := range pending {
					if c.echo == e {
						if c.send && accepted {
							want.MessageSent++
						}
						pending = append(pending[:i:i], pending[i+1:]...)
						settle(&want, delivered)
						return
					}
				}
				want.PacketReceived++ // it answers nobody
				settle(&want, delivered)
			},
			"event": func(t *rapid.T) {
				kind, delivered := rapid.SampledFrom([]string{"message", "notice", "message_sent"}).Draw(t, "kind"), rapid.Bool().Draw(t, "delivered")
				w.FromImplementation(&packet.Packet{PostType: kind, Action: "poke"}, delivered)
				want.PacketReceived++
				if kind == "message" {
					want.MessageReceived++
				}
				settle(&want, delivered)
			},
			"nonsense": func(t *rapid.T) {
				want.PacketReceived += 2
				delivered := rapid.Bool().Draw(t, "delivered")
				w.FromImplementation(new(packet.Packet), delivered)
				w.ToImplementation(new(packet.Packet))
				settle(&want, delivered)
				want.PacketSent++
			},
			"": func(t *rapid.T) {
				if got := counters.Stat(); got != want {
					t.Fatalf("got %+v, want %+v", got, want)
				}
			},
		})
		unasked := rapid.Bool().Draw(t, "unasked")
		w.Close(unasked)
		want.PacketLost += int64(len(pending))
		want.LostTimes = want.PacketLost
		if unasked {
			want.DisconnectTimes++
		}
		if got := counters.Stat(); got != want {
			t.Fatalf("in the end: got %+v, want %+v", got, want)
		}
	})
}

// echo returns an echo, and none for 0.
func echo(n int) json.RawMessage {
	if n == 0 {
		return nil
	}
	return fmt.Appendf(nil, "%d", n)
}

func settle(s *Stat, delivered bool) {
	if delivered {
		s.PacketSent++
	} else {
		s.PacketLost++
		s.LostTimes++
	}
}

func TestAMillionCallsThatNobodyAnswersTakeLittleMemory(t *testing.T) {
	counters := new(Counters)
	w := NewBackend(counters, nil).NewWatch(false)
	const calls = 1_000_000
	for i := range calls {
		w.ToImplementation(&packet.Packet{Action: "send_msg", Echo: echo(i + 1)})
	}
	if n := len(w.old.sends) + len(w.young.sends); n > 2*maxRemembered || n != w.old.n+w.young.n {
		t.Errorf("%d calls are remembered, of %d echoes", w.old.n+w.young.n, n)
	}
	// the newest are, and one of the others is taken for it
	for _, i := range []int{calls, calls - maxRemembered + 1, 1} {
		w.FromImplementation(&packet.Packet{Status: "ok", Retcode: true, Echo: echo(i)}, true)
	}
	w.Close(false)
	want := Stat{PacketReceived: calls, PacketSent: 3, PacketLost: calls - 3, LostTimes: calls - 3, MessageSent: 2}
	if got := counters.Stat(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
