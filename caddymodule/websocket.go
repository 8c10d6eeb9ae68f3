package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// drainPatience is how long the calls of a connection may go on that a reload
// is about to end.
const drainPatience = 5 * time.Second

// serveWebSocket serves a request for a WebSocket connection to the endpoint
// that is called action, and returns when the connection has ended.
func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request, action string) {
	if why, ok := checkHandshake(r); !ok {
		if why == errHandshakeVersion {
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		h.refuse(w, r, why)
		return
	}
	wire, err := accept(w, r)
	if err != nil {
		h.refusals().Warn("accepting websocket", zap.Error(err))
		return
	}
	s := h.newSocket(wire, r)
	if action == "event" {
		s.calls.refuse = errEventsOnly
	}
	h.sockets.add(s)
	defer h.sockets.remove(s)
	if fault := s.serve(action != "api"); fault != "" {
		h.refusals().Warn("closed websocket", zap.String("reason", fault), clientIP(r))
	}
}

// socket is an open WebSocket connection.
type socket struct {
	handler *Handler
	wire    wire
	calls   *calls
	cancel  context.CancelFunc // ends what the calls wait for

	stopOnce, hurryOnce sync.Once
	stopped, hurried    chan struct{} // closed by stop
	ended               chan struct{} // closed when the connection is

	writing sync.Mutex // orders frames
	silent  bool       // nothing may be written any more
	broken  error      // why a frame could not be written

	life  sync.Mutex // orders what comes from outside before the end
	over  bool
	heart *time.Timer
}

// newSocket returns the connection that r has opened. It must be served.
func (h *Handler) newSocket(wire wire, r *http.Request) *socket {
	ctx, cancel := context.WithCancel(r.Context())
	return &socket{
		handler: h,
		wire:    wire,
		calls:   h.newCalls(ctx, r, nil),
		cancel:  cancel,
		stopped: make(chan struct{}),
		hurried: make(chan struct{}),
		ended:   make(chan struct{}),
	}
}

// serve serves a connection until it ends. It returns what the client did wrong
// if that is why.
func (s *socket) serve(events bool) (fault string) {
	var goodbye closing
	defer close(s.ended)
	defer func() { s.close(goodbye) }()
	if events {
		s.write(ws.OpText, meta.Connected(s.handler.SelfID, time.Now()))
		s.beatLater()
	}
	goodbye = s.closing(s.read())
	if goodbye.code == ws.StatusGoingAway && !goodbye.byClient {
		s.calls.drain(drainPatience, s.hurried)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if errors.Is(s.broken, os.ErrDeadlineExceeded) {
		return "the client takes nothing of what it is sent"
	}
	return goodbye.reason
}

// read takes the messages of a connection. It returns why there are no more.
func (s *socket) read() error {
	limit := s.handler.MaxBody
	r := wsutil.Reader{
		Source:         s.wire,
		State:          ws.StateServerSide,
		CheckUTF8:      true,
		MaxMessageSize: max(limit, ws.MaxControlFramePayloadSize), // it is for control frames, too
		OnIntermediate: s.control,
	}
	for {
		select {
		case <-s.stopped: // there may be messages in the buffer
			return os.ErrDeadlineExceeded
		default:
		}
		header, err := r.NextFrame()
		if err != nil {
			return err
		}
		if header.OpCode.IsControl() {
			if err := s.control(header, &r); err != nil {
				return err
			}
			continue
		}
		message, err := io.ReadAll(&r)
		if err != nil {
			return err
		}
		if int64(len(message)) > limit {
			return wsutil.ErrMessageTooLarge
		}
		s.calls.take(message, nil, s.sendReply)
	}
}

func (s *socket) sendReply(reply []byte) bool { return s.write(ws.OpText, reply) }

// control answers a control frame, which may stand between the fragments of a
// message.
func (s *socket) control(header ws.Header, from io.Reader) error {
	payload, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	switch header.OpCode {
	case ws.OpPing:
		s.write(ws.OpPong, payload)
	case ws.OpClose:
		return closedBy(payload)
	}
	return nil
}

// closedBy returns what a client's Close frame says, as an error.
func closedBy(payload []byte) error {
	if len(payload) == 0 {
		return wsutil.ClosedError{Code: ws.StatusNoStatusRcvd}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if err := ws.CheckCloseFrameData(code, reason); err != nil {
		return err
	}
	if code > ws.StatusRangePrivate.Max {
		return ws.ErrProtocolStatusCodeUnknown
	}
	return wsutil.ClosedError{Code: code}
}

// closing is how a connection is to be closed: without a word if there is no
// code, since the client has gone.
type closing struct {
	code     ws.StatusCode
	reason   string // for the client
	byClient bool   // which awaits no more than an echo
}

// closing returns how to close a connection that cannot be read because of err.
func (s *socket) closing(err error) closing {
	if closed, ok := errors.AsType[wsutil.ClosedError](err); ok {
		return closing{code: closed.Code, byClient: true}
	}
	_, broken := errors.AsType[ws.ProtocolError](err)
	switch {
	case broken, errors.Is(err, ws.ErrHeaderLengthMSB), errors.Is(err, ws.ErrHeaderLengthUnexpected):
		return closing{code: ws.StatusProtocolError, reason: err.Error()}
	case errors.Is(err, wsutil.ErrInvalidUTF8):
		return closing{code: ws.StatusInvalidFramePayloadData, reason: "the text is not UTF-8"}
	case errors.Is(err, wsutil.ErrMessageTooLarge):
		return closing{code: ws.StatusMessageTooBig, reason: errMessageTooLarge(s.handler.MaxBody).Message}
	}
	select {
	case <-s.stopped:
		return closing{code: ws.StatusGoingAway}
	default:
		return closing{}
	}
}

// close says goodbye and ends the connection. What is under way is lost.
func (s *socket) close(c closing) {
	switch c.code {
	case 0:
	case ws.StatusNoStatusRcvd:
		s.write(ws.OpClose, nil)
	default:
		s.write(ws.OpClose, ws.NewCloseFrameBody(c.code, c.reason))
	}
	s.writing.Lock()
	s.silent = true
	answered := s.broken == nil && c.code != 0 && !c.byClient
	s.writing.Unlock()

	s.life.Lock()
	s.over = true
	if s.heart != nil {
		s.heart.Stop()
	}
	s.life.Unlock()
	s.cancel()
	s.wire.finish(answered)
	<-s.calls.drained()
}

// write sends a frame, after those that are being sent. It reports whether that
// was possible.
func (s *socket) write(op ws.OpCode, payload []byte) bool {
	frame := ws.NewFrame(op, true, payload)
	buf := bytes.NewBuffer(make([]byte, 0, ws.HeaderSize(frame.Header)+len(payload)))
	if err := ws.WriteFrame(buf, frame); err != nil { // a buffer takes everything
		panic(err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.silent {
		return false
	}
	if s.broken = s.wire.write(buf.Bytes()); s.broken != nil {
		s.silent = true
		s.wire.interrupt()
		return false
	}
	s.silent = op == ws.OpClose // which is the last frame
	return true
}

// beatLater has a heartbeat sent in a while, and then again and again.
func (s *socket) beatLater() {
	interval := time.Duration(*s.handler.Heartbeat)
	s.life.Lock()
	defer s.life.Unlock()
	if interval == 0 || s.over {
		return
	}
	s.heart = time.AfterFunc(interval, func() {
		if s.write(ws.OpText, s.handler.dispatcher.Heartbeat(s.handler.SelfID, interval, time.Now())) {
			s.beatLater()
		}
	})
}

// stop has the connection closed: when its calls are answered, for which it
// waits a while, or at once if there is a hurry.
func (s *socket) stop(hurry bool) {
	s.life.Lock()
	defer s.life.Unlock()
	s.stopOnce.Do(func() { close(s.stopped) })
	if hurry {
		s.hurryOnce.Do(func() { close(s.hurried) })
	}
	if !s.over {
		s.wire.interrupt()
	}
}
