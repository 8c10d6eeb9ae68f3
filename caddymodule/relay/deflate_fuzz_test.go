package relay

import (
	"bytes"
	"compress/flate"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
)

// FuzzExtensions has a client offer any extensions, and a server take what
// another implementation takes of what is left of them, or say anything.
func FuzzExtensions(f *testing.F) {
	for _, seed := range [][2]string{
		{"permessage-deflate", ""}, {"permessage-deflate; client_max_window_bits; server_max_window_bits=10", "permessage-deflate"},
		{"foo, permessage-deflate; server_no_context_takeover, bar; x", "permessage-deflate; server_no_context_takeover"}, {`permessage-deflate; "`, "foo"},
		{"permessage-deflate; server_max_window_bits=99, permessage-deflate; client_max_window_bits=8", "permessage-deflate, permessage-deflate"},
		{"", " ,\t"}, {"permessage-deflate;client_max_window_bits=\"15\"", "permessage-deflate; client_no_context_takeover; server_max_window_bits=08"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, offer, answer string) {
		h := http.Header{"Sec-Websocket-Extensions": {offer}}
		rewritten := rewriteOffers(h)
		if h.Get("Sec-Websocket-Extensions") != offer {
			t.Errorf("the request itself has %q now", h)
		}
		if twice := rewriteOffers(rewritten); !slices.Equal(twice[extensionsHeaders[0]], rewritten[extensionsHeaders[0]]) {
			t.Errorf("%q became %q, and then %q", offer, rewritten, twice)
		}
		value, found := extensions(rewritten)
		offers, ok := httphead.ParseOptions([]byte(value), nil)
		if found && !ok {
			t.Fatalf("%q became %q", offer, value)
		}
		for _, o := range offers {
			var p wsflate.Parameters
			if err := p.Parse(o); err != nil || string(o.Name) != "permessage-deflate" || !p.ClientNoContextTakeover || !p.ServerNoContextTakeover {
				t.Errorf("%q became %q: %v", offer, value, err)
			}
			server := wsflate.Extension{Parameters: wsflate.DefaultParameters}
			taken, err := server.Negotiate(o)
			if _, accepted := server.Accepted(); err != nil || !accepted {
				continue
			}
			agreed := make(http.Header)
			setExtensions(agreed, []httphead.Option{taken})
			if got := readAgreement(agreed); got != (agreement{deflate: true}) {
				t.Errorf("%q was answered with %q, which is %+v", value, agreed, got)
			}
		}

		said := http.Header{"Sec-Websocket-Extensions": {answer}}
		got := readAgreement(said)
		if got.deflate && got.unknown || got.chained && !got.deflate || got.unknown && said.Get("Sec-Websocket-Extensions") != answer {
			t.Errorf("%q is %+v and became %q", answer, got, said)
		}
		if again := readAgreement(said); again != got {
			t.Errorf("%q became %q, which is %+v instead of %+v", answer, said, again, got)
		}
	})
}

// FuzzInflate reads any bytes as a compressed message as compress/flate does, up
// to a limit, and what was compressed as what it was. Of a message that ends where none may end, the library makes
// what it would be with one zero more.
func FuzzInflate(f *testing.F) {
	for _, seed := range []string{deflated(mine), deflated(""), deflated(theirs)[:5], "", "\x00", "\x01\x00\x00\xff\xff", "\x03\x00", deflated(string(make([]byte, 10_000)))} {
		f.Add([]byte(seed), uint16(500))
		f.Add([]byte(seed), uint16(len(mine)))
		f.Add([]byte(seed), uint16(0))
	}
	f.Fuzz(func(t *testing.T, message []byte, limit uint16) {
		before := bytes.Clone(message)
		var got bytes.Buffer
		err := inflate(&got, message, int64(limit))
		if !bytes.Equal(message, before) {
			t.Error("it was written to")
		}
		if got.Len() > int(limit) {
			t.Errorf("%q became %q", message, got.Bytes())
		}
		whole, isWhole := inflatedWhole(message, "", limit)
		other, isOther := inflatedWhole(message, "\x00", limit)
		is := func(want []byte, ok bool) bool {
			return ok && len(want) <= int(limit) && err == nil && bytes.Equal(got.Bytes(), want) ||
				len(want) > int(limit) && err == errInflated
		}
		same := isWhole && isOther && bytes.Equal(whole, other)
		if (same || err == nil || err == errInflated) && !is(whole, isWhole) && !is(other, isOther) {
			t.Errorf("%q became %q, %v; want %q or %q", message, got.Bytes(), err, whole, other)
		}

		var again bytes.Buffer
		err = inflate(&again, []byte(deflated(string(message))), int64(limit))
		if large := len(message) > int(limit); large && err != errInflated || !large && (err != nil || !bytes.Equal(again.Bytes(), message)) {
			t.Errorf("%q became %q, %v", message, again.Bytes(), err)
		}
	})
}

// inflatedWhole is what compress/flate makes of a message, more and then the end
// that RFC 7692, section 7.2.2, wants, up to a byte more than limit.
func inflatedWhole(message []byte, more string, limit uint16) (got []byte, ok bool) {
	const end = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff" // the last block, for who wants one
	got, err := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(string(message)+more+end)), int64(limit)+1))
	return got, err == nil
}
