// Package fetch downloads files over HTTP into a cache, each as one stream.
package fetch

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// Options are the limits of downloads.
type Options struct {
	MaxSize       int64         // of a file, in bytes; 0 is no limit
	Timeout       time.Duration // of one whole download, with all its tries
	StallTimeout  time.Duration // of waiting for the next byte
	Retries       int           // how often a broken transfer is continued
	MaxConcurrent int           // downloads at a time; further ones wait
	MaxRedirects  int           // to follow

	// Dial connects to an origin, or to Proxy. It refuses to connect to an
	// origin with [egress.ErrRefused].
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Proxy, if there is one, is what connects to the origins. Check then says
	// whether it may be asked to connect to host.
	Proxy *url.URL
	Check func(ctx context.Context, host string) error

	// Policy stands for what Dial and Check allow: what was downloaded under
	// another one is not reused.
	Policy string

	// UserAgent is sent where the caller does not set one.
	UserAgent string

	// Received, unless it is nil, is told of the bytes of files as they come
	// from their origins.
	Received func(n int)

	// Peers is nil if no other process downloads the same things.
	Peers *Peers
}

// Client downloads files. It is safe for concurrent use.
type Client struct {
	opts      Options
	cache     *diskcache.Cache
	flights   *Flights
	slots     *semaphore.Weighted
	transport *http.Transport
	backoff   time.Duration // before the first try anew
}

// Request asks for a file.
type Request struct {
	URL    *url.URL    // from ParseURL
	Header http.Header // from ParseHeaders; Host is honoured
	Name   string      // a wish, of which only the extension is used

	// Unclaimed says that nobody takes the result. It then is left to the next
	// request for the same.
	Unclaimed bool
}

// Source says where a file came from.
type Source string

const (
	Fetched     Source = "fetched"     // from the origin
	Fresh       Source = "fresh"       // from the cache, without asking
	Revalidated Source = "revalidated" // from the cache, which the origin confirmed
	Sent        Source = "sent"        // by the caller
)

// Result is a file that was stored.
type Result struct {
	Path   string // absolute
	Name   string // of the file, without its directory
	Size   int64  // in bytes
	Source Source
	Tries  int // to get it; 0 if it was there at once
}

// New returns a Client that stores files in cache. Clients with the same cache
// must share their flights too.
func New(cache *diskcache.Cache, flights *Flights, opts Options) *Client {
	if opts.MaxSize == math.MaxInt64 {
		opts.MaxSize = 0 // no file is larger, and one byte more can be counted
	}
	return &Client{
		opts:    opts,
		cache:   cache,
		flights: flights,
		slots:   semaphore.NewWeighted(int64(opts.MaxConcurrent)),
		backoff: firstBackoff,
		transport: &http.Transport{
			// No proxy of the environment: it would connect to addresses that
			// Dial refuses.
			Proxy:                  http.ProxyURL(opts.Proxy),
			DialContext:            opts.dialBounded,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           256,
			MaxIdleConnsPerHost:    min(opts.MaxConcurrent, 256),
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
			// An HTTP/2 connection outlives its requests, so a stall does not
			// show that it is dead: this does, before the next try is over.
			HTTP2: &http.HTTP2Config{SendPingTimeout: opts.StallTimeout / 3, PingTimeout: opts.StallTimeout / 3},
			OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
				if resp.StatusCode != http.StatusOK {
					return refusedByProxy(resp.StatusCode)
				}
				return nil
			},
		},
	}
}

// dialBounded connects, and bounds what is said before the connection can be
// used: net/http goes on with that when the request has long been given up, to
// have a connection for the next one.
func (o *Options) dialBounded(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := o.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	// by then the request itself has stalled, which says more
	_ = conn.SetDeadline(time.Now().Add(2 * o.StallTimeout))
	return conn, nil
}

// usable lifts the bound of a connection that a request is sent on.
var usable = &httptrace.ClientTrace{
	GotConn: func(info httptrace.GotConnInfo) { _ = info.Conn.SetDeadline(time.Time{}) },
}

// Close closes the connections that are not in use. Downloads that run go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Fetch returns a file, from the cache or from its origin. It waits as long as
// ctx lasts; the download then goes on for who asks next. Of the calls that
// share a download, report is called for the one that starts it, with the
// outcome when it ends, Result.Tries also of a failure. The errors are of type
// [*Error].
func (c *Client) Fetch(ctx context.Context, req Request, report func(Result, error)) (Result, error) {
	result, waiting, err := c.Start(req, report)
	if waiting != nil {
		return waiting.Result(ctx)
	}
	return result, err
}

// Start is Fetch without the wait: it returns what there is to wait for, if the
// result is not there at once.
func (c *Client) Start(req Request, report func(Result, error)) (Result, *Waiting, error) {
	key := c.key(req.URL, c.header(req), wishedExtension(req))
	shared := route{key, c.opts.MaxSize}
	result, ok := c.fresh(key, req)
	if ok {
		report(result, nil)
	}
	if !req.Unclaimed {
		// what an earlier call has left has its one use now
		if left, landed := c.flights.claim(shared); landed && !ok && c.returns(left) {
			result, ok = left, true
		}
	}
	if ok {
		return result, nil, nil
	}
	waiting, err := c.flights.join(shared, Place(req.URL), !req.Unclaimed, func(ctx context.Context, p *progress) (Result, error) {
		result, err := recovered(func() (Result, error) { return c.obtain(ctx, key, req, p) })
		result.Tries = p.tried()
		report(result, err)
		return result, err
	})
	if err != nil {
		report(Result{}, err)
		return Result{}, nil, err
	}
	return Result{}, waiting, nil
}

// fresh returns what is stored for key if nobody need be asked about it.
func (c *Client) fresh(key diskcache.Key, req Request) (Result, bool) {
	hit, ok := c.lookup(key)
	if !ok || !hit.response.fresh(req.Header, time.Now()) {
		return Result{}, false
	}
	return c.reuse(hit, Fresh)
}

// returns reports whether a file that was downloaded earlier can be returned.
func (c *Client) returns(r Result) bool {
	return c.cache.Return(diskcache.Entry{Name: r.Name, Path: r.Path, Size: r.Size})
}
