// Package egress decides which addresses a download may connect to. By default
// these are the public ones; the rest is opened by the configuration.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/idna"
)

// AllowAll, listed in an [Allow], opens every address.
const AllowAll = "*"

// Allow is what the configuration opens beyond public addresses. The zero
// value opens nothing.
type Allow struct {
	all    bool
	v4, v6 []netip.Prefix
	hosts  map[string]struct{}
}

// ParseAllow reads a list of networks ("10.0.0.0/8"), single addresses
// ("fd00::1"), hosts by name ("nas.lan") and [AllowAll].
func ParseAllow(list []string) (Allow, error) {
	allow := Allow{hosts: make(map[string]struct{})}
	for _, item := range list {
		if item == AllowAll {
			allow.all = true
			continue
		}
		prefix, isNetwork, err := parseNetwork(item)
		switch {
		case err != nil:
			return Allow{}, err
		case !isNetwork:
			host, err := hostName(item)
			if err != nil {
				return Allow{}, fmt.Errorf("'%s' is not a network like 10.0.0.0/8, an address or a host name", item)
			}
			allow.hosts[host] = struct{}{}
		case prefix.Addr().Is4():
			allow.v4 = append(allow.v4, prefix)
		default:
			allow.v6 = append(allow.v6, prefix)
		}
	}
	return allow, nil
}

// parseNetwork reads item as a network or a single address, if it is either.
func parseNetwork(item string) (prefix netip.Prefix, ok bool, err error) {
	if strings.Contains(item, "/") {
		if prefix, err = netip.ParsePrefix(item); err != nil {
			return prefix, false, fmt.Errorf("'%s' is not a network like 10.0.0.0/8", item)
		}
	} else if addr, err := netip.ParseAddr(strings.Trim(item, "[]")); err == nil {
		prefix = netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen())
	} else {
		return prefix, false, nil
	}
	if prefix.Addr().Is4In6() {
		// addresses are judged as what they are, which is IPv4
		return prefix, false, fmt.Errorf("'%s' must be written as an IPv4 network", item)
	}
	return prefix.Masked(), true, nil
}

// host reports whether host is opened by name.
func (a Allow) host(host string) bool {
	if a.all {
		return true
	}
	name, err := hostName(host)
	if err != nil {
		return false
	}
	_, ok := a.hosts[name]
	return ok
}

// hostName returns the form of a host's name by which names are compared.
func hostName(host string) (string, error) {
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(host, "."))
	if err != nil {
		// what IDNA refuses may still be a name in use, such as one with an
		// underscore
		name = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	if name == "" || !httpguts.ValidHostHeader(name) || strings.ContainsAny(name, ":/@*[]") || endsInNumber(name) {
		return "", fmt.Errorf("not a host name: '%s'", host)
	}
	return name, nil
}

// CheckHost refuses the hosts of a URL that some resolvers take for an
// address in disguise, such as 2130706433, 0x7f.1, 127.1 and 127。0。0。1,
// before anything is asked about them. No name ends in a number: see "ends in
// a number" in the WHATWG URL standard.
func CheckHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	name := host
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		name = ascii // as net/http asks for it
	}
	if endsInNumber(name) {
		return fmt.Errorf("'%s' ends in a number but is not an IP address", host)
	}
	return nil
}

// CheckPort refuses the ports of a URL that there are none of. A URL without
// one has that of its scheme.
func CheckPort(port string) error {
	if port == "" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("no such port")
	}
	return nil
}

func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		last, digits = hex, digits+"abcdef"
		if last == "" {
			return true
		}
	}
	return last != "" && strings.Trim(last, digits) == ""
}
