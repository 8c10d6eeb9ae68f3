// Package caddymodule is the HTTP handler onebot_meta for Caddy: it answers
// the meta actions of OneBot v11 under a route. See [Handler] for its
// configuration and package meta for the actions.
//
// The README describes what there is for administrators.
package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

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
//
// The same actions can be called over WebSocket, which also carries events.
// With pass_thru the handler stands in front of a OneBot implementation that the
// next handlers reach: what is not its own goes on as it came.
//
// What it does can be seen in the metrics caddy_onebot_meta_*, at /onebot_meta/
// of the admin API, by the command caddy onebot-meta, and through the events
// download_finished, backend_online and backend_offline.
type Handler struct {
	// The path below which the actions live, such as /onebot. Matched by
	// whole segments: /onebot does not take /onebots. Default: /
	Route string `json:"route,omitempty"`

	// Names this bot: its counters, its download directory, and what is told of
	// it in metrics, events and the admin API. 1 to 64 letters, digits, dots,
	// underscores and hyphens. Handlers with the same name share one set of
	// counters, which survives config reloads and starts at zero with the
	// process. Default: onebot
	Name string `json:"name,omitempty"`

	// The account of the bot, as the self_id of the events that the handler
	// itself sends over WebSocket. Default: 0
	SelfID int64 `json:"self_id,omitempty"`

	// The tokens that callers may use, as "Authorization: Bearer <token>" or
	// as ?access_token=<token>. Any one of them opens every action. Global
	// placeholders such as {env.ONEBOT_TOKEN} and {file./run/secrets/token}
	// are expanded once, when the config is loaded; an empty token is an
	// error. Default: none, which lets anyone call who can connect.
	AccessToken []string `json:"access_token,omitempty"`

	// Whether the handler stands in front of a OneBot implementation, which the
	// next handlers reach (normally reverse_proxy). What is not ours then goes
	// on as it came, also below the route, and is watched on its way: get_status
	// tells of the implementation. Default: false, which makes the handler the
	// whole implementation
	PassThru bool `json:"pass_thru,omitempty"`

	// The largest request body or WebSocket message of a call that is answered
	// here, in bytes. A larger body is refused with status 413; a larger message
	// closes its connection with code 1009 or, with pass_thru, fails the call.
	// Default: 16777216 (16 MiB)
	MaxBody int64 `json:"max_body,omitempty"`

	// How often a heartbeat event is sent over WebSocket, unless pass_thru is
	// set. 0 sends none. Default: 15s
	Heartbeat *caddy.Duration `json:"heartbeat,omitempty"`

	// The storage that decides where downloads are kept, instead of the
	// global one. With file_system storage they are kept below
	// <root>/onebot_meta/<name>/; with any other storage module, and with
	// none configured, below onebot_meta/<name>/ in Caddy's data directory.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`

	// How download_file fetches.
	Download Download `json:"download,omitzero"`

	// How what it fetched is kept.
	Cache Cache `json:"cache,omitzero"`

	route      string // without a slash at its end, so "" for /
	tokens     tokens
	shared     *shared
	store      *store
	peers      *fetch.Peers // nil if the storage is not shared
	serving    func()       // called before a request is served
	files      *fetch.Client
	dispatcher *meta.Dispatcher
	successes  map[string]func() measure // of the actions that can succeed
	sockets    *sockets
	logger     *zap.Logger
	refusals   func() *zap.Logger // sampled; half a megabyte that most never need
	ctx        caddy.Context      // ends when the config goes, before anything is cleaned up
	storage    string             // the name of the module that decides where files are
	emitter    *emitter

	// openFile opens a served file by its name, and fails with
	// [fs.ErrNotExist] if there is none. It is nil unless files are served.
	openFile func(name string) (io.ReadSeekCloser, error)
}

// Download configures the download_file action.
type Download struct {
	// The largest file to keep, in bytes. A larger one fails the action and
	// leaves nothing on disk. 0 is no limit. Default: 4294967296 (4 GiB)
	MaxSize *int64 `json:"max_size,omitempty"`

	// How long one whole download may take with all its tries, from when its
	// turn has come. Default: 30m
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long a download may wait for the origin's next byte. Default: 30s
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// How often a transfer is tried again that broke off, stalled or was
	// answered with a status that passes, such as 503. It continues where it
	// stopped if the origin allows that, and starts over if not; all tries
	// together have the timeout. 0 tries once only. Default: 3
	Retries *int `json:"retries,omitempty"`

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

	// The proxy to fetch through: an http://, https://, socks5:// or
	// socks5h:// URL, which may have a user and a password. Names are resolved
	// and judged here before the proxy is asked for them, so this machine must
	// be able to resolve them; a host that is opened by name is not looked up.
	// The proxy itself may be anywhere. Global placeholders such as
	// {env.PROXY} are expanded once, when the config is loaded.
	// Default: none, not even that of the environment (HTTP_PROXY)
	Proxy string `json:"proxy,omitempty"`
}

// Cache configures how downloaded files are kept.
type Cache struct {
	// How much room the files may take, in bytes. Those that were returned
	// longest ago make room for new ones, but none that was returned in the
	// last 10 minutes and none that is in use; a download that finds too
	// little room fails. 0 is no limit. Default: 10737418240 (10 GiB)
	MaxSize *int64 `json:"max_size,omitempty"`

	// How long a file is kept after it was last returned, and 10 minutes at
	// least. 0 is no limit. Default: 168h
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// The permissions of the files, in octal digits. Who may read the files
	// may also search their directories. The owner must be able to read and
	// write. To let a bot read them that runs as another user, also give the
	// handler a file_system storage of its own: Caddy's default root is closed
	// to other users. Default: "0600"
	Mode fileMode `json:"mode,omitempty"`

	// Whether files can also be fetched over HTTP, below <route>/files/, with
	// the same tokens as for actions. The answer of download_file then has
	// their URL, too. Meant for bots on other machines. Default: false
	Serve bool `json:"serve,omitempty"`

	// The largest file, in bytes, that is also kept in the storage, for other
	// machines whose Caddy has the same storage, this name and this option: what
	// one of them has got the others take from there, and only one at a time
	// asks an origin for a file. What one of them is sent as base64 it keeps to
	// itself. Larger files are each machine's own affair.
	//
	// The storage needs room for max_size in all and, if it is Redis, half as
	// much again; what was returned longest ago is removed first, and what was
	// returned longer than max_age ago. Files pass through memory in parts of
	// 256 KiB, of which 8 are held at a time. If the storage fails, downloads go
	// on without it. Who can read the storage can read the files.
	//
	// With file_system storage this does nothing: who has the same directory
	// shares all files anyway. In a Caddyfile without a size: 67108864 (64 MiB).
	// Default: none, which shares nothing
	Share *int64 `json:"share,omitempty"`
}

// fileMode is the permissions of a file. In JSON it is a string of octal
// digits, as the modes of Caddy's own files are: "0640" and "640" are the same.
type fileMode os.FileMode

const wantMode = "must be an octal file mode that lets the owner read and write, such as 0640"

func parseMode(s string) (mode fileMode, ok bool) {
	n, err := strconv.ParseUint(s, 8, 32)
	return fileMode(n), err == nil && n <= 0o777 && n&0o600 == 0o600
}

// UnmarshalJSON satisfies [json.Unmarshaler].
func (m *fileMode) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		if mode, ok := parseMode(s); ok {
			*m = mode
			return nil
		}
	}
	return errors.New("cache mode " + wantMode + ", in quotes")
}

// MarshalJSON satisfies [json.Marshaler].
func (m fileMode) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `"%04o"`, m), nil
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
	_ json.Marshaler              = fileMode(0)
	_ json.Unmarshaler            = (*fileMode)(nil)
)
