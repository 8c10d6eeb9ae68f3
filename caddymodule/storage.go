package caddymodule

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// cacheDir returns the absolute path of the directory for downloads: in the
// file system where the configured storage is one, and otherwise in Caddy's
// data directory.
func (h *Handler) cacheDir(ctx caddy.Context) (string, error) {
	storage, err := h.configuredStorage(ctx)
	if err != nil {
		return "", err
	}
	root := caddy.AppDataDir()
	if fs, ok := storage.(*certmagic.FileStorage); ok {
		root = fs.Path
	}
	dir, err := filepath.Abs(filepath.Join(root, "onebot_meta", h.Name))
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return dir, nil
}

// configuredStorage returns the handler's own storage, or else the global one.
func (h *Handler) configuredStorage(ctx caddy.Context) (certmagic.Storage, error) {
	if h.StorageRaw == nil {
		return ctx.Storage(), nil
	}
	module, err := ctx.LoadModule(h, "StorageRaw")
	if err != nil {
		return nil, fmt.Errorf("loading storage: %w", err)
	}
	storage, err := module.(caddy.StorageConverter).CertMagicStorage()
	if err != nil {
		return nil, fmt.Errorf("creating storage: %w", err)
	}
	return storage, nil
}
