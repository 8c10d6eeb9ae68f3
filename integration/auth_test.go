package integration

import (
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const (
	firstToken  = "first-token-5e1f"
	secondToken = "a+b/c=%&?ü"
	thirdToken  = "third"
)

// guarded is a handler below a route that is open to those with a token.
const guarded = "route /onebot\nmax_body 1KiB\naccess_token " + firstToken + " " + secondToken + "\naccess_token " + thirdToken

func TestATokenOpensEveryAction(t *testing.T) {
	c := startBot(t, guarded)
	for _, token := range []string{firstToken, secondToken, thirdToken} {
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER ", "Token ", "What-Ever ", "Bearer   ", ""} {
			t.Run("in Authorization as "+scheme+token, func(t *testing.T) {
				c.call(t, "GET", "/onebot/get_status", "", "Authorization", scheme+token).wantOK(t)
				c.post(t, "/onebot/", `{"action":"get_status"}`, "Authorization", scheme+token).wantOK(t)
			})
		}
		t.Run("in the query as "+token, func(t *testing.T) {
			q := "?access_token=" + url.QueryEscape(token)
			c.call(t, "GET", "/onebot/get_status"+q, "").wantOK(t)
			c.call(t, "GET", "/onebot/get_status/"+q+"&echo=e", "").wantOK(t)
			c.call(t, "POST", "/onebot/get_status"+q, "echo=e", "Content-Type", "application/x-www-form-urlencoded").wantOK(t)
			c.post(t, "/onebot"+q, `{"action":"get_status"}`).wantOK(t)
		})
	}
}

func TestNoTokenIs401AndAWrongOneIs403(t *testing.T) {
	c := startBot(t, guarded)
	before := c.stat(t, "/onebot/get_status?access_token="+firstToken)

	const form = "application/x-www-form-urlencoded"
	none := map[string]func(t *testing.T) reply{
		"nothing": func(t *testing.T) reply { return c.call(t, "GET", "/onebot/get_status", "") },
		"an empty Authorization": func(t *testing.T) reply {
			return c.call(t, "GET", "/onebot/get_status", "", "Authorization", "")
		},
		"a scheme alone": func(t *testing.T) reply {
			return c.call(t, "GET", "/onebot/get_status", "", "Authorization", "Bearer")
		},
		"an empty parameter": func(t *testing.T) reply { return c.call(t, "GET", "/onebot/get_status?access_token=", "") },
		"a token in JSON":    func(t *testing.T) reply { return c.post(t, "/onebot/get_status", `{"access_token":"third"}`) },
		"a token in a form": func(t *testing.T) reply {
			return c.call(t, "POST", "/onebot/get_status", "access_token=third", "Content-Type", form)
		},
		"a token in another header": func(t *testing.T) reply {
			return c.call(t, "GET", "/onebot/get_status", "", "X-Access-Token", thirdToken)
		},
	}
	for name, call := range none {
		t.Run(name, func(t *testing.T) { call(t).wantRefused(t, 401) })
	}

	wrong := map[string]string{
		"its first byte differs": "F" + firstToken[1:],
		"its last byte differs":  firstToken[:len(firstToken)-1] + "e",
		"a byte within differs":  strings.Replace(firstToken, "-token", "_token", 1),
		"it is too short":        firstToken[:len(firstToken)-1],
		"it is too long":         firstToken + "f",
		"it is in upper case":    strings.ToUpper(firstToken),
		"it is two tokens":       firstToken + thirdToken,
		"it is very long":        strings.Repeat(firstToken, 1000),
		"it is in base64":        base64.StdEncoding.EncodeToString([]byte(firstToken)),
	}
	for name, token := range wrong {
		t.Run(name, func(t *testing.T) {
			c.call(t, "GET", "/onebot/get_status", "", "Authorization", "Bearer "+token).wantRefused(t, 403)
			c.call(t, "GET", "/onebot/get_status", "", "Authorization", token).wantRefused(t, 403)
			c.call(t, "GET", "/onebot/get_status?access_token="+url.QueryEscape(token), "").wantRefused(t, 403)
			c.post(t, "/onebot/", `{"action":"get_status"}`, "Authorization", "Bearer "+token).wantRefused(t, 403)
		})
	}

	after := c.stat(t, "/onebot/get_status?access_token="+firstToken)
	before["PacketReceived"]++ // the second get_status
	before["PacketSent"]++     // the answer to the first
	if !maps.Equal(before, after) {
		t.Errorf("refused calls count somewhere: %v, then %v", before, after)
	}
}

func TestTheTokenComesBeforeEveryOtherAnswer(t *testing.T) {
	c := startBot(t, guarded)
	for name, call := range map[string]struct {
		status       int
		method, path string
		contentType  string
		body         string
	}{
		"unknown action":    {404, "POST", "/onebot/no_such_action", "application/json", "{}"},
		"no action":         {404, "GET", "/onebot", "", ""},
		"another method":    {405, "PUT", "/onebot/get_status", "application/json", "{}"},
		"another type":      {406, "POST", "/onebot/get_status", "text/plain", "{}"},
		"too large":         {413, "POST", "/onebot/get_status", "application/json", `{"a":"` + filler(2<<10) + `"}`},
		"broken JSON":       {400, "POST", "/onebot/get_status", "application/json", "{"},
		"broken form":       {400, "POST", "/onebot/get_status", "application/x-www-form-urlencoded", "a=%zz"},
		"an escaped route":  {404, "GET", "/%6Fnebot/no_such_action", "", ""},
		"an escaped slash":  {404, "GET", "/onebot%2Fno_such_action", "", ""},
		"dots in the route": {404, "GET", "/onebot/../no_such_action", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			send := func(header ...string) reply {
				t.Helper()
				if call.contentType != "" {
					header = append(header, "Content-Type", call.contentType)
				}
				return c.call(t, call.method, call.path, call.body, header...)
			}
			send().wantRefused(t, 401)
			send("Authorization", "Bearer wrong").wantRefused(t, 403)
			send("Authorization", "Bearer "+firstToken).wantRefused(t, call.status)
		})
	}
}

func TestAPathOutsideTheRouteGoesOnUntouched(t *testing.T) {
	c := startBot(t, guarded)
	for _, path := range []string{
		"/", "/get_status", "/onebots", "/onebots/get_status", "/onebot2/", "/onebot.", "/onebot;x", "/one/bot",
		"/x/onebot/get_status", "/ONEBOT/get_status", "/onebots?access_token=wrong&a=%zz;b", "/get_status/", "/%E4%BD%A0/a%2Fb?x=y",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			t.Run(method+" "+path, func(t *testing.T) {
				req, err := http.NewRequest(method, c.client.base+path, strings.NewReader("{"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "text/plain")
				resp, err := c.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != 200 || string(body) != "next "+path {
					t.Errorf("got %d %s, want it from the next handler", resp.StatusCode, body)
				}
			})
		}
	}
	t.Run("and counts nowhere", func(t *testing.T) {
		if n := c.stat(t, "/onebot/get_status?access_token=third")["PacketReceived"]; n != 1 {
			t.Errorf("PacketReceived is %d", n)
		}
	})
}

func TestWithoutATokenEveryoneMayCall(t *testing.T) {
	c := startBot(t, "")
	for _, header := range []string{"", "Bearer", "Bearer whatever", "whatever"} {
		c.call(t, "GET", "/get_status", "", "Authorization", header).wantOK(t)
	}
	c.call(t, "GET", "/get_status?access_token=whatever", "").wantOK(t)
}

func TestStatusesOfRefusedCalls(t *testing.T) {
	c := startBot(t, "max_body 1KiB")
	for _, path := range []string{
		"/", "/no_such_action", "/no_such_action/", "/get_status/x", "/GET_STATUS", "/get_statuses", "/%00", "/\"%0A\\", "/a%2Fb", "/..",
	} {
		t.Run("404 for GET "+path, func(t *testing.T) {
			c.call(t, "GET", path, "").wantRefused(t, 404)
		})
	}
	for _, body := range []string{
		"", "{}", "null", `{"action":null}`, `{"action":""}`, `{"action":"no_such_action"}`, `{"action":5}`, `{"action":["get_status"]}`,
		`{"params":{"action":"get_status"}}`, `{"ACTION":"get_status"}`,
	} {
		t.Run("404 for an envelope "+body, func(t *testing.T) {
			c.post(t, "/", body).wantRefused(t, 404)
		})
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
		t.Run("405 for "+method, func(t *testing.T) {
			c.call(t, method, "/get_status", "").wantRefused(t, 405)
			c.call(t, method, "/download_file_async/", "{}", "Content-Type", "application/json").wantRefused(t, 405)
		})
	}
	t.Run("405 for HEAD, without a body", func(t *testing.T) {
		resp, err := c.client.Head(c.client.base + "/get_status")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, POST" || resp.ContentLength <= 0 {
			t.Errorf("got %d %v", resp.StatusCode, resp.Header)
		}
	})
	for _, contentType := range []string{
		"text/plain", "text/json", "application/xml", "multipart/form-data; boundary=x", "application/jsonp", "json", "?", "*/*",
	} {
		t.Run("406 for "+contentType, func(t *testing.T) {
			c.call(t, "POST", "/get_status", "{}", "Content-Type", contentType).wantRefused(t, 406)
		})
	}
	t.Run("413 for more than max_body", func(t *testing.T) {
		fits, over := strings.Repeat(" ", 1022)+"{}", strings.Repeat(" ", 1023)+"{}"
		c.post(t, "/get_status", fits).wantOK(t)
		c.post(t, "/get_status", over).wantRefused(t, 413)
		c.call(t, "POST", "/get_status", over).wantRefused(t, 413)
		c.post(t, "/", `{"action":"get_status"}`+over).wantRefused(t, 413)
		c.call(t, "POST", "/get_status", "a="+filler(1024), "Content-Type", "application/x-www-form-urlencoded").wantRefused(t, 413)
	})
	t.Run("all of them were taken and answered", func(t *testing.T) {
		if s := c.stat(t, "/get_status"); s["PacketReceived"] != s["PacketSent"]+1 || s["PacketLost"] != 0 {
			t.Errorf("stat is %v", s)
		}
	})
}
