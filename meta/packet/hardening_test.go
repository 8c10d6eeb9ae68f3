package packet

import (
	"bytes"
	"strings"
	"testing"
)

// repeat writes s to w n times.
func repeat(w *Scanner, s string, n int) {
	const atOnce = 1000
	many := bytes.Repeat([]byte(s), atOnce)
	for ; n >= atOnce; n -= atOnce {
		w.Write(many)
	}
	w.Write(many[:n*len(s)])
}

func TestNestingBomb(t *testing.T) {
	for name, tt := range map[string]struct {
		open, inner, shut string
		depth             int // with the object around it
		whole             bool
	}{
		"arrays as deep as allowed":  {"[", "1", "]", 10_000, true},
		"arrays too deep":            {"[", "1", "]", 10_001, false},
		"objects as deep as allowed": {`{"echo":`, "{}", "}", 9_999, true},
		"objects too deep":           {`{"echo":`, "{}", "}", 10_000, false},
		"a level missing":            {"[", "1]", "]", 5_000, false},
		"a million arrays":           {"[", "1", "]", 1_000_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			var s Scanner
			for range 20 { // it must not take more each time
				s.Reset()
				s.Write([]byte(`{"action":"x","a":`))
				repeat(&s, tt.open, tt.depth-1)
				s.Write([]byte(tt.inner))
				repeat(&s, tt.shut, tt.depth-1)
				s.Write([]byte(`,"post_type":"y"}`))
				if s.Whole() != tt.whole || (s.Packet().Action == "x") != tt.whole || (s.Packet().PostType == "y") != tt.whole {
					t.Errorf("whole is %t: %+v", s.Whole(), s.Packet())
				}
			}
			if n := cap(s.outer); n > 1024 {
				t.Errorf("it takes %d words", n)
			}
		})
	}
	t.Run("arrays and objects by turns", func(t *testing.T) {
		var s Scanner
		s.Write([]byte(`{"echo":`))
		repeat(&s, `[{"a":`, 4000)
		s.Write([]byte("0"))
		repeat(&s, "}]", 3999)
		s.Write([]byte("}}"))
		if !s.Decided() || s.Whole() {
			t.Error("an object ended an array, 8,001 levels deep")
		}
	})
}

func TestBombsTakeNoMemory(t *testing.T) {
	for name, write := range map[string]func(*Scanner){
		"a million names": func(s *Scanner) {
			s.Write([]byte(`{"action":"x"`))
			repeat(s, `,"some_name":1`, 1_000_000)
			s.Write([]byte(`}`))
		},
		"one name a million times": func(s *Scanner) {
			s.Write([]byte(`{"action":"x"`))
			repeat(s, `,"action":"y"`, 1_000_000)
			s.Write([]byte(`}`))
		},
		"an endless name": func(s *Scanner) {
			s.Write([]byte(`{"action":"x","`))
			repeat(s, "action", 1_000_000)
			s.Write([]byte(`":1}`))
		},
		"an endless echo": func(s *Scanner) {
			s.Write([]byte(`{"action":"x","echo":["`))
			repeat(s, "echo", 1_000_000)
			s.Write([]byte(`"]}`))
		},
		"an endless number": func(s *Scanner) {
			s.Write([]byte(`{"action":"x","interval":`))
			repeat(s, "1", 1_000_000)
			s.Write([]byte(`}`))
		},
		"endless escapes": func(s *Scanner) {
			s.Write([]byte(`{"action":"x","sub_type":"`))
			repeat(s, `\u0061`, 1_000_000)
			s.Write([]byte(`"}`))
		},
		"endless white space": func(s *Scanner) {
			repeat(s, " ", 1_000_000)
			s.Write([]byte(`{"action":"x"}`))
			repeat(s, "\u3000", 1_000_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s Scanner
			// what repeat makes, and what is kept
			if n := testing.AllocsPerRun(1, func() { s.Reset(); write(&s) }); n > 30 {
				t.Errorf("it allocates %v times", n)
			}
			if n := cap(s.kept); n > 2*maxEcho {
				t.Errorf("it keeps %d bytes", n)
			}
			p := s.Packet()
			if !s.Whole() || p.Action != "x" || p.Echo != nil || p.SubType != "" || p.Interval != 0 {
				t.Errorf("whole is %t: %+v", s.Whole(), p)
			}
		})
	}
}

func TestUsualPacketsTakeNoMemory(t *testing.T) {
	texts := map[string]string{
		"message": `{"post_type":"message","message_type":"group","sub_type":"normal","message":"x"}`,
		"notice":  `{"post_type":"notice","notice_type":"group_recall","user_id":1}`,
		"call":    `{"action":"send_group_msg","params":{"group_id":1,"message":[{"type":"text"}]}}`,
		"reply":   `{"status":"ok","retcode":0,"data":{"message_id":1}}`,
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			var s Scanner
			b := []byte(text)
			scan := func() {
				s.Reset()
				for rest := b; len(rest) > 0; {
					n := min(len(rest), 10)
					s.Write(rest[:n])
					rest = rest[n:]
				}
			}
			if n := testing.AllocsPerRun(10, scan); n != 0 || !s.Whole() {
				t.Errorf("it allocates %v times; whole is %t", n, s.Whole())
			}
		})
	}
}

// What plain looks at in blocks must not depend on what is beside it.
func TestPlainStopsAtTheFirstOfItsBytes(t *testing.T) {
	for c := range 256 {
		stops := c == '"' || c == '\\'
		for _, around := range []string{"a", "!", "#", "]", "[", "\x7f", "\x80", "\xff", " "} {
			for _, at := range []int{0, 1, 15, 16, 17, 271, 272, 273, 299} {
				b := []byte(strings.Repeat(around, 300))
				b[at] = byte(c)
				want := len(b)
				if stops {
					want = at
				}
				if got := plain(b); got != want {
					t.Fatalf("%q: got %d, want %d", b, got, want)
				}
			}
		}
	}
}
