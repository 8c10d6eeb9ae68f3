//go:build unix

package caddymodule

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestARelativeStorageNeedsADirectoryToStartFrom(t *testing.T) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	h := &Handler{StorageRaw: json.RawMessage(`{"module":"file_system","root":"files"}`)}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := h.Provision(ctx); err == nil || !strings.HasPrefix(err.Error(), "finding the cache directory: ") {
		t.Errorf("got %v", err)
	}
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
}
