package caddymodule

import (
	"io"
	"io/fs"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// unseekable is a file that fails where another goes to its end.
type unseekable struct{ served }

func (unseekable) Seek(int64, int) (int64, error) { return 0, syscall.EIO }

func TestAFileThatCannotBeReadIsOurFault(t *testing.T) {
	h, open := serving(t, nil)
	core, logs := observer.New(zap.DebugLevel)
	h.refusals = func() *zap.Logger { return zap.New(core) }
	whole := h.openFile
	for name, openFile := range map[string]func(string) (io.ReadSeekCloser, error){
		"it cannot be opened": func(name string) (io.ReadSeekCloser, error) {
			return nil, &fs.PathError{Op: "open", Path: "/var/lib/" + name, Err: syscall.EMFILE}
		},
		"it has no end": func(name string) (io.ReadSeekCloser, error) {
			f, err := whole(name)
			return unseekable{f.(served)}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h.openFile = openFile
			w, envelope := serve(t, h, httptest.NewRequest("GET", "/files/"+servedPNG, nil))
			if w.Code != 500 || envelope["status"] != "failed" || w.Header().Get("ETag") != "" {
				t.Errorf("got %d %v", w.Code, envelope)
			}
			if *open != 0 {
				t.Error("the file is open")
			}
			entries := logs.TakeAll()
			if len(entries) != 1 || entries[0].Level != zap.ErrorLevel {
				t.Fatalf("logged %v", entries)
			}
			for key, value := range entries[0].ContextMap() {
				if s, ok := value.(string); !ok || strings.Contains(s, servedPNG) {
					t.Errorf("logged %s %v", key, value)
				}
			}
		})
	}
}

// A client that goes away in the middle is no reason to keep the file open.
func TestABrokenConnectionClosesTheFile(t *testing.T) {
	h, open := serving(t, nil)
	err := h.ServeHTTP(brokenWriter{httptest.NewRecorder()}, httptest.NewRequest("GET", "/files/"+servedPNG, nil), next)
	if err != nil || *open != 0 {
		t.Errorf("%v, and %d files are open", err, *open)
	}
}

// A writer that hides io.ReaderFrom would keep Caddy's own from it, and copy
// in pieces of 32 KiB.
func TestServedFilesAreReadFromByTheConnection(t *testing.T) {
	h, _ := serving(t, nil)
	var reads int
	w := &readingWriter{httptest.NewRecorder(), &reads}
	if err := h.ServeHTTP(w, httptest.NewRequest("GET", "/files/"+servedPNG, nil), next); err != nil {
		t.Fatal(err)
	}
	if reads != 1 || w.Body.String() != content {
		t.Errorf("read %d times: %s", reads, w.Body)
	}
}

type readingWriter struct {
	*httptest.ResponseRecorder
	reads *int
}

func (w *readingWriter) ReadFrom(r io.Reader) (int64, error) {
	*w.reads++
	return io.Copy(w.ResponseRecorder, r)
}
