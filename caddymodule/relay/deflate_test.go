package relay

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestOffersAreRewritten(t *testing.T) {
	for _, c := range []struct {
		name  string
		offer []string
		want  string // none if it is empty
	}{
		{"nothing", nil, ""},
		{"an empty header", []string{""}, ""},
		{"no parameters", []string{"permessage-deflate"}, "permessage-deflate;server_no_context_takeover;client_no_context_takeover"},
		{
			"window bits stay",
			[]string{`permessage-deflate; client_max_window_bits; server_max_window_bits="10"`},
			"permessage-deflate;server_no_context_takeover;client_no_context_takeover;server_max_window_bits=10;client_max_window_bits",
		},
		{
			"several offers, on several lines",
			[]string{"permessage-deflate; server_no_context_takeover; client_max_window_bits=9, permessage-deflate", "permessage-deflate; client_no_context_takeover"},
			"permessage-deflate;server_no_context_takeover;client_no_context_takeover;client_max_window_bits=9," +
				"permessage-deflate;server_no_context_takeover;client_no_context_takeover," +
				"permessage-deflate;server_no_context_takeover;client_no_context_takeover",
		},
		{"another extension", []string{"x-webkit-deflate-frame, bbf-usp-protocol; a=b"}, ""},
		{"another one beside", []string{"foo, permessage-deflate, bar; x"}, "permessage-deflate;server_no_context_takeover;client_no_context_takeover"},
		{"parameters that must be declined", []string{"permessage-deflate; foo, permessage-deflate; server_max_window_bits=99"}, ""},
		{"what is no list of offers", []string{`permessage-deflate; "`}, ""},
	} {
		for _, name := range extensionsHeaders {
			t.Run(c.name+", "+name, func(t *testing.T) {
				r := httptest.NewRequest("GET", "/", nil)
				if c.offer != nil {
					r.Header[name] = c.offer
				}
				before := r.Header.Clone()
				_, got := New(Options{}).Wrap(httptest.NewRecorder(), r)
				var want []string
				if c.want != "" {
					want = []string{c.want}
				}
				if c.name == "an empty header" {
					want = c.offer // offers nothing
				}
				if !slices.Equal(got.Header[name], want) || len(got.Header) > 1 {
					t.Errorf("got %q, want %q", got.Header, c.want)
				}
				if fmt.Sprint(r.Header) != fmt.Sprint(before) {
					t.Errorf("the request itself has %q now", r.Header)
				}
			})
		}
	}
}

func TestAgreements(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		want   agreement
		sent   []string // to the client, if it is not header
	}{
		{name: "none"},
		{name: "an empty header", header: []string{""}},
		{
			name:   "no context takeover",
			header: []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
			want:   agreement{deflate: true},
		},
		{
			name:   "the client's is added",
			header: []string{"permessage-deflate; server_no_context_takeover; client_max_window_bits=12"},
			want:   agreement{deflate: true},
			sent:   []string{"permessage-deflate;server_no_context_takeover;client_no_context_takeover;client_max_window_bits=12"},
		},
		{
			name:   "a server that keeps its context",
			header: []string{"permessage-deflate"},
			want:   agreement{deflate: true, chained: true},
			sent:   []string{"permessage-deflate;client_no_context_takeover"},
		},
		{name: "another extension", header: []string{"foo"}, want: agreement{unknown: true}},
		{name: "one beside", header: []string{"permessage-deflate; server_no_context_takeover", "foo"}, want: agreement{unknown: true}},
		{name: "twice", header: []string{"permessage-deflate, permessage-deflate"}, want: agreement{unknown: true}},
		{name: "an odd parameter", header: []string{"permessage-deflate; foo"}, want: agreement{unknown: true}},
		{name: "no list", header: []string{`"`}, want: agreement{unknown: true}},
	} {
		for _, name := range extensionsHeaders {
			t.Run(c.name+", "+name, func(t *testing.T) {
				h := http.Header{}
				if c.header != nil {
					h[name] = c.header
				}
				if got := readAgreement(h); got != c.want {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
				sent := c.sent
				if sent == nil {
					sent = c.header
				}
				if !slices.Equal(h[name], sent) || len(h) > 1 {
					t.Errorf("the client gets %q, want %q", h, sent)
				}
			})
		}
	}
}

// Where messages cannot be read one by one they pass, and are packets of no
// known kind.
func TestWhatCannotBeReadPasses(t *testing.T) {
	compressed := frame{op: 1, deflate: true, payload: deflated(mine)}
	odd := []byte{0x80 | 0x70 | 5, 0x80, 1, 2, 3, 4, 0x42, 0x80, 1, 2, 3, 4, 0x80, 0x80, 1, 2, 3, 4}
	for _, c := range []struct {
		name    string
		reverse bool
		agreed  agreement
		stream  []byte
		passes  bool
		calls   []string
		told    []string
	}{
		{
			name: "a server's messages that need those before", reverse: true, agreed: agreement{deflate: true, chained: true},
			stream: encode(false, compressed, compressed, text("x")), passes: true, told: []string{"unknown", "unknown", "unknown"},
		},
		{
			name: "a server's messages that are not compressed", reverse: true, agreed: agreement{deflate: true, chained: true},
			stream: encode(false, text(mine)), calls: []string{mine},
		},
		{
			name: "a client's", agreed: agreement{deflate: true, chained: true},
			stream: encode(true, compressed, text(mine)), calls: []string{mine, mine},
		},
		{
			name: "an unknown extension", agreed: agreement{unknown: true},
			stream: append(encode(true, text(mine)), odd...), passes: true, told: []string{"unknown", "unknown", "unknown"},
		},
		{
			name: "frames that are none", agreed: agreement{unknown: true},
			stream: append(encode(true, text(mine)), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...), passes: true, told: []string{"unknown"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.stream {
				var rec record
				out := through(&rec, c.reverse, 1000, c.agreed, cut(c.stream, i))
				if passes := bytes.Equal(out, c.stream); passes != c.passes || !c.passes && len(out) > 0 {
					t.Fatalf("cut at %d: passed %q, want %v", i, out, c.passes)
				}
				if !slices.Equal(rec.calls, c.calls) || !slices.Equal(rec.to, c.told) {
					t.Fatalf("cut at %d: answered %q, want %q; told of %q, want %q", i, rec.calls, c.calls, rec.to, c.told)
				}
			}
		})
	}
}

// What comes from an implementation is looked at in compressed form as well,
// but not kept without end.
func TestCompressedEvents(t *testing.T) {
	event := `{"post_type":"message","p":"` + strings.Repeat("hello ", 1000) + `"}`
	noise := make([]byte, maxDeflated+1)
	large := deflated(`{"post_type":"notice","p":"` + strings.Repeat("x", 10_000_000) + `"}`)
	bomb := deflated(`{"post_type":"notice","p":"` + strings.Repeat("x", maxInflated) + `"}`)
	stream := encode(false,
		frame{op: 1, deflate: true, payload: deflated(event)},
		frame{op: 1, deflate: true, more: true, payload: deflated(event)[:7]}, ping("p"), frame{payload: deflated(event)[7:]},
		frame{op: 1, deflate: true, payload: string(noise)},
		frame{op: 1, deflate: true, payload: large},
		frame{op: 1, deflate: true, payload: bomb},
		text(event))
	want := []string{"event message", "event message", "unknown", "event notice", "unknown", "event message"}
	for _, size := range []int{1, 5000, 32 << 10, len(stream)} {
		rec := new(record)
		rl := New(rec.options(false, 1<<20))
		var to bytes.Buffer
		w := &pusher{to: &to}
		w.flow.init(rl, w, behind, agreement{deflate: true})
		for p := range slices.Chunk(stream, size) {
			if _, err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(to.Bytes(), stream) || !slices.Equal(rec.from, want) {
			t.Errorf("in pieces of %d: %d of %d bytes passed; told of %q, want %q", size, to.Len(), len(stream), rec.from, want)
		}
	}
}
