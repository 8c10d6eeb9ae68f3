package integration

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// calls has one proper call of every action: its parameters, as strings so that
// a query can carry them too, and how it is answered.
var calls = map[string]struct {
	params map[string]string
	status string
	code   int
}{
	"get_status":            {nil, "ok", 0},
	"get_version_info":      {nil, "ok", 0},
	"get_supported_actions": {nil, "ok", 0},
	"set_restart":           {map[string]string{"delay": "0"}, "ok", 0},
	"clean_cache":           {nil, "ok", 0},
	"reload_event_filter":   {nil, "ok", 0},
	"get_word_slices":       {map[string]string{"content": "今天天气"}, "failed", 1404},
	".get_word_slices":      {map[string]string{"content": "今天天气"}, "failed", 1404},
	"download_file":         {map[string]string{"base64": "aGVsbG8=", "name": "a.txt", "thread_count": "3"}, "ok", 0},
}

func TestEveryActionCanBeCalledInEveryForm(t *testing.T) {
	const form, jsonType = "application/x-www-form-urlencoded", "application/json"
	c := startBot(t, "")
	forms := map[string]func(t *testing.T, action string, p map[string]string) reply{
		"GET with a query": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "GET", "/"+action+"?"+query(p), "")
		},
		"GET with a trailing slash": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "GET", "/"+action+"/?"+query(p), "")
		},
		"POST with a query": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/"+action+"?"+query(p), "")
		},
		"POST of a form": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/"+action, query(p), "Content-Type", form)
		},
		"POST of a form with a charset and a trailing slash": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/"+action+"/", query(p), "Content-Type", form+"; charset=utf-8")
		},
		"POST of JSON": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/"+action, asJSON(p), "Content-Type", jsonType)
		},
		"POST of JSON with a charset and a trailing slash": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/"+action+"/", asJSON(p), "Content-Type", "Application/JSON; charset=utf-8")
		},
		"POST of JSON without a Content-Type": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/"+action, asJSON(p))
		},
		"POST of an envelope": func(t *testing.T, action string, p map[string]string) reply {
			echo := p["echo"]
			inner := maps.Clone(p)
			delete(inner, "echo")
			return c.call(t, "POST", "/", params{"action": action, "params": inner, "echo": echo}.String(), "Content-Type", jsonType)
		},
		"POST of an envelope without a Content-Type": func(t *testing.T, action string, p map[string]string) reply {
			return c.call(t, "POST", "/", params{"action": action, "params": p, "echo": p["echo"]}.String())
		},
	}
	for action, want := range calls {
		for name, call := range forms {
			t.Run(action+" by "+name, func(t *testing.T) {
				p := map[string]string{"echo": "e-1"}
				maps.Copy(p, want.params)
				r := call(t, action, p).want(t, 200, want.status, want.code)
				if string(r.echo) != `"e-1"` {
					t.Errorf("echo is %s", r.echo)
				}
				switch action {
				case "download_file":
					wantContent(t, r.file(t), "hello")
				case "set_restart", "clean_cache", "reload_event_filter":
					if string(r.data) != "null" {
						t.Errorf("data is %s", r.data)
					}
				}
			})
		}
	}
}

func asJSON(p map[string]string) string {
	all := make(params)
	for name, value := range p {
		all[name] = value
	}
	return all.String()
}

// wantContent fails the test if a file has another content.
func wantContent(t testing.TB, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("%s has %d bytes %.100q, want %d bytes %.100q", path, len(got), got, len(want), want)
	}
}

func TestParametersAreReadLeniently(t *testing.T) {
	c := startBot(t, "")
	hello := base64.StdEncoding.EncodeToString([]byte("hello"))

	t.Run("JSON wins over the query", func(t *testing.T) {
		r := c.post(t, "/download_file?name=a.query&echo=query&base64="+hello, params{"name": "a.json", "echo": "json"}.String())
		if ext := filepath.Ext(r.file(t)); ext != ".json" || string(r.echo) != `"json"` {
			t.Errorf("extension %s and echo %s are not those of the JSON", ext, r.echo)
		}
	})
	t.Run("JSON in an envelope wins over the query", func(t *testing.T) {
		r := c.post(t, "/?name=a.query&echo=query&base64="+hello,
			params{"action": "download_file", "params": params{"name": "a.json"}, "echo": "json"}.String())
		if ext := filepath.Ext(r.file(t)); ext != ".json" || string(r.echo) != `"json"` {
			t.Errorf("extension %s and echo %s are not those of the JSON", ext, r.echo)
		}
	})
	for _, body := range []string{
		`{"delay":0}`, `{"delay":"0"}`, `{"delay":1500.0}`, `{}`, `null`, ` null `, ` { } `,
		`{"delay":null}`, `{"unknown":{"a":[1]}}`,
	} {
		t.Run("set_restart takes "+body, func(t *testing.T) {
			c.post(t, "/set_restart", body).wantOK(t)
		})
	}
	for _, count := range []any{3, "3", 3.0, nil} {
		t.Run("thread_count may be "+params{"n": count}.String(), func(t *testing.T) {
			c.post(t, "/download_file", params{"base64": hello, "thread_count": count}.String()).wantOK(t)
		})
	}
	for _, body := range []string{
		`{"action":"set_restart"}`, `{"action":"set_restart","params":null}`, `{"action":"set_restart","params":{}}`,
		`{"action":"set_restart","params":{"delay":"0"}}`,
	} {
		t.Run("an envelope may be "+body, func(t *testing.T) {
			r := c.post(t, "/", body).wantOK(t)
			if r.echo != nil {
				t.Errorf("echo is %s, but none was sent", r.echo)
			}
		})
	}
	for _, contentType := range []string{
		"", "application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "image/png", "?",
	} {
		t.Run("an empty body may have the Content-Type "+contentType, func(t *testing.T) {
			c.call(t, "POST", "/get_status", "", "Content-Type", contentType).wantOK(t)
		})
		t.Run("an empty chunked body may have the Content-Type "+contentType, func(t *testing.T) {
			req, err := http.NewRequest("POST", c.client.base+"/get_status", struct{ io.Reader }{strings.NewReader("")})
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", contentType)
			resp, err := c.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			r, err := parseReply(resp)
			if err != nil {
				t.Fatal(err)
			}
			r.wantOK(t)
		})
	}
}

func TestEchoComesBackByteForByte(t *testing.T) {
	c := startBot(t, "")
	for _, echo := range []string{
		`"plain"`, `""`, `null`, `true`, `0`, `-0`, `1.0e2`, `1E+2`, `0.10`, `123456789012345678901234567890`,
		`{"b":1,  "a" : [ 1,2.50 ,null ] }`, "{\n\t\"a\":\r\n1}", `[]`, `{}`, `[[[{"a":[]}]]]`,
		`"<b>&amp;\u003c\/"`, `"\u4f60好😀\ud83d\ude00"`, `"\ud800"`, "\"\u2028\"", `{"a":1,"a":2}`,
		strings.Repeat("[", 1000) + strings.Repeat("]", 1000), `"` + filler(1<<20) + `"`,
	} {
		name := echo[:min(len(echo), 40)]
		t.Run(name, func(t *testing.T) {
			for path, body := range map[string]string{
				"/get_version_info":  `{"x":1,"echo":` + echo + `}`,
				"/set_restart_async": `{"echo" : ` + echo + ` ,"x":1}`,
				"/get_word_slices":   `{"echo":` + echo + `}`,
				"/no_such_action":    `{"echo":` + echo + `}`,
				"/":                  `{"action":"get_status","params":{"echo":"not this one"},"echo":` + echo + `}`,
			} {
				if r := c.post(t, path, body); string(r.echo) != echo {
					t.Errorf("%s: echo is %.100s", path, r.echo)
				}
			}
		})
	}
	t.Run("a query's echo is a string", func(t *testing.T) {
		if r := c.call(t, "GET", "/get_status?echo=5%20%22x", "").wantOK(t); string(r.echo) != `"5 \"x"` {
			t.Errorf("echo is %s", r.echo)
		}
	})
	for _, path := range []string{"/get_status", "/no_such_action", "/download_file", "/get_status_async"} {
		t.Run("none is made up for "+path, func(t *testing.T) {
			if r := c.post(t, path, "{}"); r.echo != nil {
				t.Errorf("echo is %s", r.echo)
			}
		})
	}
}

func TestAnActionWithAsyncRunsInTheBackground(t *testing.T) {
	c := startBot(t, "download {\n allow_private 127.0.0.1\n}")
	o := newOrigin(t)
	url := o.handle("/a.png", o.stall("first", "rest"))

	// the origin has not answered yet, so this answer did not wait for it
	c.post(t, "/download_file_async", params{"url": url}.String()).wantAsync(t)
	o.await(t)
	if files := cacheFiles(t, c.cacheDir("onebot"), "files"); len(files) > 0 {
		t.Errorf("unfinished downloads are visible: %v", files)
	}
	o.release()
	c.awaitLog("downloaded file")
	files := cacheFiles(t, c.cacheDir("onebot"), "files")
	if len(files) != 1 {
		t.Fatalf("files are %v, want one", files)
	}
	wantContent(t, files[0], "firstrest")

	for action := range calls {
		t.Run("every action takes the suffix: "+action, func(t *testing.T) {
			c.post(t, "/"+action+"_async", "{}").wantAsync(t)
			c.post(t, "/", params{"action": action + "_async"}.String()).wantAsync(t)
			c.call(t, "GET", "/"+action+"_async/", "").wantAsync(t)
		})
	}
	t.Run("an unknown action does not", func(t *testing.T) {
		c.post(t, "/no_such_action_async", "{}").wantRefused(t, 404)
		c.post(t, "/_async", "{}").wantRefused(t, 404)
	})
}

func TestAFullBackgroundQueueIsAFailureAndNoSilentDrop(t *testing.T) {
	c := startBot(t, "download {\n max_concurrent 1000000\n allow_private 127.0.0.1\n}")
	o := newOrigin(t)
	url := o.handle("/a.png", o.stall("", "content"))
	call := func(n int) string { return params{"url": fmt.Sprint(url, "?", n)}.String() }

	accepted := 0
	for c.post(t, "/download_file_async", call(accepted)).status == "async" {
		if accepted++; accepted > 10_000 {
			t.Fatal("the queue has no bound")
		}
	}
	r := c.post(t, "/download_file_async", call(accepted)).wantFailed(t)
	if !strings.Contains(r.message, "background") {
		t.Errorf("message %q does not say what is full", r.message)
	}
	c.post(t, "/get_status", "{}").wantOK(t)

	// all that was accepted is carried out, and then there is room again
	for range accepted {
		o.await(t)
	}
	o.release()
	c.awaitLogs("downloaded file", accepted)
	if files := cacheFiles(t, c.cacheDir("onebot"), "files"); len(files) != accepted {
		t.Errorf("%d files for %d accepted calls", len(files), accepted)
	}
	if n := o.count(); n != accepted {
		t.Errorf("%d requests for %d accepted calls", n, accepted)
	}
	c.post(t, "/download_file_async", call(accepted)).wantAsync(t)
	c.awaitLogs("downloaded file", accepted+1)
}

func TestTheSuffixRateLimitedIsIgnored(t *testing.T) {
	c := startBot(t, "")
	for action, want := range calls {
		t.Run(action, func(t *testing.T) {
			p := asJSON(want.params)
			r := c.post(t, "/"+action+"_rate_limited", p).want(t, 200, want.status, want.code)
			if action == "download_file" {
				wantContent(t, r.file(t), "hello")
			}
			c.call(t, "GET", "/"+action+"_rate_limited?"+query(want.params), "").want(t, 200, want.status, want.code)
			c.post(t, "/", `{"action":"`+action+`_rate_limited","params":`+p+`}`).want(t, 200, want.status, want.code)
		})
	}
	c.post(t, "/no_such_action_rate_limited", "{}").wantRefused(t, 404)
}

// cacheFiles returns the paths of what is in a part of a cache, tmp or files.
func cacheFiles(t testing.TB, cache, part string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(cache, part), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}
