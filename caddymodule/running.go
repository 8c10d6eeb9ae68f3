package caddymodule

import (
	"cmp"
	"iter"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// provisioned are the handlers of all configs that are loaded: of the one that
// runs, and for a while of the one before or the next.
var provisioned handlers

// handlers are some handlers, in the order in which they were provisioned.
type handlers struct {
	mu  sync.Mutex
	all []*Handler
}

func (hs *handlers) add(h *Handler) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.all = append(hs.all, h)
}

func (hs *handlers) remove(h *Handler) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.all = slices.DeleteFunc(hs.all, func(other *Handler) bool { return other == h })
}

// list returns them all.
func (hs *handlers) list() []*Handler {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return slices.Clone(hs.all)
}

// running returns those of the config that runs, by name and then by route.
func (hs *handlers) running() []*Handler {
	running := slices.DeleteFunc(hs.list(), func(h *Handler) bool { return !h.isRunning() })
	slices.SortStableFunc(running, func(a, b *Handler) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Route, b.Route))
	})
	return running
}

// of returns the one that speaks for the bot of a name: the first of the config
// that runs or, when that is only just being loaded, of the newest. It is nil if
// there is none.
func (hs *handlers) of(name string) *Handler {
	var speaker *Handler
	for _, h := range hs.list() {
		if h.Name != name || h.isUnloading() {
			continue
		}
		if h.isRunning() {
			return h
		}
		if speaker == nil || speaker.ctx.Done() != h.ctx.Done() {
			speaker = h
		}
	}
	return speaker
}

// isRunning reports whether the config of the handler is the one that runs.
func (h *Handler) isRunning() bool {
	running := caddy.ActiveContext()
	return running.Context != nil && running.Done() == h.ctx.Done()
}

// isUnloading reports whether the config of the handler is going, which closes
// the connections that it has.
func (h *Handler) isUnloading() bool { return h.ctx.Err() != nil }

// storeOf is what handlers with one cache directory have in common.
func storeOf(h *Handler) *store { return h.store }

// firsts yields of those with the same key the first.
func firsts[T any, K comparable](all []T, key func(T) K) iter.Seq[T] {
	return func(yield func(T) bool) {
		seen := make(map[K]bool)
		for _, one := range all {
			if k := key(one); !seen[k] {
				if seen[k] = true; !yield(one) {
					return
				}
			}
		}
	}
}
