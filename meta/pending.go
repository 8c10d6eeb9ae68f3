package meta

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"
)

// Pending is a call that is being carried out. Its Reply must be asked for.
type Pending struct {
	logger *zap.Logger
	action string
	quiet  bool // about success and failure alike
	echo   json.RawMessage
	start  time.Time

	later later // nil when the reply is there
	reply Reply
}

// later is the data of an action that takes a while.
type later interface {
	// Done is closed when there is nothing to wait for any more.
	Done() <-chan struct{}

	// data waits as long as ctx lasts.
	data(ctx context.Context) (any, error)
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done is closed when Reply does not have to wait.
func (p *Pending) Done() <-chan struct{} {
	if p.later == nil {
		return closed
	}
	return p.later.Done()
}

// Reply returns the reply to the call, for which it waits as long as ctx lasts.
func (p *Pending) Reply(ctx context.Context) Reply {
	if waiting := p.later; waiting != nil {
		p.carryOut(func() (any, error) { return waiting.data(ctx) })
	}
	return p.reply
}

// carryOut sets the reply by what run returns, or what there is to wait for.
func (p *Pending) carryOut(run func() (any, error)) {
	data, err := p.recovered(run)
	p.later = nil
	if waiting, ok := data.(later); ok && err == nil {
		p.later = waiting
		return
	}
	p.reply = p.replyOf(data, err)
	if p.quiet {
		return
	}
	if c := p.logger.Check(zap.DebugLevel, "served action"); c != nil {
		c.Write(zap.String("action", p.action), zap.Int("retcode", p.reply.Retcode), zap.Duration("duration", time.Since(p.start)))
	}
}

// recovered runs an action. One that panics fails alone: it may run where no
// server would catch it.
func (p *Pending) recovered(run func() (any, error)) (data any, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.logger.Error("action panicked", zap.String("action", p.action), zap.Any("panic", r), zap.Stack("stack"))
			err = errInternal
		}
	}()
	return run()
}

func (p *Pending) replyOf(data any, err error) Reply {
	reply := Reply{Status: "ok", Retcode: RetcodeOK, Echo: p.echo}
	var encodeErr error
	switch data := data.(type) {
	case nil:
	case json.RawMessage:
		reply.Data = data
	default:
		if reply.Data, encodeErr = marshal(data); encodeErr != nil {
			p.logger.Error("encoding reply", zap.String("action", p.action), zap.Error(encodeErr))
			return Failure(errInternal, p.echo)
		}
	}
	if err != nil {
		failure := Failure(err, p.echo)
		failure.Data = reply.Data
		return failure
	}
	return reply
}
