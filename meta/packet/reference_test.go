package packet

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// reference is what a text should be found to be, by way of encoding/json.
func reference(text []byte) (p Packet, whole bool) {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\uFEFF")))
	if !json.Valid(trimmed) || trimmed[0] != '{' {
		return p, false
	}
	seen := make(map[string]bool)
	for _, m := range membersOf(trimmed) {
		if seen[m.name] {
			continue
		}
		seen[m.name] = true
		switch m.name {
		case "action":
			p.Action = textOf(m.raw)
		case "post_type":
			p.PostType = textOf(m.raw)
		case "meta_event_type":
			p.MetaEventType = textOf(m.raw)
		case "notice_type":
			p.NoticeType = textOf(m.raw)
		case "sub_type":
			p.SubType = textOf(m.raw)
		case "status":
			p.Status = textOf(m.raw)
			if m.raw[0] == '{' {
				p.Online = new(false)
				for _, inner := range membersOf(m.raw) {
					if inner.name == "online" {
						*p.Online = string(inner.raw) == "true"
						break
					}
				}
			}
		case "retcode":
			p.Retcode = numberOf(m.raw) != ""
		case "interval":
			ms, _ := numberOf(m.raw).Float64()
			p.Interval = time.Duration(min(max(ms, 0), 3600e3) * 1e6)
		case "echo":
			if len(m.raw) <= 1024 {
				p.Echo = m.raw
			}
		}
	}
	return p, true
}

// hopeless reports whether encoding/json has found more amiss with a text than
// that its end is missing.
func hopeless(text []byte) bool {
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\uFEFF")))
	if len(trimmed) > 0 && trimmed[0] != '{' {
		return true
	}
	d := json.NewDecoder(bytes.NewReader(trimmed))
	var v json.RawMessage
	err := d.Decode(&v)
	if err == nil {
		return d.InputOffset() < int64(len(trimmed))
	}
	return err != io.EOF && err != io.ErrUnexpectedEOF
}

type nameAndValue struct {
	name string
	raw  json.RawMessage
}

// membersOf returns the members of a valid object in order.
func membersOf(object []byte) (all []nameAndValue) {
	d := json.NewDecoder(bytes.NewReader(object))
	token := func() json.Token {
		t, err := d.Token()
		if err != nil {
			panic(err)
		}
		return t
	}
	for token(); d.More(); {
		m := nameAndValue{name: token().(string)}
		if err := d.Decode(&m.raw); err != nil {
			panic(err)
		}
		all = append(all, m)
	}
	return all
}

func textOf(raw json.RawMessage) (s string) {
	if len(raw) > 256 || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// numberOf returns the number that raw is, or is a string of.
func numberOf(raw json.RawMessage) json.Number {
	if len(raw) > 256 {
		return ""
	}
	if raw[0] == '"' {
		raw = json.RawMessage(textOf(raw))
	}
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') || !json.Valid(raw) || isSpace(raw[len(raw)-1]) {
		return ""
	}
	return json.Number(raw)
}

// checkScan compares what s finds in text, cut at random, with the reference.
// Control characters, which the Scanner lets pass in strings, become spaces.
func checkScan(t *testing.T, s *Scanner, text []byte, cuts *rand.Rand) {
	t.Helper()
	text = withoutControls(text)
	s.Reset()
	for rest := text; len(rest) > 0; {
		n := len(rest)
		if cuts != nil {
			n = 1 + cuts.IntN(min(n, 40))
		}
		decided := s.Decided()
		if m, err := s.Write(bytes.Clone(rest[:n])); m != n || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", n, m, err)
		}
		if decided && !s.Decided() {
			t.Error("it was decided, and is no longer")
		}
		rest = rest[n:]
	}
	want, whole := reference(text)
	if s.Whole() != whole {
		t.Fatalf("whole is %t, want %t: %.200q", s.Whole(), whole, text)
	}
	if !whole {
		// What can become an object stays open; anything else is given up.
		if hopeless(text) && s.partialLen == 0 && (!s.Decided() || !reflect.DeepEqual(*s.Packet(), Packet{})) {
			t.Errorf("not given up: %.200q", text)
		}
		return
	}
	if !s.Decided() {
		t.Errorf("not decided, though it is whole: %.200q", text)
	}
	if got := *s.Packet(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v: %.200q", got, want, text)
	}
}

func withoutControls(text []byte) []byte {
	text = bytes.Clone(text)
	for i, c := range text {
		if c < ' ' {
			text[i] = ' '
		}
	}
	return text
}
