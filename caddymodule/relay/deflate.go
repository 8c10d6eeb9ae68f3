package relay

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
)

// errInflated is of a compressed message that is too large.
var errInflated = errors.New("the message is too large")

// The header that names the extensions, as net/http writes it and as RFC 6455
// does.
var extensionsHeaders = []string{"Sec-Websocket-Extensions", "Sec-WebSocket-Extensions"}

// rewriteOffers lets only permessage-deflate be agreed on, and only so that no
// message depends on another: then one may be taken out, or put in. It returns
// the header to use, which is h itself if it offers nothing.
func rewriteOffers(h http.Header) http.Header {
	value, found := extensions(h)
	if !found {
		return h
	}
	var offers []httphead.Option
	all, ok := httphead.ParseOptions([]byte(value), nil)
	for _, offer := range all {
		var p wsflate.Parameters
		// one that does not parse is one that a server must decline
		if ok && string(offer.Name) == wsflate.ExtensionName && p.Parse(offer) == nil {
			p.ClientNoContextTakeover, p.ServerNoContextTakeover = true, true
			offers = append(offers, p.Option())
		}
	}
	h = h.Clone()
	setExtensions(h, offers)
	return h
}

// agreement is what two endpoints agreed on.
type agreement struct {
	deflate bool // permessage-deflate
	unknown bool // something that was not offered
	chained bool // each message of the server depends on those before
}

// readAgreement reads what was agreed on in the header of a response, and makes
// sure that it says of the client what was offered of it.
func readAgreement(h http.Header) agreement {
	value, found := extensions(h)
	if !found {
		return agreement{}
	}
	all, ok := httphead.ParseOptions([]byte(value), nil)
	var p wsflate.Parameters
	if !ok || len(all) != 1 || string(all[0].Name) != wsflate.ExtensionName || p.Parse(all[0]) != nil {
		return agreement{unknown: true}
	}
	// RFC 7692, section 7.1.1: a server need not repeat that of the client, but
	// must repeat its own.
	if !p.ClientNoContextTakeover {
		p.ClientNoContextTakeover = true
		setExtensions(h, []httphead.Option{p.Option()})
	}
	return agreement{deflate: true, chained: !p.ServerNoContextTakeover}
}

func extensions(h http.Header) (value string, found bool) {
	var values []string
	for _, name := range extensionsHeaders {
		values = append(values, h[name]...)
	}
	value = strings.Join(values, ",")
	return value, strings.Trim(value, ", \t") != ""
}

func setExtensions(h http.Header, options []httphead.Option) {
	name := extensionsHeaders[0]
	for _, n := range extensionsHeaders {
		if len(h[n]) > 0 {
			name = n
		}
		delete(h, n)
	}
	if len(options) == 0 {
		return
	}
	var value strings.Builder
	httphead.WriteOptions(&value, options) // a Builder never fails
	h[name] = []string{value.String()}
}

// inflater makes [wsflate.Reader] reuse its decompressor.
type inflater struct{ io.ReadCloser }

func (i inflater) Reset(r io.Reader) {
	i.ReadCloser.(flate.Resetter).Reset(r, nil) // fails for a dictionary only
}

// An inflation reads one compressed message.
type inflation struct {
	src    bytes.Reader
	reader *wsflate.Reader
	limit  io.LimitedReader
}

var inflations = sync.Pool{New: func() any {
	i := new(inflation)
	i.reader = wsflate.NewReader(&i.src, func(r io.Reader) wsflate.Decompressor {
		return inflater{flate.NewReader(r)}
	})
	return i
}}

// inflate writes to w what a compressed message is. It writes no more than
// limit bytes, and then fails with errInflated.
func inflate(w io.Writer, deflated []byte, limit int64) error {
	i := inflations.Get().(*inflation)
	defer func() {
		i.src.Reset(nil)
		inflations.Put(i)
	}()
	i.src.Reset(deflated)
	i.reader.Reset(&i.src)
	i.limit = io.LimitedReader{R: i.reader, N: limit}
	scratch := scratches.Get().(*[scratchSize]byte)
	defer scratches.Put(scratch)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, &i.limit, scratch[:]); err != nil {
		return err
	}
	if i.limit.N > 0 {
		return nil
	}
	// is there more?
	switch n, err := io.ReadFull(i.reader, scratch[:1]); {
	case n > 0:
		return errInflated
	case err != io.EOF:
		return err
	}
	return nil
}
