package caddymodule

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/onebot-caddy/onebot-meta/caddymodule/relay"
	"github.com/onebot-caddy/onebot-meta/meta"
)

// relay hands a WebSocket connection on to the next handlers and stands in it.
func (h *Handler) relay(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// What an implementation says of itself when it dials an app.
	dialed := r.Header.Get("X-Self-ID") != "" || r.Header.Get("X-Client-Role") != ""
	ask := h.asker(r, next)
	if dialed {
		ask = askNobody
	}
	ctx, cancel := context.WithCancel(r.Context())
	watch := h.shared.backend.NewWatch(dialed)
	stream := relay.New(relay.Options{
		Reverse: dialed,
		MaxCall: h.MaxBody,
		Mine:    h.dispatcher.Knows,
		Answer:  h.newCalls(ctx, r, ask).take,
		Watch:   watch,
		Opened:  func() { h.shared.connections.Add(1) },
	})
	defer func() {
		opened, byImplementation := stream.Close()
		if opened {
			h.shared.connections.Add(-1)
		}
		cancel()
		watch.Close(byImplementation && !h.isUnloading())
	}()
	return next.ServeHTTP(stream.Wrap(w, r))
}

// askNobody asks in vain: what is behind is an app.
func askNobody(string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return nil, meta.ErrNotSpoken }
}
