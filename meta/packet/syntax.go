package packet

import "bytes"

// maxDepth is how deep encoding/json lets values be nested.
const maxDepth = 10_000

// state is what comes next.
type state uint8

// The order matters: white space may come in the states up to after, the text
// is over or hopeless from ended on, and hex1 counts up to text.
const (
	opening    state = iota // a byte order mark, or as before
	before                  // white space or the object
	firstName               // a name, or the end of the object
	name                    // a name
	colon                   // the colon after a name
	firstValue              // a value, or the end of the array
	value                   // a value
	after                   // a comma, or the end of what the value is in

	literal // the rest of true, false or null

	minus    // the first digit of a number
	zero     // what may follow a 0
	integer  // more digits, or what may follow them
	point    // the first digit after a point
	fraction // more digits, or an exponent
	exponent // the sign or first digit of an exponent
	sign     // the first digit after a sign
	power    // more digits

	escape // what follows a backslash
	hex1   // the first of four hexadecimal digits
	hex2
	hex3
	hex4
	text // the rest of a string

	ended
	failed
)

// inside reads b from within the object to its end, or to the end of b. It
// returns how many bytes that were.
func (s *Scanner) inside(b []byte) int {
	i := 0
	mark := 0 // where the value or name that is being kept begins
	for i < len(b) && s.state < ended {
		c := b[i]
		if isSpace(c) && s.state <= after {
			i++
			continue
		}
		switch s.state {
		case text:
			i += plain(b[i:])
			if i == len(b) {
				break
			}
			c = b[i]
			i++
			switch {
			case c == '\\':
				s.state = escape
			case s.inName:
				s.endName(b[mark:i])
			default:
				s.endValue(b[mark:i])
			}

		case firstName, name:
			if c == '"' {
				if s.depth == s.level {
					mark = i
				}
				s.beginName()
			} else if c == '}' && s.state == firstName {
				s.pop(b[mark : i+1])
			} else {
				s.fail()
			}
			i++

		case colon:
			if c == ':' {
				s.state = value
			} else {
				s.fail()
			}
			i++

		case firstValue, value:
			if c == ']' && s.state == firstValue {
				s.pop(b[mark : i+1])
			} else {
				if s.depth == s.level {
					mark = i
				}
				s.beginValue(c)
			}
			i++

		case after:
			object := s.path&1 != 0
			switch {
			case c == ',' && object:
				s.state = name
			case c == ',':
				s.state = value
			case c == '}' && object, c == ']' && !object:
				s.pop(b[mark : i+1])
			default:
				s.fail()
			}
			i++

		case literal:
			if c != s.rest[0] {
				s.fail()
				break
			}
			i++
			if s.rest = s.rest[1:]; s.rest == "" {
				s.endValue(b[mark:i])
			}

		case escape:
			switch c {
			case 'u':
				s.state = hex1
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				s.state = text
			default:
				s.fail()
			}
			i++

		case hex1, hex2, hex3, hex4:
			if lower := c | 0x20; isDigit(c) || 'a' <= lower && lower <= 'f' {
				s.state++
			} else {
				s.fail()
			}
			i++

		default: // in a number
			switch next := inNumber(s.state, c); next {
			case after: // which is to look at c
				s.endValue(b[mark:i])
			case failed:
				s.fail()
			default:
				s.state = next
				i++
				for (next == integer || next == fraction) && i < len(b) && isDigit(b[i]) {
					i++
				}
			}
		}
	}
	if s.limit > 0 {
		s.keep(b[mark:i])
	}
	return i
}

// inNumber returns what comes after c in a number: after if c is not in it.
func inNumber(st state, c byte) state {
	digit := isDigit(c)
	switch {
	case digit && st == minus && c == '0':
		return zero
	case digit && (st == minus || st == integer):
		return integer
	case digit && (st == point || st == fraction):
		return fraction
	case digit && st != zero:
		return power
	case st == minus || st == point || st == sign:
		return failed
	case st == exponent && (c == '+' || c == '-'):
		return sign
	case st == exponent:
		return failed
	case st == power:
		return after
	case c|0x20 == 'e':
		return exponent
	case c == '.' && st != fraction:
		return point
	}
	return after
}

// beginValue reads the first byte of a value.
func (s *Scanner) beginValue(c byte) {
	if s.depth == s.level {
		s.beginMember(c)
	}
	switch c {
	case '"':
		s.state, s.inName = text, false
	case '{', '[':
		s.push(c)
	case 't':
		s.state, s.rest = literal, "rue"
	case 'f':
		s.state, s.rest = literal, "alse"
	case 'n':
		s.state, s.rest = literal, "ull"
	case '-':
		s.state = minus
	default:
		// as if after a minus; what is no digit fails there
		if s.state = inNumber(minus, c); s.state == failed {
			s.fail()
		}
	}
}

// endValue is told that a value is over, of which piece is the last part if it
// is being kept.
func (s *Scanner) endValue(piece []byte) {
	s.state = after
	if s.depth == s.level {
		s.endMember(piece)
	}
}

// push enters an object or array.
func (s *Scanner) push(c byte) {
	if s.depth == maxDepth {
		s.fail()
		return
	}
	if s.depth > 0 && s.depth%64 == 0 {
		s.outer = append(s.outer, s.path)
	}
	s.depth++
	s.path <<= 1
	s.state = firstValue
	if c == '{' {
		s.path |= 1
		s.state = firstName
	}
}

// pop leaves an object or array, of which piece is the last part if it is
// being kept.
func (s *Scanner) pop(piece []byte) {
	s.depth--
	s.path >>= 1
	if s.depth == 0 {
		s.state = ended
		return
	}
	if s.depth%64 == 0 {
		last := len(s.outer) - 1
		s.path, s.outer = s.outer[last], s.outer[:last]
	}
	if s.depth < s.level {
		s.endStatus()
	}
	s.endValue(piece)
}

// plain returns how many bytes b begins with that mean themselves in a string:
// no quote or backslash. Control characters should not be there either, but to
// look for them, too, would take as long as all the rest.
func plain(b []byte) int {
	const (
		short    = 16      // most names and many values end before it pays to call IndexByte
		block    = 256     // what is looked at first, as it is again behind every backslash
		maxBlock = 4 << 10 // what is looked at twice while it is near
	)
	i := 0
	for ; i < min(short, len(b)); i++ {
		if b[i] == '"' || b[i] == '\\' {
			return i
		}
	}
	for size := block; i < len(b); size = min(2*size, maxBlock) {
		next := b[i:min(i+size, len(b))]
		quote := bytes.IndexByte(next, '"')
		if quote >= 0 {
			next = next[:quote]
		}
		if slash := bytes.IndexByte(next, '\\'); slash >= 0 {
			return i + slash
		}
		if quote >= 0 {
			return i + quote
		}
		i += len(next)
	}
	return len(b)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
