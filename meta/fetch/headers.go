package fetch

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// refusedHeaders are those that a caller may not set: they frame the request
// or manage its connection (RFC 9110, sections 6 to 7), or make the origin
// send another thing than the whole file (sections 13 and 14).
var refusedHeaders = map[string]bool{
	"Connection":        true,
	"Content-Length":    true,
	"Expect":            true,
	"Http2-Settings":    true,
	"Keep-Alive":        true,
	"Te":                true,
	"Trailer":           true,
	"Transfer-Encoding": true,
	"Upgrade":           true,

	"If-Match":            true,
	"If-Modified-Since":   true,
	"If-None-Match":       true,
	"If-Range":            true,
	"If-Unmodified-Since": true,
	"Range":               true,
}

// ParseHeaders reads request headers, each of the form "Name: value". Empty
// lines are left out. Accept-Encoding is dropped, since compression is never
// asked for.
func ParseHeaders(lines []string) (http.Header, error) {
	header := make(http.Header)
	for i, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, &Error{Kind: BadHeader, Detail: strconv.Itoa(i + 1)}
		}
		name = http.CanonicalHeaderKey(name)
		switch {
		case refusedHeaders[name], strings.HasPrefix(name, "Proxy-"):
			return nil, &Error{Kind: RefusedHeader, Detail: name}
		case name == "Host" && (header.Get("Host") != "" || value == "" || !httpguts.ValidHostHeader(value)):
			return nil, &Error{Kind: BadHeader, Detail: strconv.Itoa(i + 1)}
		case name == "Accept-Encoding":
		default:
			header.Add(name, value)
		}
	}
	return header, nil
}
