package relay

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Whoever closes the connection in the middle of a message will not say any more
// whose call it was going to be.
func TestACloseFrameTakesItsPlaceInAMessageThatIsHeld(t *testing.T) {
	for name, reverse := range map[string]bool{"of an app that dials": false, "of an app that is dialed": true} {
		t.Run(name, func(t *testing.T) {
			const maxCall = 1 << 10
			in := encode(!reverse, frame{op: ws.OpText, more: true, payload: `{"params":`}, ping("p"), frame{op: ws.OpClose, payload: "\x03\xe8"})
			in = append(in, bytes.Repeat([]byte("x"), 4*maxCall)...) // which nobody awaits
			if out := through(new(record), reverse, maxCall, agreement{}, everyByte(in)); !bytes.Equal(out, in) {
				t.Errorf("%d of %d bytes passed: %.100q", len(out), len(in), out)
			}
		})
	}
}

// An implementation that stops in the middle of a message leaves no place for
// replies.
func TestCallsThatCannotBeAnsweredEndTheConnection(t *testing.T) {
	rec := &record{reply: func(string) string { return "reply" }}
	rl := New(rec.options(false, 1<<20))
	rl.patience = time.Millisecond
	var calls []byte
	for range 2 + maxAnswering {
		calls = append(calls, encode(true, text(`{"action":"mine"}`))...)
	}
	endless, w := io.Pipe() // the client stays
	defer w.Close()
	rl.open(peer{
		deadlines: noDeadlines{},
		from:      io.MultiReader(bytes.NewReader(calls), endless),
		to:        io.Discard,
		close:     func() error { return nil },
	}, agreement{})
	if _, err := rl.down.Write(encode(false, fragments("an event that", " never comes")...)[:5]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, readerOf(rl)); err == nil || !strings.Contains(err.Error(), errStalled.Error()) {
		t.Errorf("reading ends with %v", err)
	}
	if _, byImplementation := rl.Close(); !byImplementation {
		t.Error("the app is said to have ended the connection")
	}
	if len(rec.calls) != maxAnswering || len(rec.sent) != maxAnswering {
		t.Errorf("%d calls were taken and %d replies refused", len(rec.calls), len(rec.sent))
	}
}
