package integration

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// batch is a set of downloads, each from a path of its own. They are made all
// at once, since most of their time is waiting.
type batch struct {
	origin *origin
	calls  map[string]params
	paths  map[string]string
}

func (o *origin) batch() *batch {
	return &batch{o, make(map[string]params), make(map[string]string)}
}

// add adds a download to the batch.
func (b *batch) add(name string, answer http.HandlerFunc, headers ...string) {
	b.origin.mu.Lock()
	path := "/batch/" + strconv.Itoa(len(b.origin.handlers))
	b.origin.mu.Unlock()
	b.paths[name] = path
	b.calls[name] = params{"url": b.origin.handle(path, answer), "headers": headers}
}

// asked returns the requests that the origin had for a download.
func (b *batch) asked(name string) []*http.Request { return b.origin.asked(b.paths[name]) }

// run makes the downloads, by the handler with some route, and returns how the
// calls were answered.
func (b *batch) run(t testing.TB, c *instance, route string) map[string]reply {
	t.Helper()
	var mu sync.Mutex
	answers := make(map[string]reply)
	var pending sync.WaitGroup
	for name, call := range b.calls {
		pending.Go(func() {
			r, err := c.client.try("POST", route+"/download_file", call.String(), "Content-Type", "application/json")
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[name] = r
		})
	}
	pending.Wait()
	return answers
}

// eventually returns when done does, which is asked often, or fails the test if
// that takes too long. It is for what nobody reports.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !done() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
