package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// asked returns the request that reaches the next handlers when the caller of r
// makes the handler ask for an action, and what is answered.
func asked(t *testing.T, h *Handler, r *http.Request, answer caddyhttp.HandlerFunc) (req *http.Request, envelope []byte, err error) {
	t.Helper()
	repl := caddy.NewReplacer()
	repl.Set("mapped", "b")
	r = caddyhttp.PrepareRequest(r, repl, httptest.NewRecorder(), new(caddyhttp.Server))
	caddyhttp.SetVar(r.Context(), "upstream", "a")
	r.Context().Value(caddy.CtxKey("route_group")).(map[string]struct{})["handled"] = struct{}{}
	question := h.asker(r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, got *http.Request) error {
		req = got
		return answer(w, got)
	}))("get_status")
	r.Header.Set("Authorization", "changed when it was over")
	caddyhttp.SetVar(r.Context(), "upstream", "changed when it was over")
	envelope, err = question(t.Context())
	return req, envelope, err
}

func TestTheImplementationIsAskedAsTheCallerWould(t *testing.T) {
	h := provision(t, func(h *Handler) { h.Route = "/bot" })
	r := httptest.NewRequest("GET", "http://example.com/bot/get_status?access_token=a%26b&echo=1", http.NoBody)
	for name, value := range map[string]string{
		"Authorization": "Bearer t", "X-Forwarded-For": "127.0.0.9", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "k",
		"Content-Length": "9", "Content-Encoding": "br", "If-None-Match": "x", "Accept-Encoding": "br", "Range": "bytes=1-", "Transfer-Encoding": "chunked",
	} {
		r.Header.Set(name, value)
	}
	var body string
	req, envelope, err := asked(t, h, r, func(w http.ResponseWriter, r *http.Request) error {
		b, err := io.ReadAll(r.Body)
		body = string(b)
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "the ")
		_, _ = io.WriteString(w, "answer")
		return err
	})
	if err != nil || string(envelope) != "the answer" {
		t.Fatalf("got %q, %v", envelope, err)
	}
	if got := fmt.Sprint(req.Method, req.Host, req.URL, req.RequestURI, body, req.ContentLength); got != "POSTexample.com/bot/get_status?access_token=a%26b/bot/get_status?access_token=a%26b{}2" {
		t.Error(got)
	}
	want := http.Header{"Authorization": {"Bearer t"}, "X-Forwarded-For": {"127.0.0.9"}, "Content-Type": {"application/json"}}
	if got := fmt.Sprint(req.Header); got != fmt.Sprint(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := caddyhttp.GetVar(req.Context(), "upstream"); got != "a" {
		t.Errorf("a variable of an earlier handler is %v", got)
	}
	if got, _ := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Get("mapped"); got != "b" {
		t.Errorf("a placeholder of an earlier handler is %v", got)
	}
	if _, ok := req.Context().Value(caddy.CtxKey("route_group")).(map[string]struct{})["handled"]; !ok {
		t.Error("it may enter another handle block than its caller's")
	}
}

func TestWhatIsNoAnswerOfTheImplementation(t *testing.T) {
	errDown := errors.New("it is down")
	for name, tt := range map[string]struct {
		answer caddyhttp.HandlerFunc
		want   string
	}{
		"an error":       {func(http.ResponseWriter, *http.Request) error { return errDown }, "it is down"},
		"a panic":        {func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, "broke off"},
		"a refusal":      {func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(403); return nil }, meta.ErrCallerRefused.Error()},
		"another status": {func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(426); return nil }, meta.ErrNotSpoken.Error()},
		"a failure":      {func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(502); return nil }, errNoAnswer.Error()},
		"nothing":        {func(http.ResponseWriter, *http.Request) error { return nil }, errNoAnswer.Error()},
		"too much": {func(w http.ResponseWriter, _ *http.Request) error {
			for range maxAnswer/1000 + 1 {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1000)); err != nil {
					return err
				}
			}
			return nil
		}, errAnswerTooLarge.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := asked(t, provision(t, nil), httptest.NewRequest("GET", "/", http.NoBody), tt.answer)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAskingEndsWhenNobodyWaitsAnyMore(t *testing.T) {
	h := provision(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	r := caddyhttp.PrepareRequest(httptest.NewRequest("GET", "/", http.NoBody), caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
	_, err := h.asker(r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		cancel()
		<-r.Context().Done()
		return r.Context().Err()
	}))("get_status")(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
