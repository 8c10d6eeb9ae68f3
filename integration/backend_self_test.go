package integration

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// What the other tests conclude is worth as much as the model is right.
func TestTheModelBackendDoesWhatItIsAskedTo(t *testing.T) {
	b := newBackend(t, withCompression(websocket.CompressionNoContextTakeover))
	app := newBackend(t, silent)
	post := func(path, body string) string {
		t.Helper()
		resp, err := http.Post(b.url+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Status + " " + string(got)
	}
	for _, test := range []struct{ path, body, want string }{
		{"/x/get_status", `{}`, "200 OK " + statusIs("true")},
		{"/send_msg/", `{"as":"failed","echo":1}`, `200 OK {"status":"failed","retcode":100,"data":null,"echo":1}`},
		{"/", `{"action":"send_msg_async","params":{},"echo":{"a":[]}}`, `200 OK {"status":"async","retcode":1,"data":null,"echo":{"a":[]}}`},
		{"/x/", message("hello"), "204 No Content "},
	} {
		if got := post(test.path, test.body); got != test.want {
			t.Errorf("POST %s %s is answered by %s, want %s", test.path, test.body, got, test.want)
		}
		s := b.await(t)
		receive(t, s.whole, "the body")
		if string(s.body) != test.body || s.uri != test.path {
			t.Errorf("what came is %s %s", s.uri, s.body)
		}
	}

	bot := b.dial(t, app.url+"/event", "X-Self-ID", "10001")
	there := app.socket(t)
	if there.header.Get("X-Self-ID") != "10001" || there.path != "/event" {
		t.Errorf("the handshake was %s %v", there.path, there.header)
	}
	bot.send(t, heartbeat("true"))
	there.send(t, `{"action":"send_msg","params":{"as":"async"},"echo":"e"}`)
	if got := there.next(t); got != text(heartbeat("true")) {
		t.Errorf("the app got %v", got)
	}
	if got, want := there.next(t).text, `{"status":"async","retcode":1,"data":null,"echo":"e"}`; got != want {
		t.Errorf("the app got %s, want %s", got, want)
	}
	bot.sendPieces(t, websocket.MessageBinary, "one ", "message")
	if got := there.next(t); got != (frame{websocket.MessageBinary, "one message"}) {
		t.Errorf("the app got %v", got)
	}
	bot.ping(t)
	broken := b.dial(t, app.url+"/")
	broken.sendRaw(t, []byte("\xf3\x80 no frame of any kind"))
	if code := broken.awaitEnd(t); code != websocket.StatusProtocolError {
		t.Errorf("garbage is answered by code %d", code)
	}
	if err := there.close(4321, "bye"); err != nil {
		t.Error(err)
	}
	if code := bot.awaitEnd(t); code != 4321 {
		t.Errorf("the code is %d", code)
	}
}
