package fetch

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// The pause before the first try anew, which doubles each time.
const (
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

// transient reports whether another try may succeed where this one failed.
// Once something has come, the origin is known to be there.
func (e *Error) transient(begun bool) bool {
	switch e.Kind {
	case RequestFailed, Incomplete, Stalled:
		return true
	case NoConnection, NoSuchHost:
		return begun
	case BadStatus, ProxyRefused:
		return passes(e.status)
	}
	return false
}

// passes reports whether a status tells of a failure that may pass, as curl
// --retry has it.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// pause waits before a try anew, the number of which counts from 0. It reports
// false if there is no time left for another one.
func (c *Client) pause(ctx context.Context, try int, atLeast time.Duration) bool {
	backoff := min(c.backoff<<min(try, 20), maxBackoff)
	backoff -= rand.N(backoff / 2) // so that not all come back at once
	wait := max(backoff, atLeast)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryAfter returns how long an origin asks to be left alone (RFC 9110,
// section 10.2.3).
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if wait, ok := parseSeconds(value); ok {
		return wait
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
