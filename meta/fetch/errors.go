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
	BadContent                       // the content given instead of a URL is not base64
	Refused                          // the destination is not public and not opened; Detail is its host
	NoSuchHost                       // the host's name does not resolve; Detail is the host
	NoConnection                     // the host cannot be connected to; Detail is the host
	BadCertificate                   // the host does not prove to be who it should; Detail is the host
	RequestFailed                    // there was no usable answer; Detail is the host
	BadRedirect                      // the origin redirected to what is not a URL to fetch; Detail is its host
	TooManyRedirects                 // Detail is how many are followed
	BadStatus                        // the answer is not a success; Detail is its status code
	Incomplete                       // the body broke off; Detail is the host
	TooLarge                         // Detail is the limit
	TimedOut                         // Detail is the limit
	Stalled                          // no byte came for too long; Detail is the limit
	Cancelled                        // the caller went away or the server is stopping
	WriteFailed                      // the file could not be written
	DiskFull                         // the file could not be written for want of room
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
}

func (e *Error) Error() string {
	return fmt.Sprintf("download failed (kind %d, %s): %s", e.Kind, e.Detail, e.Cause())
}

func (e *Error) Unwrap() error { return e.Err }

// Cause describes Err for a log. It takes over the text of errors that are
// known to hold no secret, and only the type of others: what an origin sends
// may repeat what it was sent.
func (e *Error) Cause() string {
	for _, is := range []func(error) (error, bool){
		as[*net.OpError], as[*net.DNSError], as[*fs.PathError], as[*os.LinkError], as[*os.SyscallError],
		as[*tls.CertificateVerificationError], as[tls.AlertError], as[tls.RecordHeaderError],
		as[x509.UnknownAuthorityError], as[x509.HostnameError],
	} {
		if known, ok := is(e.Err); ok {
			return known.Error()
		}
	}
	for _, known := range []error{io.ErrUnexpectedEOF, io.EOF, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(e.Err, known) {
			return known.Error()
		}
	}
	if e.Err == nil {
		return "none"
	}
	return fmt.Sprintf("an error of type %T", e.Err)
}

// failedRequest is the failure to get an answer from host.
func failedRequest(host string, err error) *Error {
	kind := RequestFailed
	if errors.Is(err, egress.ErrRefused) {
		kind = Refused
	} else if _, ok := errors.AsType[*net.DNSError](err); ok {
		kind = NoSuchHost
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		kind = BadCertificate
	} else if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		kind = NoConnection
	}
	return &Error{Kind: kind, Detail: host, Err: err}
}

// failedWrite is the failure to store a file.
func failedWrite(err error) *Error {
	kind := WriteFailed
	if diskcache.IsFull(err) {
		kind = DiskFull
	}
	return &Error{Kind: kind, Err: err}
}

func as[E error](err error) (error, bool) { return errors.AsType[E](err) }
