package caddymodule

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/onebot-caddy/onebot-meta/meta/fetch"
	"github.com/onebot-caddy/onebot-meta/meta/share"
)

// cacheRoot returns the absolute path of the directory that a storage has for
// downloads: in the file system if the storage is one, and otherwise Caddy's
// data directory.
func cacheRoot(storage certmagic.Storage) (string, error) {
	root := caddy.AppDataDir()
	if fs, ok := storage.(*certmagic.FileStorage); ok {
		root = fs.Path
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return root, nil
}

// newPeers returns the nodes that a storage is shared with. Nobody can tell
// whether there are any; without a place for the files there is nothing to
// share.
func (h *Handler) newPeers(storage certmagic.Storage) *fetch.Peers {
	prefix := "onebot_meta/" + h.Name
	if _, ok := storage.(*certmagic.FileStorage); ok {
		// the directory is there for downloads that outlive the config, too
		return &fetch.Peers{Locks: share.NewLocks(context.Background(), h.store.cache, prefix, h.logger)}
	}
	if h.Cache.Share == nil {
		return nil
	}
	locks := share.NewLocks(h.ctx, storage, prefix, h.logger)
	copies := share.NewCopies(h.ctx, storage, prefix, locks, share.Options{
		MaxObject: *h.Cache.Share,
		MaxSize:   *h.Cache.MaxSize,
		MaxAge:    time.Duration(*h.Cache.MaxAge),
		Logger:    h.logger,
	})
	copies.Maintain()
	return &fetch.Peers{Locks: locks, Copies: copies}
}

// copies are those that other nodes find in the storage; nil if there are none.
func (h *Handler) copies() *share.Copies {
	if h.peers == nil {
		return nil
	}
	return h.peers.Copies
}

// fileSystem is the module whose storage is a directory.
const fileSystem = "file_system"

// moduleName returns the name of the module that a storage is of, for people.
func moduleName(storage certmagic.Storage) string {
	switch s := storage.(type) {
	case *certmagic.FileStorage: // the only one that is no module itself
		return fileSystem
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
