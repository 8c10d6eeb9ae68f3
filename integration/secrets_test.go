package integration

import (
	"net/http"
	"strings"
	"testing"
)

// Whatever becomes of a call, neither the answer nor a line of the log may have
// what only its sender and its receiver are to know.
func TestNoSecretIsAnsweredOrLogged(t *testing.T) {
	const secret = "5ecret"
	c := startCaddy(t, "http://<SITE> {\n"+
		"onebot_meta {\n route /open\n name open\naccess_token {env.TOKEN}\n"+
		download("stall_timeout 200ms", "max_size 1000", "max_redirects 1", "retries 0")+"\n}\n"+
		"onebot_meta {\n route /shut\n name shut\n}\n}", global("\tdebug"), environ("TOKEN=token-"+secret))
	o := newOrigin(t)
	host := strings.TrimPrefix(o.url, "http://")
	echoed := func(w http.ResponseWriter, r *http.Request) { // as an origin may
		raw("HTTP/1.1 500 "+secret+"\r\nX-Key: "+secret+"\r\n\r\n"+secret, false)(w, r)
	}
	for path, answer := range map[string]http.HandlerFunc{
		"/ok":        content("a picture"),
		"/large":     content(filler(1001)),
		"/500":       echoed,
		"/204":       status(204),
		"/cut":       rawBody(100, secret, false),
		"/reset":     raw("", true),
		"/stall":     o.stall(secret, "rest"),
		"/no-http":   raw(secret+" is no HTTP\r\n\r\n", false),
		"/bad-head":  raw("HTTP/1.1 200 OK\r\n"+secret+"\r\n\r\n", false),
		"/bad-name":  raw("HTTP/1.1 200 OK\r\n"+secret+" x: y\r\n\r\n", false),
		"/length":    raw("HTTP/1.1 200 OK\r\nContent-Length: "+secret+"\r\n\r\n", false),
		"/status":    raw("HTTP/1.1 "+secret+" OK\r\n\r\n", false),
		"/encoding":  raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: "+secret+"\r\n\r\n", false),
		"/chunk":     raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+secret+"\r\n", false),
		"/type":      typed("x/"+secret+"; ="+secret, secret, "x"),
		"/moved":     redirect(302, "/ok?key="+secret),
		"/circle":    redirect(302, "/circle?key="+secret),
		"/moved-ftp": redirect(302, "ftp://"+secret+":"+secret+"@127.0.0.1/?"+secret),
		"/moved-bad": redirect(302, "http://"+secret+":"+secret+"@127.0.0.1:http/?"+secret),
		"/moved-esc": redirect(302, "/%zz?"+secret),
		"/moved-out": redirect(302, "http://user:"+secret+"@[::1]:"+o.port+"/?"+secret),
		"/moved-off": redirect(302, "http://user:"+secret+"@"+freeAddr(t)+"/?"+secret),
	} {
		o.handle(path, answer)
	}
	authority := "://user:" + secret + "@" + host
	calls := map[string]params{
		"a closed port":    {"url": "http://user:" + secret + "@" + freeAddr(t) + "/?key=" + secret},
		"no TLS":           {"url": "https" + authority + "/?key=" + secret},
		"a bad scheme":     {"url": "ftp" + authority + "/?key=" + secret},
		"a bad port":       {"url": "http://user:" + secret + "@127.0.0.1:http/?key=" + secret},
		"a bad escape":     {"url": "http" + authority + "/%zz?key=" + secret},
		"bad userinfo":     {"url": "http://user:" + secret + "%zz@127.0.0.1/"},
		"a line break":     {"url": "http" + authority + "/?key=" + secret + "\n"},
		"a bad address":    {"url": "http://user:" + secret + "@127.1/?key=" + secret},
		"a bad header":     {"url": "http" + authority + "/ok", "headers": "Authorization " + secret},
		"a refused header": {"url": "http" + authority + "/ok", "headers": "Proxy-Authorization: " + secret},
		"a bad value":      {"url": "http" + authority + "/ok", "headers": "Authorization: " + secret + "\x01"},
		"a wrong type":     {"url": []string{secret}},
		"bad base64":       {"base64": secret + "?"},
		"a name":           {"base64": "AAAA", "name": secret + ".txt"},
	}
	for path := range o.handlers {
		calls[path] = params{"url": "http" + authority + path + "?key=" + secret}
	}
	check := func(t *testing.T, r reply) {
		t.Helper()
		if strings.Contains(r.body, secret) {
			t.Errorf("the answer has the secret: %s", r.body)
		}
	}
	succeeded := 0
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			if call["headers"] == nil {
				call["headers"] = []string{"X-Key: " + secret, "Cookie: a=" + secret}
			}
			before := len(c.logs.String())
			r := c.post(t, "/open/download_file", call.String(), "Authorization", "Bearer token-"+secret)
			if r.status == "ok" {
				succeeded++
			}
			check(t, r)
			check(t, c.post(t, "/shut/download_file", call.String()))
			check(t, c.call(t, "GET", "/shut/download_file?"+query(map[string]string{"url": stringOf(call["url"]), "headers": "X-Key: " + secret}), ""))
			if log := c.logs.String()[before:]; strings.Contains(log, secret) {
				t.Errorf("the log has the secret: %s", log)
			}
		})
	}
	if succeeded < 3 || succeeded == len(calls) {
		t.Errorf("%d of %d calls succeeded: this test needs both", succeeded, len(calls))
	}
	t.Run("tokens", func(t *testing.T) {
		check(t, c.call(t, "GET", "/open/get_status?access_token=token-"+secret, "").wantOK(t))
		check(t, c.call(t, "GET", "/open/get_status?access_token=wrong-"+secret, "").wantRefused(t, 403))
		check(t, c.call(t, "GET", "/open/get_status", "", "Authorization", "Bearer wrong-"+secret).wantRefused(t, 403))
		check(t, c.call(t, "GET", "/open/no_such_action?access_token=token-"+secret, "").wantRefused(t, 404))
	})
	t.Run("bodies that do not parse", func(t *testing.T) {
		for _, body := range []string{`{"url":"` + secret, secret, `["` + secret + `"]`, `{"url":"\` + secret + `"}`} {
			check(t, c.post(t, "/shut/download_file", body).wantRefused(t, 400))
		}
		check(t, c.call(t, "POST", "/shut/download_file", "url=%zz"+secret, "Content-Type", "application/x-www-form-urlencoded").wantRefused(t, 400))
		check(t, c.call(t, "GET", "/shut/download_file?url=%zz"+secret, ""))
		check(t, c.call(t, "POST", "/shut/download_file", "x", "Content-Type", secret).wantRefused(t, 406))
	})
	c.stop() // so that its last words are read, too
	log := c.logs.String()
	if strings.Contains(log, secret) {
		t.Error("the log has the secret")
	}
	if !strings.Contains(log, `"level":"debug"`) {
		t.Error("the log has no details, so this test proves little")
	}
}

func stringOf(v any) string {
	s, _ := v.(string)
	return s
}
