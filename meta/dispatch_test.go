package meta

import (
	"context"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDispatcher returns a Dispatcher that downloads from anywhere into a
// temporary directory, and what it logs.
func newDispatcher(t *testing.T) (*Dispatcher, *observer.ObservedLogs) {
	t.Helper()
	return newDispatcherWith(t, func(*fetch.Options) {})
}

// newDispatcherWith is newDispatcher with other limits.
func newDispatcherWith(t *testing.T, change func(*fetch.Options)) (*Dispatcher, *observer.ObservedLogs) {
	t.Helper()
	cache := diskcache.New(t.TempDir(), "cache", diskcache.Options{Mode: 0o600})
	flights := fetch.NewFlights()
	opts := fetch.Options{
		MaxSize:       1 << 20,
		Timeout:       time.Minute,
		StallTimeout:  time.Minute,
		MaxConcurrent: 2,
		MaxRedirects:  3,
		Dial:          new(net.Dialer).DialContext,
		UserAgent:     "test",
	}
	change(&opts)
	files := fetch.New(cache, flights, opts)
	t.Cleanup(func() {
		flights.Close()
		files.Close()
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	queue := NewQueue(2)
	t.Cleanup(queue.Close)
	core, logs := observer.New(zapcore.DebugLevel)
	counters := new(Counters)
	return NewDispatcher(Options{
		Counters: counters,
		Backend:  NewBackend(counters, nil),
		Files:    files,
		Queue:    queue,
		Logger:   zap.New(core),
	}), logs
}

func do(t *testing.T, d *Dispatcher, action, params string) *Reply {
	t.Helper()
	p, err := ParseObject([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	return d.Do(t.Context(), &Call{Action: action, Params: p, Echo: raw(`"e"`)})
}

func TestActionsAnswerAsThePageSays(t *testing.T) {
	d, _ := newDispatcher(t)
	const noSlices = `.get_word_slices: not supported (the word slicing service of Tencent is not available)`
	for action, want := range map[string]*Reply{
		"get_status": {Status: "ok", Data: raw(`{"app_initialized":true,"app_enabled":true,"app_good":true,"online":true,"good":true,` +
			`"stat":{"PacketReceived":0,"PacketSent":0,"PacketLost":0,"MessageReceived":0,"MessageSent":0,"DisconnectTimes":0,"LostTimes":0,"LastMessageTime":0}}`)},
		"get_supported_actions":    {Status: "ok", Data: raw(`["clean_cache","download_file","get_status","get_supported_actions","get_version_info","reload_event_filter","set_restart"]`)},
		"set_restart":              {Status: "ok"},
		"clean_cache":              {Status: "ok"},
		"reload_event_filter":      {Status: "ok"},
		"set_restart_rate_limited": {Status: "ok"},
		"set_restart_async":        {Status: "async", Retcode: 1},
		"get_word_slices": {Status: "failed", Retcode: 1404, Data: raw(`{"not_supported":true,"message":"` + noSlices + `"}`),
			Message: noSlices, Wording: ".get_word_slices: 不支持中文分词（腾讯分词服务不可用）"},
		"get_word_slices_async": {Status: "async", Retcode: 1},
		"nonsense":              {Status: "failed", Retcode: 1404, Message: `no such action: "nonsense"`, Wording: `API 不存在: "nonsense"`},
		"_async":                {Status: "failed", Retcode: 1404, Message: `no such action: "_async"`, Wording: `API 不存在: "_async"`},
		"GET_STATUS":            {Status: "failed", Retcode: 1404, Message: `no such action: "GET_STATUS"`, Wording: `API 不存在: "GET_STATUS"`},
		strings.Repeat("获", 30): {Status: "failed", Retcode: 1404, Message: `no such action: "` + strings.Repeat("获", 21) + `…"`, Wording: `API 不存在: "` + strings.Repeat("获", 21) + `…"`},
		"":                      {Status: "failed", Retcode: 1404, Message: "no action is named", Wording: "未指定 API"},
	} {
		want.Echo = raw(`"e"`)
		if got := do(t, d, action, `{"delay":"0","content":"x"}`); string(got.JSON()) != string(want.JSON()) {
			t.Errorf("%s: got %s\nwant %s", action, got.JSON(), want.JSON())
		}
		if known := want.Message == "" || want.Data != nil; d.Knows(action) != known {
			t.Errorf("Knows(%q) = %t", action, !known)
		}
	}
	if got, want := do(t, d, ".get_word_slices", `{}`), do(t, d, "get_word_slices", `{}`); string(got.JSON()) != string(want.JSON()) {
		t.Errorf(".get_word_slices answers %s", got.JSON())
	}
}

func TestVersionInfoHasTheConstantsOfThePage(t *testing.T) {
	d, _ := newDispatcher(t)
	var got map[string]any
	if err := json.Unmarshal(do(t, d, "get_version_info", `{}`).Data, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"app_name":                   "go-cqhttp",
		"app_version":                "v1.2.0",
		"app_full_name":              "onebot-meta " + release,
		"protocol_version":           "v11",
		"coolq_edition":              "pro",
		"coolq_directory":            "",
		"go-cqhttp":                  true,
		"plugin_version":             "4.15.0",
		"plugin_build_number":        99.0,
		"plugin_build_configuration": "release",
		"version":                    release,
		"protocol_name":              1.0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
		delete(got, name)
	}
	if v, ok := got["runtime_version"].(string); !ok || !strings.HasPrefix(v, "go1.") {
		t.Errorf("runtime_version is %v", got["runtime_version"])
	}
	if len(got) != 2 { // runtime_version and runtime_os
		t.Errorf("left over: %v", got)
	}
}

func TestStatusReportsTheCounters(t *testing.T) {
	d, _ := newDispatcher(t)
	d.opts.Counters.PacketsReceived.Store(5)
	d.opts.Counters.PacketsSent.Store(3)
	d.opts.Counters.PacketsLost.Store(2)
	var got struct{ Stat Stat }
	if err := json.Unmarshal(do(t, d, "get_status", `{}`).Data, &got); err != nil {
		t.Fatal(err)
	}
	if want := (Stat{PacketReceived: 5, PacketSent: 3, PacketLost: 2, LostTimes: 2}); got.Stat != want {
		t.Errorf("got %+v, want %+v", got.Stat, want)
	}
}

func TestAPanicFailsItsCallAlone(t *testing.T) {
	d, logs := newDispatcher(t)
	d.actions["broken"] = action{run: func(context.Context, *Call) (any, error) { panic("oops") }}
	if got := do(t, d, "broken", `{}`); got.Status != "failed" || got.Message != errInternal.Message {
		t.Errorf("got %+v", got)
	}
	if logs.FilterMessage("action panicked").Len() != 1 {
		t.Error("the panic is not in the log")
	}
	do(t, d, "broken_async", `{}`) // would end the process
	d.opts.Queue.Close()
	if logs.FilterMessage("action panicked").Len() != 2 {
		t.Error("the panic in the background is not in the log")
	}
}

func TestAFullQueueIsAFailure(t *testing.T) {
	d, _ := newDispatcher(t)
	release := make(chan struct{})
	d.actions["slow"] = action{run: func(context.Context, *Call) (any, error) { <-release; return nil, nil }}
	for range 2 {
		if got := do(t, d, "slow_async", `{}`); got.Status != "async" {
			t.Fatalf("got %+v", got)
		}
	}
	if got := do(t, d, "slow_async", `{}`); got.Status != "failed" || got.Retcode != RetcodeBadRequest || got.Message != errBusy.Message {
		t.Errorf("got %+v", got)
	}
	close(release)
}

func TestAnActionIsLoggedOnceAtDebugUnlessItIsPolled(t *testing.T) {
	up, _ := saying(sayOnline, nil)
	down, _ := saying("", errors.New("it is down"))
	served := func(action string, retcode int64) map[string]any {
		return map[string]any{"action": action, "retcode": retcode}
	}
	for name, tt := range map[string]struct {
		call Call
		want map[string]any // nil if there is no line
	}{
		"a status":                             {Call{Action: "get_status"}, nil},
		"a status, limited":                    {Call{Action: "get_status_rate_limited"}, nil},
		"a status in the background":           {Call{Action: "get_status_async"}, nil},
		"a status of an implementation":        {Call{Action: "get_status", Ask: up}, nil},
		"a status of one that does not answer": {Call{Action: "get_status", Ask: down}, nil},
		"a version":                            {Call{Action: "get_version_info"}, served("get_version_info", 0)},
		"one that does nothing":                {Call{Action: "clean_cache"}, served("clean_cache", 0)},
		"one with a suffix":                    {Call{Action: "set_restart_rate_limited"}, served("set_restart", 0)},
		"one in the background":                {Call{Action: "set_restart_async"}, served("set_restart", 0)},
		"one that fails":                       {Call{Action: "get_word_slices"}, served("get_word_slices", 1404)},
		"one that fails in the background":     {Call{Action: ".get_word_slices_async"}, served(".get_word_slices", 1404)},
		"one that has to be waited for":        {Call{Action: "get_supported_actions", Ask: up}, served("get_supported_actions", 0)},
		"one that is not there, which is free": {Call{Action: "nonsense"}, nil},
		"one that is not there, in the queue":  {Call{Action: "nonsense_async"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d, logs := newDispatcher(t)
			d.Do(t.Context(), &tt.call)
			d.opts.Queue.Close()
			lines := logs.TakeAll()
			if tt.want == nil {
				if len(lines) != 0 {
					t.Errorf("logged %+v", lines)
				}
				return
			}
			if len(lines) != 1 {
				t.Fatalf("logged %d lines: %+v", len(lines), lines)
			}
			got := lines[0].ContextMap()
			tt.want["duration"] = got["duration"]
			if _, ok := got["duration"].(time.Duration); !ok || lines[0].Level != zapcore.DebugLevel || lines[0].Message != "served action" || !maps.Equal(got, tt.want) {
				t.Errorf("logged %+v, want %v", lines[0], tt.want)
			}
		})
	}
}

func TestAStatusThatGoesWrongIsLoggedForAllThat(t *testing.T) {
	d, logs := newDispatcher(t)
	d.opts.Backend = nil // a bug
	d.Do(t.Context(), &Call{Action: "get_status", Ask: func(string) func(context.Context) ([]byte, error) { return nil }})
	if logs.FilterMessage("action panicked").Len() != 1 || logs.Len() != 1 {
		t.Errorf("logged %+v", logs.All())
	}
}

func TestTheBaseOfWhatIsCalled(t *testing.T) {
	d, _ := newDispatcher(t)
	for called, want := range map[string]string{
		"get_status":                    "get_status",
		"get_status_async":              "get_status",
		"get_status_rate_limited":       "get_status",
		"get_status_async_rate_limited": "get_status",
		"get_status_rate_limited_async": "",
		".get_word_slices_async":        ".get_word_slices",
		"get_status_":                   "",
		"GET_STATUS":                    "",
		"_async":                        "",
		"":                              "",
		"send_msg":                      "",
	} {
		if got, ok := d.Base(called); ok != (want != "") || ok && got != want || d.Knows(called) != ok {
			t.Errorf("%q is %q, %t, want %q", called, got, ok, want)
		}
	}
}

// The packages below meta must work with any transport and any server.
func TestNothingHereImportsCaddy(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		layers := []string{"meta", "meta/fetch", "meta/egress", "meta/diskcache", "meta/share", "meta/share/sharetest", "meta/packet"}
		mine := slices.Index(layers, filepath.ToSlash(filepath.Join("meta", filepath.Dir(path))))
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if strings.HasPrefix(imported, "github.com/caddyserver/") {
				t.Errorf("%s imports %s", path, imported)
			}
			inner, ok := strings.CutPrefix(imported, "github.com/onebot-caddy/onebot-meta/")
			outside := strings.HasSuffix(path, "_test.go") && inner == layers[mine] // of the package it tests
			if ok && !outside && slices.Index(layers, inner) <= mine {
				t.Errorf("%s imports %s, which is no layer below", path, imported)
			}
		}
		return nil
	})
	if err != nil || files < 20 {
		t.Fatalf("read %d files: %v", files, err)
	}
}
