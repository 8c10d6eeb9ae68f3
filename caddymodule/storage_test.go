package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// memoryStorage is a storage that is not the file system. What it has is the
// same for all configs.
type memoryStorage struct{ *sharetest.Memory }

var memory = sharetest.NewMemory()

func init() { caddy.RegisterModule(memoryStorage{}) }

func (memoryStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.storage.test_memory",
		New: func() caddy.Module { return &memoryStorage{memory} },
	}
}

func (s memoryStorage) CertMagicStorage() (certmagic.Storage, error) { return s, nil }

func (s memoryStorage) Exists(_ context.Context, key string) bool {
	_, ok := s.Get(key)
	return ok
}

func (s memoryStorage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	if !s.Exists(context.Background(), key) {
		return certmagic.KeyInfo{}, os.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key, IsTerminal: true}, nil
}

func inMemory(h *Handler) { h.StorageRaw = json.RawMessage(`{"module":"test_memory"}`) }

func TestTheStorageDecidesWithWhomFilesAreShared(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	share := func(h *Handler) { h.Cache.Share = new(int64(1000)) }
	for name, test := range map[string]struct {
		change        []func(*Handler)
		peers, copies bool
	}{
		"file_system":            {nil, true, false},
		"file_system with share": {[]func(*Handler){share}, true, false},
		"another":                {[]func(*Handler){inMemory}, false, false},
		"another with share":     {[]func(*Handler){inMemory, share}, true, true},
	} {
		h := provision(t, func(h *Handler) {
			for _, change := range test.change {
				change(h)
			}
		})
		if got := h.peers != nil; got != test.peers {
			t.Errorf("%s: has peers: %t, want %t", name, got, test.peers)
		}
		if got := h.copies() != nil; got != test.copies {
			t.Errorf("%s: copies files: %t, want %t", name, got, test.copies)
		}
		if test.copies && h.status().Cache.Share != 1000 {
			t.Errorf("%s: shared up to %d bytes, want 1000", name, h.status().Cache.Share)
		}
	}
}

func TestAPurgeTakesTheCopiesOfOtherNodesToo(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	h := provision(t, func(h *Handler) {
		inMemory(h)
		h.Cache.Share = new(int64(1000))
	})
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := h.copies().Put(t.Context(), "ab", file, 7, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	status, err := h.purge(t.Context(), copiesOf(h.store, []*Handler{h}))
	if err != nil || status.FreedCopies != 1 || status.FreedCopyBytes != 7 {
		t.Errorf("%+v, %v, want one copy of 7 bytes freed", status, err)
	}
	if keys := memory.Keys("onebot_meta/" + h.Name); len(keys) > 0 {
		t.Errorf("left in the storage: %v", keys)
	}
}

// A cache that cannot be purged keeps no other from being, and is told of.
func TestAPurgeThatFailsIsToldOf(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	mustLoad(t, loadable{names: []string{"plain", "shared"}})
	wantNames(t, "DELETE", "/onebot_meta/cache", "plain shared")
	memory.Fail(errors.New("gone"))
	t.Cleanup(memory.Heal)
	_, err := administer(t, "DELETE", "/onebot_meta/cache")
	if err.HTTPStatus != 500 || !strings.Contains(err.Err.Error(), "1 caches were purged") ||
		!strings.Contains(err.Err.Error(), filepath.Join("onebot_meta", "shared")) {
		t.Errorf("it is answered by %d: %v", err.HTTPStatus, err.Err)
	}
}

// oddStorage is a module whose storage is none of its own, or cannot be made.
type oddStorage struct{ Broken bool }

func init() {
	caddy.RegisterModule(oddStorage{})
	caddy.RegisterModule(noStorage{})
}

func (oddStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.test_odd", New: func() caddy.Module { return new(oddStorage) }}
}

func (s oddStorage) CertMagicStorage() (certmagic.Storage, error) {
	if s.Broken {
		return nil, errors.New("no such server")
	}
	return struct{ certmagic.Storage }{memoryStorage{memory}}, nil
}

// noStorage is a module of something else, by a name of storages.
type noStorage struct{}

func (noStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.test_none", New: func() caddy.Module { return new(noStorage) }}
}

func (noStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return nil }

func TestAStorageThatIsNoModuleHasTheNameOfItsType(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	h := provision(t, func(h *Handler) { h.StorageRaw = json.RawMessage(`{"module":"test_odd"}`) })
	if got := h.status().Storage; got != "struct { certmagic.Storage }" {
		t.Errorf("its name is %q", got)
	}
}

func TestAStorageThatCannotBeMadeIsAnErrorOfTheConfig(t *testing.T) {
	h := &Handler{StorageRaw: json.RawMessage(`{"module":"test_odd","Broken":true}`)}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := h.Provision(ctx); err == nil || err.Error() != "creating storage: no such server" {
		t.Errorf("got %v", err)
	}
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoStorageIsAnErrorOfTheCaddyfile(t *testing.T) {
	d := caddyfile.NewTestDispenser("onebot_meta {\n\tstorage test_none\n}")
	if err := new(Handler).UnmarshalCaddyfile(d); err == nil || !strings.Contains(err.Error(), "storage: module 'test_none' is not a storage module") {
		t.Errorf("got %v", err)
	}
}
