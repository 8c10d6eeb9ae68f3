package caddymodule

import (
	"errors"
	"net/url"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

// newProxy returns the configured proxy with its placeholders expanded, or nil
// if there is none. What it returns as an error shows no part of it.
func newProxy(configured string) (*url.URL, error) {
	if configured == "" {
		return nil, nil
	}
	raw, err := caddy.NewReplacer().ReplaceOrErr(configured, true, true)
	if err != nil {
		return nil, errors.New("has a placeholder that is unknown or empty; " +
			`set what it names, or write \{ for a plain brace`)
	}
	return parseProxy(raw)
}

// parseProxy reads the URL of a proxy. Its error shows no part of raw, which
// may have a password.
func parseProxy(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	// What follows the host is likely the rest of a password with a / ? or #.
	if err != nil || u.Hostname() == "" || !goodPort(u.Port()) ||
		!slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("must be an http://, https://, socks5:// or socks5h:// URL with a host and nothing behind it, " +
			"such as socks5h://127.0.0.1:1080; a user and password in it must be percent-encoded")
	}
	return u, nil
}

func goodPort(port string) bool {
	if port == "" {
		return true // that of the scheme
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
