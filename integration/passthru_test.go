package integration

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// wantUnasked fails the test if anything has reached a backend but what the
// handler itself asks it.
func wantUnasked(t testing.TB, b *backend) {
	t.Helper()
	for _, s := range b.requests() {
		if action := s.action(); action != "get_status" && action != "get_supported_actions" || string(s.body) != "{}" {
			t.Errorf("the backend got %s %s %s", s.method, s.uri, s.body)
		}
	}
}

func TestOurActionsAreAnsweredInFrontOfABackend(t *testing.T) {
	for _, route := range []string{"", "/onebot"} {
		b := newBackend(t)
		c := startFront(t, b, "route /"+strings.TrimPrefix(route, "/"))
		for action, want := range calls {
			p := map[string]string{"echo": "e-1"}
			maps.Copy(p, want.params)
			envelope := params{"action": action, "params": want.params, "echo": "e-1"}.String()
			for name, call := range map[string]func(t *testing.T) reply{
				"GET":          func(t *testing.T) reply { return c.call(t, "GET", route+"/"+action+"?"+query(p), "") },
				"POST of JSON": func(t *testing.T) reply { return c.post(t, route+"/"+action, asJSON(p)) },
				"POST of a form with a slash at the end": func(t *testing.T) reply {
					return c.call(t, "POST", route+"/"+action+"/", query(p), "Content-Type", "application/x-www-form-urlencoded")
				},
				"_rate_limited":              func(t *testing.T) reply { return c.post(t, route+"/"+action+"_rate_limited", asJSON(p)) },
				"an envelope":                func(t *testing.T) reply { return c.post(t, route+"/", envelope) },
				"an envelope without a type": func(t *testing.T) reply { return c.call(t, "POST", route+"/", envelope) },
				"an envelope with much before its action": func(t *testing.T) reply {
					return c.post(t, route+"/", `{"x":"`+filler(1<<20)+`",`+envelope[1:])
				},
			} {
				t.Run(route+" "+action+" by "+name, func(t *testing.T) {
					if r := call(t).want(t, 200, want.status, want.code); string(r.echo) != `"e-1"` {
						t.Errorf("echo is %s", r.echo)
					}
				})
			}
			t.Run(route+" "+action+" in the background", func(t *testing.T) {
				c.post(t, route+"/"+action+"_async", asJSON(p)).wantAsync(t)
				c.post(t, route+"/", strings.Replace(envelope, action, action+"_async", 1)).wantAsync(t)
			})
		}
		wantUnasked(t, b)
	}
}

func TestOnlyOurOwnActionsAreRefused(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "max_body 1KiB")
	large := params{"a": filler(2000)}.String()
	for name, bad := range map[string]struct {
		method, body, mediaType string
		status                  int
	}{
		"a body that is no JSON":    {"POST", "{", "application/json", 400},
		"a body that is an array":   {"POST", "[]", "application/json", 400},
		"a body that is no form":    {"POST", "a=%zz", "application/x-www-form-urlencoded", 400},
		"a body of another type":    {"POST", "{}", "text/plain", 406},
		"a body that is too large":  {"POST", large, "application/json", 413},
		"another method":            {"DELETE", "", "", 405},
		"another method and a body": {"PUT", "{}", "application/json", 405},
	} {
		t.Run(name, func(t *testing.T) {
			for _, suffix := range []string{"", "_async", "_rate_limited", "/"} {
				c.call(t, bad.method, "/get_status"+suffix, bad.body, "Content-Type", bad.mediaType).wantRefused(t, bad.status)
			}
			for _, action := range []string{"send_msg", "get_status_async_async", "get_statu", "Get_status", "x/get_status"} {
				before := len(b.requests())
				status, _ := c.client.fetch(t, bad.method, "/"+action, bad.body, "Content-Type", bad.mediaType)
				if all := b.requests(); status != 200 || len(all) != before+1 || string(all[before].body) != bad.body {
					t.Errorf("%s is answered by %d, and %d requests reached the backend", action, status, len(all)-before)
				}
			}
		})
	}
	t.Run("an envelope of ours with params that are no object", func(t *testing.T) {
		before := len(b.requests())
		c.post(t, "/", `{"action":"set_restart","params":[]}`).wantRefused(t, 400)
		c.call(t, "POST", "/", "action=set_restart&params=7", "Content-Type", "application/x-www-form-urlencoded").wantRefused(t, 400)
		c.post(t, "/", `{"action":"set_restart","params":{"a":"`+filler(2000)+`"}}`).wantRefused(t, 413)
		if n := len(b.requests()) - before; n != 0 {
			t.Errorf("%d requests reached the backend", n)
		}
	})
}

// What goes to the route itself is ours only if its action is.
func TestWhatTheRouteItselfGets(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "route /onebot\nmax_body 1MiB")
	for name, body := range map[string]string{
		"a call":                               `{"action":"send_msg","params":{"a":"b"},"echo":{"x":[1, 2]}}`,
		"a call with its action at the end":    `{ "params": {"a":"` + filler(900_000) + `"}, "action": "get_login_info" }`,
		"a call that is too large for us":      `{"action":"send_msg","params":{"file":"base64://` + filler(5<<20) + `"}}`,
		"its action beyond what we read":       `{"params":{"file":"base64://` + filler(5<<20) + `"},"action":"send_msg"}`,
		"a call of ours in its params":         `{"params":{"action":"get_status"},"action":"send_msg"}`,
		"a call of ours in an array":           `[{"action":"get_status"}]`,
		"a call of ours in a string":           `"{\"action\":\"get_status\"}"`,
		"an action in upper case":              `{"action":"GET_STATUS"}`,
		"an action that is no string":          `{"action":5}`,
		"no action":                            `{"params":{}}`,
		"an empty action":                      `{"action":""}`,
		"an event":                             message("hello"),
		"an event with an action of ours":      message("hello", `"action":"get_status"`),
		"no JSON":                              "{{{{ \xff\x00 get_status",
		"half an object":                       `{"params":{"action":`,
		"nothing":                              "",
		"a string without an end":              `{"` + filler(2<<20),
		"brackets without an end":              strings.Repeat("[", 2<<20),
		"the action of others, and then of us": `{"action":"send_msg","action":"get_status"}`,
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.requests())
			status, _ := c.client.fetch(t, "POST", "/onebot/", body, "Content-Type", "application/json")
			all := b.requests()[before:]
			if status != 200 && status != 204 || len(all) != 1 {
				t.Fatalf("the answer is %d, and %d requests reached the backend", status, len(all))
			}
			receive(t, all[0].whole, "the body")
			if got := string(all[0].body); got != body {
				t.Errorf("of %d bytes %.100q the backend got %d bytes %.100q", len(body), body, len(got), got)
			}
		})
	}

	before := len(b.requests())
	for name, body := range map[string]string{
		"the action of us, and then of others": `{"action":"set_restart","action":"send_msg"}`,
		"an action with an escape":             `{"\u0061ction":"set\u005frestart"}`,
		"an action behind another name":        `{"Action":"send_msg","action":"set_restart"}`,
	} {
		t.Run(name, func(t *testing.T) { c.post(t, "/onebot/", body).wantOK(t) })
	}
	if n := len(b.requests()) - before; n != 0 {
		t.Errorf("%d requests reached the backend", n)
	}
	// without a body there is nothing that names an action, as anywhere else
	for _, path := range []string{"/onebot", "/onebot/", "/onebot?x=y", "/onebots/get_status", "/get_status"} {
		before := len(b.requests())
		if status, _ := c.client.fetch(t, "GET", path, ""); status != 200 || len(b.requests()) != before+1 {
			t.Errorf("GET %s is answered by %d", path, status)
		}
	}
}

func TestTheTokenIsCheckedHereFirstAndPassedOn(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "route /onebot\naccess_token first-token second-token")
	auth := []string{"Authorization", "Bearer first-token"}
	before := c.call(t, "GET", "/onebot/get_status", "", auth...).stat(t)
	asked := len(b.requests())
	for _, path := range []string{"/onebot/send_msg", "/onebot/", "/onebot", "/onebot/get_status", "/onebot/no/such"} {
		for _, method := range []string{"GET", "POST", "PATCH"} {
			for body, mediaType := range map[string]string{`{"action":"send_msg"}`: "application/json", message("hello"): "", "x": "text/plain"} {
				r := c.call(t, method, path, body, "Content-Type", mediaType)
				r.wantRefused(t, 401)
				r = c.call(t, method, path, body, "Content-Type", mediaType, "Authorization", "Bearer first-tokeN")
				r.wantRefused(t, 403)
				c.call(t, method, path+"?access_token=third", body, "Content-Type", mediaType).wantRefused(t, 403)
			}
		}
	}
	if n := len(b.requests()) - asked; n != 0 {
		t.Errorf("%d refused requests reached the backend", n)
	}
	after := c.call(t, "GET", "/onebot/get_status", "", auth...).stat(t)
	before["PacketReceived"]++ // the second get_status
	before["PacketSent"]++     // the answer to the first
	if !maps.Equal(before, after) {
		t.Errorf("refused requests count somewhere: %v, then %v", before, after)
	}

	for name, send := range map[string]struct {
		path   string
		header []string
	}{
		"in Authorization":   {"/onebot/send_msg?x=y", auth},
		"with another word":  {"/onebot/send_msg", []string{"Authorization", "Token second-token"}},
		"in the query":       {"/onebot/send_msg?a=b&access_token=second-token&c=d", nil},
		"to the route":       {"/onebot/?access_token=second-token", nil},
		"outside the route":  {"/send_msg?access_token=wrong", []string{"Authorization", "Basic d3Jvbmc6d3Jvbmc="}},
		"none, and no route": {"/onebots", nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(b.requests())
			status, _ := c.client.fetch(t, "POST", send.path, `{"action":"send_msg"}`, send.header...)
			all := b.requests()[before:]
			if status != 200 || len(all) != 1 {
				t.Fatalf("the answer is %d, and %d requests reached the backend", status, len(all))
			}
			if got, want := all[0].header["Authorization"], headerOf(send.header...)["Authorization"]; all[0].uri != send.path || !slices.Equal(got, want) {
				t.Errorf("the backend got %s with Authorization %q", all[0].uri, got)
			}
		})
	}
}

func TestABackendThatIsDownIsCaddysOwn502AndALostPacket(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "")
	c.tell(t, "/", heartbeat("true"))
	b.shutDown()
	for n, path := range []string{"/send_msg", "/", "/get_login_info"} {
		resp, err := c.client.Post(c.client.base+path, "application/json", strings.NewReader(`{"action":"send_msg"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadGateway || resp.ContentLength != 0 || resp.Header.Get("Content-Type") != "" {
			t.Errorf("%s is answered by %d %v", path, resp.StatusCode, resp.Header)
		}
		s := c.stat(t, "/get_status")
		if lost := int64(n + 1); s["PacketLost"] != lost || s["LostTimes"] != lost {
			t.Errorf("stat is %v after %d calls in vain", s, lost)
		}
	}
	b.startAgain(t)
	if status, answer := c.client.fetch(t, "POST", "/send_msg", `{"echo":1}`); status != 200 {
		t.Errorf("a backend that is back answers %d %s", status, answer)
	}
	if s := c.stat(t, "/get_status"); s["MessageSent"] != 1 || s["PacketLost"] != 3 {
		t.Errorf("stat is %v", s)
	}
}
