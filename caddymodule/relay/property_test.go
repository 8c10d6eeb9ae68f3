package relay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"pgregory.net/rapid"
)

// drawMessage draws a message in any number of frames, with control frames
// between them. It returns what it says, and whether that is a call of ours.
func drawMessage(t *rapid.T, i int, deflate bool) (frames, control []frame, payload string, ours bool) {
	filler := strings.Repeat("x", rapid.SampledFrom([]int{0, 1, 50, 130, 400, 70_000}).Draw(t, "filler"))
	member := fmt.Sprintf(`"p":{"action":"mine","q":%q}`, filler)
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		payload, ours = fmt.Sprintf(`{"action":"mine","echo":%d,%s}`, i, member), true
	case 1:
		// what is before the action must be within what is held
		payload, ours = fmt.Sprintf(`{"echo":%d,"action":"mine_async",%s}`, i, member), true
	case 2:
		payload = fmt.Sprintf(`{"action":"theirs","echo":%d,%s}`, i, member)
	case 3:
		payload = fmt.Sprintf(`{"post_type":"message",%s}`, member)
	case 4:
		payload = filler
	case 5:
		payload = fmt.Sprintf(`{%s,"echo":%d,"retcode":0}`, member, i)
	}
	wire := payload
	compressed := deflate && rapid.Bool().Draw(t, "compressed")
	if compressed {
		wire = deflated(payload)
	}
	n := rapid.IntRange(1, 4).Draw(t, "frames")
	for k := range n {
		size := len(wire)
		if k < n-1 {
			size = rapid.IntRange(0, min(len(wire), 60)).Draw(t, "size")
		}
		f := frame{op: ws.OpContinuation, more: k < n-1, payload: wire[:size]}
		if k == 0 {
			f.op, f.deflate = rapid.SampledFrom([]ws.OpCode{ws.OpText, ws.OpBinary}).Draw(t, "opcode"), compressed
		}
		wire = wire[size:]
		frames = append(frames, f)
		for rapid.IntRange(0, 4).Draw(t, "control") == 0 {
			c := frame{op: rapid.SampledFrom([]ws.OpCode{ws.OpPing, ws.OpPong}).Draw(t, "opcode"), payload: filler[:min(len(filler), 9)]}
			frames, control = append(frames, c), append(control, c)
		}
	}
	return frames, control, payload, ours
}

func drawPieces(t *rapid.T, stream []byte) pieces {
	var all pieces
	most := rapid.SampledFrom([]int{1, 3, 20, 3000, 100_000}).Draw(t, "piece")
	for len(stream) > 0 {
		n := min(len(stream), rapid.IntRange(1, most).Draw(t, "size"))
		if len(all) > 300 { // enough of small ones
			n = len(stream)
		}
		all = append(all, stream[:n])
		stream = stream[n:]
	}
	return all
}

func TestPropertyWhatPassesIsWhatCameButOurCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reverse, deflate := rapid.Bool().Draw(t, "reverse"), rapid.Bool().Draw(t, "deflate")
		var in, want []frame
		var calls []string
		var told int
		for i := range rapid.IntRange(0, 8).Draw(t, "messages") {
			frames, control, payload, ours := drawMessage(t, i, deflate)
			in = append(in, frames...)
			if ours {
				want, calls = append(want, control...), append(calls, payload)
			} else {
				want = append(want, frames...)
				told++
			}
		}
		var rec record
		out := through(&rec, reverse, 1<<20, agreement{deflate: deflate}, drawPieces(t, encode(!reverse, in...)))
		got, rest := decode(t, out, !reverse)
		if !slices.Equal(got, want) || len(rest) > 0 {
			t.Fatalf("passed %.500s, want %.500s", fmt.Sprint(got), fmt.Sprint(want))
		}
		if !slices.Equal(rec.calls, calls) {
			t.Fatalf("answered %.500q, want %.500q", rec.calls, calls)
		}
		if len(rec.to) != told {
			t.Fatalf("told of %d, want %d", len(rec.to), told)
		}
	})
}

func TestPropertyRepliesStandBetweenMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reverse, deflate := rapid.Bool().Draw(t, "reverse"), rapid.Bool().Draw(t, "deflate")
		var in []frame
		n := rapid.IntRange(0, 8).Draw(t, "messages")
		for i := range n {
			frames, _, _, _ := drawMessage(t, i, deflate)
			in = append(in, frames...)
		}
		rec := new(record)
		rl := New(rec.options(reverse, 1<<20))
		var to bytes.Buffer
		w := &pusher{to: &to, mask: reverse}
		source := behind
		if reverse {
			source = client
		}
		w.flow.init(rl, w, source, agreement{deflate: deflate})

		var replies []string
		var written []<-chan bool
		for _, p := range drawPieces(t, encode(reverse, in...)) {
			for rapid.IntRange(0, 6).Draw(t, "reply") == 0 && len(replies) < 50 {
				reply := fmt.Sprintf("reply %d", len(replies))
				replies = append(replies, reply)
				written = append(written, w.reply([]byte(reply)))
			}
			if k, err := w.Write(p); k != len(p) || err != nil {
				t.Fatal(k, err)
			}
		}
		for i, ch := range written {
			if !<-ch { // all are, as the stream ends between two messages
				t.Fatalf("reply %d was not written", i)
			}
		}
		out, rest := decode(t, to.Bytes(), reverse)
		var passed []frame
		inside := false
		for _, f := range out {
			if strings.HasPrefix(f.payload, "reply ") {
				if inside || len(replies) == 0 || f != text(replies[0]) {
					t.Fatalf("%v where it may not be, in %.500s", f, fmt.Sprint(out))
				}
				replies = replies[1:]
				continue
			}
			if f.op.IsData() {
				inside = f.more
			}
			passed = append(passed, f)
		}
		if !slices.Equal(passed, in) || len(rest) > 0 || len(replies) > 0 {
			t.Fatalf("passed %.500s, want %.500s", fmt.Sprint(passed), fmt.Sprint(in))
		}
		if len(rec.from) != n || rec.lost > 0 {
			t.Fatalf("told of %d, want %d; %d lost", len(rec.from), n, rec.lost)
		}
	})
}
