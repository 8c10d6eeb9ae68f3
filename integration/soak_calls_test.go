package integration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// soakCalls are the calls that a handler that stands alone is given, and the
// retcode that each is answered by.
var soakCalls = []struct {
	action  string
	params  map[string]string
	retcode int
}{
	{"get_status", nil, 0}, {"get_version_info", nil, 0}, {"get_supported_actions", nil, 0},
	{"set_restart", map[string]string{"delay": "0"}, 0}, {"clean_cache", nil, 0}, {"reload_event_filter", map[string]string{"file": "x"}, 0},
	{"get_word_slices", map[string]string{"content": "x"}, 1404}, {".get_word_slices", nil, 1404},
	{"download_file", map[string]string{"url": "ftp://x"}, 1400},
	{"download_file", map[string]string{"base64": base64.StdEncoding.EncodeToString([]byte("a picture"))}, 0},
	{"made_up", nil, 1404}, {"send_msg", nil, 1404},
}

// callOverHTTP makes a call in some form, and with some fault.
func (s *soak) callOverHTTP(r *rand.Rand) {
	b := s.books["calls"]
	call := soakCalls[r.IntN(len(soakCalls))]
	known := call.action != "made_up" && call.action != "send_msg"
	suffix := pick(r, "", "", "_rate_limited", "_async")
	echo := fmt.Sprint(r.IntN(1e6))
	named := make(params)
	for name, value := range call.params {
		named[name] = value
	}
	path, method, header := "/calls/"+call.action+suffix, "POST", append([]string{"Content-Type", "application/json"}, soakAuth...)
	enveloped := params{"action": call.action + suffix, "params": call.params, "echo": json.RawMessage(echo)}.String()
	named["echo"] = json.RawMessage(echo)
	text := named.String()
	status, retcode, label, echoed := 200, call.retcode, call.action, `"`+echo+`"`
	switch r.IntN(4) {
	case 0:
		method, path, text = "GET", path+"?"+query(withEcho(call.params, echo)), ""
	case 1:
		text, header[1] = query(withEcho(call.params, echo)), "application/x-www-form-urlencoded"
	case 2:
		path, text, echoed = "/calls/", enveloped, echo
	case 3:
		echoed = echo
	}
	if suffix == "_async" {
		retcode = 1
	}
	if !known {
		status, retcode, label = 404, 1404, "other"
	}
	byPath := path != "/calls/"
	switch fault := r.IntN(12); {
	case fault == 0:
		header, status, retcode, echoed = header[:2], 401, 1401, ""
	case fault == 1:
		header[3], status, retcode, echoed = "Bearer wrong-token", 403, 1403, ""
	case fault == 2 && byPath && known:
		method, status, retcode = "PUT", 405, 1400
	case fault == 3 && known && method == "POST":
		header[1], text, status, retcode, echoed = "application/json", `{"echo":`, 400, 1400, ""
	case fault == 4 && known && byPath && method == "POST":
		header[1], status, retcode, echoed = "text/plain", 406, 1400, ""
	case fault == 5 && known && method == "POST":
		header[1], text, status, retcode, echoed = "application/json", `{"a":"`+strings.Repeat("x", soakBody)+`"}`, 413, 1400, ""
	}
	if !byPath && (status == 401 || status == 403 || status == 400 || status == 413) {
		label = "other" // the action has not been read
	}
	got, ok := s.ask(method, path, text, header...)
	if !ok {
		return
	}
	b.call(label, got.retcode)
	if got.http != status || got.retcode != retcode || echoed != "" && string(got.echo) != echoed {
		s.t.Errorf("%s %s %.200s is answered by %d %s, want %d, %d, echo %s", method, path, text, got.http, got.body, status, retcode, echoed)
	}
	if call.action == "download_file" && got.retcode == 0 {
		s.keep("calls", got, func() string { return "a picture" })
	}
}

func withEcho(p map[string]string, echo string) map[string]string {
	all := map[string]string{"echo": echo}
	for name, value := range p {
		all[name] = value
	}
	return all
}

// dial opens a WebSocket connection, until that is taken.
func (s *soak) dial(path string, header ...string) (*websocket.Conn, bool) {
	for attempt := 1; ; attempt++ {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		conn, resp, err := websocket.Dial(ctx, "ws://"+s.addr+path, &websocket.DialOptions{HTTPClient: s.client.Client, HTTPHeader: headerOf(header...)})
		cancel()
		if err == nil {
			conn.SetReadLimit(-1)
			return conn, true
		}
		if resp != nil || attempt == 100 {
			s.t.Errorf("opening %s: %v (%v)", path, err, resp)
			return nil, false
		}
	}
}

// callOverWebSocket makes calls, all at once, by a connection that is ended in
// some way when they are answered.
func (s *soak) callOverWebSocket(r *rand.Rand) {
	path := pick(r, "/calls/", "/calls", "/calls/api", "/calls/event")
	conn, ok := s.exchange(r, path)
	if !ok {
		return
	}
	defer conn.CloseNow()
	switch r.IntN(3) {
	case 0:
		_ = conn.Close(websocket.StatusNormalClosure, "")
	case 1: // stays, and may be met by a reload
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Duration(r.Int64N(int64(3*time.Second))))
		defer cancel()
		for {
			_, message, err := conn.Read(ctx)
			if code := websocket.CloseStatus(err); code != -1 && code != websocket.StatusGoingAway {
				s.t.Errorf("%s is closed with %v", path, err)
			}
			if err != nil {
				return
			}
			if !strings.Contains(string(message), `"post_type":"meta_event"`) {
				s.t.Errorf("%s says %s", path, message)
			}
		}
	}
}

// exchange opens a connection and makes calls by it, all of which are answered.
func (s *soak) exchange(r *rand.Rand, path string) (*websocket.Conn, bool) {
	s.reloads.RLock()
	defer s.reloads.RUnlock()
	conn, ok := s.dial(path, soakAuth...)
	if !ok {
		return nil, false
	}
	b := s.books["calls"]
	wanted := make(map[string]int) // retcodes by echo
	labels := make(map[string]string)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for n := range r.IntN(8) + 1 {
		call := soakCalls[r.IntN(len(soakCalls))]
		echo := fmt.Sprintf(`"w-%d"`, n)
		suffix, label, retcode := pick(r, "", "_rate_limited", "_async"), call.action, call.retcode
		switch {
		case call.action == "made_up" || call.action == "send_msg":
			label = "other"
		case suffix == "_async":
			retcode = 1
		}
		message := params{"action": call.action + suffix, "params": call.params, "echo": json.RawMessage(echo)}.String()
		if r.IntN(10) == 0 && n == 0 { // whose answer has no echo
			message, echo, label, retcode = "no JSON", "", "other", 1400
		} else if path == "/calls/event" {
			retcode = 1400
		}
		wanted[echo], labels[echo] = retcode, label
		kind := pick(r, websocket.MessageText, websocket.MessageBinary)
		if err := conn.Write(ctx, kind, []byte(message)); err != nil {
			s.t.Errorf("%s: %v", path, err)
			return conn, false
		}
	}
	for len(wanted) > 0 {
		_, message, err := conn.Read(ctx)
		if err != nil {
			s.t.Errorf("%s: %v, with no answer to %v", path, err, wanted)
			return conn, false
		}
		if strings.Contains(string(message), `"post_type":"meta_event"`) && path != "/calls/api" {
			continue
		}
		got, err := parseEnvelope(string(message))
		retcode, ok := wanted[string(got.echo)]
		if err != nil || !ok || got.retcode != retcode {
			s.t.Errorf("%s: %v, want retcode %d\n%s", path, err, retcode, message)
			return conn, false
		}
		b.call(labels[string(got.echo)], retcode)
		delete(wanted, string(got.echo))
	}
	return conn, true
}

// callAndHangUp makes calls and is gone, before or after the answers.
func (s *soak) callAndHangUp(r *rand.Rand) {
	conn, ok := s.dial(pick(r, "/loose/", "/loose/api"))
	if !ok {
		return
	}
	b := s.books["loose"]
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for range r.IntN(20) + 1 {
		_ = conn.Write(ctx, websocket.MessageText, []byte(ours("get_version_info", "1"))) // a reload may have been sooner
		b.unsurePackets(0, 1)
		b.timed("get_version_info", 0, 1)
		b.between(b.actions("get_version_info", 0), 0, 1)
	}
	if r.IntN(3) == 0 { // in the middle of a message
		if w, err := conn.Writer(ctx, websocket.MessageText); err == nil {
			_, _ = w.Write([]byte(filler(10_000)))
		}
	}
	_ = conn.CloseNow()
}
