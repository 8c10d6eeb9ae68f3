package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/egress"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// Provision fills in the defaults and takes what the handler needs. It makes no
// file and no connection.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.setDefaults()
	// Caddy would validate only afterwards, what is used here already
	if err := h.validate(); err != nil {
		return err
	}
	h.route = strings.TrimSuffix(h.Route, "/")

	h.logger = ctx.Logger()
	h.refusals = sync.OnceValue(func() *zap.Logger { return sampled(h.logger) })
	h.ctx = ctx

	var err error
	if h.tokens, err = newTokens(h.AccessToken); err != nil {
		return err
	}
	opts, err := h.fetchOptions()
	if err != nil {
		return err
	}
	if err := h.openCache(ctx); err != nil {
		return err
	}
	opts.Peers = h.peers
	h.files = fetch.New(h.store.cache, h.store.flights, opts)
	h.shared = acquireShared(h.Name)
	h.sockets = newSockets(ctx, &h.shared.connections)
	h.dispatcher = meta.NewDispatcher(meta.Options{
		Counters:   h.shared.counters,
		Backend:    h.shared.backend,
		Files:      h.files,
		Queue:      h.shared.queue,
		Logger:     h.logger,
		Downloaded: h.shared.downloaded,
	})
	h.successes = successesOf(h.Name, h.dispatcher.Supported())
	return h.show()
}

// show makes what goes on visible to administrators.
func (h *Handler) show() (err error) {
	if h.emitter, err = h.newEmitter(); err != nil {
		return err
	}
	if err := registerMetrics(h.ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	initMetrics(h.Name)
	provisioned.add(h)
	return nil
}

// openCache takes the cache that the configured storage has for the name.
func (h *Handler) openCache(ctx caddy.Context) error {
	storage, err := h.configuredStorage(ctx)
	if err != nil {
		return err
	}
	h.storage = moduleName(storage)
	root, err := cacheRoot(storage)
	if err != nil {
		return err
	}
	opts := diskcache.Options{
		MaxSize: *h.Cache.MaxSize,
		MaxAge:  time.Duration(*h.Cache.MaxAge),
		Mode:    fs.FileMode(h.Cache.Mode),
		Private: h.storage != fileSystem,
		Logger:  h.logger,
	}
	h.store = acquireStore(root, cacheSub(h.Name), opts)
	h.peers = h.newPeers(storage)
	cache := h.store.cache
	// A config that has a request to serve has been loaded for good. Until
	// then, a cache that another config uses keeps the bounds of that.
	h.serving = sync.OnceFunc(func() { cache.Configure(opts) })
	if h.Cache.Serve {
		h.openFile = func(name string) (io.ReadSeekCloser, error) { return cache.Open(name) }
	}
	return nil
}

// fetchOptions returns how files are downloaded, as the configuration has it.
func (h *Handler) fetchOptions() (fetch.Options, error) {
	d := &h.Download
	allow, err := egress.ParseAllow(d.AllowPrivate)
	if err != nil {
		return fetch.Options{}, fmt.Errorf("allow_private: %w", err)
	}
	dialer := egress.NewDialer(allow, nil)
	opts := fetch.Options{
		MaxSize:       *d.MaxSize,
		Timeout:       time.Duration(d.Timeout),
		StallTimeout:  time.Duration(d.StallTimeout),
		Retries:       *d.Retries,
		MaxConcurrent: d.MaxConcurrent,
		MaxRedirects:  *d.MaxRedirects,
		Dial:          dialer.DialContext,
		Policy:        strings.Join(slices.Sorted(slices.Values(d.AllowPrivate)), " "),
		UserAgent:     "onebot-meta/" + strings.TrimPrefix(meta.Version(), "v"),
		Received:      func(n int) { measureReceived(h.Name, n) },
	}
	if opts.Proxy, err = newProxy(d.Proxy); err != nil {
		return fetch.Options{}, fmt.Errorf("download proxy %w", err)
	}
	if opts.Proxy != nil {
		opts.Check = dialer.Check
		opts.Dial = (&net.Dialer{Timeout: egress.DialTimeout}).DialContext // to the proxy, wherever that is
		opts.Policy += " by proxy"
	}
	return opts, nil
}

func (h *Handler) setDefaults() {
	h.Route = cmp.Or(h.Route, "/")
	h.Name = cmp.Or(h.Name, "onebot")
	h.MaxBody = cmp.Or(h.MaxBody, 16<<20)
	if h.Heartbeat == nil {
		h.Heartbeat = new(caddy.Duration(15 * time.Second))
	}

	d := &h.Download
	if d.MaxSize == nil {
		d.MaxSize = new(int64(4 << 30))
	}
	d.Timeout = cmp.Or(d.Timeout, caddy.Duration(30*time.Minute))
	d.StallTimeout = cmp.Or(d.StallTimeout, caddy.Duration(30*time.Second))
	d.MaxConcurrent = cmp.Or(d.MaxConcurrent, 64)
	if d.MaxRedirects == nil {
		d.MaxRedirects = new(10)
	}
	if d.Retries == nil {
		d.Retries = new(3)
	}

	c := &h.Cache
	if c.MaxSize == nil {
		c.MaxSize = new(int64(10 << 30))
	}
	if c.MaxAge == nil {
		c.MaxAge = new(caddy.Duration(7 * 24 * time.Hour))
	}
	c.Mode = cmp.Or(c.Mode, 0o600)
}

// validate says what of the configuration cannot be.
func (h *Handler) validate() error {
	d := h.Download
	for _, rule := range []struct {
		broken bool
		option string
		want   string
	}{
		{!validRoute(h.Route), "route", wantRoute},
		{!validName(h.Name), "name", wantName},
		// such as con on Windows
		{!filepath.IsLocal(h.Name), "name", "must not be a name that this system reserves"},
		{h.SelfID < 0, "self_id", "must not be negative"},
		{h.MaxBody < 0, "max_body", "must be positive"},
		{*h.Heartbeat < 0, "heartbeat", "must not be negative"},
		{*d.MaxSize < 0, "download max_size", "must not be negative"},
		{d.Timeout < 0, "download timeout", "must be positive"},
		{d.StallTimeout < 0, "download stall_timeout", "must be positive"},
		{d.MaxConcurrent < 0, "download max_concurrent", "must be positive"},
		{*d.MaxRedirects < 0, "download max_redirects", "must not be negative"},
		{*d.Retries < 0, "download retries", "must not be negative"},
		{*h.Cache.MaxSize < 0, "cache max_size", "must not be negative"},
		{*h.Cache.MaxAge < 0, "cache max_age", "must not be negative"},
		{h.Cache.Share != nil && *h.Cache.Share <= 0, "cache share", "must be positive"},
	} {
		if rule.broken {
			return errors.New(rule.option + " " + rule.want)
		}
	}
	return nil
}

const (
	wantRoute = "must be a path such as /onebot, without empty, . or .. segments, wildcards, placeholders, spaces or escapes"
	wantName  = "must be 1 to 64 letters, digits, dots, underscores and hyphens, and not . or .."
)

func validRoute(route string) bool {
	inner := strings.TrimSuffix(route, "/")
	return strings.HasPrefix(route, "/") &&
		(inner == "" || inner != "/" && path.Clean(inner) == inner) &&
		!strings.ContainsAny(route, "*?#{}%\\ ")
}

func validName(name string) bool {
	if len(name) < 1 || len(name) > 64 || name == "." || name == ".." {
		return false
	}
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	return strings.Trim(name, allowed) == ""
}

// Cleanup gives back what Provision took, as far as it came. Calls that are
// still being served go on, but for downloads to a directory that no config has
// any more.
func (h *Handler) Cleanup() error {
	provisioned.remove(h)
	if h.sockets != nil {
		h.sockets.close() // they outlive the shutdown of the server
	}
	if h.files != nil {
		h.files.Close()
	}
	var err error
	if h.shared != nil {
		h.shared.passOn()
		err = releaseShared(h.Name)
	}
	if copies := h.copies(); copies != nil {
		copies.Close()
	}
	if h.store != nil {
		err = errors.Join(err, h.store.release())
	}
	return err
}

// sampled returns logger with a bound on what strangers can make it write: ten
// lines of a kind each minute, and then every thousandth.
func sampled(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 1000)
	}))
}
