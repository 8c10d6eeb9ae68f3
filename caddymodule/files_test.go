package caddymodule

import (
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onebot-caddy/onebot-meta/meta"
)

const (
	servedPNG  = "0123456789abcdef-0123456789abcdef0123456789abcdef.png"
	servedHTML = "0123456789abcdef-00000000000000000000000000000000.png"
	servedBare = "0123456789abcdef-11111111111111111111111111111111.q7x"
	content    = "0123456789"
)

// served is a file that says whether it was closed.
type served struct {
	io.ReadSeekCloser
	open *int
}

func (s served) Close() error { *s.open--; return s.ReadSeekCloser.Close() }

// serving returns a handler that serves the files of a directory, by any path
// that it is told, and the number of files that are open.
func serving(t *testing.T, change func(*Handler)) (h *Handler, open *int) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		servedPNG:             content,
		servedHTML:            "<html><script>alert(1)</script></html>",
		servedBare:            "<html></html>",
		"../outside":          "not to be seen",
		"inside/" + servedPNG: "not to be seen",
	} {
		path := filepath.Join(dir, "files", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, open = provision(t, change), new(int)
	h.openFile = func(name string) (io.ReadSeekCloser, error) {
		f, err := os.Open(filepath.Join(dir, "files", filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		*open++
		return served{f, open}, nil
	}
	t.Cleanup(func() {
		if *open != 0 {
			t.Errorf("%d files are open", *open)
		}
	})
	return h, open
}

func TestServedFiles(t *testing.T) {
	h, _ := serving(t, func(h *Handler) { h.Route = "/onebot" })
	const etag = `"` + servedPNG + `"`
	for name, tt := range map[string]struct {
		method, file string
		header       map[string]string
		want         int
		body         string
		wantHeader   map[string]string
	}{
		"as a whole": {"GET", servedPNG, nil, 200, content, map[string]string{
			"Etag": etag, "Content-Type": "image/png", "Content-Length": "10", "Accept-Ranges": "bytes", "Last-Modified": "",
			"Content-Disposition": "attachment; filename=" + servedPNG, "X-Content-Type-Options": "nosniff",
			"Cache-Control": "private, max-age=31536000, immutable"}},
		"its header": {"HEAD", servedPNG, nil, 200, "", map[string]string{
			"Etag": etag, "Content-Type": "image/png", "Content-Length": "10", "X-Content-Type-Options": "nosniff"}},
		"a range": {"GET", servedPNG, map[string]string{"Range": "bytes=2-4"}, 206, "234", map[string]string{
			"Content-Range": "bytes 2-4/10", "Etag": etag, "Content-Type": "image/png"}},
		"the rest":                    {"GET", servedPNG, map[string]string{"Range": "bytes=7-"}, 206, "789", map[string]string{"Content-Range": "bytes 7-9/10"}},
		"the end":                     {"GET", servedPNG, map[string]string{"Range": "bytes=-2"}, 206, "89", map[string]string{"Content-Range": "bytes 8-9/10"}},
		"a range of the same file":    {"GET", servedPNG, map[string]string{"Range": "bytes=2-4", "If-Range": etag}, 206, "234", nil},
		"a range of another file":     {"GET", servedPNG, map[string]string{"Range": "bytes=2-4", "If-Range": `"x"`}, 200, content, nil},
		"a range of a weak validator": {"GET", servedPNG, map[string]string{"Range": "bytes=2-4", "If-Range": "W/" + etag}, 200, content, nil},
		"the header of a range":       {"HEAD", servedPNG, map[string]string{"Range": "bytes=2-4"}, 206, "", map[string]string{"Content-Length": "3"}},
		"what the client has":         {"GET", servedPNG, map[string]string{"If-None-Match": etag}, 304, "", map[string]string{"Etag": etag}},
		"whatever the client has":     {"GET", servedPNG, map[string]string{"If-None-Match": "*"}, 304, "", nil},
		"what the client has not":     {"GET", servedPNG, map[string]string{"If-None-Match": `"x"`}, 200, content, nil},
		"what matches":                {"GET", servedPNG, map[string]string{"If-Match": `"x", ` + etag}, 200, content, nil},
		"of any age":                  {"GET", servedPNG, map[string]string{"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200, content, nil},
		"a type by extension only":    {"GET", servedHTML, nil, 200, "<html><script>alert(1)</script></html>", map[string]string{"Content-Type": "image/png"}},
		"no type for no extension":    {"GET", servedBare, nil, 200, "<html></html>", map[string]string{"Content-Type": "application/octet-stream"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/onebot/files/"+tt.file, nil)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			if err := h.ServeHTTP(w, r, next); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.want || w.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.want, tt.body)
			}
			for name, want := range tt.wantHeader {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
	if got := h.shared.counters.Stat(); got != (meta.Stat{}) {
		t.Errorf("counted %+v", got)
	}
}

func TestManyRangesAtOnce(t *testing.T) {
	h, _ := serving(t, nil)
	r := httptest.NewRequest("GET", "/files/"+servedPNG, nil)
	r.Header.Set("Range", "bytes=0-1,8-9")
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, next); err != nil {
		t.Fatal(err)
	}
	if kind := w.Header().Get("Content-Type"); w.Code != 206 || !strings.HasPrefix(kind, "multipart/byteranges; boundary=") ||
		!strings.Contains(w.Body.String(), "\r\n\r\n01\r\n") || !strings.Contains(w.Body.String(), "\r\n\r\n89\r\n") {
		t.Errorf("got %d %s\n%s", w.Code, kind, w.Body)
	}
}

func TestWhatIsNoServedFileIsAnEnvelope(t *testing.T) {
	h, _ := serving(t, func(h *Handler) { h.Route = "/onebot" })
	for name, tt := range map[string]struct {
		method, path  string
		header        map[string]string
		want, retcode int
		wantHeader    map[string]string
	}{
		"an unknown file":                {"GET", "/onebot/files/0123456789abcdef-ffffffffffffffffffffffffffffffff.png", nil, 404, 1404, nil},
		"no file":                        {"GET", "/onebot/files/", nil, 404, 1404, nil},
		"the file above":                 {"GET", "/onebot/files/../outside", nil, 404, 1404, nil},
		"the file above, escaped":        {"GET", "/onebot/files/..%2Foutside", nil, 404, 1404, nil},
		"the file above, escaped wholly": {"GET", "/onebot/files/%2e%2e%2foutside", nil, 404, 1404, nil},
		"the file above, with backslash": {"GET", `/onebot/files/..%5Coutside`, nil, 404, 1404, nil},
		"a file in a directory":          {"GET", "/onebot/files/inside/" + servedPNG, nil, 404, 1404, nil},
		"a file in a directory, escaped": {"GET", "/onebot/files/inside%2F" + servedPNG, nil, 404, 1404, nil},
		"a file as a directory":          {"GET", "/onebot/files/" + servedPNG + "/", nil, 404, 1404, nil},
		"a file behind two slashes":      {"GET", "/onebot/files//" + servedPNG, nil, 404, 1404, nil},
		"posted":                         {"POST", "/onebot/files/" + servedPNG, nil, 405, 1400, map[string]string{"Allow": "GET, HEAD"}},
		"deleted":                        {"DELETE", "/onebot/files/" + servedPNG, nil, 405, 1400, map[string]string{"Allow": "GET, HEAD"}},
		"an unknown file posted":         {"POST", "/onebot/files/x", nil, 405, 1400, map[string]string{"Allow": "GET, HEAD"}},
		"a range that there is not": {"GET", "/onebot/files/" + servedPNG, map[string]string{"Range": "bytes=10-"}, 416, 1400, map[string]string{
			"Content-Range": "bytes */10", "Content-Disposition": "", "Cache-Control": "", "Etag": ""}},
		"a range that is none": {"GET", "/onebot/files/" + servedPNG, map[string]string{"Range": "bytes=x"}, 416, 1400, nil},
		"what does not match": {"GET", "/onebot/files/" + servedPNG, map[string]string{"If-Match": `"x"`}, 412, 1400, map[string]string{
			"Content-Disposition": "", "Cache-Control": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, nil)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			w, envelope := serve(t, h, r)
			if w.Code != tt.want || envelope["retcode"] != float64(tt.retcode) || envelope["status"] != "failed" || envelope["wording"] == nil {
				t.Errorf("got %d %v, want %d with %d", w.Code, envelope, tt.want, tt.retcode)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("Content-Type is %q", got)
			}
			for name, want := range tt.wantHeader {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
	if got := h.shared.counters.Stat(); got != (meta.Stat{}) {
		t.Errorf("counted %+v", got)
	}
}

func TestOnlyWhatIsBelowFilesIsServed(t *testing.T) {
	h, _ := serving(t, func(h *Handler) { h.Route = "/onebot" })
	if err := h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/files/"+servedPNG, nil), next); !errors.Is(err, errNext) {
		t.Errorf("outside the route: %v", err)
	}
	for _, path := range []string{"/onebot/files", "/onebot/file/" + servedPNG, "/onebot/Files/" + servedPNG, "/onebot/x/files/" + servedPNG} {
		w, envelope := serve(t, h, httptest.NewRequest("GET", path, nil))
		if message, _ := envelope["message"].(string); w.Code != 404 || !strings.HasPrefix(message, "no such action") {
			t.Errorf("%s: got %d %v", path, w.Code, envelope)
		}
	}
	serve(t, h, httptest.NewRequest("GET", "/onebot/get_status", nil))
	if got, want := h.shared.counters.Stat(), (meta.Stat{PacketReceived: 5, PacketSent: 5}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestWithoutServeAFileIsAnUnknownAction(t *testing.T) {
	h := provision(t, nil)
	w, envelope := serve(t, h, httptest.NewRequest("GET", "/files/"+servedPNG, nil))
	if message, _ := envelope["message"].(string); w.Code != 404 || !strings.HasPrefix(message, "no such action") {
		t.Errorf("got %d %v", w.Code, envelope)
	}
	if got, want := h.shared.counters.Stat(), (meta.Stat{PacketReceived: 1, PacketSent: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestServedFilesNeedTheTokenBeforeAnythingElse(t *testing.T) {
	h, _ := serving(t, func(h *Handler) { h.AccessToken = []string{"token"} })
	for name, tt := range map[string]struct {
		method, target, header string
		want                   int
	}{
		"none":                       {"GET", servedPNG, "", 401},
		"none, and no such file":     {"GET", "x", "", 401},
		"none, and another method":   {"POST", servedPNG, "", 401},
		"a wrong one":                {"GET", servedPNG, "Bearer tokem", 403},
		"a wrong one in the query":   {"GET", servedPNG + "?access_token=tokem", "", 403},
		"a wrong one for the header": {"HEAD", servedPNG, "Bearer tokem", 403},
		"the right one":              {"GET", servedPNG, "Bearer token", 200},
		"the right one in the query": {"GET", servedPNG + "?access_token=token", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/files/"+tt.target, nil)
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			w := httptest.NewRecorder()
			if err := h.ServeHTTP(w, r, next); err != nil {
				t.Fatal(err)
			}
			retcode := 0
			if tt.want != 200 {
				var envelope struct{ Retcode int }
				if err := json.Unmarshal(w.Body.Bytes(), &envelope); err != nil {
					t.Fatal(err)
				}
				retcode = envelope.Retcode
			}
			if w.Code != tt.want || retcode != map[int]int{200: 0, 401: 1401, 403: 1403}[tt.want] {
				t.Errorf("got %d, retcode %d, want %d", w.Code, retcode, tt.want)
			}
		})
	}
}
