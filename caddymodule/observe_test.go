package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"weak"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Whatever names the action of a call on the route itself, the body is all
// there for who reads it next, and no more of it has been read than that takes.
func TestTheActionOfACallOnTheRouteIsKnownBeforeItsBodyIsRead(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, tt := range map[string]struct {
		method, kind, query, body string
		want                      string
		mostRead                  int
	}{
		"JSON":                                {"POST", typeJSON, "", `{"action":"send_msg","params":{"message":"` + long + `"}}`, "send_msg", 8 << 10},
		"JSON without a type":                 {"POST", "", "", `{"params":{},"action":"get_status"}`, "get_status", 8 << 10},
		"JSON that wins over the query":       {"POST", typeJSON, "?action=a", `{"action":"b"}`, "b", 8 << 10},
		"JSON that names it behind max_body":  {"POST", typeJSON, "", `{"params":"` + long + `","action":"get_status"}`, "", 64 << 10},
		"an event":                            {"POST", typeJSON, "", `{"post_type":"notice","action":"poke","x":"` + long + `"}`, "", 8 << 10},
		"no JSON":                             {"POST", typeJSON, "", `<xml>` + long, "", 8 << 10},
		"a form":                              {"POST", typeForm, "", `a=b&action=get_status`, "get_status", 8 << 10},
		"the query":                           {"GET", "", "?action=get_status", ``, "get_status", 0},
		"the query, with a body of something": {"POST", "text/plain", "?action=get_status", `{"action":"b"}`, "get_status", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := provision(t, func(h *Handler) { h.MaxBody = 32 << 10 })
			sent := &counted{Reader: strings.NewReader(tt.body)}
			r := httptest.NewRequest(tt.method, "/"+tt.query, sent)
			r.ContentLength = int64(len(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			if got := cmp.Or(h.watchBody(r).action(h.MaxBody), r.URL.Query().Get("action")); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if sent.n > tt.mostRead {
				t.Errorf("%d bytes were read, want %d at most", sent.n, tt.mostRead)
			}
			if err := iotest.TestReader(r.Body, []byte(tt.body)); err != nil {
				t.Error(err)
			}
		})
	}
}

type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestABodyThatBreaksOffWhileItIsReadAheadBreaksOffForAll(t *testing.T) {
	h := provision(t, nil)
	broken := errors.New("broken")
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(`{"act`), iotest.ErrReader(broken)))
	if got := h.watchBody(r).action(100); got != "" {
		t.Errorf("got %q", got)
	}
	if got, err := io.ReadAll(r.Body); string(got) != `{"act` || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
}

// An event is heard if the next handlers reach nobody and so do not read it; then
// others may still want it, such as those of handle_errors.
func TestAnEventThatNobodyReadsIsHeardAndStillThere(t *testing.T) {
	const event = `{"post_type":"message"}`
	h := provision(t, func(h *Handler) { h.PassThru = true })
	r := httptest.NewRequest("POST", "/", strings.NewReader(event))
	if err := h.ServeHTTP(httptest.NewRecorder(), r, next); err != errNext {
		t.Fatal(err)
	}
	if got := h.shared.counters.Stat(); got.MessageReceived != 1 || got.PacketReceived != 1 || got.PacketLost != 1 || got.PacketSent != 0 {
		t.Errorf("got %+v", got)
	}
	if err := iotest.TestReader(r.Body, []byte(event)); err != nil {
		t.Error(err)
	}
}

func TestABodyIsNotWaitedForThatNobodyWants(t *testing.T) {
	h := provision(t, func(h *Handler) { h.PassThru = true })
	never, w := io.Pipe()
	defer w.Close()
	r := httptest.NewRequest("POST", "/send_msg", never)
	answers := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { _, err := io.WriteString(w, "hello"); return err })
	if err := h.ServeHTTP(httptest.NewRecorder(), r, answers); err != nil {
		t.Fatal(err)
	}
}

func TestTwoHandlersInARowLoseNothingOfABody(t *testing.T) {
	for kind, body := range map[string]string{typeJSON: `{"action":"send_msg","params":{}}`, typeForm: "a=b&action=send_msg"} {
		first := provision(t, func(h *Handler) { h.PassThru = true })
		second := provision(t, func(h *Handler) { h.PassThru, h.Name = true, "second" })
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		var got []byte
		last := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) (err error) { got, err = io.ReadAll(r.Body); return err })
		err := first.ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			return second.ServeHTTP(w, r, last)
		}))
		if err != nil || string(got) != body {
			t.Errorf("%s: got %q, %v", kind, got, err)
		}
	}
}

// A client that has read all of an answer may be gone before the handlers behind
// have returned.
func TestAnAnswerWasDeliveredIfTheClientWasThereToTakeIt(t *testing.T) {
	for name, tt := range map[string]struct {
		leaves string // when the client does
		status int
		want   int64
	}{
		"to the end":                 {"never", 200, 1},
		"until it was written":       {"after", 200, 1},
		"not until it was written":   {"before", 200, 0},
		"not, says reverse_proxy":    {"never", 499, 0},
		"not, and nothing was to be": {"before", 0, 0},
		"and nothing was to be":      {"never", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := provision(t, func(h *Handler) { h.PassThru = true })
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			behind := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				if tt.leaves == "before" {
					leave()
				}
				if tt.status > 0 {
					w.WriteHeader(tt.status)
					_, _ = io.WriteString(w, "answer")
				}
				if tt.leaves == "after" {
					leave()
				}
				return nil
			})
			if err := h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/get_msg", http.NoBody).WithContext(ctx), behind); err != nil {
				t.Fatal(err)
			}
			if got := h.shared.counters.Stat(); got.PacketSent != tt.want || got.PacketLost != 1-tt.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestARequestThatPanicsIsALostPacket(t *testing.T) {
	h := provision(t, func(h *Handler) { h.PassThru = true })
	aborts := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, `{"status":"ok"`)
		panic(http.ErrAbortHandler)
	})
	func() {
		defer func() {
			if reason := recover(); reason != http.ErrAbortHandler {
				t.Errorf("got %v", reason)
			}
		}()
		_ = h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/send_msg", http.NoBody), aborts)
	}()
	if got := h.shared.counters.Stat(); got.PacketReceived != 1 || got.PacketLost != 1 || got.MessageSent != 0 {
		t.Errorf("got %+v", got)
	}
}

// A file is handed to the kernel where it goes as it is, by file_server for one;
// what tells of a message is read all the same.
func TestAResponseIsWatchedHoweverItIsWritten(t *testing.T) {
	const accepted = `{"status":"ok","retcode":0}`
	for name, tt := range map[string]struct {
		action, encoding, body string
		sent                   int64 // messages
		past                   bool  // it is not looked at
	}{
		"to a message":                          {"send_msg", "", accepted, 1, false},
		"to a message that was not":             {"send_msg", "", `{"status":"failed"}`, 0, false},
		"to something else":                     {"get_msg", "", accepted, 0, true},
		"to a message, and said to be gzipped":  {"send_msg", "gzip", accepted, 0, false},
		"to a message, and of another encoding": {"send_msg", "zstd", "\x28\xb5\x2f\xfd", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := provision(t, func(h *Handler) { h.PassThru = true })
			behind := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Encoding", tt.encoding)
				_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(tt.body))
				return err
			})
			w := &kernel{ResponseRecorder: httptest.NewRecorder()}
			if err := h.ServeHTTP(w, httptest.NewRequest("GET", "/"+tt.action, http.NoBody), behind); err != nil {
				t.Fatal(err)
			}
			if got := w.Body.String(); got != tt.body || w.direct != tt.past {
				t.Errorf("got %q, directly: %t, want %t", got, w.direct, tt.past)
			}
			if got := h.shared.counters.Stat(); got.MessageSent != tt.sent || got.PacketSent != 1 || got.PacketLost != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// kernel is a client that notes whether it is handed what is to be read.
type kernel struct {
	*httptest.ResponseRecorder
	direct bool
}

func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	k.direct = true
	return io.Copy(k.ResponseRecorder, r)
}

// A call whose action is named last waits without what came before it.
func TestWhatWasReadAheadIsNotKept(t *testing.T) {
	sent := `{"params":"` + strings.Repeat("x", 1<<20) + `","action":"download_file"}`
	body := &watchedBody{ReadCloser: io.NopCloser(strings.NewReader(sent))}
	if action := body.action(2 << 20); action != "download_file" || len(body.head) != len(sent) {
		t.Fatalf("read %d bytes ahead, and the action %q", len(body.head), action)
	}
	head := weak.Make(&body.head[0])
	if read, err := io.ReadAll(body); err != nil || string(read) != sent {
		t.Errorf("got %d bytes, %v", len(read), err)
	}
	runtime.GC()
	if head.Value() != nil {
		t.Error("it is still there")
	}
	runtime.KeepAlive(body)
}
