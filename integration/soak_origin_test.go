package integration

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// soakOrigin is an origin each of whose URLs says how it behaves, and what the
// file is: /<kind>/<number>/<size>. It knows nothing of who asks, and keeps
// nothing of what does not need it.
type soakOrigin struct {
	url    string
	port   string
	server *httptest.Server

	mu    sync.Mutex
	times map[string]int // requests for what is not always the same
	gates map[string]*gate
}

// newSoakOrigin starts an origin, after the Caddy that calls it.
func newSoakOrigin(t *testing.T) *soakOrigin {
	o := &soakOrigin{times: make(map[string]int), gates: make(map[string]*gate)}
	o.server = httptest.NewServer(o)
	t.Cleanup(func() {
		o.mu.Lock()
		for _, g := range o.gates {
			g.open()
		}
		o.mu.Unlock()
		o.server.CloseClientConnections()
		o.server.Close()
	})
	o.url = o.server.URL
	o.port = o.url[strings.LastIndex(o.url, ":")+1:]
	return o
}

// derived returns what the file is that a path stands for, in an edition.
func derived(path string, edition, size int) string {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(fmt.Sprint(path, edition)))).Read(content)
	return string(content)
}

// gate makes a gate for a path.
func (o *soakOrigin) gate(path string) *gate {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gates[path] = newGate()
	return o.gates[path]
}

// forget forgets a path that nobody will ask for again.
func (o *soakOrigin) forget(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.gates, path)
	delete(o.times, path)
}

func (o *soakOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	_, length, _ := strings.Cut(rest, "/")
	size, err := strconv.Atoi(length)
	if err != nil {
		panic(err)
	}
	o.mu.Lock()
	first := o.times[r.URL.Path] == 0
	if soakKinds[kind].first {
		o.times[r.URL.Path]++
	}
	g := o.gates[r.URL.Path]
	o.mu.Unlock()
	text := derived(r.URL.Path, 0, size)
	fresh := edition{body: text, header: []string{"Cache-Control", "max-age=86400"}}
	tagged := edition{body: text, etag: `"v1"`}
	half := size / 2
	switch kind {
	case "plain":
		content(text)(w, r)
	case "unsized", "endless":
		chunked(text)(w, r)
	case "fresh":
		fresh.offer(w, r)
	case "tagged":
		tagged.offer(w, r)
	case "changed":
		if !first {
			tagged = edition{body: derived(r.URL.Path, 1, size), etag: `"v2"`}
		}
		tagged.offer(w, r)
	case "resumed":
		either(first, cut(half, tagged.offer), tagged.offer)(w, r)
	case "restarted":
		either(first, cut(half, content(text)), content(text))(w, r)
	case "torn":
		either(first, reset(half, tagged.offer), tagged.offer)(w, r)
	case "torn-anew":
		either(first, reset(half, content(text)), content(text))(w, r)
	case "broken":
		cut(half, content(text))(w, r)
	case "short":
		rawBody(size, text[:half], false)(w, r)
	case "long":
		rawBody(size, text+"and more", false)(w, r)
	case "gone":
		status(http.StatusNotFound)(w, r)
	case "busy":
		either(first, status(http.StatusServiceUnavailable), content(text))(w, r)
	case "moved":
		redirect(http.StatusFound, "/plain/"+rest)(w, r)
	case "away":
		redirect(http.StatusFound, "http://127.0.0.2:"+o.port+"/plain/"+rest)(w, r)
	case "large":
		content(text)(w, r)
	case "stalled":
		stuck(half, content(text))(w, r)
	case "gated":
		if g == nil {
			http.NotFound(w, r)
			return
		}
		g.after(half, fresh.offer)(w, r)
	default:
		panic("no kind of file: " + kind)
	}
}

// either is the first of two handlers or the second.
func either(first bool, once, then http.HandlerFunc) http.HandlerFunc {
	if first {
		return once
	}
	return then
}

// soakKind is what must come of a download.
type soakKind struct {
	results  []string // of one call after the other
	received func(size int64) int64
	first    bool // the first request is answered otherwise than the next ones
}

func all(size int64) int64   { return size }
func none(int64) int64       { return 0 }
func twice(size int64) int64 { return 2 * size }
func anew(size int64) int64  { return size/2 + size }
func tries(size int64) int64 { return (1 + soakRetries) * (size / 2) }

var soakKinds = map[string]soakKind{
	"plain":     {[]string{"fetched"}, all, false},
	"unsized":   {[]string{"fetched"}, all, false},
	"fresh":     {[]string{"fetched", "fresh", "fresh"}, all, false},
	"tagged":    {[]string{"fetched", "revalidated"}, all, false},
	"changed":   {[]string{"fetched", "fetched"}, twice, true},
	"resumed":   {[]string{"fetched"}, all, true},
	"restarted": {[]string{"fetched"}, anew, true},
	"broken":    {[]string{"failed"}, tries, false},
	"short":     {[]string{"failed"}, tries, false},
	"long":      {[]string{"fetched"}, all, false},
	"gone":      {[]string{"failed"}, none, false},
	"busy":      {[]string{"fetched"}, all, true},
	"moved":     {[]string{"fetched"}, all, false},
	"away":      {[]string{"refused"}, none, false},
	"large":     {[]string{"failed"}, none, false},
	"torn":      {[]string{"fetched"}, all, true}, // and of these only the most that can be received
	"torn-anew": {[]string{"fetched"}, anew, true},
	"endless":   {[]string{"failed"}, all, false},
}
