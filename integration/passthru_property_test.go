package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// exercise is a handler with pass_thru, and what its counters should be.
type exercise struct {
	caddy   *instance
	backend *backend
	unique  atomic.Int64

	want   stat
	online atomic.Bool // as the events said, and the backend does if it is asked
}

// happens adds what something counts.
func (x *exercise) happens(s happening) {
	for name, n := range s.counts {
		x.want[name] += n
	}
	if s.word == "" {
		return
	}
	if x.online.Load() && s.word == "false" {
		x.want["DisconnectTimes"]++
	}
	x.online.Store(s.word == "true")
}

// begin takes the counters as they are for right, and makes the state known.
func (x *exercise) begin() error {
	up := happenings()["the word "+heartbeat("true")]
	if err := up.do(x); err != nil {
		return err
	}
	x.online.Store(true)
	x.want = make(stat)
	got, err := x.settle()
	x.want = got
	x.want["PacketSent"]++ // the answer that they came with
	return err
}

// check compares the counters with what they should be.
func (x *exercise) check() error {
	got, err := x.settle()
	if err == nil && !maps.Equal(got, x.want) {
		err = fmt.Errorf("stat is %v, want %v", got, x.want)
	}
	x.want["PacketSent"]++
	return err
}

// settle returns the counters when nothing is under way any more but the call
// that asks for them, and all has arrived.
func (x *exercise) settle() (stat, error) {
	for range 1000 {
		r, err := x.caddy.client.try("GET", "/peek/get_status", "")
		if err != nil {
			return nil, err
		}
		var data struct{ Stat stat }
		if err := json.Unmarshal(r.data, &data); err != nil {
			return nil, err
		}
		x.want["PacketReceived"]++
		if got := data.Stat; got["PacketReceived"] == got["PacketSent"]+got["PacketLost"]+1 && got["PacketReceived"] >= x.want["PacketReceived"] {
			return got, nil
		}
		x.want["PacketSent"]++
	}
	return nil, fmt.Errorf("something is under way for ever; want %v", x.want)
}

// Whatever happens, the counters equal a model's.
func TestCountersEqualAModels(t *testing.T) {
	for name, value := range map[string]string{"rapid.checks": "30", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	x := &exercise{backend: newBackend(t)}
	x.backend.answer("get_status", func(call) string { return statusIs(fmt.Sprint(x.online.Load())) })
	for action, answer := range map[string]http.HandlerFunc{
		"no_such_action":  body(404, "no such action"),
		"send_gzip_msg":   body(200, gzipped(ok("{}")), "Content-Encoding", "gzip"),
		"send_html_msg":   body(200, `<html>"status":"ok"`),
		"refused":         body(500, ""),
		"hang_up":         raw("", false),
		"send_broken_msg": rawBody(1000, `{"status":"ok","retcode":0,"data":{}`, false),
	} {
		x.backend.handle(action, answer)
	}
	// the second handler tells the counters without asking the backend
	x.caddy = startCaddy(t, "http://<SITE> {\n onebot_meta {\n name onebot\n route /peek\n}\n"+
		front("route /bot\nmax_body 64KiB\naccess_token secret", x.backend)+"}")
	t.Cleanup(x.backend.release)
	steps := happenings()
	draw := drawn(steps)
	rapid.Check(t, func(t *rapid.T) {
		if err := x.begin(); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(t, "phases") {
			together := rapid.Bool().Draw(t, "together")
			names := rapid.SliceOfN(draw, 1, 32).Draw(t, "steps")
			var running sync.WaitGroup
			errs := make(chan error, len(names))
			for _, name := range names {
				s := steps[name]
				switch {
				case !together:
					if err := s.do(x); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					x.happens(s)
					if s.word == "" {
						continue
					}
					// the next word may come by another connection
					if err := x.check(); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					continue
				case s.word == "false":
					continue
				default:
					running.Go(func() {
						if err := s.do(x); err != nil {
							errs <- fmt.Errorf("%s: %w", name, err)
						}
					})
				}
				x.happens(s)
			}
			running.Wait()
			select {
			case err := <-errs:
				t.Fatal(err)
			default:
			}
			if err := x.check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
