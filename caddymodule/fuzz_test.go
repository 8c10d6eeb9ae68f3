package caddymodule

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gobwas/ws"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// FuzzTokens sends any Authorization and any query. A token is found where a
// plain reader of either finds it, and nothing else is one.
func FuzzTokens(f *testing.F) {
	for _, seed := range [][2]string{
		{"Bearer s3cret", ""}, {"s3cret", ""}, {"Bearer", ""}, {"token\t s3cret ", ""}, {"token\ts3cret", ""}, {"Bearer s3cret x", ""}, {"bearer wrong", "access_token=s3cret"},
		{"", "access_token=s3cret"}, {"", "a=;&access_token=s%33cret"}, {"", "access_token=&access_token=s3cret"}, {"", "access_token=%zz&access_token=s3cret"},
		{"Basic czNjcmV0", "Access_Token=s3cret"}, {"s3crets", "access_token=s3cre"},
	} {
		f.Add(seed[0], seed[1])
	}
	const secret = "s3cret"
	known, err := newTokens([]string{"other", secret})
	if err != nil {
		f.Fatal(err)
	}
	scheme := regexp.MustCompile(`^[^ \t]+[ \t]+`)
	f.Fuzz(func(t *testing.T, authorization, query string) {
		r := &http.Request{Header: http.Header{"Authorization": {authorization}}, URL: &url.URL{RawQuery: query}}
		header := strings.TrimSpace(authorization)
		token := strings.TrimSpace(scheme.ReplaceAllString(header, ""))
		if strings.EqualFold(header, "bearer") {
			token = ""
		}
		sent := []string{token}
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			name, nameErr := url.QueryUnescape(name)
			value, valueErr := url.QueryUnescape(value)
			if nameErr == nil && valueErr == nil && name == "access_token" && !strings.Contains(pair, ";") {
				sent = append(sent, value)
				break // of several the first counts
			}
		}
		sent = slices.DeleteFunc(sent, func(s string) bool { return s == "" })
		why, ok := known.authorize(r)
		want := errForbidden
		if len(sent) == 0 {
			want = errUnauthorized
		}
		if right := slices.Contains(sent, secret) || slices.Contains(sent, "other"); ok != right || !ok && why != want {
			t.Errorf("%q, %q: got %v, %t; sent %q", authorization, query, why, ok, sent)
		}
	})
}

// FuzzMatch finds what a path says behind a route as one does who goes from
// segment to segment. A file is only ever behind it.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"", "/"}, {"", "/get_status/"}, {"", "*"}, {"/onebot", "/onebot"}, {"/onebot", "/onebots"}, {"/onebot", "/onebot//a/"}, {"/a/b", "/a/b/files/x"}, {"/a", "/a/files/../x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, route, path string) {
		if route != "" && (route[0] != '/' || strings.HasSuffix(route, "/")) {
			return // which Provision would not leave so
		}
		h := &Handler{route: route, openFile: func(string) (io.ReadSeekCloser, error) { return nil, nil }}
		is, want := strings.Split(path, "/"), strings.Split(route, "/")
		ours := len(is) >= len(want) && slices.Equal(is[:len(want)], want) && (path == route || len(is) > len(want))
		action, ok := h.match(path)
		if ok != ours || ok && (strings.Trim(action, "/") != action || strings.Trim(strings.Join(is[len(want):], "/"), "/") != action) {
			t.Errorf("%q below %q: %q, %t", path, route, action, ok)
		}
		if name, isFile := h.servedName(path); isFile && (!ours || path != route+"/files/"+name) {
			t.Errorf("%q below %q: the file %q", path, route, name)
		}
	})
}

// handshaking is a response that takes over the connection.
type handshaking struct {
	httptest.ResponseRecorder
	conn net.Conn
}

func (h *handshaking) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// wired is a connection with what a client has sent, and what it gets.
type wired struct {
	io.Reader
	bytes.Buffer
}

func (w *wired) Read(p []byte) (int, error) { return w.Reader.Read(p) }

// plainList is a list of words.
var plainList = regexp.MustCompile(`^[A-Za-z-]+(, ?[A-Za-z-]+)*$`)

// FuzzHandshake opens a WebSocket connection with any headers. What is accepted
// here is accepted by another implementation, with the same answer.
func FuzzHandshake(f *testing.F) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	for _, seed := range [][4]string{
		{"websocket", "Upgrade", "13", key}, {"WebSocket", "keep-alive, Upgrade", "13", key}, {"h2c, websocket", "upgrade", "13", key}, {"websocket", "close", "13", key},
		{"websocket", "Upgrade", "8", key}, {"websocket", "Upgrade", "13", "dGhl"}, {"websockets", "Upgrade", "13", key}, {"websocket", "Upgrade", " 13", key + "\n"},
		{"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZR=="}, {"websocket", "Upgrade", "13", "dGhlIHNhbXBs\nZSBub25jZQ=="},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, upgrade, connection, version, key string) {
		var request bytes.Buffer
		request.WriteString("GET / HTTP/1.1\r\nHost: bot.example\r\n")
		for name, value := range map[string]string{"Upgrade": upgrade, "Connection": connection, "Sec-WebSocket-Version": version, "Sec-WebSocket-Key": key} {
			request.WriteString(name + ": " + value + "\r\n")
		}
		request.WriteString("\r\n")
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request.Bytes())))
		if err != nil || len(r.Header) != 4 {
			return // other headers, or none
		}
		if _, ok := checkHandshake(r); !ok || !asksForWebSocket(r) {
			return
		}
		theirs := &wired{Reader: bytes.NewReader(request.Bytes())}
		_, err = ws.Upgrader{}.Upgrade(theirs)
		if !strings.EqualFold(strings.TrimSpace(upgrade), "websocket") || !plainList.MatchString(connection) || strings.Contains(version+key, "\n") {
			return // that one wants nothing else in Upgrade, takes Connection apart as a whole, and joins no lines
		}
		if err != nil {
			t.Fatalf("%q: the other says %v", request.String(), err)
		}
		want, err := http.ReadResponse(bufio.NewReader(&theirs.Buffer), r)
		if err != nil {
			t.Fatal(err)
		}
		ours, client := net.Pipe()
		defer client.Close()
		w := &handshaking{*httptest.NewRecorder(), ours}
		wire, err := accept(w, r)
		if err != nil {
			t.Fatal(err)
		}
		wire.finish(false)
		var got bytes.Buffer
		_ = w.Header().Write(&got) // a Buffer never fails
		if said := "Sec-WebSocket-Accept: " + want.Header.Get("Sec-WebSocket-Accept") + "\r\n"; w.Code != http.StatusSwitchingProtocols || !strings.Contains(got.String(), said) {
			t.Errorf("%q: got %d %q, want %q", request.String(), w.Code, got.String(), said)
		}
	})
}

// named is the action that encoding/json finds in the body of a call. It is not
// ok if that is not to be compared, since a name occurs twice or is escaped.
func named(body []byte) (action string, ok bool) {
	var call map[string]json.RawMessage
	if json.Unmarshal(body, &call) != nil || !utf8.Valid(body) || bytes.ContainsRune(body, '\\') ||
		bytes.Count(body, []byte(`"action"`)) > 1 || bytes.Count(body, []byte(`"post_type"`)) > 1 || len(call["action"]) > 200 || len(call["post_type"]) > 200 {
		return "", false
	}
	var postType string
	if json.Unmarshal(call["post_type"], &postType) == nil && postType != "" {
		return "", true // an event
	}
	_ = json.Unmarshal(call["action"], &action) // of another type it is none
	return action, true
}

// FuzzPassThru sends any body to the route of an implementation behind, in
// pieces, and has that answer anything. What is ours is answered here, and
// everything else passes: the same bytes there and back, and counted once.
func FuzzPassThru(f *testing.F) {
	for _, seed := range [][3]string{
		{"", `{"action":"get_version_info","echo":1}`, ""}, {"", `{"params":{"message":"x"},"action":"send_msg"}`, `{"status":"ok","retcode":0}`},
		{"", `{"post_type":"message","action":"get_status"}`, ""}, {typeForm, "action=send_group_msg&a=b", `{"status":"async"}`}, {typeForm, "action=set_restart_async", ""},
		{typeJSON, `{"action":`, ""}, {"text/plain", `{"action":"get_version_info"}`, "x"}, {"", "\ufeff{}", "\x1f\x8b"}, {"", `{"action":"send_msg"}`, `{"status":"failed","status":"ok"}`},
	} {
		f.Add(seed[0], []byte(seed[1]), []byte(seed[2]), true)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, `{"status":"ok"}`)
	_ = w.Close() // a Buffer never fails
	f.Add("", []byte(`{"action":"send_msg"}`), zipped.Bytes(), false)
	h := provision(f, func(h *Handler) { h.PassThru, h.MaxBody = true, 4<<10 })
	f.Fuzz(func(t *testing.T, kind string, body, answer []byte, known bool) {
		if bytes.Contains(body, []byte("download_file")) || bytes.Contains(body, []byte("get_status")) || bytes.Contains(body, []byte("get_supported_actions")) {
			return // for which the implementation would be asked, or who knows who
		}
		var passed []byte
		calls := 0
		next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) (err error) {
			calls++
			if bytes.HasPrefix(answer, []byte("\x1f\x8b")) {
				w.Header().Set("Content-Encoding", "gzip")
			}
			passed, err = io.ReadAll(iotest.OneByteReader(r.Body))
			_, _ = w.Write(answer)
			return err
		})
		r := httptest.NewRequest(http.MethodPost, "/", iotest.OneByteReader(bytes.NewReader(body)))
		if known {
			r.ContentLength = int64(len(body))
		}
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		before := h.shared.counters.Stat()
		if err := h.ServeHTTP(w, r, next); err != nil {
			t.Fatal(err)
		}
		after := h.shared.counters.Stat()
		if after.PacketReceived != before.PacketReceived+1 || after.PacketSent != before.PacketSent+1 || after.PacketLost != before.PacketLost {
			t.Errorf("%q: counted %+v after %+v", body, after, before)
		}
		if calls == 1 && (!bytes.Equal(passed, body) || !bytes.Equal(w.Body.Bytes(), answer)) {
			t.Errorf("%q became %q, and %q %q", body, passed, answer, w.Body)
		}
		if calls == 0 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q: the answer is %q", body, w.Body)
		}
		if len(body) > 1000 || kind != "" && kind != typeJSON {
			return
		}
		action, ok := named(body)
		if !ok {
			return
		}
		if ours := h.dispatcher.Knows(action); calls > 1 || ours != (calls == 0) {
			t.Errorf("%q: passed %d times, ours is %t", body, calls, ours)
		}
		if zipped, err := gzip.NewReader(bytes.NewReader(answer)); err == nil {
			if answer, err = io.ReadAll(zipped); err != nil || len(answer) > maxResponse {
				return
			}
		}
		var said map[string]json.RawMessage
		if json.Unmarshal(answer, &said) != nil || bytes.Count(answer, []byte(`"status"`)) > 1 || bytes.ContainsRune(answer, '\\') {
			return // of a name that occurs twice the first counts there
		}
		sent := meta.SendsMessage(action) && (string(said["status"]) == `"ok"` || string(said["status"]) == `"async"`)
		if got := after.MessageSent - before.MessageSent; (got == 1) != sent {
			t.Errorf("%q: %d messages were sent by %q", body, got, answer)
		}
	})
}
