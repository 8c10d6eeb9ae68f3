package fetch

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// anETag is an entity tag (RFC 9110, section 8.8.3), but of ASCII only: other
// bytes do not survive being kept as JSON.
var anETag = regexp.MustCompile(`^(W/)?"[!#-~]*"$`)

// conditions makes a request conditional on the response not being current any
// more. It reports whether there is a validator to do so (RFC 9111, section
// 4.3.1).
func (s stored) conditions(request http.Header) bool {
	tag, modified := single(s.Header, "Etag"), single(s.Header, "Last-Modified")
	tagged := anETag.MatchString(tag)
	if tagged {
		request.Set("If-None-Match", tag)
	}
	_, dated := parseDate(modified)
	if dated {
		request.Set("If-Modified-Since", modified)
	}
	return tagged || dated
}

// updated describes the response after a 304 with header h (RFC 9111, section
// 4.3.4), whose fields take the place of those stored. It is not ok if the 304
// is about another response than this one, which then has to be asked for
// again, without conditions.
//
// What is ok may be returned now. Whether it may be kept is storable's to say
// again, of the new Header: the 304 may have brought a no-store.
func (s stored) updated(h http.Header, requested, received time.Time) (_ stored, ok bool) {
	if !validates(h, s.Header) {
		return stored{}, false
	}
	u := newStored(h, requested, received)
	for name, lines := range s.Header {
		// how old the stored response was does not make the 304 older
		if len(u.Header[name]) == 0 && name != "Age" && name != "Date" {
			u.Header[name] = lines
		}
	}
	return u, true
}

// validates reports whether the validators of a 304 are those of the response
// stored with header old, as far as it has any: some origins leave them out.
func validates(h, old http.Header) bool {
	if tag := strongETag(h); tag != "" {
		return tag == strongETag(old)
	}
	if len(h["Etag"]) > 0 && opaqueTag(h) != opaqueTag(old) {
		return false
	}
	// an origin that asks "not later?" of dates sends 304 also when an older
	// file took the place of the stored one
	return len(h["Last-Modified"]) == 0 || single(h, "Last-Modified") == single(old, "Last-Modified")
}

// opaqueTag is what weak comparison compares.
func opaqueTag(h http.Header) string { return strings.TrimPrefix(single(h, "Etag"), "W/") }

// strongETag returns the entity tag of a response if it is a strong validator,
// under which parts can be put together, and "" otherwise.
func strongETag(h http.Header) string {
	tag := single(h, "Etag")
	if !anETag.MatchString(tag) || strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}
