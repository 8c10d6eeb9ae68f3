package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAFailedDownloadSaysWhyAndLeavesNothing(t *testing.T) {
	c := startBot(t, download("max_size 1000", "max_redirects 2", "retries 0"))
	o := newOrigin(t)
	big := filler(1001)
	const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	type failure struct {
		why    string // part of the message
		answer http.HandlerFunc
	}
	failures := map[string]failure{
		"too large, of known length":    {"too large", content(big)},
		"too large, of unknown length":  {"too large", chunked(big)},
		"far too large":                 {"too large", chunked(filler(1 << 20))},
		"a length of 10 EB":             {"too large", raw("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\nx", false)},
		"cut before the body":           {"failed", rawBody(100, "", false)},
		"cut in the body":               {"failed", rawBody(100, filler(50), false)},
		"cut before its last byte":      {"failed", rawBody(100, filler(99), false)},
		"reset in the body":             {"failed", rawBody(100, filler(50), true)},
		"chunks without an end":         {"failed", raw(chunkedHead+"3\r\nabc\r\n", false)},
		"half a chunk":                  {"failed", raw(chunkedHead+"6\r\nabc", false)},
		"a reset in a chunk":            {"failed", raw(chunkedHead+"6\r\nabc", true)},
		"chunks that are none":          {"failed", raw(chunkedHead+"abc\r\ndef\r\n", false)},
		"a chunk of a negative length":  {"failed", raw(chunkedHead+"-1\r\nabc\r\n0\r\n\r\n", false)},
		"no answer":                     {"failed", raw("", false)},
		"a reset for an answer":         {"failed", raw("", true)},
		"an answer that is no HTTP":     {"failed", raw("SSH-2.0-OpenSSH\r\n\r\n", false)},
		"half a head":                   {"failed", raw("HTTP/1.1 200 OK\r\nContent-Length: 3", false)},
		"a head without an end":         {"failed", raw("HTTP/1.1 200 OK\r\nX: "+filler(1<<20)+"\r\n\r\n", false)},
		"two lengths":                   {"failed", raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", false)},
		"a negative length":             {"failed", raw("HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc", false)},
		"a length that is no number":    {"failed", raw("HTTP/1.1 200 OK\r\nContent-Length: three\r\n\r\nabc", false)},
		"a part that was not asked for": {"206", raw("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/9\r\nContent-Length: 3\r\n\r\nabc", false)},
		"a redirect to nowhere":         {"302", status(302)},
		"a redirect to no URL":          {"redirect", redirect(302, "http://%zz/")},
		"a redirect to ftp":             {"redirect", redirect(302, "ftp://127.0.0.1/a")},
		"a redirect to a file":          {"redirect", redirect(302, "file:///etc/hostname")},
		"a redirect without a host":     {"redirect", redirect(302, "http:///a")},
		"a redirect in circles":         {"redirects", redirect(302, "/a.png")},
		"a redirect to an error":        {"503", redirect(302, "/503")},
	}
	for _, code := range []int{300, 304, 305, 400, 401, 403, 404, 407, 410, 416, 429, 500, 502, 503, 599} {
		failures[fmt.Sprintf("status %d", code)] = failure{fmt.Sprint(code), status(code)}
	}
	o.handle("/503", status(503))
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			url := o.handle("/a.png", failure.answer)
			r := c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
			if !strings.Contains(r.message, failure.why) || string(r.data) != "null" {
				t.Errorf("message is %q, want it to say %s; data is %s", r.message, failure.why, r.data)
			}
			wantNothingKept(t, c.cacheDir("onebot"))
			if strings.Contains(name, "redirect") && o.last(t).URL.Path != "/a.png" && o.last(t).URL.Path != "/503" {
				t.Errorf("it went to %s", o.last(t).URL)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		r := c.post(t, "/download_file", params{"url": "http://" + freeAddr(t) + "/"}.String()).wantFailed(t)
		if !strings.Contains(r.message, "connect") {
			t.Errorf("message is %q", r.message)
		}
		wantNothingKept(t, c.cacheDir("onebot"))
	})
	t.Run("no TLS where it is expected", func(t *testing.T) {
		url := strings.Replace(o.handle("/a.png", content("x")), "http:", "https:", 1)
		c.post(t, "/download_file", params{"url": url}.String()).wantFailed(t)
		wantNothingKept(t, c.cacheDir("onebot"))
	})
	t.Run("base64 that is too large", func(t *testing.T) {
		r := c.post(t, "/download_file", params{"base64": base64.StdEncoding.EncodeToString([]byte(big))}.String()).wantFailed(t)
		if !strings.Contains(r.message, "too large") {
			t.Errorf("message is %q", r.message)
		}
		wantNothingKept(t, c.cacheDir("onebot"))
	})
	t.Run("and what just fits is kept", func(t *testing.T) {
		wantContent(t, c.fetch(t, o.handle("/a.png", content(big[:1000]))), big[:1000])
		wantContent(t, c.fetch(t, o.handle("/a.png", chunked(big[:1000]))), big[:1000])
	})
}

func TestADownloadThatTakesTooLongFails(t *testing.T) {
	c := startCaddy(t, "http://<SITE> {\n"+
		"onebot_meta {\n route /total\n name total\n"+download("timeout 300ms", "stall_timeout 20s", "retries 0")+"\n}\n"+
		"onebot_meta {\n route /stall\n name stall\n"+download("timeout 20s", "stall_timeout 300ms", "retries 0")+"\n}\n"+
		"onebot_meta {\n route /slow\n name slow\n"+download("timeout 20s", "stall_timeout 1s")+"\n}\n}")
	o := newOrigin(t)
	silent := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, test := range []struct {
		name, bot, why string
		answer         http.HandlerFunc
	}{
		{"no answer in time", "total", "timed out", silent},
		{"a part in time", "total", "timed out", o.stall("first", "rest")},
		{"always another byte", "total", "timed out", drip(filler(1000), 20*time.Millisecond)},
		{"no answer", "stall", "stalled", silent},
		{"no byte after the head", "stall", "stalled", o.stallHead},
		{"no further byte", "stall", "stalled", o.stall("first", "rest")},
		{"a redirect to no answer", "stall", "stalled", redirect(302, "/silent")},
	} {
		t.Run(test.name, func(t *testing.T) {
			o.handle("/silent", silent)
			url := o.handle("/a.png", test.answer)
			r := c.post(t, "/"+test.bot+"/download_file", params{"url": url}.String()).wantFailed(t)
			if !strings.Contains(r.message, test.why) {
				t.Errorf("message is %q, want it to say %s", r.message, test.why)
			}
			wantNothingKept(t, c.cacheDir(test.bot))
		})
	}
	t.Run("but one that is slow and steady does not", func(t *testing.T) {
		url := o.handle("/a.png", drip("slow and steady", 100*time.Millisecond)) // 1.5 s in all
		wantContent(t, c.post(t, "/slow/download_file", params{"url": url}.String()).file(t), "slow and steady")
	})
}

func TestBadParametersOfADownloadFail(t *testing.T) {
	c := startBot(t, download())
	o := newOrigin(t)
	url := o.handle("/a.png", content("a picture"))
	scheme, host := "must begin with http", strings.TrimPrefix(o.url, "http://")
	headers := func(h any) params { return params{"url": url, "headers": h} }
	for name, test := range map[string]struct {
		call params
		why  string
	}{
		"no url":                           {params{}, "url"},
		"an empty url":                     {params{"url": ""}, "url"},
		"a null url":                       {params{"url": nil}, "url"},
		"a url that is a number":           {params{"url": 5}, "url"},
		"a url that is an array":           {params{"url": []string{url}}, "url"},
		"a url that is an object":          {params{"url": params{"url": url}}, "url"},
		"ftp":                              {params{"url": "ftp://" + host + "/a.png"}, scheme},
		"a file":                           {params{"url": "file:///etc/hostname"}, scheme},
		"data":                             {params{"url": "data:text/plain,x"}, scheme},
		"HTTP in capitals":                 {params{"url": "HTTP://" + host + "/a.png"}, scheme},
		"Https in some capitals":           {params{"url": "Https://" + host + "/a.png"}, scheme},
		"a space before it":                {params{"url": " " + url}, scheme},
		"no scheme":                        {params{"url": host + "/a.png"}, scheme},
		"one slash":                        {params{"url": "http:/" + host + "/a.png"}, scheme},
		"no host":                          {params{"url": "http:///a.png"}, "not a valid URL"},
		"a port and no host":               {params{"url": "http://:80/a.png"}, "not a valid URL"},
		"a port that is no number":         {params{"url": "http://127.0.0.1:http/a.png"}, "not a valid URL"},
		"a port that is too large":         {params{"url": "http://127.0.0.1:65536/a.png"}, "not a valid URL"},
		"port 0":                           {params{"url": "http://127.0.0.1:0/a.png"}, "not a valid URL"},
		"a bad escape":                     {params{"url": "http://" + host + "/%zz"}, "not a valid URL"},
		"a line break":                     {params{"url": url + "\r\nX-Evil: 1"}, "not a valid URL"},
		"an open bracket":                  {params{"url": "http://[::1/"}, "not a valid URL"},
		"url and base64":                   {params{"url": url, "base64": "AAAA"}, "base64"},
		"base64 that is none":              {params{"base64": "????"}, "base64"},
		"base64 of an odd length":          {params{"base64": "AAAAA"}, "base64"},
		"base64 that is a number":          {params{"base64": 5}, "base64"},
		"a name that is a number":          {params{"url": url, "name": 5}, "name"},
		"headers that are a number":        {headers(5), "headers"},
		"headers that are an object":       {headers(params{"A": "b"}), "headers"},
		"headers that are numbers":         {headers([]int{5}), "headers"},
		"a header without a colon":         {headers("User-Agent bot"), "headers"},
		"a second header without a colon":  {headers("A: b\r\nUser-Agent bot"), "line 2"},
		"an item without a colon":          {headers([]string{"A: b", "User-Agent bot"}), "line 2"},
		"a header without a name":          {headers([]string{": bot"}), "headers"},
		"a space in a header's name":       {headers([]string{"User Agent: bot"}), "headers"},
		"a space before the colon":         {headers([]string{"User-Agent : bot"}), "headers"},
		"a folded header":                  {headers("A: b\r\n c"), "headers"},
		"a line break in an item":          {headers([]string{"A: b\r\nX-Evil: 1"}), "headers"},
		"a line feed in an item":           {headers([]string{"A: b\nX-Evil: 1"}), "headers"},
		"a carriage return in a header":    {headers("A: b\rX-Evil: 1"), "headers"},
		"a zero byte in a header":          {headers("A: b\x00"), "headers"},
		"a header's name that is no ASCII": {headers("Ä: b"), "headers"},
		"two hosts":                        {headers("Host: a.invalid\r\nHost: b.invalid"), "headers"},
		"an empty host":                    {headers("Host:"), "headers"},
		"a host with a path":               {headers("Host: a.invalid/b"), "headers"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.post(t, "/download_file", test.call.String()).wantFailed(t)
			if !strings.Contains(r.message, test.why) {
				t.Errorf("message is %q, want it to say %s", r.message, test.why)
			}
		})
	}
	for _, header := range []string{
		"Connection: close", "Content-Length: 5", "content-length: 0", "Expect: 100-continue", "Keep-Alive: 5", "TE: trailers",
		"Trailer: X", "Transfer-Encoding: chunked", "Upgrade: h2c", "HTTP2-Settings: x", "Proxy-Authorization: x",
		"Proxy-Connection: close", "Range: bytes=0-1", "If-Range: x", "If-Match: *", "If-None-Match: *",
		"If-Modified-Since: x", "If-Unmodified-Since: x",
	} {
		t.Run("the header "+header, func(t *testing.T) {
			name, _, _ := strings.Cut(header, ":")
			for _, form := range []any{header, []string{"A: b", header}} {
				r := c.post(t, "/download_file", headers(form).String()).wantFailed(t)
				if !strings.Contains(r.message, "headers") || !strings.Contains(strings.ToLower(r.message), strings.ToLower(name)) {
					t.Errorf("message is %q", r.message)
				}
			}
		})
	}
	t.Run("and nothing was asked or kept", func(t *testing.T) {
		if n := o.conns.Load(); n != 0 {
			t.Errorf("the origin had %d connections", n)
		}
		wantNothingKept(t, c.cacheDir("onebot"))
	})
}
