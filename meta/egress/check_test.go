package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// What a proxy will connect to is judged and never dialled.
func TestWhatAProxyIsAskedForIsJudgedFirst(t *testing.T) {
	var lookups atomic.Int32
	resolver := stubDNS(t, func(name string) (addrs []netip.Addr) {
		lookups.Add(1)
		for _, addr := range map[string][]string{
			"public.example":        {"1.1.1.1", "2606:4700:4700::1111"},
			"v4.example":            {"1.1.1.1"},
			"v6.example":            {"2606:4700:4700::1111"},
			"loopback.example":      {"127.0.0.1"},
			"loopback6.example":     {"::1"},
			"mixed.example":         {"1.1.1.1", "10.0.0.1"},
			"mixed6.example":        {"1.1.1.1", "fd00::1"},
			"metadata.example":      {"169.254.169.254"},
			"nat64.example":         {"64:ff9b::a00:1"},
			"6to4.example":          {"2002:7f00:1::"},
			"mapped.example":        {"::ffff:127.0.0.1"},
			"my_host.example":       {"1.1.1.1"},
			"xn--bcher-kva.example": {"1.1.1.1"},
			"nas.example":           {"192.168.1.7", "192.168.1.8"},
		}[name] {
			addrs = append(addrs, netip.MustParseAddr(addr))
		}
		return addrs
	})
	errDNS := errors.New("an error of the resolver")
	for name, tt := range map[string]struct {
		host   string
		allow  []string
		want   error
		lookup bool
	}{
		"a name with public addresses":                      {"public.example", nil, nil, true},
		"a name with IPv4 only":                             {"v4.example", nil, nil, true},
		"a name with IPv6 only":                             {"v6.example", nil, nil, true},
		"a name in capitals":                                {"Public.EXAMPLE", nil, nil, true},
		"a name from the root":                              {"public.example.", nil, nil, true},
		"a name with an underscore":                         {"my_host.example", nil, nil, true},
		"a name that is not ASCII":                          {"bücher.example", nil, nil, true},
		"a name for loopback":                               {"loopback.example", nil, ErrRefused, true},
		"a name for loopback by IPv6":                       {"loopback6.example", nil, ErrRefused, true},
		"a name of which one address is private":            {"mixed.example", nil, ErrRefused, true},
		"a name of which the IPv6 address is private":       {"mixed6.example", nil, ErrRefused, true},
		"a name for the metadata service":                   {"metadata.example", nil, ErrRefused, true},
		"a name for NAT64":                                  {"nat64.example", nil, ErrRefused, true},
		"a name for 6to4":                                   {"6to4.example", nil, ErrRefused, true},
		"a name for IPv4 in IPv6":                           {"mapped.example", nil, ErrRefused, true},
		"a name that does not exist":                        {"nowhere.example", nil, errDNS, true},
		"a name whose addresses are all in a network":       {"nas.example", []string{"192.168.1.0/24"}, nil, true},
		"a name of which one address is opened":             {"nas.example", []string{"192.168.1.7"}, ErrRefused, true},
		"a name that is opened":                             {"nas.example", []string{"nas.example"}, nil, false},
		"a name that is opened, written otherwise":          {"NAS.example.", []string{"nas.example"}, nil, false},
		"a name that does not exist here, but is opened":    {"nas.lan", []string{"nas.lan"}, nil, false},
		"another name than the one that is opened":          {"loopback.example", []string{"nas.example"}, ErrRefused, true},
		"the address of a name that is opened":              {"192.168.1.7", []string{"nas.example"}, ErrRefused, false},
		"any name where everything is open":                 {"loopback.example", []string{"*"}, nil, false},
		"a public address":                                  {"1.1.1.1", nil, nil, false},
		"a public IPv6 address":                             {"2606:4700:4700::1111", nil, nil, false},
		"a public IPv6 address in brackets":                 {"[2606:4700:4700::1111]", nil, nil, false},
		"a public address in IPv6":                          {"::ffff:1.1.1.1", nil, nil, false},
		"loopback":                                          {"127.0.0.1", nil, ErrRefused, false},
		"loopback by IPv6":                                  {"::1", nil, ErrRefused, false},
		"loopback by IPv6 in brackets":                      {"[::1]", nil, ErrRefused, false},
		"loopback in IPv6":                                  {"::ffff:127.0.0.1", nil, ErrRefused, false},
		"loopback in IPv6 in brackets, with a zone":         {"[::ffff:7f00:1%lo]", nil, ErrRefused, false},
		"the metadata service":                              {"169.254.169.254", nil, ErrRefused, false},
		"a private address by NAT64":                        {"64:ff9b::a00:1", nil, ErrRefused, false},
		"a private address by 6to4":                         {"2002:a00:1::", nil, ErrRefused, false},
		"a link-local address with a zone":                  {"fe80::1%eth0", nil, ErrRefused, false},
		"a link-local address with a zone that is opened":   {"fe80::1%eth0", []string{"fe80::/10"}, nil, false},
		"an address that is opened":                         {"127.0.0.1", []string{"127.0.0.1"}, nil, false},
		"nothing":                                           {"", nil, ErrRefused, false},
		"a host with its port":                              {"public.example:80", nil, ErrRefused, false},
		"half a bracket":                                    {"[::1", nil, ErrRefused, false},
		"a name in brackets":                                {"[public.example]", nil, ErrRefused, false},
		"an address as one number":                          {"2130706433", nil, ErrRefused, false},
		"an address as a hexadecimal number":                {"0x7f000001", nil, ErrRefused, false},
		"an address as a hexadecimal number in capitals":    {"0X7F000001", nil, ErrRefused, false},
		"an address in octal":                               {"0177.0.0.1", nil, ErrRefused, false},
		"an address in two parts":                           {"127.1", nil, ErrRefused, false},
		"an address with a dot behind it":                   {"127.0.0.1.", nil, ErrRefused, false},
		"an address in full-width digits":                   {"１２７.0.0.1", nil, ErrRefused, false},
		"an address in circled digits":                      {"①②⑦.⓪.⓪.①", nil, ErrRefused, false},
		"an address with ideographic full stops":            {"127。0。0。1", nil, ErrRefused, false},
		"an address with a soft hyphen":                     {"127.0.0.1\u00ad", nil, ErrRefused, false},
		"a number in disguise where another host is opened": {"127.1", []string{"nas.example"}, ErrRefused, false},
	} {
		t.Run(name, func(t *testing.T) {
			allow, err := ParseAllow(tt.allow)
			if err != nil {
				t.Fatal(err)
			}
			before := lookups.Load()
			err = NewDialer(allow, resolver).Check(t.Context(), tt.host)
			_, isDNS := errors.AsType[*net.DNSError](err)
			if tt.want == errDNS && !isDNS || tt.want != errDNS && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if asked := lookups.Load() != before; asked != tt.lookup {
				t.Errorf("the resolver was asked: %t", asked)
			}
		})
	}
}

func TestANameThatChangesItsAddressIsJudgedEachTime(t *testing.T) {
	var now atomic.Pointer[netip.Addr]
	d := NewDialer(Allow{}, stubDNS(t, func(string) []netip.Addr { return []netip.Addr{*now.Load()} }))
	for _, step := range []struct {
		addr string
		want error
	}{{"1.1.1.1", nil}, {"127.0.0.1", ErrRefused}, {"1.1.1.1", nil}, {"169.254.169.254", ErrRefused}} {
		now.Store(new(netip.MustParseAddr(step.addr)))
		if err := d.Check(t.Context(), "rebind.example"); !errors.Is(err, step.want) {
			t.Errorf("as %s: got %v, want %v", step.addr, err, step.want)
		}
	}
}

func TestACheckEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := NewDialer(Allow{}, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err := d.Check(ctx, "public.example"); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

// stubDNS returns a resolver by which the addresses of a name are what answer
// says. It asks a server on loopback.
func stubDNS(t *testing.T, answer func(name string) []netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { server.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			q := m.Questions[0]
			addrs := answer(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
			if len(addrs) == 0 {
				m.RCode = dnsmessage.RCodeNameError
			}
			for _, addr := range addrs {
				head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}
				if addr.Is4() && q.Type == dnsmessage.TypeA {
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
				}
				if addr.Is6() && q.Type == dnsmessage.TypeAAAA {
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
				}
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = server.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", server.LocalAddr().String())
	}}
}
