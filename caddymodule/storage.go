package caddymodule

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// cacheRoot returns the absolute path of the directory that Caddy's storage
// has for downloads: in the file system where the configured storage is one,
// and otherwise Caddy's data directory.
func (h *Handler) cacheRoot(ctx caddy.Context) (string, error) {
	storage, err := h.configuredStorage(ctx)
	if err != nil {
		return "", err
	}
	h.storage = moduleName(storage)
	root := caddy.AppDataDir()
	if fs, ok := storage.(*certmagic.FileStorage); ok {
		root = fs.Path
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return root, nil
}

// moduleName returns the name of the module that a storage is of, for people.
func moduleName(storage certmagic.Storage) string {
	switch s := storage.(type) {
	case *certmagic.FileStorage: // the only one that is no module itself
		return "file_system"
	case caddy.Module:
		return s.CaddyModule().ID.Name()
	default:
		return fmt.Sprintf("%T", s)
	}
}

// cacheSub returns the directory of a name's downloads below the root.
func cacheSub(name string) string { return filepath.Join("onebot_meta", name) }

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
