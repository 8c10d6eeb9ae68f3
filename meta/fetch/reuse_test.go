package fetch

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
)

func TestAFileIsFetchedAgainOnlyIfItMustBe(t *testing.T) {
	fresh := func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "max-age=60") }
	tagged := func(w http.ResponseWriter) { w.Header().Set("ETag", `"a"`) }
	for name, tt := range map[string]struct {
		head  func(http.ResponseWriter)
		first func(*Request) // what the first call is like
		then  func(*Client, Result)
		path  string
		// of the second call
		source   Source
		requests int // in all
	}{
		"fresh":                       {head: fresh, source: Fresh, requests: 1},
		"confirmed":                   {head: tagged, source: Revalidated, requests: 2},
		"not cacheable":               {head: func(http.ResponseWriter) {}, source: Fetched, requests: 2},
		"with another header":         {head: fresh, first: func(r *Request) { r.Header.Set("X-A", "1") }, source: Fetched, requests: 2},
		"with another host":           {head: fresh, first: func(r *Request) { r.Header.Set("Host", "a.example") }, source: Fetched, requests: 2},
		"with another extension":      {head: fresh, first: func(r *Request) { r.Name = "a.jpg" }, source: Fetched, requests: 2},
		"with another name":           {head: fresh, first: func(r *Request) { r.Name = "a.png" }, source: Fresh, requests: 1},
		"with another fragment":       {head: fresh, first: func(r *Request) { r.URL.Fragment = "x" }, source: Fresh, requests: 1},
		"with another user":           {head: fresh, first: func(r *Request) { r.URL = mustParse("http://u:p@" + r.URL.Host + r.URL.Path) }, source: Fetched, requests: 2},
		"under another policy":        {head: fresh, then: func(c *Client, _ Result) { c.opts.Policy = "*" }, source: Fetched, requests: 2},
		"over a lower limit":          {head: fresh, then: func(c *Client, _ Result) { c.opts.MaxSize = 1 }, requests: 2},
		"confirmed over a limit":      {head: tagged, then: func(c *Client, _ Result) { c.opts.MaxSize = 1 }, requests: 3},
		"when the file is gone":       {head: fresh, then: func(_ *Client, r Result) { os.Remove(r.Path) }, source: Fetched, requests: 2},
		"confirmed, but it is gone":   {head: tagged, then: func(_ *Client, r Result) { os.Remove(r.Path) }, source: Fetched, requests: 3},
		"behind a redirect":           {head: fresh, path: "/redirect", source: Fresh, requests: 3},
		"confirmed behind a redirect": {head: tagged, path: "/redirect", source: Revalidated, requests: 4},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				if r.URL.Path == "/redirect" {
					w.Header().Set("Location", "/a.png")
					w.WriteHeader(http.StatusFound)
					return
				}
				tt.head(w)
				if r.Header.Get("If-None-Match") == `"a"` {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				fmt.Fprint(w, "content ", requests)
			})
			c := newClient(t, nil)
			if tt.path == "" {
				tt.path = "/a.png"
			}
			request := func() Request { return Request{URL: mustParse(origin + tt.path), Header: make(http.Header)} }
			req := request()
			if tt.first != nil {
				tt.first(&req)
			}
			first, err := c.Fetch(t.Context(), req, ignore)
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(first.Path)
			if err != nil {
				t.Fatal(err)
			}
			if tt.then != nil {
				tt.then(c, first)
			}
			second, err := c.Fetch(t.Context(), request(), ignore)
			if tt.source == "" {
				checkFailure(t, err, Error{Kind: TooLarge, Detail: "1 B"})
			} else if err != nil || second.Source != tt.source || (second.Path == first.Path) != (tt.source != Fetched) {
				t.Errorf("first %+v, then %+v, %v", first, second, err)
			}
			if requests != tt.requests {
				t.Errorf("the origin was asked %d times, want %d", requests, tt.requests)
			}
			if now, err := os.ReadFile(first.Path); err == nil && string(now) != string(content) {
				t.Errorf("the file has changed from %q to %q", content, now)
			}
		})
	}
}

func TestAnAnswerMayForbidWhatAnEarlierOneAllowed(t *testing.T) {
	requests := 0
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("ETag", `"a"`)
		if r.Header.Get("If-None-Match") != "" {
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		io.WriteString(w, "content")
	})
	c := newClient(t, nil)
	for i, want := range []Source{Fetched, Revalidated, Fetched} {
		if got, err := fetch(t, c, origin); err != nil || got.Source != want || requests != i+1 {
			t.Errorf("call %d: %+v, %v, after %d requests", i, got, err, requests)
		}
	}
}

func TestWhatTheCallerSaysOfCachingHoldsBehindRedirects(t *testing.T) {
	for _, says := range []string{"Cache-Control: no-store", "Cache-Control: no-cache", "Cache-Control: max-age=0"} {
		requests := 0
		other := serve(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			if len(r.Header["Cache-Control"]) != 0 {
				t.Errorf("another origin was sent %v", r.Header)
			}
			w.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(w, "content")
		})
		origin := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
		c := newClient(t, nil)
		for range 2 {
			if _, err := fetch(t, c, origin, says); err != nil {
				t.Fatal(err)
			}
		}
		if requests != 2 {
			t.Errorf("%s: the origin was asked %d times", says, requests)
		}
	}
}

func TestALowerLimitHoldsForItsOwnCallsOnly(t *testing.T) {
	g := newGate()
	url := serve(t, g.ServeHTTP)
	c := newClient(t, nil)
	opts := c.opts
	opts.MaxSize = 1
	other := New(c.cache, c.flights, opts)
	defer other.Close()
	mine, theirs := start(t.Context(), t, c, url), start(t.Context(), t, other, url)
	<-g.arrived
	<-g.arrived
	close(g.through)
	if err := <-mine; err != nil {
		t.Error(err)
	}
	checkFailure(t, <-theirs, Error{Kind: TooLarge, Detail: "1 B"})
}
