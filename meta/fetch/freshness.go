package fetch

import (
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/cachecontrol/cacheobject"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// These are the rules of a private cache (RFC 9111) without heuristics: what is
// fresh says so. Vary always matches, since a stored response is found by all
// headers of a request.
//
// Any doubt is a miss. A directive that restricts reuse counts wherever it is
// mentioned, one that allows it only where it is understood.

// stored is what a cache has remembered of a response, of whose header it keeps
// storedHeaders.
type stored diskcache.Head

// storedHeaders are those of a response that decide about its reuse.
var storedHeaders = []string{"Age", "Cache-Control", "Date", "Etag", "Expires", "Last-Modified", "Vary"}

// newStored describes a response, or a 304, whose header is h.
func newStored(h http.Header, requested, received time.Time) stored {
	// UTC drops the monotonic clock, which stands still while a machine sleeps
	// and does not show a clock that was set back
	s := stored{Requested: requested.UTC(), Received: received.UTC(), Header: make(http.Header)}
	for _, name := range storedHeaders {
		if lines := h[name]; len(lines) > 0 {
			s.Header[name] = slices.Clone(lines)
		}
	}
	return s
}

// storable reports whether a response may be kept, and whether that is of use:
// whether it can be fresh, or be validated.
func storable(request http.Header, status int, response http.Header) bool {
	if status < 200 || status > 299 || status == http.StatusPartialContent || forbidden(request, response) {
		return false
	}
	if status != http.StatusOK && strings.Contains(list(response, "Cache-Control"), "must-understand") {
		return false // no other status is treated in a way of its own
	}
	s := stored{Header: response}
	// without a Date, no Expires is known to be past
	return s.lifetime() > s.ageOnArrival() || s.conditions(make(http.Header))
}

// forbidden reports whether a response must not be kept, or can never be
// returned again (RFC 9111, sections 4.1 and 5.2). To ignore no-store for the
// sake of must-understand is allowed, but not needed.
func forbidden(request, response http.Header) bool {
	return tooLong(request) || tooLong(response) ||
		strings.Contains(list(request, "Cache-Control"), "no-store") ||
		strings.Contains(list(response, "Cache-Control"), "no-store") ||
		strings.Contains(list(response, "Vary"), "*")
}

// tooLong reports whether what decides about reuse is longer than is ever
// needed: it is remembered, and the time to parse it grows with its square.
func tooLong(h http.Header) bool {
	n := 0
	for _, name := range storedHeaders {
		for _, line := range h[name] {
			n += len(line) + 1
		}
	}
	return n > 4<<10
}

// fresh reports whether the response may be returned at the time now without
// asking the origin (RFC 9111, section 4.2). A stale one never may: max-stale
// and the like are permissions, which are not used. Nor is only-if-cached,
// which is about what is to happen otherwise.
func (s stored) fresh(request http.Header, now time.Time) bool {
	cc := list(request, "Cache-Control")
	if forbidden(request, s.Header) || strings.Contains(cc, "no-cache") {
		return false
	}
	if cc == "" && strings.Contains(list(request, "Pragma"), "no-cache") {
		return false // RFC 7234, section 5.4
	}
	wish, err := cacheobject.ParseRequestCacheControl(cc)
	if err != nil || !understood(cc, "max-age", wish.MaxAge) || !understood(cc, "min-fresh", wish.MinFresh) {
		return false
	}
	age, ok := s.age(now)
	if !ok || wish.MaxAge >= 0 && age >= seconds(wish.MaxAge) {
		return false
	}
	left := s.lifetime() - age
	return left > 0 && left >= seconds(wish.MinFresh)
}

// forever is the longest lifetime (RFC 9111, section 1.2.2). An age of it is
// stale, and two of it can be added.
const forever = math.MaxInt32 * time.Second

// age is the current_age of RFC 9111, section 4.2.3, unless it is in doubt.
func (s stored) age(now time.Time) (time.Duration, bool) {
	delay, resident := s.Received.Sub(s.Requested), now.Sub(s.Received)
	if delay < 0 || resident < 0 {
		return 0, false // the clock was set back
	}
	age := max(s.ageOnArrival()+min(delay, forever), s.Received.Sub(s.date()))
	return min(age, forever) + min(resident, forever), true
}

// ageOnArrival is what the Age header says, of which the first value counts and
// what is no number is ignored (RFC 9111, section 5.1).
func (s stored) ageOnArrival() time.Duration {
	if len(s.Header["Age"]) == 0 {
		return 0
	}
	first, _, _ := strings.Cut(s.Header["Age"][0], ",")
	age, _ := parseSeconds(strings.Trim(first, " \t"))
	return age
}

// parseSeconds reads delta-seconds (RFC 9111, section 1.2.2): nothing but digits,
// and forever if it is more than that.
func parseSeconds(s string) (n time.Duration, ok bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	seconds, _ := strconv.ParseUint(s, 10, 31) // the range's end is as good
	return time.Duration(seconds) * time.Second, true
}

// lifetime is the freshness_lifetime of RFC 9111, section 4.2.1, and 0 for a
// response that has to be validated. The directives of shared caches are not
// for this one, and no-cache with field names need not be told from no-cache.
func (s stored) lifetime() time.Duration {
	cc := list(s.Header, "Cache-Control")
	says, err := cacheobject.ParseResponseCacheControl(cc)
	if err != nil || strings.Contains(cc, "no-cache") || !understood(cc, "max-age", says.MaxAge) {
		return 0
	}
	if says.MaxAge >= 0 {
		return seconds(says.MaxAge)
	}
	expires, ok := parseDate(single(s.Header, "Expires"))
	if !ok {
		return 0
	}
	return min(max(0, expires.Sub(s.date())), forever)
}

// date is when the response was generated, as far as is known.
func (s stored) date() time.Time {
	if date, ok := parseDate(single(s.Header, "Date")); ok {
		return date
	}
	return s.Received
}

// understood reports whether a directive is in cc either not at all, or once
// and with the value that was parsed. The parser takes the last of several,
// and what follows an unquoted private= or no-cache= for names of fields.
func understood(cc, name string, value cacheobject.DeltaSeconds) bool {
	n := strings.Count(cc, name)
	return n == 0 || n == 1 && value >= 0
}

func seconds(n cacheobject.DeltaSeconds) time.Duration { return time.Duration(n) * time.Second }

// list returns the lines of a header as one, in lower case.
func list(h http.Header, name string) string { return strings.ToLower(strings.Join(h[name], ", ")) }

// single returns the value of a header that may have only one.
func single(h http.Header, name string) string {
	if len(h[name]) != 1 {
		return ""
	}
	return h[name][0]
}

// aDate is any form of HTTP-date (RFC 9110, section 5.6.7).
var aDate = regexp.MustCompile(`^([A-Za-z]{3}, \d\d [A-Za-z]{3} \d{4} \d\d:\d\d:\d\d GMT|` +
	`[A-Za-z]{6,9}, \d\d-[A-Za-z]{3}-\d\d \d\d:\d\d:\d\d GMT|` +
	`[A-Za-z]{3} [A-Za-z]{3} [ \d]\d \d\d:\d\d:\d\d \d{4})$`)

// parseDate is [http.ParseTime] without what it takes beyond HTTP's grammar,
// such as other time zones than GMT.
func parseDate(value string) (time.Time, bool) {
	if !aDate.MatchString(value) {
		return time.Time{}, false
	}
	t, err := http.ParseTime(value)
	return t, err == nil
}
