package meta

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"weak"
)

// slow is an action's data that is there when done is closed.
type slow struct{ done, waitedFor chan struct{} }

func (s slow) Done() <-chan struct{} { return s.done }

func (s slow) data(context.Context) (any, error) {
	s.waitedFor <- struct{}{}
	<-s.done
	return nil, nil
}

// What waits for a download may wait for long, and what came with it may be as
// large as a body.
func TestWhatWaitsKeepsNothingThatIsNotNeededAnyMore(t *testing.T) {
	for _, c := range []struct {
		name, action string
		echoed       bool // later
	}{
		{"a call that is answered later", "slow", true},
		{"a call in the background", "slow_async", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := newDispatcher(t)
			waiting := slow{make(chan struct{}), make(chan struct{}, 1)}
			d.actions["slow"] = action{run: func(context.Context, *Call) (any, error) { return waiting, nil }}
			pending, param, echo := start(t, d, c.action)
			if pending == nil {
				<-waiting.waitedFor
			}
			runtime.GC()
			if param.Value() != nil {
				t.Error("a parameter is kept")
			}
			if kept := echo.Value() != nil; kept != c.echoed {
				t.Errorf("the echo is kept: %v, want %v", kept, c.echoed)
			}
			close(waiting.done)
			if pending != nil && len(pending.Reply(t.Context()).Echo) != large+2 {
				t.Error("the reply has no echo")
			}
		})
	}
}

const large = 1 << 20

// start begins a call with a large parameter and a large echo, which nobody else
// has. A call in the background is answered.
func start(t *testing.T, d *Dispatcher, action string) (pending *Pending, param, echo weak.Pointer[byte]) {
	t.Helper()
	text := func() json.RawMessage { return quote(strings.Repeat("x", large)) }
	call := &Call{Action: action, Params: Params{"p": text()}, Echo: text()}
	param, echo = weak.Make(&call.Params["p"][0]), weak.Make(&call.Echo[0])
	pending = d.Start(t.Context(), call)
	if _, async := CutSuffix(action); async {
		if reply := pending.Reply(t.Context()); reply.Status != "async" || len(reply.Echo) != large+2 {
			t.Errorf("got %s with an echo of %d bytes", reply.Status, len(reply.Echo))
		}
		pending = nil
	}
	return pending, param, echo
}
