package integration

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// fileAt returns a new URL on the origin, its path and its size.
func (s *soak) fileAt(r *rand.Rand, kind string, size int64) (url, path string) {
	path = fmt.Sprintf("/%s/%d/%d", kind, s.unique.Add(1), size)
	return s.origin.url + path, path
}

// downloadInto calls download_file in some form, and says in what way it was
// answered.
func (s *soak) downloadInto(r *rand.Rand, name, url string) (reply, bool) {
	call := "/" + name + "/download_file"
	var got reply
	var ok bool
	switch r.IntN(4) {
	case 0:
		got, ok = s.ask("GET", call+"?"+query(map[string]string{"url": url}), "")
	case 1:
		got, ok = s.ask("POST", call, query(map[string]string{"url": url}), "Content-Type", "application/x-www-form-urlencoded")
	case 2:
		got, ok = s.downloadByWebSocket(name, url)
	default:
		got, ok = s.ask("POST", "/"+name, params{"action": "download_file", "params": params{"url": url, "thread_count": "3"}}.String())
	}
	if ok {
		s.books[name].call("download_file", got.retcode)
	}
	return got, ok
}

func (s *soak) downloadByWebSocket(name, url string) (reply, bool) {
	s.reloads.RLock()
	defer s.reloads.RUnlock()
	conn, ok := s.dial("/" + name + "/api")
	if !ok {
		return reply{}, false
	}
	defer conn.CloseNow()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	err := conn.Write(ctx, websocket.MessageText, []byte(ours("download_file", "1", `"params":`+params{"url": url}.String())))
	var message []byte
	if err == nil {
		_, message, err = conn.Read(ctx)
	}
	var got reply
	if err == nil {
		got, err = parseEnvelope(string(message))
	}
	if err != nil {
		s.t.Errorf("a download by WebSocket: %v", err)
	}
	return got, err == nil
}

// soundKinds are the kinds of which everything is known.
var soundKinds = []string{"plain", "unsized", "fresh", "tagged", "changed", "resumed", "restarted", "broken", "short", "long",
	"gone", "busy", "moved", "away", "large"}

// download downloads a file, as often as its kind says.
func (s *soak) download(r *rand.Rand) {
	b := s.books["files"]
	size := pick(r, r.Int64N(1000)+2, r.Int64N(60_000)+2, r.Int64N(60_000)+2, r.Int64N(500_000)+2)
	switch r.IntN(12) {
	case 0: // it is sent
		text := derived(fmt.Sprint("sent", s.unique.Add(1)), 0, int(size)%40_000)
		if got, ok := s.ask("POST", "/files/download_file", params{"base64": base64.StdEncoding.EncodeToString([]byte(text))}.String()); ok {
			b.call("download_file", got.retcode)
			s.keep("files", got, func() string { return text })
		}
		return
	case 1: // nobody waits for it
		url, _ := s.fileAt(r, "plain", size)
		if got, ok := s.ask("POST", "/files/download_file_async", params{"url": url}.String()); ok {
			b.call("download_file", got.retcode)
			b.download("fetched", size, size)
		}
		return
	}
	name := pick(r, soundKinds...)
	kind := soakKinds[name]
	if name == "large" {
		size = soakMaxSize + 1
	}
	url, path := s.fileAt(r, name, size)
	defer s.origin.forget(path)
	b.bytes(kind.received(size), kind.received(size))
	content := path
	if name == "moved" {
		content = strings.Replace(path, "moved", "plain", 1)
	}
	var last string
	for n, result := range kind.results {
		got, ok := s.downloadInto(r, "files", url)
		if !ok {
			return
		}
		b.add(b.result(result), 1)
		if fails := result == "failed" || result == "refused"; fails != (got.retcode == 1400) || !fails && got.retcode != 0 {
			s.t.Errorf("%s, call %d: %s", path, n, got.body)
			return
		} else if fails {
			continue
		}
		edition := 0
		if name == "changed" {
			edition = n
		}
		file := s.keep("files", got, func() string { return derived(content, edition, int(size)) })
		if n > 0 && (file == last) != (result != "fetched") {
			s.t.Errorf("%s, call %d: %s after %s", path, n, file, last)
		}
		last = file
	}
}

// downloadSmall downloads into a cache that is soon full, until what is in it
// may go.
func (s *soak) downloadSmall(r *rand.Rand) {
	s.moves.RLock()
	defer s.moves.RUnlock()
	size := r.Int64N(150_000) + 100_000
	url, path := s.fileAt(r, "plain", size)
	got, ok := s.downloadInto(r, "small", url)
	if !ok {
		return
	}
	if got.retcode == 1400 && strings.Contains(got.message, "the cache is full") {
		s.books["small"].download("failed", 0, 0)
		s.done.add("downloads refused by a full cache", 1)
		return
	}
	s.books["small"].download("fetched", size, size)
	s.keep("small", got, func() string { return derived(path, 0, int(size)) })
}

// crowd has many call for one file at a time. One of them may leave.
func (s *soak) crowd(r *rand.Rand) {
	b := s.books["crowd"]
	size := r.Int64N(200_000) + 2
	url, path := s.fileAt(r, "gated", size)
	g := s.origin.gate(path)
	defer s.origin.forget(path)
	callers := int64(r.IntN(8) + 1)
	var running sync.WaitGroup
	defer running.Wait()
	defer g.open()
	if r.IntN(2) == 0 {
		if !s.leave(b, url, g) {
			return
		}
	}
	var mu sync.Mutex
	files := make(map[string]bool)
	for range callers {
		running.Go(func() {
			got, ok := s.ask("POST", "/crowd/download_file", params{"url": url}.String())
			if !ok {
				return
			}
			b.call("download_file", got.retcode)
			file := s.keep("crowd", got, func() string { return derived(path, 0, int(size)) })
			mu.Lock()
			defer mu.Unlock()
			files[file] = true
		})
	}
	if r.IntN(4) == 0 { // or the last ones come when it is there
		receive(s.t, g.passed, "a crowd's download to begin")
	}
	g.open()
	running.Wait()
	b.download("fetched", size, size)
	b.between(b.result("fresh"), 0, callers)
	if len(files) != 1 {
		s.t.Errorf("a crowd of %d got %v", callers, files)
	}
}

// leave makes a call and leaves when the download has begun, which goes on.
func (s *soak) leave(b *book, url string, g *gate) bool {
	for range 100 {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		gone := make(chan error, 1)
		go func() {
			req, err := http.NewRequestWithContext(ctx, "POST", s.client.base+"/crowd/download_file", strings.NewReader(params{"url": url}.String()))
			if err == nil {
				var resp *http.Response
				if resp, err = s.client.Do(req); err == nil {
					_ = resp.Body.Close()
				}
			}
			gone <- err
		}()
		select {
		case <-g.passed:
			g.passed <- struct{}{} // for who comes next
			cancel()
			<-gone
			b.add("PacketReceived", 1)
			b.timed("download_file", 1, 1)
			for _, either := range []string{"PacketSent", "PacketLost", b.actions("download_file", 0), b.actions("download_file", 1400)} {
				b.between(either, 0, 1)
			}
			s.done.add("callers that left", 1)
			return true
		case <-gone: // a reload was sooner
			cancel()
		}
	}
	s.t.Error("a call never arrived")
	return false
}

// downloadUnsure downloads a file of which nobody knows how many bytes came.
func (s *soak) downloadUnsure(r *rand.Rand) {
	name := pick(r, "torn", "torn-anew", "endless")
	size := r.Int64N(300_000) + 2
	if name == "endless" {
		size = soakMaxSize * 3 / 2
	}
	url, path := s.fileAt(r, name, size)
	defer s.origin.forget(path)
	got, ok := s.downloadInto(r, "crowd", url)
	switch {
	case !ok:
	case name == "endless":
		s.books["crowd"].download("failed", 0, size)
		if got.retcode != 1400 {
			s.t.Errorf("%s: %s", path, got.body)
		}
	default:
		s.books["crowd"].download("fetched", size, soakKinds[name].received(size))
		s.keep("crowd", got, func() string { return derived(path, 0, int(size)) })
	}
}

// stall downloads what never comes.
func (s *soak) stall(r *rand.Rand) {
	size := r.Int64N(50_000) + 2
	url, path := s.fileAt(r, "stalled", size)
	if got, ok := s.downloadInto(r, "stalls", url); ok {
		s.books["stalls"].download("failed", 0, size/2)
		if got.retcode != 1400 || !strings.Contains(got.message, "stalled") {
			s.t.Errorf("%s: %s", path, got.body)
		}
	}
}
