package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// shelf is the files that were returned.
type shelf struct {
	mu    sync.Mutex
	files []shelved
}

type shelved struct {
	name, path, url string
	since           time.Time // when it was received
	want            func() string
}

// maxShelf is how many files the shelf has. Of more, some are forgotten.
const maxShelf = 3000

// staysFor is for how long a path is promised to stay, but for what it takes to
// see that it was returned.
const staysFor = 10*time.Minute - patience

// keep checks the file in an answer, and puts it on the shelf.
func (s *soak) keep(name string, got reply, want func() string) (path string) {
	var data struct{ File, URL string }
	if got.retcode != 0 || json.Unmarshal(got.data, &data) != nil || data.File == "" || (data.URL != "") != (name == "files") {
		s.t.Errorf("a download into %s: %s", name, got.body)
		return ""
	}
	f := shelved{name, data.File, data.URL, time.Now(), want}
	s.look(f)
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if len(s.shelf.files) == maxShelf {
		s.shelf.files[rand.IntN(maxShelf)] = f
	} else {
		s.shelf.files = append(s.shelf.files, f)
	}
	return data.File
}

// look fails the test if a file is not what it was, or not where it was as long
// as that is promised.
func (s *soak) look(f shelved) {
	got, err := os.ReadFile(f.path)
	switch {
	case err != nil && time.Since(f.since) > staysFor:
		s.done.add("files that had gone in time", 1)
	case err != nil:
		s.t.Errorf("a file of %s has gone after %v: %v", f.name, time.Since(f.since), err)
	case string(got) != f.want():
		s.t.Errorf("%s has %d bytes, which are not those of the %d", f.path, len(got), len(f.want()))
	default:
		s.done.add("files compared byte by byte", 1)
	}
}

// reread looks at one of the files, or has it served.
func (s *soak) reread(r *rand.Rand) {
	s.moves.RLock()
	defer s.moves.RUnlock()
	s.shelf.mu.Lock()
	if len(s.shelf.files) == 0 {
		s.shelf.mu.Unlock()
		return
	}
	f := s.shelf.files[r.IntN(len(s.shelf.files))]
	s.shelf.mu.Unlock()
	if f.url == "" || r.IntN(2) == 0 {
		s.look(f)
		return
	}
	want, status, header := f.want(), http.StatusOK, []string(nil)
	if len(want) > 0 && r.IntN(2) == 0 {
		from := r.IntN(len(want))
		want, status, header = want[from:], http.StatusPartialContent, []string{"Range", fmt.Sprintf("bytes=%d-", from)}
	}
	resp, err := s.do("GET", "/files/files/"+filepath.Base(f.path), "", header...)
	if err != nil {
		s.t.Errorf("%s: %v", f.url, err)
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode == http.StatusNotFound && time.Since(f.since) > staysFor:
	case err != nil || resp.StatusCode != status || string(got) != want:
		s.t.Errorf("%s is served as %d with %d bytes (%v), want %d", f.url, resp.StatusCode, len(got), err, len(want))
	default:
		s.done.add("files served", 1)
	}
}

// lookAtAll looks at all the files.
func (s *soak) lookAtAll() {
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	for _, f := range s.shelf.files {
		s.look(f)
	}
}

// letGo takes files of a name from the shelf and has them be old enough to go,
// which only a Caddy that opens the directory after that takes for true.
func (s *soak) letGo(name, cache string) {
	s.shelf.mu.Lock()
	s.shelf.files = slices.DeleteFunc(s.shelf.files, func(f shelved) bool { return f.name == name })
	s.shelf.mu.Unlock()
	for _, path := range cacheFiles(s.t, cache, "files") {
		aged(s.t, path, 2*staysFor)
	}
}
