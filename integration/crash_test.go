package integration

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// selfTelling answers with a body that begins with its query and tells by it
// whether it is whole: the query ends in the length.
func selfTelling(w http.ResponseWriter, r *http.Request) {
	edition{body: tell(r.URL.RawQuery), header: []string{"Cache-Control", "max-age=86400"}}.offer(w, r)
}

func tell(query string) string {
	length, err := strconv.Atoi(query[strings.LastIndex(query, "-")+1:])
	if err != nil {
		panic(err)
	}
	return query + "\n" + long()[:length]
}

var long = sync.OnceValue(func() string { return filler(1 << 20) })

// wantWhole fails the test if a file is not what selfTelling answered once.
func wantWhole(t testing.TB, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	query, _, ok := strings.Cut(string(got), "\n")
	if !ok || !strings.HasPrefix(query, "load-") || string(got) != tell(query) {
		t.Errorf("%s has %d bytes %.100q", path, len(got), got)
	}
}

func TestKillingCaddyAtAnyMomentLeavesOnlyWholeFiles(t *testing.T) {
	home := t.TempDir()
	o := newOrigin(t)
	url := o.handle("/load", selfTelling)
	returned := make(map[string]string) // what was to be under each path
	for round, after := range []int{1, 2, 5, 11, 23, 47, 95, 190} {
		c := startBot(t, download(), at(home))
		var mu sync.Mutex
		var callers sync.WaitGroup
		for caller := range 8 {
			callers.Go(func() {
				for n := 0; ; n++ {
					query := fmt.Sprintf("load-%d-%d-%d-%d", round, caller, n, (caller*n)%7*50_000)
					r, err := c.client.try("POST", "/download_file", params{"url": url + "?" + query}.String())
					if err != nil {
						return // it is dead
					}
					if r.status != "ok" {
						t.Errorf("%s: %s", query, r.body)
						return
					}
					mu.Lock()
					returned[r.file(t)] = query
					mu.Unlock()
				}
			})
		}
		for range after {
			o.await(t)
		}
		c.kill()
		callers.Wait()
		for len(o.arrived) > 0 { // what came too late
			<-o.arrived
		}
		for path, query := range returned {
			wantContent(t, path, tell(query))
		}
		for _, path := range cacheFiles(t, c.cacheDir("onebot"), "files") {
			wantWhole(t, path)
		}
		if t.Failed() {
			return
		}
	}
	c := startBot(t, download(), at(home))
	defer c.stop()
	wantWhole(t, c.fetch(t, url+"?load-in-the-end-1000"))
	eventually(t, "what was left to go", func() bool { return len(parts(t, c.cacheDir("onebot"))) == 0 })
	// what a call gets now is right, whether it was downloaded again or not
	paths := 0
	for path, query := range returned {
		wantContent(t, c.fetch(t, url+"?"+query), tell(query))
		wantContent(t, path, tell(query))
		if paths++; paths == 50 {
			break
		}
	}
	if len(returned) < 50 {
		t.Errorf("only %d calls were answered: this test proves little", len(returned))
	}
}

func TestAPathThatWasReturnedRightBeforeAKillStays(t *testing.T) {
	home := t.TempDir()
	o := newOrigin(t)
	url := o.handle("/load", selfTelling)
	const query = "load-1-200000"
	var paths []string
	for range 3 {
		c := startBot(t, download(), at(home))
		paths = append(paths, c.fetch(t, url+"?"+query))
		c.kill()
		for _, path := range paths {
			wantContent(t, path, tell(query))
		}
	}
}

func TestWhatIsSafelyOnDiskIsUsedAgainAfterAKill(t *testing.T) {
	home := t.TempDir()
	c := startBot(t, download(), at(home))
	o := newOrigin(t)
	url := o.handle("/load", selfTelling)
	first := c.fetch(t, url+"?load-1-1000")
	eventually(t, "a record of it", func() bool { return len(cacheFiles(t, c.cacheDir("onebot"), "index")) > 0 })
	c.kill()
	c = startBot(t, download(), at(home))
	defer c.stop()
	if path := c.fetch(t, url+"?load-1-1000"); path != first {
		t.Errorf("first it is %s and then %s", first, path)
	}
	if n := o.count(); n != 1 {
		t.Errorf("the origin had %d requests", n)
	}
}
