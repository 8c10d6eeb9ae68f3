package relay

import (
	"io"
	"time"

	"github.com/gobwas/ws"
)

// side is a side of the connection.
type side int32

const (
	client side = 1 + iota
	behind
)

func (s side) other() side { return client + behind - s }

// fault is the status code if the connection ends through the fault of a side.
func (s side) fault() ws.StatusCode {
	if s == client {
		return ws.StatusProtocolError
	}
	return ws.StatusInternalServerError
}

// endedBy says that a side has ended the connection. It reports whether it was
// the first to.
func (rl *Relay) endedBy(s side) bool {
	if s == behind && rl.request != nil && rl.request.Err() != nil {
		// HTTP/2: the client is gone, which is known behind sooner than here
		rl.first.CompareAndSwap(0, int32(client))
	}
	return rl.first.CompareAndSwap(0, int32(s)) || rl.first.Load() == int32(s)
}

// goneBehind says that nothing comes from behind any more. The client is told
// if it does not know, unless that had to be in the middle of a frame.
func (rl *Relay) goneBehind() {
	if rl.endedBy(behind) {
		rl.client.SetWriteDeadline(time.Now().Add(farewell))
		rl.down.hangUp(behind.fault(), 0)
	}
}

// refuseClient tells the client that it broke the protocol.
func (rl *Relay) refuseClient() {
	rl.client.SetWriteDeadline(time.Now().Add(farewell))
	rl.down.hangUp(client.fault(), farewell)
}

// linger waits until a client that was refused is gone. If the connection were
// closed while there is something to be read from it, what was written to it
// last might get lost.
func (rl *Relay) linger() {
	rl.client.SetReadDeadline(time.Now().Add(farewell))
	if rl.client.closeWrite != nil {
		rl.client.closeWrite()
	}
	io.CopyN(io.Discard, rl.client.from, 256<<10)
}

// closeClient closes the connection to the client. Nothing that has to do with
// it waits much longer.
func (rl *Relay) closeClient() error {
	if rl.pump != nil {
		rl.endedBy(behind)
		rl.pump.abort() // what waits for it may keep down locked
	}
	rl.goneBehind()
	err := rl.client.close()
	// where that does not unlock down
	rl.client.SetWriteDeadline(time.Now().Add(farewell))
	return err
}

// closeClientWrite says that nothing more will be written to the client.
func (rl *Relay) closeClientWrite() error {
	rl.goneBehind()
	rl.client.SetReadDeadline(time.Now().Add(lastWords))
	return rl.client.closeWrite()
}
