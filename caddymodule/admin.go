package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/share"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI adds to Caddy's admin API what administrators ask of the handlers:
//
//	GET    /onebot_meta/                   every handler of the config that runs
//	DELETE /onebot_meta/cache?name=<name>  frees what may be freed of its cache
//
// Without a name it is that of all caches.
type adminAPI struct{}

const (
	adminStatus = "/onebot_meta/"
	adminCache  = "/onebot_meta/cache"
)

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.onebot_meta",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes satisfies [caddy.AdminRouter].
func (a adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminStatus, Handler: caddy.AdminHandlerFunc(a.serveStatus)},
		{Pattern: adminCache, Handler: caddy.AdminHandlerFunc(a.serveCache)},
	}
}

func (adminAPI) serveStatus(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != adminStatus {
		return apiError(http.StatusNotFound, "there is %s and %s", adminStatus, adminCache)
	}
	if r.Method != http.MethodGet {
		return notAllowed(w, http.MethodGet)
	}
	all := []handlerStatus{}
	for _, h := range provisioned.running() {
		all = append(all, h.status())
	}
	return writeJSON(w, all)
}

func (adminAPI) serveCache(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodDelete {
		return notAllowed(w, http.MethodDelete)
	}
	chosen, err := chooseHandlers(r.URL.RawQuery)
	if err != nil {
		return err
	}
	purged := []purgeStatus{}
	var failed error // of some, which is no reason not to free the others
	for h := range firsts(chosen, storeOf) {
		status, err := h.purge(r.Context(), copiesOf(h.store, chosen))
		if err == nil {
			purged = append(purged, status)
		} else if !errors.Is(err, fs.ErrClosed) { // its config is going
			failed = errors.Join(failed, fmt.Errorf("purging %s: %w", h.store.cache.Dir(), err))
		}
	}
	if failed != nil {
		return apiError(http.StatusInternalServerError, "%d caches were purged, but: %w", len(purged), failed)
	}
	return writeJSON(w, purged)
}

// chooseHandlers returns the handlers that a query asks for: those of a name or,
// without one, all. What is misspelt must not come down to all.
func chooseHandlers(rawQuery string) ([]*Handler, error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "the query does not parse: %w", err)
	}
	names := query["name"]
	delete(query, "name")
	all := provisioned.running()
	switch {
	case len(query) > 0 || len(names) > 1 || len(names) == 1 && names[0] == "":
		return nil, apiError(http.StatusBadRequest, "the query must be empty, for all caches, or ?name=<name>")
	case len(names) == 0:
		return all, nil
	}
	chosen := slices.DeleteFunc(all, func(h *Handler) bool { return h.Name != names[0] })
	if len(chosen) == 0 {
		return nil, apiError(http.StatusNotFound, "no handler has the name %q", names[0])
	}
	return chosen, nil
}

func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func notAllowed(w http.ResponseWriter, allowed string) error {
	w.Header().Set("Allow", allowed)
	return apiError(http.StatusMethodNotAllowed, "only %s is allowed", allowed)
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// handlerStatus is what the admin API tells of a handler.
type handlerStatus struct {
	Name        string           `json:"name"`
	Route       string           `json:"route"`
	PassThru    bool             `json:"pass_thru"`
	Online      bool             `json:"online"`  // as far as is known, without asking
	Storage     string           `json:"storage"` // the module's name, such as file_system
	Connections int64            `json:"websocket_connections"`
	Cache       cacheStatus      `json:"cache"`
	Stat        meta.Stat        `json:"stat"`
	Downloads   []downloadStatus `json:"downloads"` // under way, oldest first
}

func (h *Handler) status() handlerStatus {
	usage := h.store.cache.Usage()
	status := handlerStatus{
		Name:        h.Name,
		Route:       h.Route,
		PassThru:    h.PassThru,
		Online:      h.online(),
		Storage:     h.storage,
		Connections: h.shared.connections.Load(),
		Cache: cacheStatus{
			Directory: h.store.cache.Dir(),
			Files:     usage.Files,
			Bytes:     usage.Bytes,
			MaxSize:   h.store.cache.MaxSize(),
		},
		Stat:      h.shared.counters.Stat(),
		Downloads: []downloadStatus{},
	}
	if copies := h.copies(); copies != nil {
		status.Cache.Share = copies.MaxObject()
	}
	for _, d := range h.store.flights.Status() {
		one := downloadStatus{
			ID: d.ID, Name: h.Name, URL: d.URL, Started: d.Started, Tries: d.Tries, Callers: d.Callers,
			Done: d.Done, Total: &d.Total, Rate: d.Rate,
		}
		if d.Total < 0 {
			one.Total = nil
		}
		status.Downloads = append(status.Downloads, one)
	}
	return status
}

// cacheStatus is what the admin API tells of a cache.
type cacheStatus struct {
	Directory string `json:"directory"`
	Files     int    `json:"files"`
	Bytes     int64  `json:"bytes"`
	MaxSize   int64  `json:"max_size"`        // in bytes; 0 is no limit
	Share     int64  `json:"share,omitempty"` // the size up to which files are copied to the storage, in bytes
}

// downloadStatus is what the admin API tells of a download that is under way.
type downloadStatus struct {
	ID      uint64    `json:"id"`   // unique in the process
	Name    string    `json:"name"` // of the handler
	URL     string    `json:"url"`  // without userinfo and query
	Started time.Time `json:"started"`
	Tries   int       `json:"tries"`   // 0 as long as it waits for its turn
	Callers int       `json:"callers"` // that wait for it
	Done    int64     `json:"done"`    // bytes
	Total   *int64    `json:"total"`   // bytes, null if that is not known
	Rate    int64     `json:"rate"`    // bytes a second, lately
}

// purgeStatus is what the admin API tells of a cache that was purged.
type purgeStatus struct {
	Name       string `json:"name"`
	Directory  string `json:"directory"`
	FreedFiles int    `json:"freed_files"`
	FreedBytes int64  `json:"freed_bytes"`
	KeptFiles  int    `json:"kept_files"`
	KeptBytes  int64  `json:"kept_bytes"`

	// of the copies in the storage, which no node keeps
	FreedCopies    int   `json:"freed_copies,omitempty"`
	FreedCopyBytes int64 `json:"freed_copy_bytes,omitempty"`
}

// copiesOf returns what handlers of one store have in storages.
func copiesOf(s *store, handlers []*Handler) (all []*share.Copies) {
	for _, h := range handlers {
		if copies := h.copies(); copies != nil && h.store == s {
			all = append(all, copies)
		}
	}
	return all
}

// purge frees what may be freed of the cache, the copies for other nodes
// included: what is bad here is bad there.
func (h *Handler) purge(ctx context.Context, copies []*share.Copies) (purgeStatus, error) {
	cache := h.store.cache
	freed, err := cache.Purge()
	left := cache.Usage()
	if freed.Files > 0 {
		h.logger.Info("purged cache", zap.Int("files", freed.Files), zap.Int64("size", freed.Bytes))
	}
	status := purgeStatus{
		Name:       h.Name,
		Directory:  cache.Dir(),
		FreedFiles: freed.Files,
		FreedBytes: freed.Bytes,
		KeptFiles:  left.Files,
		KeptBytes:  left.Bytes,
	}
	for _, c := range copies {
		files, size, copiesErr := c.Purge(ctx)
		if files > 0 {
			h.logger.Info("purged shared copies", zap.Int("files", files), zap.Int64("size", size))
		}
		if copiesErr != nil {
			err = errors.Join(err, fmt.Errorf("the copies in the storage: %w", copiesErr))
		}
		status.FreedCopies += files
		status.FreedCopyBytes += size
	}
	return status, err
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
