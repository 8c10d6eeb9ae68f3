package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/coder/websocket"
)

// onebot is a WebSocket server as implementations are: it sends an event and
// answers calls. A call of quit makes it go, in one way or another.
func onebot(t *testing.T, mode websocket.CompressionMode) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			http.Error(w, "not here", http.StatusTeapot)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1})
		if err != nil {
			t.Errorf("accepting: %v", err)
			return
		}
		defer c.CloseNow()
		ctx := r.Context()
		c.SetReadLimit(-1)
		c.Write(ctx, websocket.MessageText, []byte(`{"post_type":"message","text":"`+strings.Repeat("hello ", 50)+`"}`))
		for {
			kind, message, err := c.Read(ctx)
			if err != nil {
				return
			}
			var call struct {
				Action string
				Echo   json.RawMessage `json:",omitempty"`
			}
			json.Unmarshal(message, &call)
			switch call.Action {
			case "quit by Close":
				c.Close(4000, "bye")
				return
			case "quit":
				return
			case "repeat":
				c.Write(ctx, kind, message)
			case "call me":
				c.Write(ctx, kind, []byte(`{"action":"mine","echo":"from behind"}`))
				_, reply, _ := c.Read(ctx)
				c.Write(ctx, kind, fmt.Appendf(nil, `{"got":%s}`, reply))
			default:
				c.Write(ctx, kind, fmt.Appendf(nil, `{"status":"ok","retcode":0,"data":%q,"echo":%s}`, call.Action, call.Echo))
			}
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// A site has a relay in front of a proxy.
type site struct {
	*httptest.Server
	rec    *record
	ended  chan ending  // of each request
	unload func() error // the proxy

	// recorded makes the connection pass through a wrapper of Caddy's, which
	// has no CloseWrite, as when there are access logs.
	recorded bool
}

type ending struct{ opened, byImplementation bool }

func newSite(t *testing.T, backend string, reverse bool) *site {
	t.Helper()
	proxy := &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: strings.TrimPrefix(backend, "http://")}}}
	config, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(config)
	t.Cleanup(cancel)
	if err := proxy.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Cleanup() })
	s := &site{rec: &record{}, ended: make(chan ending, 100), unload: proxy.Cleanup}
	s.rec.reply = func(message string) string {
		var call struct{ Echo json.RawMessage }
		json.Unmarshal([]byte(message), &call)
		return fmt.Sprintf(`{"status":"ok","retcode":0,"data":"ours","echo":%s}`, call.Echo)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		rl := New(s.rec.options(reverse, 1<<20))
		if s.recorded {
			w = caddyhttp.NewResponseRecorder(w, nil, nil)
		}
		wrapped, request := rl.Wrap(w, r)
		err := proxy.ServeHTTP(wrapped, request, nil)
		opened, byImplementation := rl.Close()
		s.ended <- ending{opened, byImplementation}
		if err != nil {
			t.Errorf("the proxy failed: %v", err)
		}
	}))
	s.EnableHTTP2 = true
	t.Cleanup(s.Close)
	return s
}

func (s *site) start() *site {
	s.Start()
	return s
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (s *site) dial(t *testing.T, mode websocket.CompressionMode) *websocket.Conn {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, _, err := websocket.Dial(within(t), s.URL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(-1)
	return c
}

func send(t *testing.T, c *websocket.Conn, format string, args ...any) {
	t.Helper()
	if err := c.Write(within(t), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		t.Fatal(err)
	}
}

// get reads messages until one has been told of each of the echoes, and returns
// them by it.
func get(t *testing.T, c *websocket.Conn, echoes ...string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for len(got) < len(echoes) {
		_, message, err := c.Read(within(t))
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		var response struct{ Echo json.RawMessage }
		if err := json.Unmarshal(message, &response); err != nil {
			t.Fatalf("%q: %v", message, err)
		}
		echo := string(response.Echo)
		if !slices.Contains(echoes, echo) || got[echo] != "" {
			t.Fatalf("unexpected %q", message)
		}
		got[echo] = string(message)
	}
	return got
}
