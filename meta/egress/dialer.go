package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrRefused is the failure to connect to an address that is not public and
// that the configuration does not open.
var ErrRefused = errors.New("destination refused")

// DialTimeout is shared by the addresses of a name, so that one that swallows
// packets does not keep the others from being tried.
const DialTimeout = 15 * time.Second

// azureMetadata is the one metadata service of a cloud at an address that
// looks public: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
var azureMetadata = netip.MustParsePrefix("168.63.129.16/32")

// Dialer connects to what it allows. The address is judged after the name is
// resolved, as the connection is made, so that neither a name that changes its
// address nor a redirect gets past it.
type Dialer struct {
	allow    Allow
	open     net.Dialer // connects anywhere
	guarded  net.Dialer // judges every address first
	resolver *net.Resolver
	guardian *ssrf.Guardian
}

// NewDialer returns a Dialer that connects to public addresses and to what
// allow opens. It resolves names by resolver; nil stands for the system's.
func NewDialer(allow Allow, resolver *net.Resolver) *Dialer {
	d := &Dialer{
		allow:    allow,
		open:     net.Dialer{Timeout: DialTimeout, Resolver: resolver},
		resolver: cmp.Or(resolver, net.DefaultResolver),
		guardian: ssrf.New(
			ssrf.WithAnyPort(),
			ssrf.WithDeniedV4Prefixes(azureMetadata),
			ssrf.WithAllowedV4Prefixes(allow.v4...),
			ssrf.WithAllowedV6Prefixes(allow.v6...),
		),
	}
	d.guarded = d.open
	d.guarded.Control = d.control
	return d
}

// DialContext connects to addr, a host and a port. It is meant for
// [net/http.Transport].
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if d.allow.host(host) {
		return d.open.DialContext(ctx, network, addr)
	}
	return d.guarded.DialContext(ctx, network, addr)
}

// Check judges a host that a proxy will be asked to connect to: every address
// that its name resolves to must be allowed. The proxy resolves the name again,
// so a name whose address changes in between is judged by what it was here.
// The error is ErrRefused, or that of the resolver.
func (d *Dialer) Check(ctx context.Context, host string) error {
	if d.allow.host(host) {
		return nil
	}
	if addr, err := netip.ParseAddr(unbracketed(host)); err == nil {
		return d.check(addr)
	}
	// net/http gives a proxy the ASCII form, in which some names are addresses
	name, err := hostName(host)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if strings.HasSuffix(host, ".") {
		name += "." // no search list
	}
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if err := d.check(addr); err != nil {
			return err
		}
	}
	return nil
}

// unbracketed returns host without the brackets that a URL has around IPv6.
func unbracketed(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if inner, ok := strings.CutSuffix(inner, "]"); ok {
			return inner
		}
	}
	return host
}

// control judges the address that a socket is about to connect to.
func (d *Dialer) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s is not TCP", ErrRefused, network)
	}
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return d.check(addrPort.Addr())
}

// check judges an address. IPv4 within IPv6 is judged as IPv4; a zone, which
// would hide an address from every prefix, is left out.
func (d *Dialer) check(addr netip.Addr) error {
	if err := d.guardian.SafeAddr(addr.Unmap().WithZone("")); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}
