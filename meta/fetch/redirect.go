package fetch

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// get asks for a file, follows redirects to it and stores what comes.
//
// It takes the place of [http.Client], which would carry the caller's headers
// from host to host, and the URL with its query in a Referer. Each hop is asked
// anew: where a redirect leads may have changed.
func (d *download) get(ctx context.Context, w *watch) (Result, error) {
	if d.part.resumable() {
		result, usable, err := d.askForRest(ctx, w)
		if err != nil || usable {
			return result, err
		}
		d.part = part{}
	}
	from, header := d.req.URL, d.header(d.req)
	for followed := 0; ; followed++ {
		result, resp, err := d.ask(ctx, w, from, header)
		if err != nil || resp == nil {
			return result, err
		}
		if followed == d.opts.MaxRedirects {
			return Result{}, &Error{Kind: TooManyRedirects, Detail: strconv.Itoa(followed)}
		}
		to, err := redirected(from, resp.Header.Get("Location"))
		if err != nil {
			return Result{}, &Error{Kind: BadRedirect, Detail: from.Hostname(), Err: err}
		}
		if !keepsSecrets(from, to) {
			// for the rest of the way: a later redirect back to the first host
			// is not the caller's doing
			header = d.header(Request{URL: to})
		}
		from = to
	}
}

// ask makes one request on the way to the file. It returns the answer if that
// is a redirect, and else what came of it.
func (d *download) ask(ctx context.Context, w *watch, u *url.URL, header http.Header) (Result, *http.Response, error) {
	h := hop{url: u, header: header, key: d.key(u, header, wishedExtension(d.req))}
	conditional := header.Clone()
	w.next.Stop() // a slow storage is not the origin's fault
	d.consult(ctx, h.key)
	if hit, ok := d.lookup(h.key); ok && !d.unconditional {
		if hit.response.fresh(d.req.Header, time.Now()) {
			if result, ok := d.reuse(hit, Fresh); ok {
				return result, nil, nil
			}
		}
		h.hit, h.asked = hit, hit.response.conditions(conditional)
		defer d.cache.Pin(hit.entry.Name)()
	}
	resp, err := d.send(ctx, w, &h, conditional)
	if err != nil {
		return Result{}, nil, err
	}
	if isRedirect(resp) {
		discard(resp.Body)
		return Result{}, resp, nil
	}
	if h.asked && resp.StatusCode == http.StatusNotModified {
		discard(resp.Body)
		if result, ok := d.confirm(h, resp); ok {
			return result, nil, nil
		}
		d.unconditional = true
		return d.ask(ctx, w, u, header)
	}
	result, err := d.take(w, h, resp, false)
	return result, nil, err
}

// askForRest asks for what is missing of the file, where the beginning came
// from: a validator holds for one URL only, and redirects may lead to many. If
// the answer is not usable, the file has to be begun again.
func (d *download) askForRest(ctx context.Context, w *watch) (result Result, usable bool, err error) {
	h := d.source
	ranged := h.header.Clone()
	d.part.ask(ranged)
	resp, err := d.send(ctx, w, &h, ranged)
	if err != nil {
		return Result{}, false, err
	}
	verdict := d.part.judge(resp)
	if verdict == useless {
		discard(resp.Body)
		return Result{}, false, nil
	}
	result, err = d.take(w, h, resp, verdict == theRest)
	return result, true, err
}

// send makes a request and notes when.
func (d *download) send(ctx context.Context, w *watch, h *hop, header http.Header) (*http.Response, error) {
	w.next.Reset(d.opts.StallTimeout)
	h.requested = time.Now()
	resp, err := d.roundTrip(ctx, h.url, header)
	h.received = time.Now()
	if err != nil {
		return nil, failedRequest(h.url.Hostname(), err)
	}
	if resp.StatusCode == http.StatusProxyAuthRequired && d.opts.Proxy != nil {
		discard(resp.Body)
		return nil, refusedByProxy(resp.StatusCode)
	}
	return resp, nil
}

// header returns the headers to send first, before any redirect.
func (c *Client) header(r Request) http.Header {
	header := r.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", c.opts.UserAgent)
	}
	header.Set("Accept-Encoding", "identity")
	if user := r.URL.User; user != nil && header.Get("Authorization") == "" {
		password, _ := user.Password()
		req := http.Request{Header: header}
		req.SetBasicAuth(user.Username(), password)
	}
	return header
}

func (c *Client) roundTrip(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	if c.opts.Proxy != nil {
		if err := c.opts.Check(ctx, u.Hostname()); err != nil {
			return nil, err
		}
		// net/http would ask the proxy for the host of this header, which
		// nobody has judged
		if header.Get("Host") != "" && u.Scheme == "http" && strings.HasPrefix(c.opts.Proxy.Scheme, "http") {
			return nil, &Error{Kind: HostByProxy}
		}
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: header, Host: header.Get("Host")}
	return c.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, usable)))
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// discard ends a body that is not wanted. It reads a short one to its end, so
// that the connection can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4<<10)
	_ = body.Close()
}
