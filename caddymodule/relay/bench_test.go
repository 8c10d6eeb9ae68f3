package relay

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

type nobody struct{}

func (nobody) ToImplementation(*packet.Packet)         {}
func (nobody) FromImplementation(*packet.Packet, bool) {}

func benchOptions(reverse bool) Options {
	return Options{
		Reverse: reverse,
		MaxCall: 16 << 20,
		Mine:    func(action string) bool { return action == "mine" },
		Answer:  func(_, _ []byte, _ func([]byte) bool) {},
		Watch:   nobody{},
	}
}

// endless reads the same over and over.
type endless []byte

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }

// What the relay adds to each message or piece of one that passes.
func BenchmarkRelay(b *testing.B) {
	call := `{"action":"send_group_msg","params":{"group_id":123456789,"message":"hello, this is a message"},"echo":"0123456789abcdef"}`
	long := `{"action":"send_group_msg","params":{"group_id":123456789,"message":"` + strings.Repeat("hello ", 5000) + `"},"echo":1}`
	event := `{"time":1700000000,"self_id":10001000,"post_type":"message","message_type":"group","message":"hello","user_id":10001000}`
	for _, c := range []struct {
		name     string
		from, to []byte
		deflate  bool
	}{
		{name: "one small message", from: encode(true, text(call)), to: encode(false, text(event))},
		{name: "100 small messages", from: encode(true, many(text(call), 100)...), to: encode(false, many(text(event), 100)...)},
		{name: "one of 30 KB", from: encode(true, text(long)), to: encode(false, text(long))},
		{
			name: "one small, compressed", deflate: true,
			from: encode(true, frame{op: 1, deflate: true, payload: deflated(call)}), to: encode(false, frame{op: 1, deflate: true, payload: deflated(event)}),
		},
	} {
		b.Run(c.name+"/calls", func(b *testing.B) {
			rl := New(benchOptions(false))
			rl.open(peer{deadlines: noDeadlines{}, from: endless(c.from), to: io.Discard, close: func() error { return nil }}, agreement{deflate: c.deflate})
			p := make([]byte, 32<<10)
			b.SetBytes(int64(len(c.from)))
			b.ReportAllocs()
			for b.Loop() {
				rl.read(p)
			}
		})
		b.Run(c.name+"/events", func(b *testing.B) {
			rl := New(benchOptions(false))
			rl.open(peer{deadlines: noDeadlines{}, from: endless{}, to: io.Discard, close: func() error { return nil }}, agreement{deflate: c.deflate})
			b.SetBytes(int64(len(c.to)))
			b.ReportAllocs()
			for b.Loop() {
				rl.down.Write(c.to)
			}
		})
	}
}

func many(f frame, n int) []frame {
	all := make([]frame, n)
	for i := range all {
		all[i] = f
	}
	return all
}

// An idle relay takes little memory, even after it has seen large messages.
func TestMemoryOfAnIdleRelay(t *testing.T) {
	const n = 500
	call := encode(true, text(`{"action":"theirs","p":"`+strings.Repeat("x", 100_000)+`"}`))
	event := encode(false, many(text(`{"post_type":"message"}`), 200)...)
	for _, reverse := range []bool{false, true} {
		t.Run(fmt.Sprintf("reverse %v", reverse), func(t *testing.T) {
			open := func() *Relay {
				rl := New(benchOptions(reverse))
				from, in := io.Pipe()
				rl.open(peer{deadlines: noDeadlines{}, from: from, to: io.Discard, close: in.Close}, agreement{})
				for _, stream := range [][]byte{call, event} {
					masked := stream[1]&0x80 != 0
					if !masked {
						rl.down.Write(stream)
						continue
					}
					go in.Write(stream)
					if got, err := io.ReadFull(readerOf(rl), make([]byte, len(stream))); err != nil {
						t.Fatal(got, err)
					}
				}
				return rl
			}
			open().Close()
			before := memory()
			var all [n]*Relay
			for i := range all {
				all[i] = open()
			}
			each := (memory() - before) / n
			for _, rl := range all {
				rl.Close()
			}
			t.Logf("%d bytes each", each)
			limit := int64(4 << 10)
			if reverse {
				limit = 16 << 10 // with a goroutine and what that reads to
			}
			if each > limit {
				t.Errorf("an idle relay takes %d bytes, want at most %d", each, limit)
			}
		})
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
