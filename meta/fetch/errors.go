package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

// Kind is what a download failed of.
type Kind int

const (
	BadScheme        Kind = iota + 1 // the URL does not begin with http:// or https://
	BadURL                           // the URL does not parse, or has no host
	BadHeader                        // a header is not of the form "Name: value"; Detail is its number
	RefusedHeader                    // a header is not for the caller to set; Detail is its name
	HostByProxy                      // Host cannot be set for an http:// URL that an HTTP proxy fetches
	BadContent                       // the content given instead of a URL is not base64
	Refused                          // the destination is not public and not opened; Detail is its host
	NoSuchHost                       // the host's name does not resolve; Detail is the host
	NoConnection                     // the host cannot be connected to; Detail is the host
	NoProxy                          // the proxy cannot be connected to, or to the host; Detail is the host
	ProxyRefused                     // Detail is the status code of its answer
	BadCertificate                   // the host does not prove to be who it should; Detail is the host
	RequestFailed                    // there was no usable answer; Detail is the host
	BadRedirect                      // the origin redirected to what is not a URL to fetch; Detail is its host
	TooManyRedirects                 // Detail is how many are followed
	BadStatus                        // the answer is not a success; Detail is its status code
	Incomplete                       // the body broke off; Detail is the host
	TooLarge                         // Detail is the limit
	TimedOut                         // Detail is the limit
	Stalled                          // no byte came for too long; Detail is the limit
	Cancelled                        // the caller went away, the server is stopping or the cache is not used any more
	Busy                             // too many downloads wait already
	Panicked                         // a bug
	WriteFailed                      // the file could not be written
	DiskFull                         // the file could not be written for want of room on the disk
	CacheFull                        // nor for want of room in the cache, where nothing may go
	CacheTooSmall                    // nor ever will it fit in the cache
)

// Error is a failed download.
type Error struct {
	Kind Kind

	// Detail is a fact about the failure, and safe to show: no secret and no
	// language.
	Detail string

	// Err is the cause, if there is one. Its text may hold secrets, such as a
	// URL's query; see [Error.Cause].
	Err error

	status     int           // of the answer, with BadStatus and ProxyRefused
	retryAfter time.Duration // which the origin asked for
}

func (e *Error) Error() string {
	return fmt.Sprintf("download failed (kind %d, %s): %s", e.Kind, e.Detail, e.Cause())
}

// Cause describes Err for a log. It takes over the text of errors that are
// known to hold no secret, and only the type of others: what an origin sends
// may repeat what it was sent.
func (e *Error) Cause() string {
	if inner, ok := errors.AsType[*Error](e.Err); ok {
		return inner.Cause()
	}
	for _, is := range []func(error) (error, bool){
		as[*net.OpError], as[*net.DNSError], as[*fs.PathError], as[*os.LinkError], as[*os.SyscallError],
		as[*tls.CertificateVerificationError], as[tls.AlertError], as[tls.RecordHeaderError],
		as[x509.UnknownAuthorityError], as[x509.HostnameError], as[*panicError],
	} {
		if known, ok := is(e.Err); ok {
			return known.Error()
		}
	}
	for _, known := range []error{errClosing, errTimedOut, errStalled, diskcache.ErrNoRoom, io.ErrUnexpectedEOF, io.EOF, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(e.Err, known) {
			return known.Error()
		}
	}
	if e.Err == nil {
		return "none"
	}
	return fmt.Sprintf("an error of type %T", e.Err)
}

// ownFault reports whether a download failed of something that it need not fail
// of on another node.
func ownFault(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return true
	}
	switch e.Kind {
	case Cancelled, Busy, Panicked, WriteFailed, DiskFull, CacheFull, CacheTooSmall:
		return true
	}
	return false
}

// failedRequest is the failure to get an answer from host.
func failedRequest(host string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	var op string
	if e, ok := errors.AsType[*net.OpError](err); ok {
		op = e.Op
	}
	_, noSuchHost := errors.AsType[*net.DNSError](err)
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	kind := RequestFailed
	switch {
	case errors.Is(err, egress.ErrRefused):
		kind = Refused
	case op == "proxyconnect", op == "socks connect": // as net/http has it
		kind = NoProxy
	case noSuchHost:
		kind = NoSuchHost
	case badCertificate:
		kind = BadCertificate
	case op == "dial":
		kind = NoConnection
	}
	return &Error{Kind: kind, Detail: host, Err: err}
}

// refusedByProxy is the answer of a proxy that does not do what it is asked for.
func refusedByProxy(status int) *Error {
	return &Error{Kind: ProxyRefused, Detail: strconv.Itoa(status), status: status}
}

// failedWrite is the failure to store a file.
func failedWrite(err error) *Error {
	kind := WriteFailed
	if diskcache.IsFull(err) {
		kind = DiskFull
	} else if errors.Is(err, diskcache.ErrTooLarge) {
		kind = CacheTooSmall
	} else if errors.Is(err, diskcache.ErrNoRoom) {
		kind = CacheFull
	}
	return &Error{Kind: kind, Err: err}
}

func as[E error](err error) (error, bool) { return errors.AsType[E](err) }
