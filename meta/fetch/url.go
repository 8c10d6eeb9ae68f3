package fetch

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

// ParseURL reads the URL of a file to fetch.
func ParseURL(raw string) (*url.URL, error) {
	if !strings.HasPrefix(raw, "http://") && !strings.HasPrefix(raw, "https://") {
		return nil, &Error{Kind: BadScheme}
	}
	u, err := url.Parse(raw)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return nil, &Error{Kind: BadURL, Err: err}
	}
	return u, nil
}

// redirected returns where a redirect leads to, which must be what could have been
// asked for at once: net/url is less strict with what has no scheme.
func redirected(from *url.URL, location string) (*url.URL, error) {
	to, err := from.Parse(location)
	if err != nil {
		return nil, err
	}
	return ParseURL(to.String())
}

// checkURL says whether u can be fetched.
func checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("not an HTTP URL")
	}
	if u.Hostname() == "" {
		return errors.New("no host")
	}
	if err := egress.CheckPort(u.Port()); err != nil {
		return err
	}
	// net/url takes a host with a bracket in it, for which net/http may make a
	// connection and forget to close it
	if _, _, err := net.SplitHostPort(net.JoinHostPort(u.Hostname(), "1")); err != nil {
		return err
	}
	return egress.CheckHost(u.Hostname())
}

// keepsSecrets reports whether what was sent to from may be sent to to, which
// from redirected to: only if they are one origin, or the same host over TLS
// on the default ports.
func keepsSecrets(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return portOf(from) == portOf(to)
	}
	return to.Scheme == "https" && portOf(from) == "80" && portOf(to) == "443"
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// Place is the part of u that may be logged: neither userinfo nor query, which
// carry passwords and keys.
func Place(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
