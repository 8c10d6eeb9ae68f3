// Package fetch downloads files over HTTP into a cache, each as one stream.
package fetch

import (
	"context"
	"encoding/base64"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// Options are the limits of downloads.
type Options struct {
	MaxSize       int64         // of a file, in bytes; 0 is no limit
	Timeout       time.Duration // of one whole download
	StallTimeout  time.Duration // of waiting for the next byte
	MaxConcurrent int           // downloads at a time; further ones wait
	MaxRedirects  int           // to follow

	// Dial connects to an origin, or refuses to with [egress.ErrRefused].
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// UserAgent is sent where the caller does not set one.
	UserAgent string
}

// Client downloads files. It is safe for concurrent use.
type Client struct {
	opts      Options
	cache     *diskcache.Cache
	slots     *semaphore.Weighted
	transport *http.Transport
}

// Request asks for a file.
type Request struct {
	URL    *url.URL    // from ParseURL
	Header http.Header // from ParseHeaders; Host is honoured
	Name   string      // a wish, of which only the extension is used
}

// Result is a file that was stored.
type Result struct {
	Path string // absolute
	Size int64  // in bytes
}

// New returns a Client that stores files in cache.
func New(cache *diskcache.Cache, opts Options) *Client {
	if opts.MaxSize == math.MaxInt64 {
		opts.MaxSize = 0 // no file is larger, and one byte more can be counted
	}
	return &Client{
		opts:  opts,
		cache: cache,
		slots: semaphore.NewWeighted(int64(opts.MaxConcurrent)),
		transport: &http.Transport{
			// No proxy of the environment: it would connect to addresses that
			// Dial refuses.
			Proxy:                  nil,
			DialContext:            opts.Dial,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
		},
	}
}

// Close closes the connections that are not in use. Downloads that run go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Fetch downloads a file. It waits for its turn as long as ctx allows; the
// time limits count from then. Its errors are of type [*Error].
func (c *Client) Fetch(ctx context.Context, req Request) (Result, error) {
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return Result{}, &Error{Kind: Cancelled, Err: err}
	}
	defer c.slots.Release(1)

	ctx, w := c.watch(ctx)
	defer w.stop()
	resp, err := c.get(ctx, w, req)
	if err != nil {
		return Result{}, w.blame(err)
	}
	defer resp.Body.Close()
	// 206 would be a part of the file, which was not asked for
	if resp.StatusCode < 200 || resp.StatusCode > 299 || resp.StatusCode == http.StatusPartialContent {
		return Result{}, &Error{Kind: BadStatus, Detail: strconv.Itoa(resp.StatusCode)}
	}
	if c.opts.MaxSize > 0 && resp.ContentLength > c.opts.MaxSize {
		return Result{}, c.tooLarge()
	}
	return c.store(&body{resp: resp, watch: w}, func(content io.ReaderAt) string {
		return extension(req, resp, content)
	})
}

// Keep stores content that the caller sent as base64, in the standard or the
// URL alphabet, padded or not. Its errors are of type [*Error].
func (c *Client) Keep(content, name string) (Result, error) {
	content = strings.TrimRight(strings.TrimPrefix(content, "base64://"), "=\r\n")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(content, "-_") {
		encoding = base64.RawURLEncoding
	}
	src := decoded{base64.NewDecoder(encoding, strings.NewReader(content))}
	return c.store(src, func(content io.ReaderAt) string {
		if ext := fileExtension(name); ext != "" {
			return ext
		}
		return contentExtension(content)
	})
}

// decoded reads content that is decoded on the way.
type decoded struct{ io.Reader }

func (d decoded) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &Error{Kind: BadContent, Err: err}
	}
	return n, err
}
