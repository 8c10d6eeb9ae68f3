package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// holding is what Caddy holds when all is quiet.
type holding struct {
	held
	heap  int64 // bytes that are in use after garbage was collected
	files int   // in the caches
}

// settle waits until all is quiet, fails the test unless the counters and the
// metrics are what everybody has seen, and returns what Caddy holds then.
func (s *soak) settle() holding {
	s.t.Helper()
	// the admin endpoint of a config that failed stays, and all of it that failed
	s.loadVersion(rand.New(rand.NewPCG(s.seed, 0)), s.version^1)
	for _, name := range slices.Sorted(maps.Keys(soakNames)) {
		s.awaitGauge(s.t, "downloads_in_flight", name, 0)
		s.awaitGauge(s.t, "websocket_connections", name, 0)
		s.wantCounted(s.books[name])
	}
	s.lookAtAll()
	now := holding{}
	for _, cache := range s.caches() {
		now.files += len(cacheFiles(s.t, cache, "files"))
	}
	// an idle connection is no leak, but has the config live that it was made in
	for _, server := range []*httptest.Server{s.origin.server, s.bot.server, s.app.server, s.dying.server} {
		server.CloseClientConnections()
	}
	eventually(s.t, "connections to end", func() bool {
		was := now.held
		now.held = s.holds(s.t)
		return was == now.held
	})
	now.heap = s.heap()
	return now
}

// wantCounted fails the test unless what is counted of a name is what is in its
// book.
func (s *soak) wantCounted(b *book) {
	s.t.Helper()
	route := "/" + b.name
	if b.name == "front" || b.name == "reverse" || b.name == "rough" {
		route = "/peek/" + b.name
	}
	var wrong []string
	defer func() {
		for _, one := range wrong {
			s.t.Errorf("%s: %s", b.name, one)
		}
	}()
	eventually(s.t, "what is counted of "+b.name+" to be what was seen", func() bool {
		got, ok := s.ask("GET", route+"/get_status", "", soakAuth...)
		if !ok {
			return true // which has failed the test
		}
		b.call("get_status", got.retcode)
		counters := got.stat(s.t)
		counters["PacketSent"]++ // this answer
		wrong = b.errors(counters, s.metrics(s.t))
		return len(wrong) == 0
	})
}

// caches are the directories of all caches, by name; of small the one in use.
func (s *soak) caches() map[string]string {
	caches := make(map[string]string)
	for name := range soakNames {
		caches[name] = s.cacheDir(name)
	}
	caches["small"] = s.smallCache(s.version)
	return caches
}

// heap returns how many bytes are in use when garbage was collected. The configs
// before take some seconds to end. In a brief soak that is not waited for: then
// less is found out.
func (s *soak) heap() int64 {
	s.t.Helper()
	long := 8 * time.Second
	if time.Duration(soakFor) < time.Minute {
		long = time.Second / 2
	}
	least, since := s.collected(), time.Now()
	eventually(s.t, "old configs to end", func() bool {
		if now := s.collected(); now < least-64<<10 {
			least, since = now, time.Now()
		}
		return time.Since(since) > long
	})
	return least
}

// collected asks Caddy how many bytes are in use after a collection.
func (s *soak) collected() (heap int64) {
	s.t.Helper()
	resp, err := s.client.Get("http://" + s.admin + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewReader(resp.Body); err == nil && heap == 0; {
		var line string
		line, err = lines.ReadString('\n')
		_, _ = fmt.Sscanf(line, "# HeapAlloc = %d", &heap)
	}
	if heap == 0 {
		s.t.Fatalf("the profile does not say how large the heap is: %v", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return heap
}

// wantNoGrowth fails the test if more is held than after the warm-up. What is
// known of each file in a cache is in memory, and is no leak.
func (s *soak) wantNoGrowth(before, after holding) {
	s.t.Helper()
	const (
		slack   = 6       // of goroutines and open files, as with other leaks
		perFile = 2 << 10 // bytes of heap; 1.4 KiB were measured
		noise   = 1 << 20 // bytes of heap, of maps that have grown, and buffers; 0.5 MiB were measured
	)
	wantNothingOpen(s.t, s.instance, before.held, slack)
	most := before.heap + noise + perFile*int64(max(0, after.files-before.files))
	eventually(s.t, fmt.Sprintf("the heap, which has grown from %d to %d bytes, to be no more than %d", before.heap, after.heap, most), func() bool {
		return s.collected() <= most
	})
}

// wantNothingLeft fails the test if the caches have on disk what belongs to
// nothing, or what the metrics do not know of.
func (s *soak) wantNothingLeft() {
	s.t.Helper()
	served := s.metrics(s.t)
	for name, cache := range s.caches() {
		files, records := cacheFiles(s.t, cache, "files"), cacheFiles(s.t, cache, "index")
		count, size := served[`cache_files{name="`+name+`"}`], served[`cache_bytes{name="`+name+`"}`]
		onDisk := diskUse(s.t, cache)
		if count != float64(len(files)) || size != float64(onDisk) {
			s.t.Errorf("the cache of %s has %v files with %v bytes by its metrics, and %d with %d on disk", name, count, size, len(files), onDisk)
		}
		s.wantRecorded(cache, files, records)
	}
	for _, cache := range append(slices.Collect(maps.Values(s.caches())), s.smallCache(0), s.smallCache(2)) {
		wantNoParts(s.t, cache)
	}
}

// wantRecorded fails the test unless each record in an index is that of a file.
func (s *soak) wantRecorded(cache string, files, records []string) {
	s.t.Helper()
	for _, record := range records {
		inside, err := filepath.Rel(filepath.Join(cache, "index"), record)
		// a record, or the mark of a file of which it is not known yet that it is on disk
		file := filepath.Join(cache, "files", strings.TrimSuffix(strings.TrimSuffix(inside, ".json"), ".new"))
		if _, found := slices.BinarySearch(files, file); err != nil || !found {
			s.t.Errorf("%s is about nothing", record)
		}
	}
	if len(files) > 0 && len(records) == 0 {
		s.t.Errorf("%s has %d files and no record", cache, len(files))
	}
}

// wantLogsExplained fails the test if Caddy has logged an error other than
// those that what was done explains.
func (s *soak) wantLogsExplained() {
	s.t.Helper()
	for line := range strings.Lines(s.logs.String()) {
		var entry struct {
			Level, Logger, Msg, Error string
			Status                    int
			Request                   struct{ URI string }
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			s.t.Errorf("Caddy says %s", line)
			continue
		}
		if entry.Level != "error" && entry.Level != "panic" && entry.Level != "fatal" {
			continue
		}
		explained := false
		switch entry.Logger {
		case "admin.api": // a wrong config
			explained = entry.Msg == "request error" && strings.HasPrefix(entry.Error, "loading config: ")
		case "http.log.error": // a bot that is dead, or dies
			path := entry.Request.URI
			explained = entry.Status == http.StatusBadGateway && (strings.HasPrefix(path, "/rough/") || path == "/front/hang_up")
		case "http.handlers.reverse_proxy": // an answer that breaks off
			path := entry.Request.URI
			explained = strings.HasPrefix(path, "/rough/") || path == "/front/send_broken_msg"
		}
		if !explained {
			s.t.Errorf("Caddy says %s", line)
		}
	}
}
