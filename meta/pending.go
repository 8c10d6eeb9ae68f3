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
	logged bool // when it is carried out
	echo   json.RawMessage
	start  time.Time // if it is logged

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

// Action is the name of the action, without a suffix.
func (p *Pending) Action() string { return p.action }

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done is closed when Reply does not have to wait.
func (p *Pending) Done() <-chan struct{} {
	if p.later == nil {
		return closed
	}
	return p.later.Done()
}

// Wait returns when Done is closed or ctx ends. Whoever calls it before Reply waits
// on little stack.
func (p *Pending) Wait(ctx context.Context) {
	if p.later == nil {
		return
	}
	select {
	case <-p.later.Done():
	case <-ctx.Done():
	}
}

// Reply returns the reply to the call, for which it waits as long as ctx lasts.
func (p *Pending) Reply(ctx context.Context) *Reply {
	if waiting := p.later; waiting != nil {
		p.carryOut(func() (any, error) { return waiting.data(ctx) })
	}
	return &p.reply
}

// carryOut sets the reply by what run returns, or what there is to wait for.
func (p *Pending) carryOut(run func() (any, error)) {
	data, err := p.recovered(run)
	p.later = nil
	if waiting, ok := data.(later); ok && err == nil {
		p.later = waiting
		return
	}
	p.settle(data, err)
	if p.logged {
		p.log()
	}
}

func (p *Pending) log() {
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

// settle sets the reply.
func (p *Pending) settle(data any, err error) {
	encoded, ok := data.(json.RawMessage)
	if !ok && data != nil {
		var encodeErr error
		if encoded, encodeErr = marshal(data); encodeErr != nil {
			p.logger.Error("encoding reply", zap.String("action", p.action), zap.Error(encodeErr))
			encoded, err = nil, errInternal
		}
	}
	if err != nil {
		p.fail(err, encoded)
		return
	}
	p.reply.Status, p.reply.Data, p.reply.Echo = "ok", encoded, p.echo
}

func (p *Pending) fail(err error, data json.RawMessage) {
	p.reply = *Failure(err, p.echo)
	p.reply.Data = data
}
