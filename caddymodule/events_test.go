package caddymodule

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// eventProbe subscribes a test to all events of a config.
type eventProbe struct {
	Probe int `json:"probe"`
}

func (*eventProbe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_probe", New: func() caddy.Module { return new(eventProbe) }}
}

func (p *eventProbe) Handle(_ context.Context, e caddy.Event) error {
	ours := slices.Contains([]string{eventDownload, eventOnline, eventOffline}, e.Name()) // Caddy has others
	if f := probed(p.Probe).subscriber; f != nil && ours {
		f(e)
	}
	return nil
}

func init() { caddy.RegisterModule(new(eventProbe)) }

var _ caddyevents.Handler = (*eventProbe)(nil)

// listener returns a subscriber, and where it hands what it gets.
func listener() (func(caddy.Event), chan caddy.Event) {
	events := make(chan caddy.Event, 2*maxEvents)
	return func(e caddy.Event) { events <- e }, events
}

// nextEvent returns the next event, or fails the test if it takes too long.
func nextEvent(t *testing.T, events <-chan caddy.Event) caddy.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("waited in vain for an event")
		panic("unreachable")
	}
}

// wantNoMore fails the test if there is an event left, of a bot whose events
// have all been emitted.
func wantNoMore(t *testing.T, name string, events <-chan caddy.Event) {
	t.Helper()
	for _, h := range provisioned.list() {
		if h.Name == name {
			h.awaitSilence(t)
		}
	}
	select {
	case e := <-events:
		t.Errorf("there is another %s, %v", e.Name(), e.Data)
	default:
	}
}

// awaitSilence returns when the handler emits nothing any more.
func (h *Handler) awaitSilence(t *testing.T) {
	t.Helper()
	await(t, "all events to be emitted", func() bool {
		q := &h.shared.events
		q.mu.Lock()
		defer q.mu.Unlock()
		return !h.emitter.busy && len(q.waiting) == 0
	})
}

// wantData fails the test unless an event has exactly some data. Of reasons a
// part is enough.
func wantData(t *testing.T, e caddy.Event, name string, want map[string]any) {
	t.Helper()
	got := maps.Clone(e.Data)
	if reason, _ := got["reason"].(string); want["reason"] != nil && strings.Contains(reason, want["reason"].(string)) {
		got["reason"] = want["reason"]
	}
	if took, ok := got["duration"].(float64); name == eventDownload && (!ok || took < 0 || took > 60) {
		t.Errorf("%s has the duration %v", e.Name(), got["duration"])
	}
	delete(got, "duration")
	if file, _ := got["file"].(string); want["file"] == "some" && file != "" {
		got["file"] = "some"
	}
	if e.Name() != name || !maps.Equal(got, want) {
		t.Errorf("got %s with %v, want %s with %v", e.Name(), got, name, want)
	}
}

// calling returns the envelope that a running handler answers a call with.
func calling(t *testing.T, name, action string, params object) string {
	t.Helper()
	body, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	return post(t, name, action, string(body))
}

// post sends a request to a running handler. What passes is read and answered
// with nothing.
func post(t *testing.T, name, action, body string) string {
	t.Helper()
	h := provisioned.of(name)
	if h == nil {
		t.Fatalf("there is no %s", name)
	}
	w := httptest.NewRecorder()
	behind := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.Copy(io.Discard, r.Body)
		return err
	})
	r := httptest.NewRequest("POST", "/"+name+"/"+action, strings.NewReader(body))
	if err := h.ServeHTTP(w, r, behind); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

// keep has content of some size kept, which is a download that has ended.
func keep(t *testing.T, name string, size int) {
	t.Helper()
	content := base64.StdEncoding.EncodeToString(make([]byte, size))
	if got := calling(t, name, "download_file", object{"base64": content}); !strings.Contains(got, `"status":"ok"`) {
		t.Fatal(got)
	}
}

func TestTheEndOfADownloadIsAnEvent(t *testing.T) {
	const name, secret = "events-of-downloads", "5ecret"
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fresh.txt":
			w.Header().Set("Cache-Control", "max-age=600")
			_, _ = io.WriteString(w, "a fresh one")
		case "/tagged.txt":
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("a tagged one"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(origin.Close)
	subscriber, events := listener()
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	_, port, _ := net.SplitHostPort(origin.Listener.Addr().String())
	elsewhere := "http://127.0.0.2:" + port // which nothing opens

	// in this order: what brings no event shows in what comes next
	for _, tt := range []struct {
		name   string
		params object
		want   map[string]any // nothing if there is no event
	}{
		{"of one that is new", object{"url": withSecrets(origin.URL, secret) + "/fresh.txt?key=" + secret, "headers": "X-Key: " + secret},
			map[string]any{"result": "fetched", "url": origin.URL + "/fresh.txt", "file": "some", "size": int64(11), "tries": 1}},
		{"of one that is fresh", object{"url": withSecrets(origin.URL, secret) + "/fresh.txt?key=" + secret, "headers": "X-Key: " + secret}, nil},
		{"of one that has a validator", object{"url": origin.URL + "/tagged.txt"},
			map[string]any{"result": "fetched", "url": origin.URL + "/tagged.txt", "file": "some", "size": int64(12), "tries": 1}},
		{"of one that is still the same", object{"url": origin.URL + "/tagged.txt"},
			map[string]any{"result": "revalidated", "url": origin.URL + "/tagged.txt", "file": "some", "size": int64(12), "tries": 1}},
		{"of one that is not there", object{"url": origin.URL + "/none?key=" + secret},
			map[string]any{"result": "failed", "url": origin.URL + "/none", "tries": 1, "reason": "status 404"}},
		{"of one that may not be fetched", object{"url": withSecrets(elsewhere, secret) + "/a?key=" + secret},
			map[string]any{"result": "refused", "url": elsewhere + "/a", "tries": 1, "reason": "destination refused"}},
		{"of content", object{"base64": base64.StdEncoding.EncodeToString([]byte(secret))},
			map[string]any{"result": "sent", "file": "some", "size": int64(len(secret))}},
		{"of no URL at all", object{"url": "ftp://" + secret + "/"},
			map[string]any{"result": "failed", "reason": "url must begin with"}},
	} {
		calling(t, name, "download_file", tt.params)
		if tt.want == nil {
			wantNoMore(t, name, events)
			continue
		}
		e := nextEvent(t, events)
		tt.want["name"] = name
		wantData(t, e, eventDownload, tt.want)
		if text := fmt.Sprint(e.Data); strings.Contains(text, secret) {
			t.Errorf("%s: the event has a secret: %s", tt.name, text)
		}
		if file, ok := e.Data["file"].(string); ok {
			if info, err := os.Stat(file); err != nil || info.Size() != e.Data["size"] {
				t.Errorf("%s: the file is %v, %v, and the size %v", tt.name, info, err, e.Data["size"])
			}
		}
	}
	wantNoMore(t, name, events)
}

func withSecrets(url, secret string) string {
	return strings.Replace(url, "://", "://user:"+secret+"@", 1)
}

func TestEveryoneWhoWaitsForADownloadWaitsForOneEvent(t *testing.T) {
	const name, callers = "events-of-shared", 5
	subscriber, events := listener()
	release := make(chan struct{})
	arrived := make(chan struct{}, callers)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "shared")
	}))
	t.Cleanup(origin.Close)
	mustLoad(t, loadable{names: []string{name}, subscriber: subscriber})
	var pending sync.WaitGroup
	for range callers {
		pending.Go(func() { calling(t, name, "download_file", object{"url": origin.URL + "/a"}) })
	}
	<-arrived
	await(t, "all callers to wait", func() bool {
		under := provisioned.of(name).store.flights.Status()
		return len(under) == 1 && under[0].Callers == callers
	})
	close(release)
	pending.Wait()
	wantData(t, nextEvent(t, events), eventDownload, map[string]any{
		"name": name, "result": "fetched", "url": origin.URL + "/a", "file": "some", "size": int64(6), "tries": 1,
	})
	wantNoMore(t, name, events)
}

func TestTheBackendComesAndGoesInEvents(t *testing.T) {
	const name = "relay-of-events"
	subscriber, events := listener()
	mustLoad(t, loadable{names: []string{name, "events-of-nothing"}, subscriber: subscriber})
	heartbeat := func(online bool) string {
		return fmt.Sprintf(`{"post_type":"meta_event","meta_event_type":"heartbeat","status":{"online":%t},"interval":5000}`, online)
	}
	const lost = `{"post_type":"notice","notice_type":"bot_offline"}`
	for _, body := range []string{
		heartbeat(true), heartbeat(true), lost, heartbeat(false), heartbeat(true), `{"post_type":"message"}`, heartbeat(false),
	} {
		post(t, name, "", body)
	}
	for i, want := range []string{eventOnline, eventOffline, eventOnline, eventOffline} {
		if e := nextEvent(t, events); e.Name() != want || !maps.Equal(e.Data, map[string]any{"name": name}) {
			t.Errorf("event %d is %s with %v, want %s", i, e.Name(), e.Data, want)
		}
	}
	wantNoMore(t, name, events)
}
