package fetch

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// part is what there is of a file whose transfer broke.
type part struct {
	have  int64  // bytes from its beginning
	total int64  // its whole length, or -1 if that is not known
	etag  string // of the representation; "" if it has no strong validator
}

// resumable reports whether the rest alone can be asked for. Without a strong
// validator nothing would tell whether the rest belongs to what there is.
func (p part) resumable() bool { return p.have > 0 && p.etag != "" }

// ask makes a request one for the rest (RFC 9110, sections 13.1.5 and 14.2).
// An origin that has another version by now sends all of that.
func (p part) ask(header http.Header) {
	header.Set("Range", fmt.Sprintf("bytes=%d-", p.have))
	header.Set("If-Range", p.etag)
}

// verdict is what an answer to ask is good for.
type verdict int

const (
	useless   verdict = iota // the whole file has to be asked for
	theRest                  // append this body
	wholeFile                // begin again with this body
	failure                  // which may pass
)

// judge says what an answer is good for. Any doubt whether it belongs to what
// there is makes it useless, so that two versions are never mixed.
func (p part) judge(resp *http.Response) verdict {
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		start, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
		same := strongETag(resp.Header) == p.etag && (p.total < 0 || p.total == total)
		if ok && start == p.have && same && len(resp.Header.Values("Content-Range")) == 1 {
			return theRest
		}
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
		return wholeFile
	case passes(resp.StatusCode):
		return failure
	}
	return useless // as when a URL has expired that a redirect led to
}

// parseContentRange reads "bytes <start>-<end>/<total>" (RFC 9110, section
// 14.4). What it does not say in full is of no use here.
func parseContentRange(value string) (start, total int64, ok bool) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	span, size, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	start, startOK := parseDigits(first)
	end, endOK := parseDigits(last)
	total, totalOK := parseDigits(size)
	ok = strings.EqualFold(unit, "bytes") && startOK && endOK && totalOK && start <= end && end < total
	return start, total, ok
}

// parseDigits reads a number that is nothing but digits.
func parseDigits(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil && s[0] != '+'
}
