package integration

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// crowd makes 200 calls of download_file for a path, which is answered when all
// of them wait. They have to get a file with a body, one at each node.
func (c *cluster) crowd(t *testing.T, front client, o *origin, path string, answer http.HandlerFunc, body string) {
	t.Helper()
	const calls = 200
	passed, closed := make(chan struct{}, 10*calls), make(chan struct{})
	url := o.handle(path, func(w http.ResponseWriter, r *http.Request) {
		passed <- struct{}{}
		select {
		case <-closed:
			answer(w, r)
		case <-r.Context().Done():
		}
	})
	files := make([]string, calls)
	var pending sync.WaitGroup
	for i := range files {
		pending.Go(func() {
			r, err := front.try("POST", "/download_file", params{"url": url}.String())
			if err != nil || r.status != "ok" {
				t.Errorf("call %d: %v %s", i, err, r.body)
				return
			}
			files[i] = r.file(t)
		})
	}
	receive(t, passed, "the fetch to begin")
	eventually(t, "all calls to wait", func() bool { return c.callers(t) == calls })
	close(closed)
	pending.Wait()
	if t.Failed() {
		return
	}
	homes := len(c.nodes)
	if c.dir != "" {
		homes = 1
	}
	slices.Sort(files)
	if files = slices.Compact(files); len(files) != homes {
		t.Fatalf("they got %v, want a file for each of %d homes", files, homes)
	}
	for _, file := range files {
		wantContent(t, file, body)
	}
}

func TestACrowdOfCallsAtManyNodesIsOneFetch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 4} {
		t.Run("with "+strconv.Itoa(n)+" nodes", func(t *testing.T) {
			onBoth(t, n, copying(), testCrowd)
		})
	}
}

func testCrowd(t *testing.T, c *cluster) {
	front := c.balancer(t)
	o := newOrigin(t)
	body := filler(700_001) // of three parts
	fresh := []string{"Cache-Control", "max-age=60"}
	for name, e := range map[string]edition{
		"that stays fresh":                 {body: body, header: fresh},
		"that stays fresh, without length": {body: body, header: fresh, chunked: true},
		"that is empty":                    {header: fresh},
		"that has but an ETag":             {body: body, etag: `"v1"`},
		"that may not be used unasked":     {body: body, etag: `"v1"`, header: []string{"Cache-Control", "no-cache"}},
		"of which nothing is said":         {body: body},
		"of which not even a length is":    {body: body, chunked: true},
	} {
		t.Run("of a file "+name, func(t *testing.T) {
			path := "/" + strings.ReplaceAll(name, " ", "-")
			c.crowd(t, front, o, path, e.offer, e.body)
			if n := len(o.asked(path)); n != 1 {
				t.Errorf("the origin had %d requests", n)
			}
		})
	}
	t.Run("of a file behind a redirect", func(t *testing.T) {
		o.handle("/target", edition{body: body, header: fresh}.offer)
		c.crowd(t, front, o, "/redirect", redirect(302, "/target"), body)
		if n := len(o.asked("/target")); n != 1 {
			t.Errorf("the origin had %d requests for the file", n)
		}
		if n := len(o.asked("/redirect")); n > len(c.nodes) { // it may lead each of them elsewhere
			t.Errorf("the origin had %d requests for the redirect", n)
		}
	})
	t.Run("of each of many files", func(t *testing.T) {
		const files = 40
		url := o.handle("/many", selfTelling)
		var pending sync.WaitGroup
		for i := range files * 5 {
			pending.Go(func() {
				query := fmt.Sprintf("load-%d-%d", i%files, i%files*10_000)
				r, err := front.try("POST", "/download_file", params{"url": url + "?" + query}.String())
				if err != nil || r.status != "ok" {
					t.Errorf("%s: %v %s", query, err, r.body)
					return
				}
				path := r.file(t)
				if got, err := os.ReadFile(path); err != nil || string(got) != tell(query) {
					t.Errorf("%s: %v, %d bytes %.100q", path, err, len(got), got)
				}
			})
		}
		pending.Wait()
		if n := len(o.asked("/many")); n != files {
			t.Errorf("the origin had %d requests for %d files", n, files)
		}
	})
}
