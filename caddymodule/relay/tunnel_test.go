package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

var modes = map[string]websocket.CompressionMode{
	"no compression":           websocket.CompressionDisabled,
	"compression with context": websocket.CompressionContextTakeover,
	"compression without":      websocket.CompressionNoContextTakeover,
}

func TestRealPeersThroughAProxy(t *testing.T) {
	for app, appMode := range modes {
		for implementation, mode := range modes {
			t.Run(app+", "+implementation, func(t *testing.T) {
				s := newSite(t, onebot(t, mode).URL, false).start()
				c := s.dial(t, appMode)
				talk(t, c)
				c.Close(websocket.StatusNormalClosure, "")
				if got, want := <-s.ended, (ending{true, false}); got != want {
					t.Errorf("ended: %v, want %v", got, want)
				}
				s.rec.checkTalk(t)
			})
		}
	}
}

const large = 300_000

// talk makes calls of both kinds and sees that each is answered once by whom it
// is for.
func talk(t *testing.T, c *websocket.Conn) {
	t.Helper()
	if _, event, err := c.Read(within(t)); err != nil || !strings.Contains(string(event), "post_type") {
		t.Fatalf("the event: %q, %v", event, err)
	}
	var echoes []string
	for i := range 50 {
		send(t, c, `{"action":"mine%d","echo":"ours%d","params":{"a":"aaaaaaaaaaaaaaa"}}`, i, i)
		send(t, c, `{"action":"send_msg","echo":"theirs%d","params":{"a":"aaaaaaaaaaaaaaa"}}`, i)
		echoes = append(echoes, fmt.Sprintf(`"ours%d"`, i), fmt.Sprintf(`"theirs%d"`, i))
	}
	for echo, message := range get(t, c, echoes...) {
		if ours := strings.HasPrefix(echo, `"ours`); ours != strings.Contains(message, `"data":"ours"`) {
			t.Errorf("%s was answered by the wrong one: %s", echo, message)
		}
	}
	send(t, c, `{"action":"repeat","echo":1,"params":"%s"}`, strings.Repeat("0123456789", large/10))
	if got := get(t, c, "1")["1"]; len(got) < large {
		t.Errorf("of a large message %d bytes came back", len(got))
	}
}

func (r *record) checkTalk(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) != 50 || slices.Contains(r.sent, false) || len(r.sent) != 50 {
		t.Errorf("%d calls answered here, and sent: %v", len(r.calls), r.sent)
	}
	if len(r.to) != 51 || r.to[0] != `call send_msg "theirs0"` || r.to[50] != "call repeat 1" {
		t.Errorf("to the implementation: %d, %q", len(r.to), r.to)
	}
	if len(r.from) != 52 || r.from[0] != "event message" || r.from[1] != `response "theirs0"` || r.lost > 0 {
		t.Errorf("from the implementation: %d, %q; %d lost", len(r.from), r.from, r.lost)
	}
}

func TestWhoEndsTheConnection(t *testing.T) {
	for _, c := range []struct {
		name      string
		end       func(*testing.T, *websocket.Conn)
		status    websocket.StatusCode // that the client sees
		byBackend bool
	}{
		{"the client by a Close frame", func(t *testing.T, c *websocket.Conn) { c.Close(4001, "") }, -1, false},
		{"the client by going", func(t *testing.T, c *websocket.Conn) { c.CloseNow() }, -1, false},
		{"the backend by a Close frame", func(t *testing.T, c *websocket.Conn) { send(t, c, `{"action":"quit by Close"}`) }, 4000, true},
		{"the backend by going", func(t *testing.T, c *websocket.Conn) { send(t, c, `{"action":"quit"}`) }, websocket.StatusInternalError, true},
	} {
		for i := range 4 {
			reverse, recorded := i&1 != 0, i&2 != 0
			t.Run(fmt.Sprintf("%s, reverse %v, recorded %v", c.name, reverse, recorded), func(t *testing.T) {
				s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, reverse)
				s.recorded = recorded
				s.start()
				conn := s.dial(t, websocket.CompressionDisabled)
				if _, _, err := conn.Read(within(t)); err != nil {
					t.Fatal(err)
				}
				c.end(t, conn)
				if c.status > 0 {
					_, _, err := conn.Read(within(t))
					if got := websocket.CloseStatus(err); got != c.status {
						t.Errorf("the client sees %v, want %v", err, c.status)
					}
				}
				if got, want := <-s.ended, (ending{true, c.byBackend != reverse}); got != want {
					t.Errorf("ended: %v, want %v", got, want)
				}
			})
		}
	}
}

func TestOtherResponsesPassUntouched(t *testing.T) {
	s := newSite(t, onebot(t, websocket.CompressionDisabled).URL, false).start()
	_, response, err := websocket.Dial(within(t), s.URL+"/refuse", nil)
	if err == nil || response.StatusCode != http.StatusTeapot {
		t.Fatalf("%v, %v", response, err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "not here\n" {
		t.Errorf("the body is %q, %v", body, err)
	}
	if got := <-s.ended; got.opened {
		t.Errorf("ended: %v", got)
	}
}

// reverse is an app that calls, behind a site that an implementation dials.
func TestAnAppBehind(t *testing.T) {
	for implementation, mode := range modes {
		for app, appMode := range modes {
			t.Run(implementation+", "+app, func(t *testing.T) {
				var done sync.WaitGroup
				done.Add(1)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer done.Done()
					c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: appMode, CompressionThreshold: 1})
					if err != nil {
						t.Error(err)
						return
					}
					c.SetReadLimit(-1)
					defer c.CloseNow()
					talk(t, c)
					c.Close(websocket.StatusNormalClosure, "")
				}))
				defer server.Close()
				s := newSite(t, server.URL, true).start()
				c := s.dial(t, mode)
				serve(t, c)
				done.Wait()
				if got, want := <-s.ended, (ending{true, false}); got != want {
					t.Errorf("ended: %v, want %v", got, want)
				}
				s.rec.checkTalk(t)
			})
		}
	}
}

// serve answers like an implementation until the app goes.
func serve(t *testing.T, c *websocket.Conn) {
	send(t, c, `{"post_type":"message"}`)
	for {
		_, message, err := c.Read(within(t))
		var closed websocket.CloseError
		if errors.As(err, &closed) && closed.Code == websocket.StatusNormalClosure {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		var call struct {
			Action string
			Echo   json.RawMessage
		}
		json.Unmarshal(message, &call)
		if call.Action == "repeat" {
			send(t, c, "%s", message)
		} else {
			send(t, c, `{"status":"ok","retcode":0,"data":%q,"echo":%s}`, call.Action, call.Echo)
		}
	}
}
