package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The ports that tests listen on are below those that systems give to outgoing
// connections: one of these could take a port that was free a moment ago.
const firstPort, lastPort = 20_000, 32_000

var (
	portsMu  sync.Mutex
	nextPort = firstPort + rand.IntN(lastPort-firstPort)
)

// freeAddr returns an address on loopback that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range lastPort - firstPort {
		addr := fmt.Sprintf("127.0.0.1:%d", nextPort)
		if nextPort++; nextPort == lastPort {
			nextPort = firstPort
		}
		if listener, err := net.Listen("tcp", addr); err == nil {
			_ = listener.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
