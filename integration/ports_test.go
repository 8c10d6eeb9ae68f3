package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// The ports that tests listen on are below those that systems give to outgoing
// connections: one of these could take a port that was free a moment ago.
// A soak that is asked for runs beside other tests, and has the last of them for
// itself: what is closed for a while there stays free.
const firstPort, soaksPort, lastPort = 20_000, 31_000, 32_000

var (
	portsMu  sync.Mutex
	nextPort int
	// it is known when the flags are
	portRange = sync.OnceValues(func() (first, last int) {
		if time.Duration(soakFor) != briefSoak {
			return soaksPort, lastPort
		}
		return firstPort, soaksPort
	})
)

// freeAddr returns an address on loopback that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	first, last := portRange()
	if nextPort == 0 {
		nextPort = first + rand.IntN(last-first)
	}
	for range last - first {
		addr := fmt.Sprintf("127.0.0.1:%d", nextPort)
		if nextPort++; nextPort == last {
			nextPort = first
		}
		if listener, err := net.Listen("tcp", addr); err == nil {
			_ = listener.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
