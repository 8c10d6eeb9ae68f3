package relay

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

const (
	mine   = `{"action":"mine","echo":1}`
	theirs = `{"action":"theirs","echo":2}`
)

// incompressible is a call of ours that does not get small.
var incompressible = func() string {
	p := make([]byte, 2000)
	rand.NewChaCha8([32]byte{}).Read(p)
	return `{"action":"mine","p":"` + hex.EncodeToString(p) + `"}`
}()

func join(groups ...[]frame) []frame { return slices.Concat(groups...) }

var callCases = []struct {
	name    string
	in      []frame
	want    []frame // passes
	calls   []string
	told    []string
	maxCall int64 // 1000 if it is not set
	deflate bool
	chained bool
}{
	{
		name: "a call of theirs passes",
		in:   []frame{text(theirs)},
		want: []frame{text(theirs)},
		told: []string{"call theirs 2"},
	},
	{
		name:  "a call of ours is taken out",
		in:    []frame{text(mine)},
		calls: []string{mine},
	},
	{
		name:  "one between others is taken out, and the others keep their order",
		in:    []frame{text(theirs), text(mine), text(`{"post_type":"message"}`), text(mine), text(theirs)},
		want:  []frame{text(theirs), text(`{"post_type":"message"}`), text(theirs)},
		calls: []string{mine, mine},
		told:  []string{"call theirs 2", "event message", "call theirs 2"},
	},
	{
		name:  "the action of ours is known in the last fragment only",
		in:    join(fragments(`{"echo":1,`, `"action":`, `"mine"`, `}`), []frame{text(theirs)}),
		want:  []frame{text(theirs)},
		calls: []string{`{"echo":1,"action":"mine"}`},
		told:  []string{"call theirs 2"},
	},
	{
		name: "that of theirs is, too",
		in:   fragments(`{"echo":1,`, ``, `"action":`, `"theirs"`, `}`),
		want: fragments(`{"echo":1,`, ``, `"action":`, `"theirs"`, `}`),
		told: []string{"call theirs 1"},
	},
	{
		name: "pings between the fragments of ours pass in order",
		in: []frame{
			{op: ws.OpText, more: true, payload: `{"echo":1,`}, ping("a"), ping(""),
			{op: ws.OpContinuation, more: true, payload: `"action":"mine"`}, ping("b"),
			{op: ws.OpContinuation, payload: `}`}, ping("c"),
		},
		want:  []frame{ping("a"), ping(""), ping("b"), ping("c")},
		calls: []string{`{"echo":1,"action":"mine"}`},
	},
	{
		name: "those between the fragments of theirs stay where they are",
		in: []frame{
			{op: ws.OpText, more: true, payload: `{"echo":1,`}, ping("a"),
			{op: ws.OpContinuation, more: true, payload: `"action":"theirs"`}, ping("b"),
			{op: ws.OpContinuation, payload: `}`}, ping("c"),
		},
		want: []frame{
			{op: ws.OpText, more: true, payload: `{"echo":1,`}, ping("a"),
			{op: ws.OpContinuation, more: true, payload: `"action":"theirs"`}, ping("b"),
			{op: ws.OpContinuation, payload: `}`}, ping("c"),
		},
		told: []string{"call theirs 1"},
	},
	{
		name:  "binary messages are calls as well",
		in:    []frame{{op: ws.OpBinary, payload: mine}, {op: ws.OpBinary, payload: theirs}},
		want:  []frame{{op: ws.OpBinary, payload: theirs}},
		calls: []string{mine},
		told:  []string{"call theirs 2"},
	},
	{
		name: "what is no packet passes",
		in:   []frame{text(""), text("hello"), text(`{"action":`), text(`[{"action":"mine"}]`), text("\xff\xfe")},
		want: []frame{text(""), text("hello"), text(`{"action":`), text(`[{"action":"mine"}]`), text("\xff\xfe")},
		told: []string{"unknown", "unknown", "unknown", "unknown", "unknown"},
	},
	{
		name: "an event that has an action is no call",
		in:   []frame{text(`{"post_type":"notice","action":"mine"}`)},
		want: []frame{text(`{"post_type":"notice","action":"mine"}`)},
		told: []string{"event notice"},
	},
	{
		name:    "of a call of ours that is too large only the echo is known",
		in:      []frame{text(`{"action":"mine","p":"` + strings.Repeat("x", 200) + `","echo":"e"}`), text(theirs)},
		want:    []frame{text(theirs)},
		calls:   []string{`too large: "e"`},
		told:    []string{"call theirs 2"},
		maxCall: 100,
	},
	{
		name:    "what says too much before its action passes",
		in:      join(fragments(`{"p":"`+strings.Repeat("x", 200), `","action":"mine"}`), []frame{text(mine)}),
		want:    fragments(`{"p":"`+strings.Repeat("x", 200), `","action":"mine"}`),
		calls:   []string{mine},
		told:    []string{"call mine "},
		maxCall: 100,
	},
	{
		name:    "too many pings before an action let it pass",
		in:      join([]frame{{op: ws.OpText, more: true}}, slices.Repeat([]frame{ping("0123456789")}, 10), []frame{{op: ws.OpContinuation, payload: mine}}),
		want:    join([]frame{{op: ws.OpText, more: true}}, slices.Repeat([]frame{ping("0123456789")}, 10), []frame{{op: ws.OpContinuation, payload: mine}}),
		told:    []string{"call mine 1"},
		maxCall: 100,
	},
	{
		name: "behind a Close frame all passes",
		in:   []frame{{op: ws.OpClose, payload: "\x03\xe8"}, text(mine)},
		want: []frame{{op: ws.OpClose, payload: "\x03\xe8"}, text(mine)},
	},
	{
		name: "long frames",
		in: []frame{text(`{"action":"theirs","p":"` + strings.Repeat("x", 300) + `"}`),
			text(`{"action":"mine","p":"` + strings.Repeat("x", 300) + `"}`), text(strings.Repeat("y", 70_000))},
		want:  []frame{text(`{"action":"theirs","p":"` + strings.Repeat("x", 300) + `"}`), text(strings.Repeat("y", 70_000))},
		calls: []string{`{"action":"mine","p":"` + strings.Repeat("x", 300) + `"}`},
		told:  []string{"call theirs ", "unknown"},
	},
	{
		name:    "compressed calls",
		in:      []frame{{op: ws.OpText, deflate: true, payload: deflated(mine)}, {op: ws.OpText, deflate: true, payload: deflated(theirs)}, text(mine)},
		want:    []frame{{op: ws.OpText, deflate: true, payload: deflated(theirs)}},
		calls:   []string{mine, mine},
		told:    []string{"call theirs 2"},
		deflate: true,
	},
	{
		name: "compressed calls in fragments",
		in: []frame{
			{op: ws.OpText, more: true, deflate: true, payload: deflated(mine)[:3]}, ping("a"), {op: ws.OpContinuation, payload: deflated(mine)[3:]},
			{op: ws.OpText, more: true, deflate: true, payload: deflated(theirs)[:9]}, ping("b"), {op: ws.OpContinuation, payload: deflated(theirs)[9:]},
		},
		want: []frame{ping("a"),
			{op: ws.OpText, more: true, deflate: true, payload: deflated(theirs)[:9]}, ping("b"), {op: ws.OpContinuation, payload: deflated(theirs)[9:]}},
		calls:   []string{mine},
		told:    []string{"call theirs 2"},
		deflate: true,
	},
	{
		name: "a compressed call of ours that is too large when inflated",
		in: []frame{{op: ws.OpText, deflate: true, payload: deflated(`{"echo":7,"action":"mine","p":"` + strings.Repeat("x", 5000) + `"}`)},
			{op: ws.OpText, deflate: true, payload: deflated(`{"echo":8,"p":"` + strings.Repeat("x", 5000) + `","action":"mine"}`)}},
		want:    []frame{{op: ws.OpText, deflate: true, payload: deflated(`{"echo":8,"p":"` + strings.Repeat("x", 5000) + `","action":"mine"}`)}},
		calls:   []string{"too large: 7"},
		told:    []string{"unknown"},
		deflate: true,
	},
	{
		name:    "what is too much to hold in compressed form passes",
		in:      []frame{{op: ws.OpText, deflate: true, payload: deflated(incompressible)}, text(mine)},
		want:    []frame{{op: ws.OpText, deflate: true, payload: deflated(incompressible)}},
		calls:   []string{mine},
		told:    []string{"unknown"},
		deflate: true,
	},
	{
		name: "what does not inflate passes",
		in: []frame{{op: ws.OpText, deflate: true, payload: "\xff\xff\xff"}, {op: ws.OpText, deflate: true},
			{op: ws.OpText, deflate: true, payload: strings.Repeat("\xaa", 2000)}},
		want: []frame{{op: ws.OpText, deflate: true, payload: "\xff\xff\xff"}, {op: ws.OpText, deflate: true},
			{op: ws.OpText, deflate: true, payload: strings.Repeat("\xaa", 2000)}},
		told:    []string{"unknown", "unknown", "unknown"},
		deflate: true,
	},
}

func TestCallsAreTakenOutWhereverTheStreamIsCut(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		for _, c := range callCases {
			t.Run(fmt.Sprintf("%s, reverse %v", c.name, reverse), func(t *testing.T) {
				if c.maxCall == 0 {
					c.maxCall = 1000
				}
				stream, want := encode(!reverse, c.in...), c.want
				try := func(how string, in pieces) {
					var rec record
					out := through(&rec, reverse, c.maxCall, agreement{deflate: c.deflate}, in)
					got, rest := decode(t, out, !reverse)
					if !slices.Equal(got, want) || len(rest) > 0 {
						t.Fatalf("%s: passed %.200s and %d more bytes, want %.200s", how, fmt.Sprint(got), len(rest), fmt.Sprint(want))
					}
					if !slices.Equal(rec.calls, c.calls) {
						t.Fatalf("%s: answered %q, want %q", how, rec.calls, c.calls)
					}
					if !slices.Equal(rec.to, c.told) {
						t.Fatalf("%s: told %q, want %q", how, rec.to, c.told)
					}
					if len(rec.from) > 0 {
						t.Fatalf("%s: told of what came from the implementation: %q", how, rec.from)
					}
				}
				try("whole", cut(stream))
				try("by bytes", everyByte(stream))
				for i := 1; i < min(len(stream), 700); i++ {
					try(fmt.Sprintf("cut at %d", i), cut(stream, i))
				}
			})
		}
	}
}

// What passes is the very bytes that came, with their masks.
func TestPassingBytesAreNotChanged(t *testing.T) {
	stream := encode(true, text(theirs), ping("x"), text("hello"))
	var rec record
	if out := through(&rec, false, 1000, agreement{}, cut(stream, 5, 9)); !bytes.Equal(out, stream) {
		t.Errorf("passed %q, want %q", out, stream)
	}
}
