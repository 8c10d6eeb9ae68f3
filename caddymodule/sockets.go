package caddymodule

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// exitPatience is how long the process may go on that is about to exit, to say
// goodbye.
const exitPatience = time.Second

// sockets are the open WebSocket connections of a handler. They outlive the
// shutdown of an HTTP server, or keep it from ending, so they are told.
type sockets struct {
	count *atomic.Int64 // of the connections of the bot that are open

	mu     sync.Mutex
	closed bool
	open   map[*socket]struct{}
}

// newSockets returns the connections of a handler that is being provisioned,
// which are counted in count.
func newSockets(ctx caddy.Context, count *atomic.Int64) *sockets {
	s := &sockets{count: count}
	// A server does not end as long as streams of HTTP/2 and HTTP/3 are open,
	// and when the process exits, handlers are cleaned up only then.
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterOnShutdown(s.close)
	}
	return s
}

// add adds a connection. If it is too late for that, the connection is closed.
func (s *sockets) add(conn *socket) {
	s.count.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.stop(true)
		return
	}
	if s.open == nil {
		s.open = make(map[*socket]struct{})
	}
	s.open[conn] = struct{}{}
}

func (s *sockets) remove(conn *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	s.count.Add(-1)
}

// close closes all connections, now and in future. If the process is exiting it
// waits a while until that is done.
func (s *sockets) close() {
	s.mu.Lock()
	s.closed = true
	open := make([]*socket, 0, len(s.open))
	for conn := range s.open {
		open = append(open, conn)
	}
	s.mu.Unlock()

	exiting := caddy.Exiting()
	for _, conn := range open {
		conn.stop(exiting)
	}
	if !exiting {
		return
	}
	patience := time.NewTimer(exitPatience)
	defer patience.Stop()
	for _, conn := range open {
		select {
		case <-conn.ended:
		case <-patience.C:
			return
		}
	}
}
