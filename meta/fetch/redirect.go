package fetch

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// get asks for a file and follows redirects to it.
//
// It takes the place of [http.Client], which would carry the caller's headers
// from host to host, and the URL with its query in a Referer.
func (c *Client) get(ctx context.Context, w *watch, r Request) (*http.Response, error) {
	from, header := r.URL, c.header(r)
	for followed := 0; ; followed++ {
		w.next.Reset(c.opts.StallTimeout)
		resp, err := c.roundTrip(ctx, from, header)
		if err != nil {
			return nil, failedRequest(from.Hostname(), err)
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			return resp, nil
		}
		discard(resp.Body)
		if followed == c.opts.MaxRedirects {
			return nil, &Error{Kind: TooManyRedirects, Detail: strconv.Itoa(c.opts.MaxRedirects)}
		}
		to, err := from.Parse(location)
		if err == nil {
			err = checkURL(to)
		}
		if err != nil {
			return nil, &Error{Kind: BadRedirect, Detail: from.Hostname(), Err: err}
		}
		if !keepsSecrets(from, to) {
			// for the rest of the way: a later redirect back to the first host
			// is not the caller's doing
			header = c.header(Request{URL: to})
		}
		from = to
	}
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
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: header, Host: header.Get("Host")}).WithContext(ctx)
	return c.transport.RoundTrip(req)
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// discard ends a body that is not wanted. It reads a short one to its end, so
// that the connection can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4<<10)
	_ = body.Close()
}
