package integration

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestDownloadsBeyondMaxConcurrentWaitTheirTurn(t *testing.T) {
	const limit, all = 2, 8
	c := startCaddy(t, "http://<SITE> {\n"+
		fmt.Sprintf("onebot_meta {\n route /few\n name few\n%s\n}\n", download("max_concurrent "+strconv.Itoa(limit)))+
		"onebot_meta {\n route /free\n name free\n"+download()+"\n}\n}")
	o := newOrigin(t)
	o.handle("/free.png", content("free"))

	var mu sync.Mutex
	running, most := 0, 0
	started := make(chan struct{}, all)
	next := make(chan struct{}) // each value lets one download go on
	url := o.handle("/a.png", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		started <- struct{}{}
		select {
		case <-next:
		case <-o.released:
		}
		mu.Lock()
		running--
		mu.Unlock()
		_, _ = io.WriteString(w, "content")
	})

	done := make(chan error, all)
	for i := range all {
		go func() { // each for a file of its own, or they would share a transfer
			r, err := c.client.try("POST", "/few/download_file", params{"url": url + "?" + strconv.Itoa(i)}.String())
			if err == nil && r.status != "ok" {
				err = fmt.Errorf("%s", r.body)
			}
			done <- err
		}()
	}
	for range limit {
		receive(t, started, "a download to start")
	}
	// all calls are in Caddy when the counter says so, besides its own call
	for asked := int64(1); c.stat(t, "/few/get_status")["PacketReceived"] < all+asked; asked++ {
		if asked > 100_000 {
			t.Fatal("the calls never arrive")
		}
	}
	// others go past them meanwhile
	for range 10 {
		file := c.post(t, "/free/download_file", params{"url": o.url + "/free.png"}.String()).file(t)
		wantContent(t, file, "free")
	}
	for i := range all {
		if i+limit <= all {
			mu.Lock()
			if running != limit {
				t.Errorf("%d downloads are running, want %d", running, limit)
			}
			mu.Unlock()
		}
		next <- struct{}{}
		if err := receive(t, done, "a download"); err != nil {
			t.Error(err)
		}
		if i+limit < all {
			receive(t, started, "the download whose turn it is")
		}
	}
	if most != limit {
		t.Errorf("%d downloads ran at a time, want %d", most, limit)
	}
}

func TestALargeDownloadTakesLittleMemory(t *testing.T) {
	const size = 64 << 20
	c := startBot(t, download())
	o := newOrigin(t)
	piece := filler(1 << 20)
	whole := sha256.New()
	for range size / len(piece) {
		_, _ = io.WriteString(whole, piece)
	}
	for name, length := range map[string]string{"of known length": strconv.Itoa(size), "of unknown length": ""} {
		t.Run(name, func(t *testing.T) {
			url := o.handle("/large.bin", func(w http.ResponseWriter, r *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				for range size / len(piece) {
					if _, err := io.WriteString(w, piece); err != nil {
						return
					}
				}
			})
			wantContent(t, c.fetch(t, o.handle("/small.bin", content("small"))), "small")
			before := peakMemory(t, c.pid)
			path := c.fetch(t, url)
			// the race detector multiplies what is held
			if grown := peakMemory(t, c.pid) - before; grown >= 32<<20 && !raceEnabled {
				t.Errorf("Caddy grew by %d bytes", grown)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got := sha256.New()
			if _, err := io.Copy(got, f); err != nil {
				t.Fatal(err)
			}
			if string(got.Sum(nil)) != string(whole.Sum(nil)) {
				t.Error("the file differs from what was sent")
			}
		})
	}
	if peakMemory(t, c.pid) == 0 && runtime.GOOS == "linux" {
		t.Error("memory was not measured")
	}
}

func TestManyDownloadsAtATimeDoNotMixUp(t *testing.T) {
	const all = 100
	c := startBot(t, download())
	o := newOrigin(t)
	bodies := make([]string, all)
	var calls sync.WaitGroup
	for i := range all {
		bodies[i] = strings.Repeat(strconv.Itoa(i)+" ", 5000)
		answer := content(bodies[i])
		if i%2 == 1 {
			answer = chunked(bodies[i])
		}
		o.handle("/"+strconv.Itoa(i), answer)
	}
	files := make([]string, all)
	for i := range all {
		calls.Go(func() {
			r, err := c.client.try("POST", "/download_file", params{"url": o.url + "/" + strconv.Itoa(i)}.String())
			if err != nil || r.status != "ok" {
				t.Errorf("%d: %v %s", i, err, r.body)
				return
			}
			files[i] = r.file(t)
		})
	}
	calls.Wait()
	if t.Failed() {
		return
	}
	for i := range all {
		wantContent(t, files[i], bodies[i])
	}
	wantNoParts(t, c.cacheDir("onebot"))
	if kept := cacheFiles(t, c.cacheDir("onebot"), "files"); len(kept) != all {
		t.Errorf("%d files for %d downloads", len(kept), all)
	}
}
