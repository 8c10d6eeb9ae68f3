package caddymodule

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/onebot-caddy/onebot-meta/meta/egress"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("onebot_meta", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("onebot_meta", httpcaddyfile.Before, "respond")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var handler Handler
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	return &handler, err
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	onebot_meta [<matcher>] {
//	    route        <prefix>
//	    name         <label>
//	    self_id      <number>
//	    access_token <token...>
//	    pass_thru
//	    max_body     <size>
//	    heartbeat    <duration>
//	    storage      <module> ...
//
//	    download {
//	        max_size       <size>
//	        timeout        <duration>
//	        stall_timeout  <duration>
//	        retries        <n>
//	        max_concurrent <n>
//	        max_redirects  <n>
//	        allow_private  [<cidr|host>...]
//	        proxy          <url>
//	    }
//	    cache {
//	        max_size <size>
//	        max_age  <duration>
//	        mode     <octal>
//	        serve
//	        share    [<max object size>]
//	    }
//	}
//
// Only access_token and allow_private may be repeated. A <size> is a number of
// bytes or has a unit, such as 16MiB; a <duration> has units, such as 30s or
// 7d. Without arguments, allow_private opens every address, and share stands
// for 64MiB.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.Err("onebot_meta takes a matcher and a block, and no other argument")
	}
	return parseBlock(d, 0, "access_token", func(option string) error {
		switch option {
		case "route":
			return parseText(d, &h.Route, validRoute, wantRoute)
		case "name":
			return parseText(d, &h.Name, validName, wantName)
		case "self_id":
			return parseNumber(d, &h.SelfID, 0)
		case "access_token":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.Err("access_token takes one or more tokens")
			}
			h.AccessToken = append(h.AccessToken, args...)
			return nil
		case "pass_thru":
			return parseFlag(d, &h.PassThru)
		case "max_body":
			return parseSize(d, &h.MaxBody, 1)
		case "heartbeat":
			h.Heartbeat = new(caddy.Duration)
			return parseDuration(d, h.Heartbeat, 0)
		case "storage":
			return h.parseStorage(d)
		case "download":
			return h.Download.parse(d)
		case "cache":
			return h.Cache.parse(d)
		}
		return d.Errf("unrecognized subdirective '%s'", option)
	})
}

// parse reads the block of the download option.
func (c *Download) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("download takes a block and no argument")
	}
	return parseBlock(d, 1, "allow_private", func(option string) error {
		switch option {
		case "max_size":
			c.MaxSize = new(int64)
			return parseSize(d, c.MaxSize, 0)
		case "timeout":
			return parseDuration(d, &c.Timeout, 1)
		case "stall_timeout":
			return parseDuration(d, &c.StallTimeout, 1)
		case "retries":
			c.Retries = new(int)
			return parseNumber(d, c.Retries, 0)
		case "max_concurrent":
			return parseNumber(d, &c.MaxConcurrent, 1)
		case "max_redirects":
			c.MaxRedirects = new(int)
			return parseNumber(d, c.MaxRedirects, 0)
		case "allow_private":
			return c.parseAllow(d)
		case "proxy":
			return c.parseProxy(d)
		}
		return d.Errf("unrecognized subdirective '%s' of download", option)
	})
}

// parse reads the block of the cache option.
func (c *Cache) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("cache takes a block and no argument")
	}
	return parseBlock(d, 1, "", func(option string) error {
		switch option {
		case "max_size":
			c.MaxSize = new(int64)
			return parseSize(d, c.MaxSize, 0)
		case "max_age":
			c.MaxAge = new(caddy.Duration)
			return parseDuration(d, c.MaxAge, 0)
		case "mode":
			return c.parseMode(d)
		case "serve":
			return parseFlag(d, &c.Serve)
		case "share":
			return c.parseShare(d)
		}
		return d.Errf("unrecognized subdirective '%s' of cache", option)
	})
}

// parseBlock reads the options of a block by parse, and sees to it that none
// but repeatable occurs twice.
func parseBlock(d *caddyfile.Dispenser, nesting int, repeatable string, parse func(option string) error) error {
	seen := make(map[string]bool)
	before := ""
	for d.NextBlock(nesting) {
		option := d.Val()
		if option == "{" {
			return d.Errf("%s takes no block", before)
		}
		before = option
		if seen[option] && option != repeatable {
			return d.Errf("%s already specified", option)
		}
		seen[option] = true
		if err := parse(option); err != nil {
			return err
		}
	}
	return nil
}

func (c *Download) parseAllow(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		args = []string{egress.AllowAll}
	}
	if _, err := egress.ParseAllow(args); err != nil {
		return d.Errf("allow_private: %v", err)
	}
	c.AllowPrivate = append(c.AllowPrivate, args...)
	return nil
}

// parseProxy reads the URL of a proxy. One with placeholders is judged when
// they are expanded.
func (c *Download) parseProxy(d *caddyfile.Dispenser) error {
	option, arg, err := parseArg(d)
	if err != nil {
		return err
	}
	if !strings.Contains(arg, "{") {
		if _, err := parseProxy(arg); err != nil {
			return d.Errf("%s %v", option, err) // and not arg, which may have a password
		}
	}
	c.Proxy = arg
	return nil
}

func (c *Cache) parseMode(d *caddyfile.Dispenser) error {
	option, arg, err := parseArg(d)
	if err != nil {
		return err
	}
	mode, ok := parseMode(arg)
	if !ok {
		return d.Errf("%s %s, not '%s'", option, wantMode, arg)
	}
	c.Mode = mode
	return nil
}

func (c *Cache) parseShare(d *caddyfile.Dispenser) error {
	c.Share = new(int64(64 << 20))
	switch d.CountRemainingArgs() {
	case 0:
		return nil
	case 1:
		return parseSize(d, c.Share, 1)
	}
	return d.Errf("%s takes one argument at most", d.Val())
}

// parseStorage reads a storage module, in the syntax of the global option.
func (h *Handler) parseStorage(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("storage takes the name of a storage module, such as file_system")
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "caddy.storage."+name)
	if err != nil {
		return err
	}
	storage, ok := module.(caddy.StorageConverter)
	if !ok {
		return d.Errf("storage: module '%s' is not a storage module", name)
	}
	h.StorageRaw = caddyconfig.JSONModuleObject(storage, "module", name, nil)
	return nil
}

// parseArg reads the one argument of an option.
func parseArg(d *caddyfile.Dispenser) (option, arg string, err error) {
	option = d.Val()
	if !d.AllArgs(&arg) {
		// d.ArgErr would name the last argument, and not the option
		return option, "", d.Errf("%s takes one argument", option)
	}
	return option, arg, nil
}

// parseFlag reads an option that is on where it is written.
func parseFlag(d *caddyfile.Dispenser, dst *bool) error {
	option := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument", option)
	}
	*dst = true
	return nil
}

func parseText(d *caddyfile.Dispenser, dst *string, valid func(string) bool, want string) error {
	option, arg, err := parseArg(d)
	if err != nil {
		return err
	}
	if !valid(arg) {
		return d.Errf("%s %s, not '%s'", option, want, arg)
	}
	*dst = arg
	return nil
}

func parseSize(d *caddyfile.Dispenser, dst *int64, least uint64) error {
	option, arg, err := parseArg(d)
	if err != nil {
		return err
	}
	n, err := humanize.ParseBytes(arg)
	if err != nil || n < least || n > math.MaxInt64 {
		return d.Errf("%s must be a size of at least %d bytes, such as 16MiB, not '%s'", option, least, arg)
	}
	*dst = int64(n)
	return nil
}

func parseDuration(d *caddyfile.Dispenser, dst *caddy.Duration, least time.Duration) error {
	option, arg, err := parseArg(d)
	if err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(arg)
	if err != nil || duration < least {
		want := "a positive duration, such as 30s"
		if least == 0 {
			want = "a duration such as 15s, or 0"
		}
		return d.Errf("%s must be %s, not '%s'", option, want, arg)
	}
	*dst = caddy.Duration(duration)
	return nil
}

func parseNumber[N int | int64](d *caddyfile.Dispenser, dst *N, least N) error {
	option, arg, err := parseArg(d)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || int64(N(n)) != n || N(n) < least {
		return d.Errf("%s must be a number of at least %d, not '%s'", option, least, arg)
	}
	*dst = N(n)
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
