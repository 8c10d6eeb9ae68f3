package packet

import (
	"unicode"
	"unicode/utf8"
)

// Scanner reads one JSON text, piece by piece: what it finds does not depend
// on how the text was cut. It accepts what meta.ParseObject does, but for null
// and for nothing at all, and besides strings that are not UTF-8 or have control
// characters in them. The zero value is ready to use; it takes a few
// hundred bytes, and at most a few thousand after hostile texts.
type Scanner struct {
	packet Packet

	state  state
	inName bool   // the string being read is a name
	rest   string // what is to come of true, false or null

	// What values are in: one bit a level, 1 for an object. path has the
	// innermost 1 to 64 levels and outer those around them, 64 each.
	depth int
	path  uint64
	outer []uint64

	// A rune outside the object, of which the end is to come.
	partial    [utf8.UTFMax]byte
	partialLen uint8

	// Names are read in the object at this depth only: 1, or 2 in a status.
	level  int
	member member // whose value comes
	seen   uint16 // a bit for each member that has been there
	online bool   // what the status object that is being read says

	// The name or value that is being kept: at most limit bytes, 0 if there is
	// none. kept is what earlier pieces had of it.
	limit int
	kept  []byte
}

// Packet returns what is known so far, and nothing if the text is no JSON
// object. It is valid until the next Write or Reset, the values in it forever.
func (s *Scanner) Packet() *Packet { return &s.packet }

// Whole reports whether a whole JSON object has been read, and nothing else.
func (s *Scanner) Whole() bool { return s.state == ended && s.partialLen == 0 }

// Decided reports whether more pieces cannot change what to do with a packet
// that is on its way to an implementation: its action is known, or it is an
// event, or it is whole or no JSON object.
func (s *Scanner) Decided() bool {
	return s.packet.Action != "" || s.packet.PostType != "" || s.state >= ended
}

// Reset makes the scanner ready for another text. It keeps its buffers.
func (s *Scanner) Reset() {
	*s = Scanner{outer: s.outer[:0], kept: s.kept[:0]}
}

// Write reads the next piece. It never fails.
func (s *Scanner) Write(b []byte) (int, error) {
	for i := 0; i < len(b) && s.state != failed; {
		if s.state == opening || s.state == before || s.state == ended {
			s.outside(b[i])
			i++
		} else {
			i += s.inside(b[i:])
		}
	}
	return len(b), nil
}

// outside reads a byte before or after the object, where there may be what
// meta.ParseObject trims: a byte order mark first, and white space.
func (s *Scanner) outside(c byte) {
	if c == '{' && s.partialLen == 0 && s.state != ended {
		s.level = 1
		s.push('{')
		return
	}
	s.partial[s.partialLen] = c
	s.partialLen++
	if !utf8.FullRune(s.partial[:s.partialLen]) {
		return
	}
	r, _ := utf8.DecodeRune(s.partial[:s.partialLen])
	s.partialLen = 0
	if !unicode.IsSpace(r) && (r != '\uFEFF' || s.state != opening) {
		s.fail()
	}
	if s.state == opening {
		s.state = before
	}
}

func (s *Scanner) fail() {
	s.packet = Packet{}
	s.state = failed
}
