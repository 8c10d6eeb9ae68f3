package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// A step of a test: pieces of the stream, or replies to put in.
type step struct {
	write []byte
	reply string
}

// run takes steps in a stream that goes to the app, and returns what was
// written there and which replies were, once the connection is closed.
func run(t *testing.T, steps []step) (out []byte, written []bool, rec *record) {
	t.Helper()
	rec = new(record)
	rl := New(rec.options(false, 1000))
	var to bytes.Buffer
	rl.open(peer{deadlines: noDeadlines{}, from: strings.NewReader(""), to: &to, close: func() error { return nil }}, agreement{})
	var replies []<-chan bool
	for _, s := range steps {
		if s.reply != "" {
			replies = append(replies, rl.down.reply([]byte(s.reply)))
		}
		if n, err := rl.down.Write(s.write); n != len(s.write) || err != nil {
			t.Fatalf("writing %q: %d, %v", s.write, n, err)
		}
	}
	out = bytes.Clone(to.Bytes())
	rl.Close()
	for _, r := range replies {
		written = append(written, <-r)
	}
	return out, written, rec
}

func TestRepliesStandBetweenMessagesOnly(t *testing.T) {
	event := encode(false, text(`{"post_type":"message"}`))
	parts := encode(false, fragments(`{"a`, `":1}`)...)
	many := encode(false, text("1"), text("2"), ping("p"), text("3"))
	for _, c := range []struct {
		name    string
		steps   []step
		want    []frame
		rest    string
		written []bool
	}{
		{
			name:    "at rest it is written at once",
			steps:   []step{{reply: "r"}, {write: event}, {reply: "s"}},
			want:    []frame{text("r"), text(`{"post_type":"message"}`), text("s")},
			written: []bool{true, true},
		},
		{
			name:    "in a frame it waits for the end",
			steps:   []step{{write: event[:5]}, {reply: "r"}, {write: event[5:9]}, {reply: "s"}, {write: event[9:]}},
			want:    []frame{text(`{"post_type":"message"}`), text("r"), text("s")},
			written: []bool{true, true},
		},
		{
			name:    "between two fragments it waits for the last",
			steps:   []step{{write: parts[:5]}, {reply: "r"}, {write: parts[5:]}},
			want:    append(fragments(`{"a`, `":1}`), text("r")),
			written: []bool{true},
		},
		{
			name:    "a header of which only a part has come waits for it",
			steps:   []step{{write: event[:1]}, {reply: "r"}, {write: event[1:]}},
			want:    []frame{text("r"), text(`{"post_type":"message"}`)},
			written: []bool{true},
		},
		{
			name:    "it is put in at the first place of several that come at once",
			steps:   []step{{write: many[:2]}, {reply: "r"}, {write: many[2:]}},
			want:    []frame{text("1"), text("r"), text("2"), ping("p"), text("3")},
			written: []bool{true},
		},
		{
			name:    "behind a Close frame there is no place",
			steps:   []step{{write: encode(false, frame{op: ws.OpClose})}, {reply: "r"}},
			want:    []frame{{op: ws.OpClose}},
			written: []bool{false},
		},
		{
			name:    "nor if the message before it never ends",
			steps:   []step{{write: event[:5]}, {reply: "r"}},
			rest:    string(event[:5]),
			written: []bool{false},
		},
		{
			name:    "nor if a Close frame comes first",
			steps:   []step{{write: parts[:5]}, {reply: "r"}, {write: encode(false, frame{op: ws.OpClose})}},
			want:    []frame{{op: ws.OpText, more: true, payload: `{"a`}, {op: ws.OpClose}},
			written: []bool{false},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, written, _ := run(t, c.steps)
			got, rest := decode(t, out, false)
			if !slices.Equal(got, c.want) || string(rest) != c.rest {
				t.Errorf("written %q and %q, want %q and %q", fmt.Sprint(got), rest, fmt.Sprint(c.want), c.rest)
			}
			if !slices.Equal(written, c.written) {
				t.Errorf("replies written: %v, want %v", written, c.written)
			}
		})
	}
}

func TestWhatComesFromTheImplementationIsTold(t *testing.T) {
	stream := encode(false, text(`{"post_type":"message"}`), ping("p"), text(`{"status":"ok","retcode":0,"echo":5}`),
		frame{op: ws.OpText, more: true, payload: `{"post_type":`}, ping("p"), frame{op: ws.OpContinuation, payload: `"notice"}`},
		text(mine), text("?"))
	for range 200 { // more than are told at once
		stream = append(stream, encode(false, text(`{"post_type":"request"}`))...)
	}
	want := append([]string{"event message", "response 5", "event notice", "call mine 1", "unknown"}, slices.Repeat([]string{"event request"}, 200)...)
	for i := range len(stream) {
		out, _, rec := run(t, []step{{write: stream[:i]}, {write: stream[i:]}})
		if !bytes.Equal(out, stream) || !slices.Equal(rec.from, want) || rec.lost > 0 || len(rec.calls)+len(rec.to) > 0 {
			t.Fatalf("cut at %d: %d of %d bytes passed; told of %q, %d of it lost, called %q", i, len(out), len(stream), rec.from, rec.lost, rec.calls)
		}
	}
}

// A brokenWriter takes so many writes and then fails.
type brokenWriter int

func (w *brokenWriter) Write(p []byte) (int, error) {
	if *w == 0 {
		return 0, net.ErrClosed
	}
	*w--
	return len(p), nil
}

func TestWhatCannotBeWrittenIsLost(t *testing.T) {
	rec := new(record)
	rl := New(rec.options(false, 1000))
	broken := brokenWriter(1)
	rl.open(peer{deadlines: noDeadlines{}, from: strings.NewReader(""), to: &broken, close: func() error { return nil }}, agreement{})
	event := encode(false, text(`{"post_type":"message"}`))
	if _, err := rl.down.Write(event); err != nil {
		t.Fatal(err)
	}
	if _, err := rl.down.Write(append(event, event...)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to nobody: %v, want %v", err, net.ErrClosed)
	}
	if <-rl.down.reply([]byte("r")) {
		t.Error("a reply was written to nobody")
	}
	if want := slices.Repeat([]string{"event message"}, 3); !slices.Equal(rec.from, want) || rec.lost != 2 {
		t.Errorf("told of %q, %d of it lost; want %q, 2", rec.from, rec.lost, want)
	}
	if opened, byImplementation := rl.Close(); !opened || byImplementation {
		t.Errorf("Close() = %v, %v; the client was gone first", opened, byImplementation)
	}
}

// A reply that waits for a client that reads nothing ends with the connection.
func TestCloseEndsWhatIsBlocked(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		t.Run(fmt.Sprintf("reverse %v", reverse), func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			rec := new(record)
			rl := New(rec.options(reverse, 1000))
			rl.open(peer{deadlines: ours, from: ours, to: ours, close: ours.Close}, agreement{})
			written := make(chan bool)
			go func() { written <- rl.reply([]byte("r")) }()
			go func() { written <- rl.reply([]byte("s")) }()
			go rl.down.Write(encode(false, text("x")))
			if opened, _ := rl.Close(); !opened {
				t.Error("the connection was not opened")
			}
			if first, second := <-written, <-written; first || second {
				t.Error("a reply was written that nobody has read")
			}
			if _, err := rl.read(make([]byte, 10)); err == nil {
				t.Error("reading goes on")
			}
			io.Copy(io.Discard, theirs) // ends
		})
	}
}
