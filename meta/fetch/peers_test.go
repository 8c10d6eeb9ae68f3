package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/share"
	"github.com/onebot-caddy/onebot-meta/meta/share/sharetest"
)

// cluster is some nodes that share a storage.
type cluster struct {
	storage *sharetest.Memory
	nodes   []*Client
	lockers chan struct{} // gets one for each time that a lock is asked for
}

// Nodes share files in one of two ways.
var sharing = map[string]func(t *testing.T, nodes int, change func(*Options)) *cluster{
	"in one directory": func(t *testing.T, nodes int, change func(*Options)) *cluster {
		root := t.TempDir()
		return newCluster(t, nodes, change, func() string { return root }, false)
	},
	"by copies": newCopying,
}

func newCopying(t *testing.T, nodes int, change func(*Options)) *cluster {
	return newCluster(t, nodes, change, t.TempDir, true)
}

func newCluster(t *testing.T, nodes int, change func(*Options), root func() string, copies bool) *cluster {
	t.Helper()
	cl := &cluster{storage: sharetest.NewMemory(), lockers: make(chan struct{}, 1000)}
	cl.storage.Poll = 10 * time.Millisecond
	cl.storage.Before = func(op, _ string) error {
		if op == "lock" {
			cl.lockers <- struct{}{}
		}
		return nil
	}
	for range nodes {
		cl.nodes = append(cl.nodes, cl.newNode(t, change, root(), copies))
	}
	return cl
}

func (cl *cluster) newNode(t *testing.T, change func(*Options), root string, copies bool) *Client {
	t.Helper()
	const prefix = "onebot_meta/test"
	cache := diskcache.New(root, "cache", diskcache.Options{Mode: 0o600, Private: copies})
	peers := &Peers{Locks: share.NewLocks(t.Context(), lockTap{cache, cl.lockers}, prefix, zap.NewNop())}
	peers.tried = func() { cl.lockers <- struct{}{} }
	if copies {
		peers.Locks = share.NewLocks(t.Context(), cl.storage, prefix, zap.NewNop())
		peers.Copies = share.NewCopies(t.Context(), cl.storage, prefix, peers.Locks, share.Options{MaxObject: 1 << 20, Logger: zap.NewNop()})
		t.Cleanup(peers.Copies.Close)
	}
	return newClientOf(t, cache, func(o *Options) {
		o.Peers = peers
		if change != nil {
			change(o)
		}
	})
}

// lockTap tells that a lock is asked for.
type lockTap struct {
	share.Locker
	lockers chan<- struct{}
}

func (l lockTap) Lock(ctx context.Context, name string) error {
	l.lockers <- struct{}{}
	return l.Locker.Lock(ctx, name)
}

// await waits until so many calls wait at the nodes.
func (cl *cluster) await(t *testing.T, calls int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		waiting := 0
		for _, c := range cl.nodes {
			for _, status := range c.flights.Status() {
				waiting += status.Callers
			}
		}
		if waiting == calls {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls wait, want %d", waiting, calls)
		}
	}
}

// settle waits until no node has anything to do any more.
func (cl *cluster) settle() {
	for _, c := range cl.nodes {
		c.flights.ended.Wait()
	}
}

// counting is an origin that counts the requests that it answers.
type counting struct {
	url      string
	requests atomic.Int64
}

func newCounting(t *testing.T, answer http.HandlerFunc) *counting {
	t.Helper()
	o := new(counting)
	o.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		answer(w, r)
	})
	return o
}

func (o *counting) want(t *testing.T, n int64) {
	t.Helper()
	if got := o.requests.Load(); got != n {
		t.Errorf("the origin was asked %d times, want %d", got, n)
	}
}

func wantContent(t *testing.T, r Result, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(r.Path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d: %v", filepath.Base(r.Path), len(got), len(want), err)
	}
}

func mustFetch(t *testing.T, c *Client, url string, headers ...string) Result {
	t.Helper()
	result, err := fetch(t, c, url, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func header(name, value string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.Header().Set(name, value) }
}

func TestNodesThatWantTheSameAtOneTimeAskTheOriginOnce(t *testing.T) {
	const nodes, calls = 4, 5
	content := bytes.Repeat([]byte("same"), 100_000)
	for how, newCluster := range sharing {
		for says, set := range map[string]func(http.ResponseWriter){
			"how long it is fresh":  header("Cache-Control", "max-age=60"),
			"which version it is":   header("Etag", `"1"`),
			"nothing about its age": func(http.ResponseWriter) {},
			"nothing of its length": func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		} {
			t.Run(how+", of an origin that says "+says, func(t *testing.T) {
				t.Parallel()
				all := make(chan struct{})
				origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) {
					<-all
					set(w)
					w.Write(content)
				})
				cl := newCluster(t, nodes, nil)
				var done sync.WaitGroup
				for i := range nodes * calls {
					done.Go(func() {
						result, err := fetch(t, cl.nodes[i%nodes], origin.url)
						if err != nil {
							t.Error(err)
							return
						}
						wantContent(t, result, content)
					})
				}
				for range nodes {
					<-cl.lockers
				}
				cl.await(t, nodes*calls)
				close(all)
				done.Wait()
				origin.want(t, 1)
			})
		}
	}
}

func TestAFileThatOneNodeHasIsFreshForAll(t *testing.T) {
	for how, newCluster := range sharing {
		t.Run(how, func(t *testing.T) {
			origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprint(w, "fresh")
			})
			cl := newCluster(t, 3, nil)
			for i, c := range cl.nodes {
				result := mustFetch(t, c, origin.url+"/a.png")
				wantContent(t, result, []byte("fresh"))
				if want := map[bool]Source{true: Fetched, false: Fresh}[i == 0]; result.Source != want {
					t.Errorf("node %d: %s, want %s", i, result.Source, want)
				}
				if ext := filepath.Ext(result.Path); ext != ".png" {
					t.Errorf("node %d: extension %s, want .png", i, ext)
				}
				cl.settle()
			}
			origin.want(t, 1)
		})
	}
}

func TestAFileThatOneNodeHasIsValidatedByOthers(t *testing.T) {
	for how, newCluster := range sharing {
		t.Run(how, func(t *testing.T) {
			var full atomic.Int64
			origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", `"1"`)
				if r.Header.Get("If-None-Match") == `"1"` {
					w.Header().Set("Cache-Control", "max-age=60") // from now on
					w.WriteHeader(http.StatusNotModified)
					return
				}
				full.Add(1)
				fmt.Fprint(w, "valid")
			})
			cl := newCluster(t, 3, nil)
			for i, want := range []Source{Fetched, Revalidated, Fresh} {
				result := mustFetch(t, cl.nodes[i], origin.url)
				wantContent(t, result, []byte("valid"))
				if result.Source != want {
					t.Errorf("node %d: %s, want %s", i, result.Source, want)
				}
				cl.settle()
			}
			// the first one has the file, but only the second one's word for it
			if result := mustFetch(t, cl.nodes[0], origin.url); result.Source != Fresh {
				t.Errorf("the first node again: %s, want %s", result.Source, Fresh)
			}
			origin.want(t, 2)
			if n := full.Load(); n != 1 {
				t.Errorf("the file was sent %d times, want once", n)
			}
		})
	}
}

func TestANewVersionReplacesWhatNodesHave(t *testing.T) {
	for how, newCluster := range sharing {
		t.Run(how, func(t *testing.T) {
			var version atomic.Int64
			origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
				etag := fmt.Sprintf(`"%d"`, version.Load())
				w.Header().Set("Etag", etag)
				if r.Header.Get("If-None-Match") == etag {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				fmt.Fprint(w, "version ", version.Load())
			})
			cl := newCluster(t, 2, nil)
			for v := range int64(3) {
				version.Store(v)
				for _, c := range cl.nodes {
					wantContent(t, mustFetch(t, c, origin.url), fmt.Append(nil, "version ", v))
					cl.settle()
				}
			}
			origin.want(t, 6)
		})
	}
}

func TestTheTargetOfARedirectIsShared(t *testing.T) {
	for how, newCluster := range sharing {
		t.Run(how, func(t *testing.T) {
			origin := newCounting(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/from" {
					http.Redirect(w, r, "/to", http.StatusFound)
					return
				}
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprint(w, "target")
			})
			cl := newCluster(t, 2, nil)
			for _, c := range cl.nodes {
				wantContent(t, mustFetch(t, c, origin.url+"/from"), []byte("target"))
				cl.settle()
			}
			origin.want(t, 3) // the redirect is asked for anew
		})
	}
}

// Others have nothing to wait for when the file is not to be copied.
func TestNodesDoNotWaitForWhatIsNotCopied(t *testing.T) {
	for name, set := range map[string]func(http.ResponseWriter){
		"because it is too large":      header("Content-Length", fmt.Sprint(2<<20)),
		"because it is not to be kept": header("Cache-Control", "no-store"),
	} {
		t.Run(name, func(t *testing.T) {
			both := make(chan struct{}, 2)
			rest := make(chan struct{})
			origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) {
				set(w)
				w.(http.Flusher).Flush()
				both <- struct{}{}
				<-rest
				w.Write(make([]byte, 2<<20))
			})
			cl := newCopying(t, 2, func(o *Options) { o.MaxSize = 0 })
			var done sync.WaitGroup
			for _, c := range cl.nodes {
				done.Go(func() {
					if _, err := fetch(t, c, origin.url); err != nil {
						t.Error(err)
					}
				})
			}
			for range cl.nodes {
				<-both
			}
			close(rest)
			done.Wait()
			cl.settle()
			if keys := cl.storage.Keys("onebot_meta/test/part"); len(keys) > 0 {
				t.Errorf("copied: %v", keys)
			}
		})
	}
}

// Whatever the storage does, the file comes.
func TestNodesDoWithoutTheStorage(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 600_000) // three parts
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Write(content)
	}
	t.Run("when it fails", func(t *testing.T) {
		origin := newCounting(t, answer)
		cl := newCopying(t, 2, nil)
		cl.storage.Fail(errors.New("gone"))
		for _, c := range cl.nodes {
			wantContent(t, mustFetch(t, c, origin.url), content)
		}
		cl.settle()
		origin.want(t, 2)
	})
	t.Run("when it is full", func(t *testing.T) {
		origin := newCounting(t, answer)
		cl := newCopying(t, 2, nil)
		cl.storage.Fill()
		for _, c := range cl.nodes {
			wantContent(t, mustFetch(t, c, origin.url), content)
		}
		cl.settle()
		origin.want(t, 2)
	})
	t.Run("when each part of it is damaged, which the next download mends", func(t *testing.T) {
		origin := newCounting(t, answer)
		cl := newCopying(t, 1, nil)
		wantContent(t, mustFetch(t, cl.nodes[0], origin.url), content)
		cl.settle()
		for _, key := range cl.storage.Keys("onebot_meta") {
			before := origin.requests.Load()
			cl.storage.Damage(func(value []byte) []byte { value[len(value)/2] ^= 1; return value }, key)
			other := cl.newNode(t, nil, t.TempDir(), true)
			wantContent(t, mustFetch(t, other, origin.url), content)
			other.flights.ended.Wait()
			third := cl.newNode(t, nil, t.TempDir(), true)
			wantContent(t, mustFetch(t, third, origin.url), content)
			third.flights.ended.Wait()
			if n := origin.requests.Load() - before; n > 1 {
				t.Errorf("%s: the origin was asked %d times more, want once at most", key, n)
			}
		}
	})
}

// That the turn of another node brought nothing does not make fresh what was
// there before.
func TestAFailureElsewhereDoesNotMakeAnOldFileFresh(t *testing.T) {
	for how, newCluster := range sharing {
		for says, cc := range map[string]string{"not to store it": "no-store", "to ask about it": "no-cache"} {
			t.Run(how+", of an origin that said "+says, func(t *testing.T) {
				t.Parallel()
				var gone atomic.Bool
				asked, answer := make(chan struct{}, 2), make(chan struct{})
				origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) {
					if gone.Load() {
						asked <- struct{}{}
						<-answer
						http.NotFound(w, nil)
						return
					}
					w.Header().Set("Cache-Control", cc)
					w.Header().Set("Etag", `"1"`)
					fmt.Fprint(w, "old")
				})
				cl := newCluster(t, 2, nil)
				mustFetch(t, cl.nodes[0], origin.url)
				<-cl.lockers
				gone.Store(true)
				var both sync.WaitGroup
				call := func(c *Client) {
					if result, err := fetch(t, c, origin.url); err == nil {
						t.Errorf("it is %s", result.Source)
					}
				}
				both.Go(func() { call(cl.nodes[0]) })
				<-asked
				<-cl.lockers
				both.Go(func() { call(cl.nodes[1]) })
				<-cl.lockers
				close(answer)
				both.Wait()
			})
		}
	}
}

// A node that died may have left its lock.
func TestALockIsNotWaitedForForEver(t *testing.T) {
	for how, newCluster := range sharing {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "late") })
			cl := newCluster(t, 1, func(o *Options) { o.Timeout = time.Second })
			c := cl.nodes[0]
			u, err := ParseURL(origin.url)
			if err != nil {
				t.Fatal(err)
			}
			key := c.key(u, c.header(Request{URL: u}), "")
			other := cl.storage.Lock
			if how == "in one directory" {
				other = c.cache.Lock
			}
			if err := other(t.Context(), "onebot_meta/test/lock/"+key.String()); err != nil {
				t.Fatal(err)
			}
			wantContent(t, mustFetch(t, c, origin.url), []byte("late"))
			origin.want(t, 1)
		})
	}
}

// A bug in a download must not keep the others from theirs.
func TestAPanicEndsTheTurn(t *testing.T) {
	origin := newCounting(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	first := true
	cl := newCopying(t, 2, func(o *Options) {
		if first {
			first = false
			o.Received = func(int) { panic("a bug") }
		}
	})
	_, err := fetch(t, cl.nodes[0], origin.url)
	checkFailure(t, err, Error{Kind: Panicked})
	wantContent(t, mustFetch(t, cl.nodes[1], origin.url), []byte("fine"))
}
