package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/egress"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// Provision fills in the defaults and takes what the handler needs. It touches
// no file and no socket.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.setDefaults()
	// Caddy would validate only afterwards, what is used here already
	if err := h.validate(); err != nil {
		return err
	}
	h.route = strings.TrimSuffix(h.Route, "/")

	logger := ctx.Logger()
	h.refusals = sampled(logger)

	var err error
	if h.tokens, err = newTokens(h.AccessToken); err != nil {
		return err
	}
	allow, err := egress.ParseAllow(h.Download.AllowPrivate)
	if err != nil {
		return fmt.Errorf("allow_private: %w", err)
	}
	dir, err := h.cacheDir(ctx)
	if err != nil {
		return err
	}
	h.files = fetch.New(diskcache.New(dir), fetch.Options{
		MaxSize:       *h.Download.MaxSize,
		Timeout:       time.Duration(h.Download.Timeout),
		StallTimeout:  time.Duration(h.Download.StallTimeout),
		MaxConcurrent: h.Download.MaxConcurrent,
		MaxRedirects:  *h.Download.MaxRedirects,
		Dial:          egress.NewDialer(allow, nil).DialContext,
		UserAgent:     "onebot-meta/" + strings.TrimPrefix(meta.Version(), "v"),
	})
	h.shared = acquireShared(h.Name)
	h.dispatcher = meta.NewDispatcher(h.shared.counters, h.files, h.shared.queue, logger)
	return nil
}

func (h *Handler) setDefaults() {
	h.Route = cmp.Or(h.Route, "/")
	h.Name = cmp.Or(h.Name, "onebot")
	h.MaxBody = cmp.Or(h.MaxBody, 16<<20)

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
		{h.MaxBody < 0, "max_body", "must be positive"},
		{*d.MaxSize < 0, "download max_size", "must not be negative"},
		{d.Timeout < 0, "download timeout", "must be positive"},
		{d.StallTimeout < 0, "download stall_timeout", "must be positive"},
		{d.MaxConcurrent < 0, "download max_concurrent", "must be positive"},
		{*d.MaxRedirects < 0, "download max_redirects", "must not be negative"},
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
// still being served go on.
func (h *Handler) Cleanup() error {
	if h.files != nil {
		h.files.Close()
	}
	if h.shared == nil {
		return nil
	}
	return releaseShared(h.Name)
}

// sampled returns logger with a bound on what strangers can make it write: ten
// lines of a kind each minute, and then every thousandth.
func sampled(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 1000)
	}))
}
