package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// app is the end of a WebSocket connection that a bot's app has, by a client
// that shares nothing with the module.
type app struct {
	*websocket.Conn
	t testing.TB
}

// tryOpen opens a connection to Caddy. The response is the handshake's.
func (c *instance) tryOpen(t testing.TB, path string, header ...string) (*app, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "ws://"+c.addr+path, &websocket.DialOptions{HTTPClient: c.client.Client, HTTPHeader: headerOf(header...)})
	if err != nil {
		return nil, resp, err
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &app{conn, t}, resp, nil
}

// open opens a connection to Caddy.
func (c *instance) open(t testing.TB, path string, header ...string) *app {
	t.Helper()
	a, resp, err := c.tryOpen(t, path, header...)
	if err != nil {
		t.Fatalf("opening %s: %v (%v)", path, err, resp)
	}
	return a
}

func (a *app) say(message string) {
	a.t.Helper()
	allSecrets.addMessage(message, "a WebSocket message")
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	if err := a.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		a.t.Fatalf("saying %.100s: %v", message, err)
	}
}

// tryHear returns the next message.
func (a *app) tryHear() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, message, err := a.Read(ctx)
	if err == nil && kind != websocket.MessageText {
		err = fmt.Errorf("a message of the kind %v", kind)
	}
	return string(message), err
}

func (a *app) hear() string {
	a.t.Helper()
	message, err := a.tryHear()
	if err != nil {
		a.t.Fatalf("waiting for a message: %v", err)
	}
	return message
}

// call makes a call and returns the next message as its reply.
func (a *app) call(action, echo string, fields ...string) reply {
	a.t.Helper()
	a.say(ours(action, echo, fields...))
	return wantEnvelope(a.t, a.hear(), echo)
}

// wantEvent fails the test unless the next message is an event with these
// fields, and returns it.
func (a *app) wantEvent(want params) (event map[string]any) {
	a.t.Helper()
	text := a.hear()
	wantEvent(a.t, json.RawMessage(text), want)
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		a.t.Fatal(err)
	}
	if at := time.Unix(int64(event["time"].(float64)), 0); time.Since(at).Abs() > 2*patience {
		a.t.Errorf("the time of an event is %v", at)
	}
	return event
}

// wantEnd fails the test if the connection is not closed with a code, after
// messages that do not matter.
func (a *app) wantEnd(want websocket.StatusCode) {
	a.t.Helper()
	for {
		if _, err := a.tryHear(); err != nil {
			if got := websocket.CloseStatus(err); got != want {
				a.t.Fatalf("the connection ends with %d (%v), want %d", got, err, want)
			}
			return
		}
	}
}

// connecting is the event that a connection begins with.
func connecting(selfID int) params {
	return params{"post_type": "meta_event", "meta_event_type": "lifecycle", "sub_type": "connect", "self_id": selfID}
}
