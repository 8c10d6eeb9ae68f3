package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/egress"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// provision returns a handler that keeps downloads in a temporary directory
// and counts under a name of its own.
func provision(t testing.TB, change func(*Handler)) *Handler {
	t.Helper()
	root, err := json.Marshal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{
		Name:       fmt.Sprintf("%x", sha256.Sum224([]byte(t.Name()))),
		StorageRaw: json.RawMessage(`{"module":"file_system","root":` + string(root) + `}`),
	}
	if change != nil {
		change(h)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return h
}

var errNext = errors.New("the next handler was called")

var next = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errNext })

// serve returns the response to r, and checks that it is an envelope.
func serve(t *testing.T, h *Handler, r *http.Request) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, next); err != nil {
		t.Fatal(err)
	}
	var envelope map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &envelope); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if got, want := w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()); got != want {
		t.Errorf("Content-Length is %s, want %s", got, want)
	}
	return w, envelope
}

func TestARouteTakesWholeSegments(t *testing.T) {
	for _, tt := range []struct {
		route, path, action string
		ours                bool
	}{
		{"/", "/", "", true},
		{"/", "/get_status", "get_status", true},
		{"/", "/get_status/", "get_status", true},
		{"/", "//get_status", "get_status", true},
		{"/", "/a/b", "a/b", true},
		{"/", "*", "", false},
		{"/onebot", "/onebot", "", true},
		{"/onebot", "/onebot/", "", true},
		{"/onebot/", "/onebot", "", true},
		{"/onebot", "/onebot/x", "x", true},
		{"/onebot", "/onebots", "", false},
		{"/onebot", "/onebots/x", "", false},
		{"/onebot", "/OneBot/x", "", false},
		{"/onebot", "/", "", false},
		{"/onebot", "/x/onebot/x", "", false},
		{"/onebot", "/onebot/../x", "../x", true},
		{"/a/b", "/a/b/x", "x", true},
		{"/a/b", "/a", "", false},
	} {
		h := provision(t, func(h *Handler) { h.Route = tt.route })
		if action, ours := h.match(tt.path); action != tt.action || ours != tt.ours {
			t.Errorf("%s below %s: %q, %t", tt.path, tt.route, action, ours)
		}
	}
}

func TestWhatIsOutsideTheRouteGoesOn(t *testing.T) {
	h := provision(t, func(h *Handler) { h.Route = "/onebot"; h.AccessToken = []string{"token"} })
	body := strings.NewReader("untouched")
	r := httptest.NewRequest(http.MethodPut, "/onebots/get_status", body)
	if err := h.ServeHTTP(httptest.NewRecorder(), r, next); !errors.Is(err, errNext) {
		t.Errorf("got %v", err)
	}
	if body.Len() != len("untouched") {
		t.Error("the body was read")
	}
	if got := h.shared.counters.Stat(); got != (meta.Stat{}) {
		t.Errorf("counted %+v", got)
	}
}

func TestTokens(t *testing.T) {
	t.Setenv("ONEBOT_TEST_TOKEN", "from the environment")
	h := provision(t, func(h *Handler) { h.AccessToken = []string{"token", "{env.ONEBOT_TEST_TOKEN}", `a\{b`} })
	for name, tt := range map[string]struct {
		header, query string
		want          int
	}{
		"none":                              {"", "", 401},
		"an empty one in the query":         {"", "?access_token=", 401},
		"a scheme alone":                    {"Bearer ", "", 401},
		"a bearer":                          {"Bearer token", "", 200},
		"any scheme":                        {"Token  token", "", 200},
		"a tab":                             {"Bearer\ttoken", "", 200},
		"no scheme":                         {"token", "", 200},
		"the query":                         {"", "?x=1;y&access_token=token", 200},
		"an escaped name":                   {"", "?access%5Ftoken=token", 200},
		"a placeholder":                     {"Bearer from the environment", "", 200},
		"an escaped brace":                  {"Bearer a{b", "", 200},
		"beside the credentials of a proxy": {"Basic dXNlcjpwYXNz", "?access_token=token", 200},
		"one byte differs":                  {"Bearer tokem", "", 403},
		"a prefix":                          {"Bearer toke", "", 403},
		"more than it":                      {"Bearer token2", "", 403},
		"another case":                      {"Bearer TOKEN", "", 403},
		"the placeholder itself":            {"Bearer {env.ONEBOT_TEST_TOKEN}", "", 403},
		"wrong in the query":                {"", "?access_token=tokem", 403},
		"many guesses":                      {"", "?access_token=a&access_token=token", 403},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/get_status"+tt.query, nil)
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			w, envelope := serve(t, h, r)
			want := map[int]float64{200: 0, 401: 1401, 403: 1403}[tt.want]
			if w.Code != tt.want || envelope["retcode"] != want {
				t.Errorf("got %d %v, want %d", w.Code, envelope, tt.want)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (challenge == "Bearer") != (tt.want == 401) {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
		})
	}
}

func TestRefusedCallsCountNowhere(t *testing.T) {
	h := provision(t, func(h *Handler) { h.AccessToken = []string{"token"} })
	serve(t, h, httptest.NewRequest(http.MethodGet, "/get_status", nil))
	serve(t, h, httptest.NewRequest(http.MethodGet, "/get_status?access_token=x", nil))
	if got := h.shared.counters.Stat(); got != (meta.Stat{}) {
		t.Errorf("counted %+v", got)
	}
}

// brokenWriter fails as a connection does that the peer has reset.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestEveryCallIsCountedSentOrLost(t *testing.T) {
	h := provision(t, nil)
	serve(t, h, httptest.NewRequest(http.MethodGet, "/get_status", nil))
	serve(t, h, httptest.NewRequest(http.MethodGet, "/nonsense", nil))

	r := httptest.NewRequest(http.MethodGet, "/get_status", nil)
	if err := h.ServeHTTP(brokenWriter{httptest.NewRecorder()}, r, next); err != nil {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	serve(t, h, r.WithContext(gone))

	want := meta.Stat{PacketReceived: 4, PacketSent: 2, PacketLost: 2, LostTimes: 2}
	if got := h.shared.counters.Stat(); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestWhatHTTPRefuses(t *testing.T) {
	const jsonType, formType = "application/json", "application/x-www-form-urlencoded"
	h := provision(t, func(h *Handler) { h.MaxBody = 100 })
	long := `{"x":"` + strings.Repeat("x", 100) + `","echo":1}`
	for name, tt := range map[string]struct {
		method, target, contentType, body string
		want                              int
		echo                              any
	}{
		"JSON":                           {"POST", "/get_status", jsonType, `{"echo":1}`, 200, 1.0},
		"JSON with a charset":            {"POST", "/get_status", "Application/JSON; charset", `{"echo":1}`, 200, 1.0},
		"no type":                        {"POST", "/get_status", "", `{"echo":1}`, 200, 1.0},
		"a form":                         {"POST", "/get_status", formType, `echo=1`, 200, "1"},
		"a query":                        {"GET", "/get_status?echo=1", "", ``, 200, "1"},
		"JSON wins over the query":       {"POST", "/get_status?echo=1", jsonType, `{"echo":2}`, 200, 2.0},
		"nothing of any type":            {"POST", "/get_status?echo=1", "image/png", ``, 200, "1"},
		"null":                           {"POST", "/get_status", jsonType, `null`, 200, nil},
		"a call on the route":            {"POST", "/", jsonType, `{"action":"get_status","params":null,"echo":1}`, 200, 1.0},
		"a call on the route by query":   {"GET", "/?action=get_status&echo=1", "", ``, 200, "1"},
		"an action that fails":           {"POST", "/download_file", jsonType, `{"echo":1}`, 200, 1.0},
		"no such action":                 {"POST", "/nonsense", jsonType, `{"echo":1}`, 404, 1.0},
		"no such action in a call":       {"POST", "/", jsonType, `{"action":"nonsense","echo":1}`, 404, 1.0},
		"an action within an action":     {"POST", "/get_status/x", jsonType, `{"echo":1}`, 404, 1.0},
		"the route itself":               {"GET", "/", "", ``, 404, nil},
		"a call of no action":            {"POST", "/", jsonType, `{"echo":1}`, 404, 1.0},
		"a call of a number":             {"POST", "/", jsonType, `{"action":1,"echo":1}`, 404, 1.0},
		"no such action, not JSON":       {"POST", "/nonsense", jsonType, `{`, 404, nil},
		"no such action, another method": {"PUT", "/nonsense", jsonType, ``, 404, nil},
		"another method":                 {"PUT", "/get_status", jsonType, `{"echo":1}`, 405, 1.0},
		"another method with a bad body": {"DELETE", "/get_status?echo=1", jsonType, `{`, 405, "1"},
		"another type":                   {"POST", "/get_status", "text/plain", `{}`, 406, nil},
		"a multipart form":               {"POST", "/get_status?echo=1", "multipart/form-data; boundary=x", `--x--`, 406, "1"},
		"half JSON":                      {"POST", "/get_status?echo=1", jsonType, `{"a":`, 400, "1"},
		"an array":                       {"POST", "/get_status", jsonType, `[]`, 400, nil},
		"a form that is none":            {"POST", "/get_status", formType, `%zz`, 400, nil},
		"a query that is none":           {"GET", "/get_status?%zz", "", ``, 400, nil},
		"params of an array":             {"POST", "/", jsonType, `{"action":"get_status","params":[],"echo":1}`, 400, 1.0},
		"a call that is not JSON":        {"POST", "/", jsonType, `{"action"`, 400, nil},
		"a body over the limit":          {"POST", "/get_status?echo=1", jsonType, long, 413, "1"},
		"a call over the limit":          {"POST", "/", jsonType, long, 413, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w, envelope := serve(t, h, r)
			if w.Code != tt.want || envelope["echo"] != tt.echo {
				t.Errorf("got %d %v, want %d with echo %v", w.Code, envelope, tt.want, tt.echo)
			}
			retcode := map[int]float64{404: 1404}[tt.want]
			if tt.want >= 400 && retcode == 0 {
				retcode = 1400
			}
			if tt.want != 200 && (envelope["retcode"] != retcode || envelope["wording"] == nil) {
				t.Errorf("got %v, want retcode %v", envelope, retcode)
			}
			if allow := w.Header().Get("Allow"); (allow == "GET, POST") != (tt.want == 405) {
				t.Errorf("Allow is %q", allow)
			}
		})
	}

	t.Run("a body of no length over the limit", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/get_status", io.MultiReader(strings.NewReader(long)))
		if w, _ := serve(t, h, r); w.Code != 413 {
			t.Errorf("got %d", w.Code)
		}
	})
	t.Run("a body that breaks off", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/get_status", iotest.ErrReader(io.ErrUnexpectedEOF))
		if w, _ := serve(t, h, r); w.Code != 400 {
			t.Errorf("got %d", w.Code)
		}
	})
}

// Whatever a stranger sends gets one envelope, and is counted once.
func FuzzServeHTTP(f *testing.F) {
	f.Add("POST", "get_status", "a=1", "application/json", []byte(`{"echo":{"a":1}}`))
	f.Add("POST", "", "", "", []byte(`{"action":"set_restart_async","params":{"delay":"1"}}`))
	f.Add("GET", ".get_word_slices/", "echo=%00", "application/x-www-form-urlencoded", []byte(`a=1;b`))
	f.Add("GET", "download_file", "url=http://a/", "", []byte(``))

	h := provision(f, nil)
	nowhere := func(context.Context, string, string) (net.Conn, error) { return nil, egress.ErrRefused }
	files := fetch.New(h.store.cache, h.store.flights, fetch.Options{Timeout: time.Hour, StallTimeout: time.Hour, MaxConcurrent: 1, Dial: nowhere})
	h.dispatcher = meta.NewDispatcher(meta.Options{Counters: h.shared.counters, Backend: h.shared.backend, Files: files, Queue: h.shared.queue, Logger: zap.NewNop()})
	h.refusals = zap.NewNop

	f.Fuzz(func(t *testing.T, method, path, query, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, "/"+path, query
		r.Header.Set("Content-Type", contentType)
		before := h.shared.counters.Stat()
		w, envelope := serve(t, h, r)
		retcodes := map[int][]float64{200: {0, 1, 1400, 1404}, 400: {1400}, 404: {1404}, 405: {1400}, 406: {1400}, 413: {1400}}
		if retcode, ok := envelope["retcode"].(float64); !ok || !slices.Contains(retcodes[w.Code], retcode) {
			t.Errorf("status %d with %v", w.Code, envelope)
		}
		after := h.shared.counters.Stat()
		if after.PacketReceived != before.PacketReceived+1 || after.PacketSent != before.PacketSent+1 {
			t.Errorf("counted %+v after %+v", after, before)
		}
	})
}
