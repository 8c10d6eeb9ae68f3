package meta

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/onebot-caddy/onebot-meta/meta/egress"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// secret is part of everything in these tests that must not be told.
const secret = "SECRET"

// withSecrets is the URL of path at an origin, with what nobody may see.
func withSecrets(origin, path string) string {
	return strings.Replace(origin, "://", "://"+secret+":"+secret+"@", 1) + path + "?rkey=" + secret
}

// checkNoSecret checks that nothing of a line tells a secret.
func checkNoSecret(t *testing.T, line observer.LoggedEntry) {
	t.Helper()
	text, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}).EncodeEntry(line.Entry, line.Context)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), secret) {
		t.Errorf("logged a secret: %s", text)
	}
}

func TestADownloadIsLoggedAndToldWithTheSameFacts(t *testing.T) {
	first, err := egress.ParseAllow([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		change  func(*fetch.Options)
		params  string // of the call; the URL of the origin unless set
		calls   int    // before that
		level   zapcore.Level
		result  string
		size    int64 // of a file
		tries   int64
		reason  string // of a failure
		cause   string // of a failure, if it has one: a pattern
	}{
		"one that is fetched": {level: zap.InfoLevel, result: "fetched", size: 7, tries: 1},
		"one that is confirmed": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"a"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("content"))
		}, calls: 1, level: zap.InfoLevel, result: "revalidated", size: 7, tries: 1},
		"one that is fresh, which is no download": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(w, "content")
		}, calls: 1, level: zap.DebugLevel, result: "fresh", size: 7},
		"one behind a redirect": {handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/a.png" {
				w.Header().Set("Location", "/"+secret)
				w.WriteHeader(http.StatusFound)
			}
		}, level: zap.InfoLevel, result: "fetched", tries: 1},
		"one that was sent":            {params: `{"base64":"aGVsbG8="}`, level: zap.InfoLevel, result: "sent", size: 5},
		"one that was sent, but badly": {params: `{"base64":"` + secret + `!"}`, level: zap.WarnLevel, result: "failed", reason: "base64 is not valid base64", cause: `^an error of type base64\.CorruptInputError$`},
		"one that nobody named":        {params: `{}`, level: zap.WarnLevel, result: "failed", reason: "url is missing"},
		"one that cannot be fetched":   {params: `{"url":"ftp://` + secret + `"}`, level: zap.WarnLevel, result: "failed", reason: "url must begin with http:// or https://, in lower case"},
		"one with a header that cannot be": {params: `{"url":"http://127.0.0.1:1/","headers":"` + secret + `"}`, level: zap.WarnLevel, result: "failed",
			reason: `headers: line 1 is not of the form "Name: value"`},
		"one that is not there": {handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, http.StatusNotFound) },
			level: zap.WarnLevel, result: "failed", tries: 1, reason: "request failed: the origin answered with status 404"},
		"one that is too large": {change: func(o *fetch.Options) { o.MaxSize = 5 },
			level: zap.WarnLevel, result: "failed", tries: 1, reason: "the file is too large: the limit is 5 B"},
		"one that breaks off, again and again": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, secret)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, change: func(o *fetch.Options) { o.Retries = 1 }, level: zap.WarnLevel, result: "failed", tries: 2,
			reason: "request failed: the transfer from 127.0.0.1 broke off", cause: "^unexpected EOF$"},
		"one that takes too long": {handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			change: func(o *fetch.Options) { o.Timeout = 50 * time.Millisecond },
			level:  zap.WarnLevel, result: "failed", tries: 1, reason: "the download timed out after 50ms", cause: "^timed out$"},
		"one that is refused": {change: func(o *fetch.Options) { o.Dial = egress.NewDialer(egress.Allow{}, nil).DialContext },
			level: zap.WarnLevel, result: "refused", tries: 1,
			reason: "destination refused: 127.0.0.1 is not on the public internet, and allow_private does not open it", cause: `^dial tcp 127\.0\.0\.1:`},
		"one that redirects to where it is refused": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.2:1/"+secret)
			w.WriteHeader(http.StatusFound)
		}, change: func(o *fetch.Options) {
			o.Dial = egress.NewDialer(first, nil).DialContext
		}, level: zap.WarnLevel, result: "refused", tries: 1, reason: "destination refused: 127.0.0.2", cause: `127\.0\.0\.2`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // since tries wait for each other
			if tt.handler == nil {
				tt.handler = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") }
			}
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			d, logs := newDispatcherWith(t, func(o *fetch.Options) {
				if tt.change != nil {
					tt.change(o)
				}
			})
			var told []Download // before who waits for them goes on
			d.opts.Downloaded = func(ended Download) { told = append(told, ended) }
			params, place := tt.params, ""
			if params == "" {
				params = `{"url":"` + withSecrets(server.URL, "/a.png") + `","headers":"Cookie: ` + secret + `"}`
				place = server.URL + "/a.png"
			}
			for range tt.calls {
				do(t, d, "download_file", params)
			}
			told = nil
			logs.TakeAll()
			reply := do(t, d, "download_file", params)

			lines := logs.FilterLevelExact(tt.level).Filter(func(e observer.LoggedEntry) bool { return e.Message != "served action" }).All()
			if len(told) != 1 || len(lines) != 1 || logs.Len() != 2 {
				t.Fatalf("told %+v, logged %+v", told, logs.All())
			}
			got, line, fields := told[0], lines[0], lines[0].ContextMap()
			checkNoSecret(t, line)

			want := map[string]any{"duration": got.Duration, "result": tt.result}
			if place != "" {
				want["url"], want["tries"] = place, tt.tries
			}
			message := "downloaded file"
			if tt.reason == "" {
				want["size"] = tt.size
			} else {
				message, want["reason"] = "download failed", reply.Message
				if text, _ := fields["error"].(string); tt.cause != "" && regexp.MustCompile(tt.cause).MatchString(text) {
					want["error"] = text
				}
				if !strings.HasPrefix(reply.Message, tt.reason) {
					t.Errorf("failed: %s", reply.Message)
				}
			}
			if line.Message != message || !maps.Equal(fields, want) {
				t.Errorf("logged %s %v, want %s %v", line.Message, fields, message, want)
			}

			name, isThere := filepath.Base(got.File), got.File != ""
			if isThere != (tt.reason == "") || isThere && !strings.Contains(string(reply.Data), name) {
				t.Errorf("told of the file %q, the reply is %s", got.File, reply.JSON())
			}
			if want := (Download{
				Result: tt.result, URL: place, File: got.File, Size: tt.size, Duration: got.Duration,
				Tries: int(tt.tries), Reason: reply.Message,
			}); got != want || got.Duration < 0 {
				t.Errorf("told %+v, want %+v", got, want)
			}
		})
	}
}

func TestADownloadIsToldOnceHoweverManyWaitForIt(t *testing.T) {
	through := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-through:
		case <-r.Context().Done():
		}
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, "content")
	}))
	defer server.Close()
	d, logs := newDispatcher(t)
	told := make(chan Download, 100)
	d.opts.Downloaded = func(ended Download) { told <- ended }
	call := &Call{Action: "download_file", Params: Params{"url": raw(`"` + server.URL + `"`)}}
	var calls []*Pending
	for range 20 {
		calls = append(calls, d.Start(t.Context(), call))
	}
	gone, giveUp := context.WithCancel(t.Context())
	giveUp()
	if reply := d.Do(gone, call); reply.Status != "failed" {
		t.Errorf("one who gave up got %+v", reply)
	}
	close(through)
	for _, p := range calls {
		if reply := p.Reply(t.Context()); reply.Status != "ok" {
			t.Errorf("got %+v", reply)
		}
	}
	if got := <-told; got.Result != "fetched" || got.Tries != 1 || len(told) != 0 {
		t.Errorf("told %+v and %d more", got, len(told))
	}
	if n := logs.FilterMessage("downloaded file").Len(); n != 1 || logs.FilterMessage("download failed").Len() != 0 {
		t.Errorf("logged %d times", n)
	}
}

// The file of a call in the background is told of when it is there, and not once
// more when somebody takes it.
func TestADownloadInTheBackgroundIsToldOnce(t *testing.T) {
	url, last := origin(t)
	d, logs := newDispatcher(t)
	told := make(chan Download, 100)
	d.opts.Downloaded = func(ended Download) { told <- ended }
	params := `{"url":"` + url + `"}`
	if reply := do(t, d, "download_file_async", params); reply.Status != "async" {
		t.Fatalf("got %+v", reply)
	}
	first := <-told
	asked := last()
	reply := do(t, d, "download_file", params) // which is under way still, or left to it
	if !strings.Contains(string(reply.Data), filepath.Base(first.File)) || last() != asked || len(told) != 0 || logs.FilterMessage("downloaded file").Len() != 1 {
		t.Errorf("told %+v and %d more, then got %s", first, len(told), reply.JSON())
	}
}

func TestADownloadIsToldThoughNobodyLogsIt(t *testing.T) {
	url, _ := origin(t)
	d, _ := newDispatcher(t)
	core, logs := observer.New(zapcore.ErrorLevel)
	d.opts.Logger = zap.New(core)
	var results []string
	d.opts.Downloaded = func(ended Download) { results = append(results, ended.Result) }
	do(t, d, "download_file", `{"url":"`+url+`"}`)
	do(t, d, "download_file", `{"url":""}`)
	if want := []string{"fetched", "failed"}; !slices.Equal(results, want) || logs.Len() != 0 {
		t.Errorf("told %v, logged %d lines", results, logs.Len())
	}
}

// What nobody has thought of may hold anything.
func TestAnUnknownFailureIsForTheLogAlone(t *testing.T) {
	failure, cause := explain(errors.New(secret))
	if text := failure.Message + failure.Wording; strings.Contains(text, secret) || text == "" {
		t.Errorf("its caller reads %q", text)
	}
	if err, ok := cause.Interface.(error); !ok || err.Error() != secret {
		t.Errorf("the log has %v", cause)
	}
}
