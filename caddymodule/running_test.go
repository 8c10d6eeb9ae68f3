package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// loadable is a config that Caddy can run in the process of a test.
type loadable struct {
	names      []string     // of its handlers; those that begin with relay relay, with shared share
	starting   func() error // is called when the config starts, unless it is nil
	stopping   func()       // and when it stops
	subscriber func(caddy.Event)
}

// load has Caddy run a config. When the test is over none runs.
func load(t *testing.T, c loadable) error {
	t.Helper()
	root, known := roots.Load(t)
	if !known { // one for all configs of the test, or they would share nothing
		root = t.TempDir()
		roots.Store(t, root)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	probe := newProbe(t, c)
	routes := []any{}
	for _, name := range c.names {
		handler := object{
			"handler":   "onebot_meta",
			"name":      name,
			"route":     "/" + name,
			"pass_thru": strings.HasPrefix(name, "relay"),
			"download":  object{"allow_private": []string{"127.0.0.1"}, "retries": 0},
		}
		if strings.HasPrefix(name, "shared") {
			handler["storage"], handler["cache"] = object{"module": "test_memory"}, object{"share": 1000}
		}
		routes = append(routes, object{"handle": []any{handler}})
	}
	config, err := json.Marshal(object{
		"storage": object{"module": "file_system", "root": root},
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"writer": object{"output": "test_log"}}}},
		"apps": object{
			"http": object{"servers": object{"s": object{
				"listen": []string{"127.0.0.1:0"}, "protocols": []string{"h1"}, "routes": routes,
			}}},
			"events":    object{"subscriptions": []any{object{"handlers": []any{object{"handler": "test_probe", "probe": probe}}}}},
			"test_hook": object{"probe": probe},
			"tls":       object{"disable_storage_clean": true}, // which ends when it likes
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return caddy.Load(config, true)
}

// mustLoad is load for a config that is as it should be.
func mustLoad(t *testing.T, c loadable) {
	t.Helper()
	if err := load(t, c); err != nil {
		t.Fatal(err)
	}
}

// roots are the directories that configs of tests keep files in.
var roots sync.Map

type object map[string]any

// probes are the configs that tests have loaded, for the modules in them.
var probes struct {
	sync.Mutex
	all []loadable
}

// newProbe returns the number of a config.
func newProbe(t *testing.T, c loadable) int {
	t.Helper()
	probes.Lock()
	defer probes.Unlock()
	probes.all = append(probes.all, c)
	return len(probes.all) - 1
}

func probed(n int) loadable {
	probes.Lock()
	defer probes.Unlock()
	return probes.all[n]
}

// hookApp is an app that tells a test when its config starts and stops.
type hookApp struct {
	Probe int `json:"probe"`
}

func (*hookApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_hook", New: func() caddy.Module { return new(hookApp) }}
}

func (a *hookApp) Start() error {
	if f := probed(a.Probe).starting; f != nil {
		return f()
	}
	return nil
}

func (a *hookApp) Stop() error {
	if f := probed(a.Probe).stopping; f != nil {
		f()
	}
	return nil
}

// logOf is what Caddy has logged while configs of this process ran.
var logOf struct {
	sync.Mutex
	bytes.Buffer
}

func logged() string {
	logOf.Lock()
	defer logOf.Unlock()
	return logOf.String()
}

// logWriter opens logOf.
type logWriter struct{}

func (logWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test_log", New: func() caddy.Module { return new(logWriter) }}
}

func (logWriter) String() string                        { return "test" }
func (logWriter) WriterKey() string                     { return "test" }
func (w logWriter) OpenWriter() (io.WriteCloser, error) { return w, nil }
func (logWriter) Close() error                          { return nil }
func (logWriter) Write(p []byte) (int, error) {
	logOf.Lock()
	defer logOf.Unlock()
	return logOf.Write(p)
}

func init() {
	caddy.RegisterModule(new(hookApp))
	caddy.RegisterModule(logWriter{})
}

// await returns when done does, which is asked often, or fails the test if that
// takes too long. It is for what nobody reports.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// namesOf returns the names of handlers, sorted.
func namesOf(all []*Handler) string {
	names := []string{}
	for _, h := range all {
		names = append(names, h.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// wantRunning fails the test unless the handlers that run, and all that there
// are, have some names.
func wantRunning(t *testing.T, when, running, all string) {
	t.Helper()
	if got := namesOf(provisioned.running()); got != running {
		t.Errorf("%s %q run, want %q", when, got, running)
	}
	if got := namesOf(provisioned.list()); got != all {
		t.Errorf("%s there are %q, want %q", when, got, all)
	}
}

func TestTheHandlersOfTheConfigThatRunsAreKnown(t *testing.T) {
	wantRunning(t, "before any config", "", "")
	var first *Handler
	mustLoad(t, loadable{
		names: []string{"a", "b", "b"},
		starting: func() error {
			wantRunning(t, "as long as the first config starts", "", "a b b")
			return nil
		},
		stopping: func() {
			wantRunning(t, "as long as the first config stops", "b c", "a b b b c")
			if h := provisioned.of("b"); h == nil || h == first {
				t.Error("a handler of the config that goes speaks for a name of the next")
			}
		},
	})
	wantRunning(t, "when the first config runs", "a b b", "a b b")
	first = provisioned.of("b")

	failure := errors.New("this config is none")
	err := load(t, loadable{names: []string{"a", "x"}, starting: func() error {
		wantRunning(t, "as long as a config fails", "a b b", "a a b b x")
		return failure
	}})
	if err == nil || !strings.Contains(err.Error(), failure.Error()) {
		t.Fatalf("a config that fails gives %v", err)
	}
	wantRunning(t, "after a config has failed", "a b b", "a b b")

	mustLoad(t, loadable{names: []string{"b", "c"}, starting: func() error {
		wantRunning(t, "as long as the second config starts", "a b b", "a b b b c")
		if provisioned.of("b") != first {
			t.Error("a handler speaks for its name before its config runs")
		}
		if h := provisioned.of("c"); h == nil || h.Name != "c" {
			t.Error("nobody speaks for a name that is new")
		}
		return nil
	}})
	wantRunning(t, "when the second config runs", "b c", "b c")
	if provisioned.of("a") != nil {
		t.Error("somebody speaks for a name that is gone")
	}

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	wantRunning(t, "when nothing runs any more", "", "")
}

// A handler that is made outside of a config, as tests do, runs in none.
func TestAHandlerOfNoConfigDoesNotRun(t *testing.T) {
	h := provision(t, nil)
	if h.isRunning() || h.isUnloading() {
		t.Errorf("running: %t, unloading: %t", h.isRunning(), h.isUnloading())
	}
	if provisioned.of(h.Name) != h {
		t.Error("it does not speak for its name")
	}
}
