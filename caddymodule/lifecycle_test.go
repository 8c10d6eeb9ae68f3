package caddymodule

import (
	"context"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// of packages that Caddy's standard modules import
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

func TestTheStorageDecidesWhereDownloadsAre(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	root := t.TempDir()
	t.Chdir(root)
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	for storage, want := range map[string]string{
		`{"module":"file_system","root":` + quote(t, root) + `}`: filepath.Join(root, "onebot_meta", "bot"),
		`{"module":"file_system","root":"relative"}`:             filepath.Join(real, "relative", "onebot_meta", "bot"),
		`{"module":"test_memory"}`:                               filepath.Join(caddy.AppDataDir(), "onebot_meta", "bot"),
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		h := &Handler{Name: "bot", StorageRaw: json.RawMessage(storage)}
		configured, err := h.configuredStorage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cacheRoot(configured)
		cancel()
		if got = filepath.Join(got, cacheSub(h.Name)); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", storage, got, err, want)
		}
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLoadingAConfigLeavesNoFiles(t *testing.T) {
	root := t.TempDir()
	provision(t, func(h *Handler) {
		h.StorageRaw = json.RawMessage(`{"module":"file_system","root":` + quote(t, root) + `}`)
	})
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if path != root {
			t.Errorf("made %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// As Caddy does on a reload, the new handler is made before the old one is
// cleaned up.
func TestCountersSurviveAReloadAndTheQueueDoesUntilTheLastHandlerGoes(t *testing.T) {
	const name = "survivor"
	load := func() *Handler {
		h := &Handler{Name: name, StorageRaw: json.RawMessage(`{"module":"test_memory"}`)}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		t.Cleanup(cancel)
		if err := h.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		return h
	}
	unload := func(h *Handler) {
		if err := h.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	idle := func(context.Context) {}

	first := load()
	first.shared.counters.PacketsReceived.Add(7)
	started, cancelled := make(chan struct{}), make(chan struct{})
	if !first.shared.queue.Go(func(ctx context.Context) {
		close(started)
		<-ctx.Done()
		close(cancelled)
	}) {
		t.Fatal("the queue takes nothing")
	}
	<-started

	second := load()
	unload(first)
	select {
	case <-cancelled:
		t.Fatal("a reload cancelled what runs in the background")
	default:
	}
	if second.shared != first.shared || !second.shared.queue.Go(idle) {
		t.Error("the new handler does not go on with the queue")
	}

	unload(second)
	<-cancelled
	if first.shared.queue.Go(idle) {
		t.Error("the queue of a name that is gone took a task")
	}
	third := load()
	defer unload(third)
	if got := third.shared.counters.PacketsReceived.Load(); got != 7 {
		t.Errorf("the counters lost count: %d", got)
	}
	if !third.shared.queue.Go(idle) {
		t.Error("a name that is back has no queue")
	}
}

func TestAHandlerThatFailsToLoadGivesBackWhatItTook(t *testing.T) {
	for _, h := range []*Handler{
		{Name: "failed", Route: "bad"},
		{Name: "failed", AccessToken: []string{""}},
		{Name: "failed", Download: Download{AllowPrivate: []string{"1/2"}}},
		{Name: "failed", Download: Download{Proxy: "ftp://127.0.0.1"}},
		{Name: "failed", StorageRaw: json.RawMessage(`{"module":"nonsense"}`)},
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		if err := h.Provision(ctx); err == nil {
			t.Errorf("loaded %+v", h)
		}
		if err := h.Cleanup(); err != nil { // as Caddy does
			t.Error(err)
		}
		cancel()
		if n, ok := names.References("failed"); ok {
			t.Errorf("%d references are left to the name", n)
		}
		stores.Range(func(key, _ any) bool {
			t.Errorf("%v is still in use", key)
			return true
		})
	}
}
