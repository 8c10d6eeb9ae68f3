package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// versioned is an origin whose content has a version and no age.
func versioned(t *testing.T, version *atomic.Int64) *counting {
	return newCounting(t, func(w http.ResponseWriter, r *http.Request) {
		etag := fmt.Sprintf(`"%d"`, version.Load())
		w.Header().Set("Etag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "version ", version.Load())
	})
}

func keyOf(t *testing.T, c *Client, url string) diskcache.Key {
	t.Helper()
	u, err := ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return c.key(u, c.header(Request{URL: u}), "")
}

// failOnce has one of the reads of manifests fail, counted from 1.
func (cl *cluster) failOnce(n int64) {
	var reads atomic.Int64
	cl.storage.Intercept(func(op, key string) error {
		if op == "load" && strings.Contains(key, "/manifest/") && reads.Add(1) == n {
			return errors.New("connection reset")
		}
		return nil
	})
}

// What is found only at the second look was not necessarily stored between the
// two.
func TestAFailedReadMakesNothingNew(t *testing.T) {
	for node := range 2 {
		t.Run(fmt.Sprint("on node ", node), func(t *testing.T) {
			var version atomic.Int64
			origin := versioned(t, &version)
			cl := newCopying(t, 2, nil)
			mustFetch(t, cl.nodes[0], origin.url)
			version.Store(1)
			cl.failOnce(1)
			wantContent(t, mustFetch(t, cl.nodes[node], origin.url), []byte("version 1"))
			origin.want(t, 2)
		})
	}
	t.Run("of what is for those only who waited for it", func(t *testing.T) {
		var n atomic.Int64
		origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "answer ", n.Add(1)) })
		cl := newCopying(t, 2, nil)
		mustFetch(t, cl.nodes[0], origin.url)
		cl.failOnce(1)
		wantContent(t, mustFetch(t, cl.nodes[1], origin.url), []byte("answer 2"))
	})
}

// A node whose clock is ahead may take what it has for newer than what comes.
func TestAClockThatIsAheadReturnsNoOldFile(t *testing.T) {
	var version atomic.Int64
	slow, answer := make(chan struct{}, 2), make(chan struct{})
	origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
		v := version.Load()
		w.Header().Set("Etag", fmt.Sprintf(`"%d"`, v))
		if r.Header.Get("If-None-Match") == fmt.Sprintf(`"%d"`, v) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if v == 1 {
			slow <- struct{}{}
			<-answer
		}
		fmt.Fprint(w, "version ", v)
	})
	cl := newCopying(t, 2, nil)
	a, b := cl.nodes[0], cl.nodes[1]
	mustFetch(t, b, origin.url)
	cl.settle()
	// b's clock is 20 s ahead
	key := keyOf(t, b, origin.url)
	entry, _ := b.cache.Get(key)
	head := entry.Head
	head.Requested, head.Received = head.Requested.Add(20*time.Second), head.Received.Add(20*time.Second)
	b.cache.Update(entry, head)
	copies := b.opts.Peers.Copies
	copy, err := copies.Find(t.Context(), key.String())
	if err != nil {
		t.Fatal(err)
	}
	var with described
	if err := json.Unmarshal(copy.Meta, &with); err != nil {
		t.Fatal(err)
	}
	with.Head.Requested, with.Head.Received = head.Requested, head.Received
	if copy.Meta, err = json.Marshal(with); err != nil {
		t.Fatal(err)
	}
	if err := copies.Amend(t.Context(), key.String(), copy); err != nil {
		t.Fatal(err)
	}
	version.Store(1)
	for len(cl.lockers) > 0 {
		<-cl.lockers
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := fetch(t, a, origin.url)
		if err != nil {
			t.Error(err)
			return
		}
		wantContent(t, r, []byte("version 1"))
	}()
	<-slow
	<-cl.lockers
	done2 := make(chan struct{})
	go func() {
		defer close(done2)
		r, err := fetch(t, b, origin.url)
		if err != nil {
			t.Error(err)
			return
		}
		wantContent(t, r, []byte("version 1"))
	}()
	<-cl.lockers
	close(answer)
	<-done
	<-done2
}

func TestASlowStorageFailsNoDownload(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 900_000)
	origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/from" {
			http.Redirect(w, r, "/to", http.StatusFound)
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Write(content)
	})
	const stall = 50 * time.Millisecond
	cl := newCopying(t, 2, func(o *Options) { o.StallTimeout = stall })
	mustFetch(t, cl.nodes[0], origin.url+"/to")
	cl.storage.Intercept(func(op, key string) error {
		if op == "load" && strings.Contains(key, "/part/") {
			time.Sleep(3 * stall) // as long as it takes
		}
		return nil
	})
	wantContent(t, mustFetch(t, cl.nodes[1], origin.url+"/from"), content)
}

// A node that has to wait for its turn leaves the origin to others.
func TestABusyNodeHoldsUpNoIdleOne(t *testing.T) {
	for how, newCluster := range sharing {
		t.Run(how, func(t *testing.T) {
			t.Parallel() // it waits
			began, rest := make(chan struct{}), make(chan struct{})
			origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/long" {
					close(began)
					<-rest
				}
				fmt.Fprint(w, r.URL.Path)
			})
			cl := newCluster(t, 2, func(o *Options) { o.MaxConcurrent = 1 })
			var busy sync.WaitGroup
			busy.Go(func() { _, _ = fetch(t, cl.nodes[0], origin.url+"/long") })
			<-began
			<-cl.lockers
			busy.Go(func() { _, _ = fetch(t, cl.nodes[0], origin.url+"/x") })
			<-cl.lockers
			wantContent(t, mustFetch(t, cl.nodes[1], origin.url+"/x"), []byte("/x"))
			close(rest)
			busy.Wait()
		})
	}
}

func TestAFailureElsewhereKeepsACopy(t *testing.T) {
	var fails atomic.Bool
	origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
		if fails.Load() {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Etag", `"1"`)
		fmt.Fprint(w, "fine")
	})
	cl := newCopying(t, 1, nil)
	c := cl.nodes[0]
	mustFetch(t, c, origin.url)
	fails.Store(true)
	for read := range int64(4) { // fails, or none for 0
		cl.failOnce(read)
		if _, err := fetch(t, c, origin.url); err == nil {
			t.Fatal("no error")
		}
		cl.storage.Intercept(nil)
		if copy, err := c.opts.Peers.Copies.Find(t.Context(), keyOf(t, c, origin.url).String()); err != nil || copy.Size == 0 {
			t.Errorf("without read %d the copy is gone: %+v, %v", read, copy, err)
		}
	}
}

// More is never copied.
func TestACopyThatClaimsToBeHugeIsNotLoaded(t *testing.T) {
	origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, "small")
	})
	cl := newCopying(t, 2, func(o *Options) { o.MaxSize = 4 << 30 })
	mustFetch(t, cl.nodes[0], origin.url)
	c := cl.nodes[1]
	copies, key := c.opts.Peers.Copies, keyOf(t, c, origin.url).String()
	copy, err := copies.Find(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	copy.Size = 90 << 20
	if err := copies.Amend(t.Context(), key, copy); err != nil {
		t.Fatal(err)
	}
	cl.storage.Intercept(func(op, key string) error {
		if op == "load" && strings.Contains(key, "/part/") {
			t.Errorf("%s is loaded", key)
		}
		return nil
	})
	wantContent(t, mustFetch(t, c, origin.url), []byte("small"))
}

// A 304 may say that what was kept so far must not be any longer.
func TestACopyGoesWhenItMustNotBeKept(t *testing.T) {
	for says, status := range map[string]int{"when it confirms it": http.StatusNotModified, "with a new one": http.StatusOK} {
		t.Run(says, func(t *testing.T) {
			origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", `"1"`)
				if r.Header.Get("If-None-Match") != "" {
					w.Header().Set("Cache-Control", "no-store")
					w.WriteHeader(status)
				}
				if r.Header.Get("If-None-Match") == "" || status == http.StatusOK {
					fmt.Fprint(w, "content")
				}
			})
			cl := newCopying(t, 2, nil)
			mustFetch(t, cl.nodes[0], origin.url)
			wantContent(t, mustFetch(t, cl.nodes[0], origin.url), []byte("content"))
			for _, c := range cl.nodes {
				copy, err := c.opts.Peers.Copies.Find(t.Context(), keyOf(t, c, origin.url).String())
				if err == nil && copy.Size > 0 {
					t.Errorf("there is a copy: %+v", copy)
				}
			}
			if parts := cl.storage.Keys("onebot_meta/test/part"); len(parts) > 0 {
				t.Errorf("its parts are left: %v", parts)
			}
		})
	}
}

// What comes into sight only at the second look may be old.
func TestAnOldFileThatWasOutOfSightIsNotFresh(t *testing.T) {
	origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"1"`)
		fmt.Fprint(w, "old")
	})
	cl := sharing["in one directory"](t, 2, nil)
	mustFetch(t, cl.nodes[0], origin.url)
	<-cl.lockers
	c := cl.nodes[1]
	key := keyOf(t, c, origin.url)
	dir := filepath.Join(c.cache.Dir(), "files", key.String()[:2])
	// as an error of a network file system
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	release := cl.nodes[0].opts.Peers.Locks.Acquire(t.Context(), key.String(), time.Minute, nil)
	<-cl.lockers
	var call sync.WaitGroup
	call.Go(func() {
		if _, err := fetch(t, c, origin.url); err != nil {
			t.Error(err)
		}
	})
	<-cl.lockers
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Error(err)
	}
	release()
	call.Wait()
	origin.want(t, 2)
}
