package caddymodule

import (
	"errors"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/onebot-caddy/onebot-meta/meta"
)

var (
	errNoFile = refusal{status: http.StatusNotFound, failure: &meta.Error{
		Retcode: meta.RetcodeNotFound, Message: "no such file", Wording: "文件不存在"}}
	errFileMethod = refusal{status: http.StatusMethodNotAllowed, failure: meta.BadRequest(
		"the method must be GET or HEAD", "请求方法必须是 GET 或 HEAD"), allow: "GET, HEAD"}
	errIfMatch = refusal{status: http.StatusPreconditionFailed, failure: meta.BadRequest(
		"If-Match names another file", "If-Match 与文件不符")}
	errRange = refusal{status: http.StatusRequestedRangeNotSatisfiable, failure: meta.BadRequest(
		"the file has no such range", "请求的范围不在文件之内")}
)

// servedName returns what a path says behind <route>/files/, and whether it is
// there at all. It is nowhere unless files are served.
func (h *Handler) servedName(path string) (name string, ok bool) {
	if h.openFile == nil {
		return "", false
	}
	return strings.CutPrefix(path, h.route+"/files/")
}

// serveFile answers a request for a file. It is no call, and so not counted.
func (h *Handler) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, errFileMethod)
		return
	}
	file, err := h.openSegment(name)
	if errors.Is(err, fs.ErrNotExist) {
		h.refuse(w, r, errNoFile)
		return
	}
	if err != nil {
		h.failFile(w, r, err)
		return
	}
	defer file.Close()

	header := w.Header()
	header.Set("ETag", `"`+name+`"`) // the bytes behind a name never change
	header.Set("Cache-Control", "private, max-age=31536000, immutable")
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	header.Set("Content-Type", typeOf(name))
	header.Set("X-Content-Type-Options", "nosniff")
	// No modification time: that of a file is when it was last returned.
	http.ServeContent(&fileWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		refuse:                func(status int) { h.refuseContent(w, r, status) },
	}, r, "", time.Time{}, file)
}

// openSegment opens a file by a name that must be one segment of a path.
func (h *Handler) openSegment(name string) (io.ReadSeekCloser, error) {
	if name == "" || strings.ContainsAny(name, `/\`) {
		return nil, fs.ErrNotExist
	}
	return h.openFile(name)
}

// typeOf returns the media type that a file's extension stands for. The
// content has no say: it comes from strangers.
func typeOf(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// refuseContent answers in place of [http.ServeContent], which refuses in
// plain text or without a word.
func (h *Handler) refuseContent(w http.ResponseWriter, r *http.Request, status int) {
	for _, name := range []string{"Cache-Control", "Content-Disposition", "ETag"} {
		w.Header().Del(name)
	}
	switch status {
	case http.StatusPreconditionFailed:
		h.refuse(w, r, errIfMatch)
	case http.StatusRequestedRangeNotSatisfiable:
		h.refuse(w, r, errRange)
	default:
		h.failFile(w, r, errors.New("the file cannot be searched"))
	}
}

// failFile answers a request for a file that is there but cannot be read.
func (h *Handler) failFile(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err // without the name, by which whoever reads the log could fetch the file
	}
	h.refusals().Error("file not served", zap.Error(err))
	deliver(w, r, http.StatusInternalServerError, meta.Failure(err, nil))
}

// fileWriter lets successes through and leaves what is refused to refuse.
type fileWriter struct {
	*caddyhttp.ResponseWriterWrapper
	refuse  func(status int)
	refused bool
}

// WriteHeader satisfies [http.ResponseWriter].
func (w *fileWriter) WriteHeader(status int) {
	if status < 400 {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	w.refused = true
	w.refuse(status)
}

// Write satisfies [http.ResponseWriter].
func (w *fileWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil // said in an envelope already
	}
	return w.ResponseWriterWrapper.Write(p)
}

// fileURLs returns what returns the URLs of files for a call that came by r, or
// nil if files are not served.
func (h *Handler) fileURLs(r *http.Request) func(name string) string {
	if !h.Cache.Serve {
		return nil
	}
	return func(name string) string { return h.fileURL(r, name) }
}

// fileURL returns the absolute URL by which the client that sent r can fetch
// the file of this name, or "" if nothing tells which host it called. Of
// trusted proxies, X-Forwarded-Proto and X-Forwarded-Host are believed.
func (h *Handler) fileURL(r *http.Request, name string) string {
	scheme, hosts := "http", []string{r.Host}
	if r.TLS != nil {
		scheme = "https"
	}
	if caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey) == true {
		if proto := strings.ToLower(firstOf(r.Header.Get("X-Forwarded-Proto"))); proto == "http" || proto == "https" {
			scheme = proto
		}
		hosts = []string{firstOf(r.Header.Get("X-Forwarded-Host")), r.Host}
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		hosts = append(hosts, local.String())
	}
	for _, host := range hosts {
		if validHost(host) {
			place := url.URL{Scheme: scheme, Host: host}
			return place.String() + clientPath(r, (&url.URL{Path: h.route + "/files/" + name}).EscapedPath())
		}
	}
	return ""
}

// firstOf returns the first item of a list such as those that proxies make of
// the X-Forwarded headers.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// validHost reports whether host can stand in a URL as it is: a client may put
// anything in a Host header.
func validHost(host string) bool {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:[]"
	u, err := url.Parse("//" + host)
	return err == nil && u.Hostname() != "" && strings.Trim(host, allowed) == "" &&
		strings.Contains(u.Hostname(), ":") == (host[0] == '[')
}

// clientPath returns the path by which the client that sent r reaches an
// escaped path of ours. Handlers before this one may have taken a prefix off
// what the client sent, as handle_path does, or put one before it.
func clientPath(r *http.Request, ours string) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return ours
	}
	sent := strings.TrimSuffix(original.URL.EscapedPath(), "/")
	seen := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	if prefix, ok := strings.CutSuffix(sent, seen); ok {
		return strings.TrimRight(prefix, "/") + ours
	}
	if prefix, ok := strings.CutSuffix(seen, sent); ok {
		return strings.TrimPrefix(ours, prefix)
	}
	return ours // rewritten beyond recognition
}

// Interface guards
var _ http.ResponseWriter = (*fileWriter)(nil)
