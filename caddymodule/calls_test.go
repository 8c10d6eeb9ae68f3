package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/onebot-caddy/onebot-meta/meta"
)

// taken is the calls of a connection with nobody at its end.
type taken struct {
	*calls
	cancel  context.CancelFunc
	replies chan string
}

func newTaken(t testing.TB, h *Handler) *taken {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r := httptest.NewRequest(http.MethodGet, "http://bot.example/api", nil)
	return &taken{h.newCalls(ctx, r, nil), cancel, make(chan string, 1000)}
}

func (c *taken) send(reply []byte) bool {
	c.replies <- string(reply)
	return c.ctx.Err() == nil
}

func (c *taken) call(message string) { c.take([]byte(message), nil, c.send) }

// next returns the next reply.
func (c *taken) next(t testing.TB) string {
	t.Helper()
	select {
	case reply := <-c.replies:
		return reply
	case <-time.After(30 * time.Second):
		t.Fatal("there is no reply")
		return ""
	}
}

func TestAMessageIsACall(t *testing.T) {
	h := provision(t, func(h *Handler) { h.MaxBody = 100_000 })
	for _, tt := range []struct {
		name, message string
		want          string // fields of the reply
	}{
		{"an action", `{"action":"set_restart"}`, `"status":"ok","retcode":0,"data":null}`},
		{"with params", `{"action":"set_restart","params":{"delay":1},"echo":1}`, `"status":"ok","retcode":0,"data":null,"echo":1}`},
		{"params that are null", `{"action":"set_restart","params":null}`, `"status":"ok"`},
		{"an echo, as it came", `{"echo":{"b":1e400, "a":[ "\u00e9é</>",{"b":2,"b":1} ]},"action":"set_restart"}`, `"echo":{"b":1e400, "a":[ "\u00e9é</>",{"b":2,"b":1} ]}}`},
		{"an echo that is null", `{"action":"set_restart","echo":null}`, `"data":null,"echo":null}`},
		{"a suffix", `{"action":"set_restart_rate_limited"}`, `"status":"ok"`},
		{"in the background", `{"action":"set_restart_async","echo":"e"}`, `"status":"async","retcode":1,"data":null,"echo":"e"}`},
		{"an action that fails", `{"action":"download_file","echo":2}`, `"status":"failed","retcode":1400,"data":null,"message":"url is missing","wording":"缺少参数 url","echo":2}`},
		{"an unknown action", `{"action":"nonsense","echo":3}`, `"status":"failed","retcode":1404,"data":null,"message":"no such action: \"nonsense\"","wording":"API 不存在: \"nonsense\"","echo":3}`},
		{"an action that is no string", `{"action":1}`, `"retcode":1404`},
		{"no action", `{"echo":4}`, `"retcode":1404,"data":null,"message":"no action is named","wording":"未指定 API","echo":4}`},
		{"nothing", ``, `"retcode":1404`},
		{"params that are no object", `{"action":"set_restart","params":[],"echo":5}`, `"retcode":1400,"data":null,"message":"params must be a JSON object","wording":"params 必须是 JSON 对象","echo":5}`},
		{"an array", `[{"action":"set_restart"}]`, `"retcode":1400`},
		{"text", `get_status`, `"retcode":1400`},
		{"an end that is missing", `{"action":"set_restart"`, `"retcode":1400`},
		{"two objects", `{"action":"set_restart"}{}`, `"retcode":1400`},
		{"what is not UTF-8", "{\"action\":\"set_restart\",\"echo\":\"\xff\"}", `"retcode":1400`},
		{"a deep nest", `{"action":"set_restart","echo":` + strings.Repeat("[", 40_000) + strings.Repeat("]", 40_000) + `}`, `"retcode":1400`},
		{"a deep nest that never ends", strings.Repeat(`{"a":[`, 10_000), `"retcode":1400`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := h.shared.counters.Stat()
			c := newTaken(t, h)
			c.call(tt.message)
			reply := c.next(t)
			if !strings.Contains(reply, tt.want) || !json.Valid([]byte(reply)) {
				t.Errorf("the reply is\n%.1000s, want\n%s", reply, tt.want)
			}
			want := before
			want.PacketReceived++
			want.PacketSent++
			if got := h.shared.counters.Stat(); got != want {
				t.Errorf("the counters are %+v, want %+v", got, want)
			}
		})
	}
}

func TestAMessageThatIsTooLargeFailsWithItsEcho(t *testing.T) {
	c := newTaken(t, provision(t, nil))
	for echo, want := range map[string]string{
		``: `"wording":"消息超过 16 MiB"}`, `{"a": 1}`: `"message":"the message is larger than 16 MiB","wording":"消息超过 16 MiB","echo":{"a": 1}}`, "\"\xff\"": `"wording":"消息超过 16 MiB"}`,
	} {
		var sent []byte
		if echo != "" {
			sent = []byte(echo)
		}
		c.take(nil, sent, c.send)
		if reply := c.next(t); !strings.HasSuffix(reply, want) || !strings.Contains(reply, `"retcode":1400`) || !utf8.ValidString(reply) {
			t.Errorf("with the echo %q the reply is %s, want %s", echo, reply, want)
		}
	}
}

func TestAConnectionForEventsTakesNoCalls(t *testing.T) {
	c := newTaken(t, provision(t, nil))
	c.refuse = errEventsOnly
	for message, echo := range map[string]string{
		`{"action":"get_status","echo":"e"}`: `,"echo":"e"}`, `{"action":"nonsense"}`: `}`, `{"action":"get_status","params":1,"echo":2}`: `,"echo":2}`, `[`: `}`,
	} {
		c.call(message)
		if reply := c.next(t); !strings.Contains(reply, `"status":"failed","retcode":1400`) || !strings.HasSuffix(reply, `"`+echo) {
			t.Errorf("%s is answered by %s", message, reply)
		}
	}
}

// stalling provides an origin that answers when it is told to, and a handler
// that may ask it.
func stalling(t testing.TB, change func(*Handler)) (h *Handler, url string, release func()) {
	t.Helper()
	h = provision(t, func(h *Handler) {
		h.Download.AllowPrivate = []string{"*"}
		if change != nil {
			change(h)
		}
	})
	released := make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(origin.Close)
	t.Cleanup(release)
	return h, origin.URL + "/a.png", release
}

func downloading(url, echo string) string {
	return fmt.Sprintf(`{"action":"download_file","params":{"url":%q},"echo":%s}`, url, echo)
}

func TestOnlySoManyCallsOfAConnectionWait(t *testing.T) {
	for _, tt := range []struct {
		name    string
		maxBody int64
		most    int
	}{
		{"by number", 0, maxWaiting},
		{"by size", 1000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, url, release := stalling(t, func(h *Handler) { h.MaxBody = tt.maxBody })
			c := newTaken(t, h)
			most := tt.most
			if most == 0 {
				most = 1000 / len(downloading(url, "1"))
			}
			for range most {
				c.call(downloading(url, "1"))
			}
			if n := len(c.replies); n != 0 {
				t.Fatalf("%d calls did not wait, such as %s", n, c.next(t))
			}
			for range 2 {
				c.call(downloading(url, "2"))
				if reply := c.next(t); !strings.Contains(reply, `"retcode":1400,"data":null,"message":"too many calls`) || !strings.HasSuffix(reply, `,"echo":2}`) {
					t.Errorf("one more call is answered by %s", reply)
				}
			}
			other := newTaken(t, h)
			other.call(`{"action":"get_status"}`)
			if reply := other.next(t); !strings.Contains(reply, `"status":"ok"`) {
				t.Errorf("another connection is answered by %s", reply)
			}
			release()
			for range most {
				if reply := c.next(t); !strings.Contains(reply, `"status":"ok"`) || !strings.HasSuffix(reply, `,"echo":1}`) {
					t.Errorf("a call that waited is answered by %s", reply)
				}
			}
			<-c.drained()
			c.call(`{"action":"get_status"}`)
			if reply := c.next(t); !strings.Contains(reply, `"status":"ok"`) {
				t.Errorf("a call afterwards is answered by %s", reply)
			}
		})
	}
}

func TestALargeCallMayWaitAlone(t *testing.T) {
	h, url, release := stalling(t, nil)
	h.MaxBody = 1 // a relay need not keep to it exactly
	c := newTaken(t, h)
	c.call(downloading(url, "1"))
	release()
	if reply := c.next(t); !strings.Contains(reply, `"status":"ok"`) {
		t.Errorf("it is answered by %s", reply)
	}
}

func TestCallsThatWaitAreLostWithTheConnection(t *testing.T) {
	h, url, _ := stalling(t, nil)
	c := newTaken(t, h)
	for range 10 {
		c.call(downloading(url, "1"))
	}
	select {
	case <-c.drained():
		t.Fatal("they do not wait")
	default:
	}
	c.cancel()
	<-c.drained()
	want := meta.Stat{PacketReceived: 10, PacketLost: 10, LostTimes: 10}
	if got := h.shared.counters.Stat(); got != want {
		t.Errorf("the counters are %+v, want %+v", got, want)
	}
}

func TestARepliesWithoutATakerIsLost(t *testing.T) {
	h := provision(t, nil)
	c := newTaken(t, h)
	c.take([]byte(`{"action":"get_status"}`), nil, func([]byte) bool { return false })
	want := meta.Stat{PacketReceived: 1, PacketLost: 1, LostTimes: 1}
	if got := h.shared.counters.Stat(); got != want {
		t.Errorf("the counters are %+v, want %+v", got, want)
	}
}

func TestDrainingEndsWithTheCallsThePatienceOrTheConnection(t *testing.T) {
	const long = time.Hour
	for name, end := range map[string]func(c *taken, release, hurry func()){
		"the calls":      func(_ *taken, release, _ func()) { release() },
		"the connection": func(c *taken, _, _ func()) { c.cancel() },
		"a hurry":        func(_ *taken, _, hurry func()) { hurry() },
	} {
		t.Run(name, func(t *testing.T) {
			h, url, release := stalling(t, nil)
			c := newTaken(t, h)
			c.drain(long, nil) // nothing waits yet
			c.call(downloading(url, "1"))
			hurried, drained := make(chan struct{}), make(chan struct{})
			c.drain(0, nil)
			go func() {
				defer close(drained)
				c.drain(long, hurried)
			}()
			end(c, release, func() { close(hurried) })
			select {
			case <-drained:
			case <-time.After(30 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

func TestFilesAreOfferedToAConnectionWhereTheyAreServed(t *testing.T) {
	for serve, want := range map[bool]string{false: "", true: `"url":"http://bot.example/files/`} {
		h := provision(t, func(h *Handler) { h.Cache.Serve = serve })
		c := newTaken(t, h)
		c.call(`{"action":"download_file","params":{"base64":"YQ=="}}`)
		reply := c.next(t)
		if !strings.Contains(reply, `"status":"ok"`) || strings.Contains(reply, `"url"`) != serve || !strings.Contains(reply, want) {
			t.Errorf("the reply is %s, want %s", reply, want)
		}
	}
}
