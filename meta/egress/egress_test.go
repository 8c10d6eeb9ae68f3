package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// These addresses are judged, never dialled.
func TestOnlyPublicUnicastIsAllowedByDefault(t *testing.T) {
	d := newDialer(t)
	for addr, public := range map[string]bool{
		"1.1.1.1:443":                true,
		"93.184.216.34:80":           true,
		"100.63.255.255:80":          true,
		"100.128.0.0:80":             true,
		"172.15.255.255:80":          true,
		"172.32.0.0:80":              true,
		"223.255.255.255:80":         true,
		"[2606:4700:4700::1111]:443": true,
		"[::ffff:1.1.1.1]:443":       true,

		"127.0.0.1:80":                 false,
		"127.255.255.254:80":           false,
		"0.0.0.0:80":                   false,
		"0.1.2.3:80":                   false,
		"10.0.0.1:80":                  false,
		"100.64.0.1:80":                false,
		"100.127.255.255:80":           false,
		"100.100.100.200:80":           false, // metadata of Alibaba Cloud
		"169.254.0.1:80":               false,
		"169.254.169.254:80":           false, // metadata of most clouds
		"168.63.129.16:80":             false, // metadata of Azure
		"168.63.129.17:80":             true,
		"172.16.0.1:80":                false,
		"172.31.255.255:80":            false,
		"192.0.0.0:80":                 false,
		"192.0.0.192:80":               false, // metadata of Oracle Cloud
		"192.0.0.255:80":               false,
		"192.0.1.0:80":                 true,
		"192.0.2.1:80":                 false,
		"192.88.99.1:80":               false,
		"192.168.1.1:80":               false,
		"198.17.255.255:80":            true,
		"198.18.0.1:80":                false,
		"198.19.255.255:80":            false,
		"198.20.0.0:80":                true,
		"198.51.100.1:80":              false,
		"203.0.113.1:80":               false,
		"224.0.0.1:80":                 false,
		"239.255.255.255:80":           false,
		"240.0.0.1:80":                 false,
		"255.255.255.254:80":           false,
		"255.255.255.255:80":           false,
		"[::]:80":                      false,
		"[::1]:80":                     false,
		"[::127.0.0.1]:80":             false, // IPv4-compatible
		"[::1.1.1.1]:80":               false,
		"[::ffff:127.0.0.1]:80":        false, // IPv4-mapped
		"[::ffff:10.0.0.1]:80":         false,
		"[::ffff:0:127.0.0.1]:80":      false, // IPv4-translated
		"[::ffff:0:1.1.1.1]:80":        false,
		"[64:ff9b::1.1.1.1]:80":        false, // NAT64
		"[64:ff9b::10.0.0.1]:80":       false,
		"[64:ff9b::7f00:1]:80":         false,
		"[64:ff9b:1::10.0.0.1]:80":     false, // NAT64 for local use
		"[64:ff9b:1:ffff::1]:80":       false,
		"[100::1]:80":                  false, // discard only
		"[1fff:ffff::1]:80":            false, // the last before global unicast
		"[2001::1]:80":                 false, // Teredo
		"[2001:0:4136:e378::]:80":      false,
		"[2001:10::1]:80":              false, // ORCHID
		"[2001:20::1]:80":              false, // ORCHIDv2
		"[2001:1ff:ffff::1]:80":        false, // the last of the protocol assignments
		"[2001:200::1]:80":             true,
		"[2001:db8::1]:80":             false,
		"[2001:db8:ffff::1]:80":        false,
		"[2001:db9::1]:80":             true,
		"[2002::1]:80":                 false, // 6to4
		"[2002:7f00:1::]:80":           false,
		"[2002:808:808::1]:80":         false,
		"[3fff::1]:80":                 false,
		"[4000::1]:80":                 false, // the first behind global unicast
		"[5f00::1]:80":                 false,
		"[fc00::1]:80":                 false,
		"[fd00:ec2::254]:80":           false, // metadata of AWS
		"[fe80::1]:80":                 false,
		"[fe80::1%eth0]:80":            false,
		"[fe80::5efe:127.0.0.1]:80":    false, // ISATAP
		"[fec0::1]:80":                 false,
		"[feff:ffff::1]:80":            false,
		"[ff00::]:80":                  false,
		"[ff02::1]:80":                 false,
		"[2606:4700:4700::1111%lo]:80": true, // a zone hides nothing
		"[fd00::1%lo]:80":              false,
		"[::1%lo]:80":                  false,
		"[::ffff:127.0.0.1%lo]:80":     false,
		"[64:ff9b::10.0.0.1%lo]:80":    false,
		"localhost:80":                 false, // not an address at all
		"127.0.0.1":                    false,
	} {
		network := "tcp4"
		if strings.HasPrefix(addr, "[") {
			network = "tcp6"
		}
		err := d.control(network, addr, nil)
		if public && err != nil || !public && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := d.control("udp4", "1.1.1.1:443", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("UDP: %v", err)
	}
}

func TestAllowOpensWhatItListsAndNothingElse(t *testing.T) {
	d := newDialer(t, "10.1.0.0/16", "192.168.1.7", "fd00::/8", "[::1]", "fe80::/10")
	for addr, open := range map[string]bool{
		"10.1.2.3":         true,
		"::ffff:10.1.2.3":  true,
		"10.2.0.1":         false,
		"192.168.1.7":      true,
		"192.168.1.8":      false,
		"fd12::1":          true,
		"fc00::1":          false,
		"::1":              true,
		"127.0.0.1":        false,
		"fe80::1%eth0":     true,
		"64:ff9b::a01:203": false, // 10.1.2.3 by NAT64
		"8.8.8.8":          true,
	} {
		err := d.check(netip.MustParseAddr(addr))
		if open && err != nil || !open && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestParseAllowRefusesWhatItCannotMean(t *testing.T) {
	for _, item := range []string{
		"", "10.0.0.0/33", "10.0.0/8", "300.1.1.1", "127.1", "0x7f.1", "::ffff:10.0.0.0/104",
		"http://nas.lan", "nas.lan:80", "*.lan", "a b", "user@nas", "[nas.lan]", "fe80::/10%eth0",
	} {
		if allow, err := ParseAllow([]string{item}); err == nil {
			t.Errorf("%q is taken for %+v", item, allow)
		}
	}
}

func TestHostsAreOpenedByTheirName(t *testing.T) {
	allow, err := ParseAllow([]string{"NAS.lan", "bücher.example", "my_host"})
	if err != nil {
		t.Fatal(err)
	}
	for host, open := range map[string]bool{
		"nas.lan": true, "Nas.Lan.": true, "xn--bcher-kva.example": true, "BÜCHER.example": true, "my_host": true,
		"nas.lan.evil.example": false, "lan": false, "": false, "127.0.0.1": false,
	} {
		if allow.host(host) != open {
			t.Errorf("%q is open: %t", host, !open)
		}
	}
}

func TestCheckHostRefusesNumbersThatSomeResolversTakeForAddresses(t *testing.T) {
	for host, good := range map[string]bool{
		"2130706433": false, "0x7f000001": false, "0x7f.0.0.1": false, "0177.0.0.1": false, "127.1": false, "127.0.1": false,
		"127.0.0.01": false, "127.0.0.1.": false, "256.256.256.256": false, "1.2.3.4.5": false, "a.0x": false, "0X7F.1": false,
		"１２７.0.0.1": false, "①②⑦.0.0.①": false, "127。0。0。1": false, "0x7f。1": false, "127.0.0.1\u00ad": false, "127.\u200b1": false,
		"127.0.0.1": true, "::1": true, "fe80::1%eth0": true, "example.com": true, "1.example": true, "0xyz": true, "localhost": true, "3com.com": true, "bücher.example": true, "a_b.example": true,
	} {
		if err := CheckHost(host); good != (err == nil) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestDialJudgesTheAddressThatANameResolvesTo(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	loopback := stubDNS(t, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
	for name, tt := range map[string]struct {
		host  string
		allow []string
		open  bool
	}{
		"loopback itself":              {"127.0.0.1", nil, false},
		"IPv4 in IPv6":                 {"::ffff:127.0.0.1", nil, false},
		"the unspecified address":      {"0.0.0.0", nil, false},
		"a name for loopback":          {"rebind.example", nil, false},
		"an allowed network":           {"rebind.example", []string{"127.0.0.0/8"}, true},
		"an allowed host":              {"rebind.example", []string{"rebind.example"}, true},
		"an allowed host's address":    {"127.0.0.1", []string{"rebind.example"}, false},
		"another name for the address": {"other.example", []string{"rebind.example"}, false},
		"everything":                   {"other.example", []string{"*"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			allow, err := ParseAllow(tt.allow)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := NewDialer(allow, loopback).DialContext(t.Context(), "tcp", net.JoinHostPort(tt.host, port))
			if err == nil {
				conn.Close()
			}
			if tt.open && err != nil || !tt.open && !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A parser of what the configuration and strangers send must not panic, and
// what it opens must be what it was told to.
func FuzzHosts(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "0x7f.1", "fe80::1%1", "10.0.0.0/8", "nas.lan", "*", "[::1]", "::ffff:1.2.3.4", "１２７.0.0.1", "127。0。0。1"} {
		f.Add(seed)
	}
	deaf := NewDialer(Allow{}, &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no lookups here")
	}})
	f.Fuzz(func(t *testing.T, item string) {
		_ = CheckHost(item)
		if err := deaf.Check(t.Context(), item); err == nil {
			addr := netip.MustParseAddr(unbracketed(item)).Unmap()
			if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
				t.Errorf("%q is allowed without a lookup", item)
			}
		}
		allow, err := ParseAllow([]string{item})
		if err != nil || allow.all {
			return
		}
		if n := len(allow.hosts) + len(allow.v4) + len(allow.v6); n != 1 {
			t.Errorf("%q opens %d things", item, n)
		}
		if len(allow.hosts) == 1 && !allow.host(item) {
			t.Errorf("%q does not open itself", item)
		}
	})
}

func newDialer(t *testing.T, list ...string) *Dialer {
	t.Helper()
	allow, err := ParseAllow(list)
	if err != nil {
		t.Fatal(err)
	}
	return NewDialer(allow, nil)
}

func TestAnAddressWithoutAPortIsNotDialled(t *testing.T) {
	if conn, err := newDialer(t, "*").DialContext(t.Context(), "tcp", "127.0.0.1"); err == nil {
		conn.Close()
		t.Error("it is connected to")
	}
}
