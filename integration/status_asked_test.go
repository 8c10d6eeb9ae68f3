package integration

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// What a backend answers when it is asked how it is.
func TestABackendThatIsNotHeardOfIsAsked(t *testing.T) {
	t.Parallel() // it waits most of the time
	type test struct {
		answer http.HandlerFunc
		online bool
	}
	jsonType := []string{"Content-Type", "application/json"}
	says := func(data string) http.HandlerFunc { return body(200, ok(data), jsonType...) }
	tests := map[string]test{
		"online":                       {says(`{"online":true,"good":true,"stat":{"a":1}}`), true},
		"online and not good":          {says(`{"online":true,"good":false}`), true},
		"offline":                      {says(`{"online":false,"good":true}`), false},
		"online is null":               {says(`{"online":null,"good":true}`), false},
		"nothing about online":         {says(`{"good":true}`), false},
		"no data":                      {body(200, `{"status":"ok","retcode":0}`), false},
		"data is null":                 {says("null"), false},
		"data is an array":             {says(`[{"online":true}]`), false},
		"online is a string":           {says(`{"online":"true"}`), false},
		"online is a number":           {says(`{"online":1}`), false},
		"the action failed":            {body(200, `{"status":"failed","retcode":100,"data":{"online":true}}`), false},
		"not an envelope":              {body(200, `{"online":true}`), false},
		"no JSON":                      {body(200, "<html>online: true</html>", "Content-Type", "text/html"), false},
		"half an envelope":             {body(200, `{"status":"ok","data":{"online":true}`), false},
		"nothing at all":               {body(200, ""), false},
		"404":                          {body(404, "404 page not found"), false},
		"500":                          {body(500, "panic"), false},
		"204":                          {body(204, ""), false},
		"401":                          {body(401, ""), false},
		"too large to be true":         {says(`{"online":true,"x":"` + filler(20<<20) + `"}`), false},
		"compressed though not asked":  {body(200, gzipped(ok(`{"online":true}`)), "Content-Encoding", "gzip"), true},
		"a bomb":                       {body(200, gzipped(ok(`{"online":true,"x":"`+strings.Repeat("x", 64<<20)+`"}`)), "Content-Encoding", "gzip"), false},
		"chunked":                      {chunked(ok(`{"online":true}`)), true},
		"a body that never ends":       {endless, false},
		"cut off":                      {rawBody(1000, ok(`{"online":true}`), false), false},
		"a connection that is cut":     {raw("", true), false},
		"no HTTP at all":               {raw("SSH-2.0-OpenSSH\r\n\r\n", false), false},
		"a deep one":                   {body(200, `{"status":"ok","data":{"online":true,"x":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}}`), false},
		"a redirect is not followed":   {body(302, "", "Location", "/online"), false},
		"it never answers":             {nil, false},
		"it begins and never goes on":  {nil, false},
		"it says half and never whole": {nil, false},
	}
	b := newBackend(t)
	halves := map[string]string{"it begins and never goes on": "", "it says half and never whole": `{"status":"ok","retcode":0,"data":{"online":true`}
	for name, test := range tests {
		if first, half := halves[name]; half {
			test.answer = func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, first)
				_ = http.NewResponseController(w).Flush()
				b.never(w, r)
			}
		} else if test.answer == nil {
			test.answer = b.never
		}
		b.handle("/"+label(name)+"/get_status", test.answer)
	}
	down := newBackend(t)
	tests["nobody listens"] = test{}
	c := startFronts(t, b, tests, func(name string) *backend {
		if name == "nobody listens" {
			return down
		}
		return b
	}, "")
	down.shutDown()

	// all at once, since some of them take their time
	answers := make(map[string]reply)
	var mu sync.Mutex
	var calls sync.WaitGroup
	for name := range tests {
		calls.Go(func() {
			r, err := c.client.try("GET", "/"+label(name)+"/get_status", "")
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[name] = r
		})
	}
	calls.Wait()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := answers[name].online(t); got != test.online {
				t.Errorf("online is %t, want %t", got, test.online)
			}
			// the question is no packet, and a backend that was never there is not lost
			want := stat{"PacketReceived": 1, "DisconnectTimes": 0, "PacketLost": 0, "PacketSent": 0}
			s := answers[name].stat(t)
			for counter, n := range want {
				if s[counter] != n {
					t.Errorf("%s is %d, want %d", counter, s[counter], n)
				}
			}
			n := 0
			for _, s := range b.requests("get_status") {
				if strings.HasPrefix(s.uri, "/"+label(name)+"/") {
					n++
				}
			}
			if n != 1 && name != "nobody listens" {
				t.Errorf("the backend was asked %d times", n)
			}
		})
	}
}

// endless answers with a body that has no end.
func endless(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, `{"status":"ok","data":{"online":true,"x":"`)
	block := []byte(filler(1 << 16))
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestManyWhoAskAtOnceAreOneQuestion(t *testing.T) {
	const all = 50
	for name, answer := range map[string]string{"a backend that answers": statusIs("true"), "a backend that does not": ""} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			gate := make(chan struct{})
			b.answer("get_status", func(call) string {
				select {
				case <-gate:
				case <-b.life.Done():
				}
				return answer
			})
			c := startSites(t, b, map[string]int{"bot": 0})
			answers := make(chan reply, all)
			for range all {
				go func() {
					r, err := c.client.try("POST", "/bot/get_status", "{}")
					if err != nil {
						t.Error(err)
					}
					answers <- r
				}()
			}
			if answer != "" { // and else time runs out for all of them together
				own := int64(0)
				eventually(t, "all calls to arrive", func() bool {
					own++
					return c.stat(t, "/stat/bot/get_status")["PacketReceived"] == all+own
				})
				close(gate)
			}
			for range all {
				if got := receive(t, answers, "an answer").online(t); got != (answer != "") {
					t.Errorf("online is %t", got)
				}
			}
			for range all { // and what it said is news for a while
				c.wantOnline(t, "/bot/get_status", answer != "")
			}
			if n := len(b.requests("get_status")); n != 1 {
				t.Errorf("the backend was asked %d times", n)
			}
		})
	}
}

// The question is the caller's, and takes the way that its calls take.
func TestTheQuestionGoesTheWayOfACall(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\nroute {\n request_header X-Before {http.request.header.X-From}\n"+
		" onebot_meta {\n pass_thru\n route /onebot\n access_token secret other\n}\n request_header X-After yes\n"+
		" reverse_proxy "+b.addr+" {\n rewrite /bot{uri}\n header_up X-Added added\n header_up -X-Removed\n}\n}\n}")
	t.Cleanup(b.release)
	const caller = `{"echo":"of the caller"}`
	c.call(t, "POST", "/onebot/get_status?a=b", caller, "Authorization", "Bearer other", "Content-Type", "application/json",
		"X-From", "app", "X-Removed", "1", "X-Self-ID", "10001", "X-Signature", "sha1=of-another-body", "User-Agent", "my app/1.0").wantOK(t)
	s := b.await(t)
	receive(t, s.whole, "the body")
	if s.method != "POST" || s.uri != "/bot/onebot/get_status" || string(s.body) != "{}" {
		t.Errorf("the question is %s %s %s", s.method, s.uri, s.body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer other", "X-Before": "app", "X-Added": "added", "X-Removed": "", "X-Signature": "", "User-Agent": "my app/1.0", "X-After": "yes",
		"Content-Type": "application/json", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": c.addr,
	} {
		if got := s.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestTheQuestionHasTheTokenOfTheQuery(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "access_token a+b")
	c.call(t, "GET", "/get_status?access_token=a%2Bb", "").wantOK(t)
	if s := b.await(t); s.uri != "/get_status?access_token=a%2Bb" {
		t.Errorf("the backend was asked by %s", s.uri)
	}
}
