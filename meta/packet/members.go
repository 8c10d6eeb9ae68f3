package packet

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// How many bytes are kept at most, quotes and escapes included. The longest
// name has 92 if all of it is escaped.
const (
	maxName  = 96
	maxValue = 256
	maxEcho  = 1 << 10
)

// maxInterval bounds how long a single heartbeat may be believed.
const maxInterval = time.Hour

// member is a member that says something of a packet.
type member uint8

const (
	other member = iota
	action
	status
	retcode
	echo
	postType
	metaEventType
	noticeType
	subType
	interval
	online // in a status
)

func memberOf(name []byte, level int) member {
	if level == 2 {
		if string(name) == "online" {
			return online
		}
		return other
	}
	switch string(name) {
	case "action":
		return action
	case "status":
		return status
	case "retcode":
		return retcode
	case "echo":
		return echo
	case "post_type":
		return postType
	case "meta_event_type":
		return metaEventType
	case "notice_type":
		return noticeType
	case "sub_type":
		return subType
	case "interval":
		return interval
	}
	return other
}

// beginName is told that a name begins.
func (s *Scanner) beginName() {
	s.state, s.inName = text, true
	if s.depth == s.level {
		s.limit = maxName
	}
}

// endName is told that a name is over, of which piece is the last part if it
// is being kept.
func (s *Scanner) endName(piece []byte) {
	s.state = colon
	if s.depth != s.level {
		return
	}
	s.member = other
	raw := s.taken(piece)
	if raw == nil {
		return
	}
	said := raw[1 : len(raw)-1]
	if bytes.IndexByte(said, '\\') >= 0 {
		said = []byte(unquoted(raw))
	}
	if m := memberOf(said, s.level); m != other && s.seen&(1<<m) == 0 {
		s.member = m
		s.seen |= 1 << m
	}
}

// beginMember is told the first byte of a value, and decides whether it is
// worth keeping.
func (s *Scanner) beginMember(c byte) {
	switch s.member {
	case other:
	case echo:
		s.limit = maxEcho
	case online:
		s.online = c == 't'
	case retcode, interval:
		if c == '"' || c == '-' || isDigit(c) {
			s.limit = maxValue
		}
	default:
		if c == '"' {
			s.limit = maxValue
		} else if c == '{' && s.member == status {
			s.level = 2
		}
	}
}

// endMember is told that a value is over, of which piece is the last part if
// it is being kept.
func (s *Scanner) endMember(piece []byte) {
	raw := s.taken(piece)
	if raw == nil {
		return
	}
	p := &s.packet
	switch s.member {
	case action:
		p.Action = unquoted(raw)
	case status:
		p.Status = unquoted(raw)
	case retcode:
		p.Retcode = raw[0] != '"' || number(raw) != ""
	case echo:
		p.Echo = bytes.Clone(raw)
	case postType:
		p.PostType = unquoted(raw)
	case metaEventType:
		p.MetaEventType = unquoted(raw)
	case noticeType:
		p.NoticeType = unquoted(raw)
	case subType:
		p.SubType = unquoted(raw)
	case interval:
		ms, _ := number(raw).Float64() // an infinite one is too long, too
		p.Interval = time.Duration(max(0, min(ms, float64(maxInterval/time.Millisecond))) * float64(time.Millisecond))
	}
}

// endStatus is told that the status object is over.
func (s *Scanner) endStatus() {
	s.level = 1
	s.packet.Online = new(s.online)
}

// keep stores a piece of what is being kept, as the rest is still to come.
func (s *Scanner) keep(piece []byte) {
	if len(s.kept)+len(piece) > s.limit {
		s.limit, s.kept = 0, s.kept[:0]
		return
	}
	s.kept = append(s.kept, piece...)
}

// taken returns what has been kept, with piece as its end. It is nil if nothing
// was to be kept, or it is too long, and valid until more is kept.
func (s *Scanner) taken(piece []byte) []byte {
	limit := s.limit
	if limit == 0 {
		return nil
	}
	s.limit = 0
	if len(s.kept)+len(piece) > limit {
		s.kept = s.kept[:0]
		return nil
	}
	if len(s.kept) > 0 {
		piece = append(s.kept, piece...)
		s.kept = piece[:0]
	}
	return piece
}

// unquoted returns what a JSON string says.
func unquoted(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if s, ok := common[string(inner)]; ok {
		return s
	}
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "" // does not happen: it has been scanned
	}
	return s
}

// number returns a number that may be in a string, and "" if it is none.
func number(raw []byte) json.Number {
	var n json.Number
	if json.Unmarshal(raw, &n) != nil {
		return ""
	}
	return n
}
