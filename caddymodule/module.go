// Package caddymodule is the HTTP handler onebot_meta for Caddy: it answers
// the meta actions of OneBot v11 under a route. See [Handler] for its
// configuration and package meta for the actions.
package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler answers the meta actions of OneBot v11 (get_status,
// get_version_info, get_supported_actions, set_restart, clean_cache,
// reload_event_filter, get_word_slices and download_file) below a route, by
// GET or POST <route>/<action>, or by POST <route>/ with the action in a JSON
// body. A request outside the route goes to the next handler untouched.
//
// Every answer is the JSON envelope of OneBot v11, as go-cqhttp sends it.
type Handler struct {
	// The path below which the actions live, such as /onebot. Matched by
	// whole segments: /onebot does not take /onebots. Default: /
	Route string `json:"route,omitempty"`

	// Names this bot: its counters, its download directory. 1 to 64 letters,
	// digits, dots, underscores and hyphens. Handlers with the same name
	// share one set of counters, which survives config reloads and starts at
	// zero with the process. Default: onebot
	Name string `json:"name,omitempty"`

	// The tokens that callers may use, as "Authorization: Bearer <token>" or
	// as ?access_token=<token>. Any one of them opens every action. Global
	// placeholders such as {env.ONEBOT_TOKEN} and {file./run/secrets/token}
	// are expanded once, when the config is loaded; an empty token is an
	// error. Default: none, which lets anyone call who can connect.
	AccessToken []string `json:"access_token,omitempty"`

	// The largest request body, in bytes. A larger one is refused with status
	// 413. Default: 16777216 (16 MiB)
	MaxBody int64 `json:"max_body,omitempty"`

	// The storage that decides where downloads are kept, instead of the
	// global one. With file_system storage they are kept below
	// <root>/onebot_meta/<name>/; with any other storage module, and with
	// none configured, below onebot_meta/<name>/ in Caddy's data directory.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`

	// Limits of download_file.
	Download Download `json:"download,omitzero"`

	route      string // without a slash at its end, so "" for /
	tokens     tokens
	shared     *shared
	files      *fetch.Client
	dispatcher *meta.Dispatcher
	refusals   *zap.Logger
}

// Download configures the download_file action.
type Download struct {
	// The largest file to keep, in bytes. A larger one fails the action and
	// leaves nothing on disk. 0 is no limit. Default: 4294967296 (4 GiB)
	MaxSize *int64 `json:"max_size,omitempty"`

	// How long one whole download may take, not counting the wait for its
	// turn. Default: 30m
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long a download may wait for the origin's next byte. Default: 30s
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// How many downloads run at a time; further ones wait their turn.
	// Default: 64
	MaxConcurrent int `json:"max_concurrent,omitempty"`

	// How many redirects a download follows before it fails. 0 follows none.
	// Default: 10
	MaxRedirects *int `json:"max_redirects,omitempty"`

	// Destinations to open that are refused by default. Only public unicast
	// addresses can be fetched from otherwise: no loopback, private,
	// link-local, cloud metadata or multicast address, however it is written,
	// resolved or redirected to. Each item is a network such as 10.0.0.0/8,
	// an address, or the name of a host, which opens whatever that name
	// resolves to when it is asked for by this name. "*" opens everything.
	// Default: none
	AllowPrivate []string `json:"allow_private,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.onebot_meta",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
