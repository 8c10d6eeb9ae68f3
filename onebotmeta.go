// Package onebotmeta adds the onebot_meta handler to Caddy. It exists so that
// xcaddy can name the module by its root:
//
//	xcaddy build --with github.com/onebot-caddy/onebot-meta
//
// The handler is in package caddymodule, the OneBot actions in package meta.
package onebotmeta

import (
	_ "github.com/onebot-caddy/onebot-meta/caddymodule"
)
