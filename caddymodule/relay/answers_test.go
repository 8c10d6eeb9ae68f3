package relay

import (
	"bytes"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A reply that must wait for the end of a message does not hold up what the
// client sends meanwhile.
func TestOnlyAReplyWaitsForAMessageToEnd(t *testing.T) {
	rec := &record{reply: func(string) string { return "reply" }}
	rl := New(rec.options(false, 1000))
	var to bytes.Buffer
	in := cut(encode(true, text(mine), text(theirs), text(mine)))
	rl.open(peer{deadlines: noDeadlines{}, from: &in, to: &to, close: func() error { return nil }}, agreement{})
	event := encode(false, text(`{"post_type":"message"}`))
	if _, err := rl.down.Write(event[:7]); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(readerOf(rl))
	if got, _ := decode(t, out, true); err != nil || !slices.Equal(got, []frame{text(theirs)}) {
		t.Fatalf("passed %+v, %v", got, err)
	}
	if _, err := rl.down.Write(event[7:]); err != nil {
		t.Fatal(err)
	}
	rl.answers.wait()
	got, _ := decode(t, to.Bytes(), false)
	if want := []frame{text(`{"post_type":"message"}`), text("reply"), text("reply")}; !slices.Equal(got, want) {
		t.Errorf("the client got %+v, want %+v", got, want)
	}
	rl.Close()
	if !slices.Equal(rec.calls, []string{mine, mine}) || !slices.Equal(rec.sent, []bool{true, true}) {
		t.Errorf("answered %q, sent: %v", rec.calls, rec.sent)
	}
}

// A client that calls and calls but lets no reply be written is read no
// further. When the connection ends every call that was read is answered still.
func TestCallsThatWaitAreBounded(t *testing.T) {
	for _, c := range []struct {
		name    string
		maxCall int64
		waiting int
	}{
		{"by number", 1 << 20, maxAnswering},
		{"by size", 1000, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := &record{reply: func(string) string { return "reply" }}
			rl := New(rec.options(false, c.maxCall))
			call := `{"action":"mine","p":"` + strings.Repeat("x", 400) + `"}`
			in := everyMessage(encode(true, text(call)), 100)
			rl.open(peer{deadlines: noDeadlines{}, from: &in, to: io.Discard, close: func() error { return nil }}, agreement{})
			if _, err := rl.down.Write(encode(false, text("x"))[:2]); err != nil {
				t.Fatal(err)
			}
			read := make(chan error)
			go func() {
				_, err := io.ReadAll(readerOf(rl))
				read <- err
			}()
			waiting := func() int {
				rl.answers.mu.Lock()
				defer rl.answers.mu.Unlock()
				return len(rl.answers.calls)
			}
			for end := within(t); waiting() < c.waiting && end.Err() == nil; {
				runtime.Gosched()
			}
			if got := waiting(); got != c.waiting {
				t.Errorf("%d calls wait, want %d", got, c.waiting)
			}
			rl.Close()
			if err := <-read; err != nil {
				t.Error(err)
			}
			if n := len(rec.calls); n < c.waiting || slices.Contains(rec.sent, true) || len(rec.sent) != n {
				t.Errorf("%d calls answered, and sent: %v", n, rec.sent)
			}
		})
	}
}

func everyMessage(message []byte, n int) pieces {
	return slices.Repeat(pieces{message}, n)
}
