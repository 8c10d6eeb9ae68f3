package caddymodule

import (
	"errors"
	"net/url"
	"slices"

	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

// newProxy returns the configured proxy with its placeholders expanded, or nil
// if there is none. What it returns as an error shows no part of it.
func newProxy(configured string) (*url.URL, error) {
	if configured == "" {
		return nil, nil
	}
	raw, err := expand(configured)
	if err != nil {
		return nil, err
	}
	return parseProxy(raw)
}

// parseProxy reads the URL of a proxy. Its error shows no part of raw, which
// may have a password.
func parseProxy(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	// What follows the host is likely the rest of a password with a / ? or #.
	if err != nil || u.Hostname() == "" || egress.CheckPort(u.Port()) != nil ||
		!slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("must be an http://, https://, socks5:// or socks5h:// URL with a host and nothing behind it, " +
			"such as socks5h://127.0.0.1:1080; a user and password in it must be percent-encoded")
	}
	return u, nil
}
