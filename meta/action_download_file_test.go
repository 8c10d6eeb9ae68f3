package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// origin serves "content" and records the last request.
func origin(t *testing.T) (url string, last func() *http.Request) {
	var r *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
		r = got
		fmt.Fprint(w, "content")
	}))
	t.Cleanup(server.Close)
	return server.URL, func() *http.Request { return r }
}

func TestDownloadFileReturnsAPathToTheContent(t *testing.T) {
	url, last := origin(t)
	for name, tt := range map[string]struct{ params, want, ext string }{
		"url":                   {`{"url":"` + url + `/a.PNG"}`, "content", ".png"},
		"name gives extension":  {`{"url":"` + url + `/a.png","name":"../b.Gif"}`, "content", ".gif"},
		"threads do not matter": {`{"url":"` + url + `/a.png","thread_count":"3"}`, "content", ".png"},
		"headers of null":       {`{"url":"` + url + `/a.png","headers":null}`, "content", ".png"},
		"base64":                {`{"base64":"aGVsbG8="}`, "hello", ".txt"},
		"base64 of OneBot":      {`{"base64":"base64://aGVsbG8","name":"a.amr"}`, "hello", ".amr"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDispatcher(t)
			reply := do(t, d, "download_file", tt.params)
			var data map[string]string
			if reply.Status != "ok" || json.Unmarshal(reply.Data, &data) != nil || len(data) != 1 {
				t.Fatalf("got %s", reply.JSON())
			}
			path := data["file"]
			if !filepath.IsAbs(path) || filepath.Ext(path) != tt.ext {
				t.Errorf("path is %s, want an absolute one with %s", path, tt.ext)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != tt.want {
				t.Errorf("file has %q, %v", got, err)
			}
		})
	}

	d, _ := newDispatcher(t)
	for _, headers := range []string{`"X-A: 1\r\nX-B: 2"`, `["X-A: 1","X-B: 2"]`} {
		do(t, d, "download_file", `{"url":"`+url+`","headers":`+headers+`}`)
		if h := last().Header; h.Get("X-A") != "1" || h.Get("X-B") != "2" {
			t.Errorf("headers %s arrived as %v", headers, h)
		}
	}
}

func TestDownloadFileSaysWhatIsWrong(t *testing.T) {
	url, _ := origin(t)
	d, _ := newDispatcher(t)
	for params, want := range map[string]string{
		`{}`:                                                 "url is missing",
		`{"url":""}`:                                         "url is missing",
		`{"url":null}`:                                       "url is missing",
		`{"url":5}`:                                          "url must be a string",
		`{"url":["http://127.0.0.1"]}`:                       "url must be a string",
		`{"url":"ftp://127.0.0.1/a"}`:                        "url must begin with http:// or https://, in lower case",
		`{"url":"HTTP://127.0.0.1/a"}`:                       "url must begin with http:// or https://, in lower case",
		`{"url":" http://127.0.0.1/"}`:                       "url must begin with http:// or https://, in lower case",
		`{"url":"http://"}`:                                  "url is not a valid URL",
		`{"url":"http://127.0.0.1:0"}`:                       "url is not a valid URL",
		`{"url":"http://127.1/"}`:                            "url is not a valid URL",
		`{"url":"` + url + `","base64":"aGVsbG8="}`:          "give either url or base64, not both",
		`{"base64":"*"}`:                                     "base64 is not valid base64",
		`{"base64":1}`:                                       "base64 must be a string",
		`{"url":"` + url + `","name":1}`:                     "name must be a string",
		`{"url":"` + url + `","headers":5}`:                  "headers must be a string or an array of strings",
		`{"url":"` + url + `","headers":["A: b","C"]}`:       `headers: line 2 is not of the form "Name: value"`,
		`{"url":"` + url + `","headers":["A: b\r\nC: d"]}`:   `headers: line 1 is not of the form "Name: value"`,
		`{"url":"` + url + `","headers":"Range: bytes=0-1"}`: "headers: Range cannot be set",
	} {
		reply := do(t, d, "download_file", params)
		if reply.Status != "failed" || reply.Retcode != 1400 || reply.Data != nil || reply.Message != want || reply.Wording == "" {
			t.Errorf("%s: got %s, want %s", params, reply.JSON(), want)
		}
	}
}

func TestEveryFailureIsExplainedInTwoLanguages(t *testing.T) {
	for kind := fetch.BadScheme; kind <= fetch.CacheTooSmall; kind++ {
		e, _ := explain(&fetch.Error{Kind: kind, Detail: "DETAIL", Err: errors.New("cause")})
		if e.Message == "" || e.Wording == "" || strings.Contains(e.Message+e.Wording, "%") ||
			strings.Contains(e.Message, "DETAIL") != strings.Contains(e.Wording, "DETAIL") {
			t.Errorf("kind %d: %+v", kind, e)
		}
	}
	if len(failures) != int(fetch.CacheTooSmall) {
		t.Errorf("%d failures are explained, there are %d", len(failures), fetch.CacheTooSmall)
	}
}

func TestNoSecretOfADownloadIsLogged(t *testing.T) {
	url, _ := origin(t)
	d, logs := newDispatcher(t)
	secretURL := strings.Replace(url, "http://", "http://SECRETuser:SECRETpass@", 1) + "/a?rkey=SECRET"
	do(t, d, "download_file", `{"url":"`+secretURL+`","headers":"Cookie: SECRET"}`)
	do(t, d, "download_file", `{"url":"`+secretURL+`","headers":"SECRET"}`)
	do(t, d, "download_file", `{"url":"http://127.0.0.1:1/%zz?SECRET"}`)
	do(t, d, "download_file", `{"url":"http://SECRET@127.0.0.1:1/?SECRET"}`)
	do(t, d, "download_file", `{"base64":"SECRET!"}`)
	if n := logs.FilterMessage("downloaded file").Len(); n != 1 {
		t.Errorf("%d downloads are in the log", n)
	}
	if n := logs.FilterMessage("download failed").Len(); n != 4 {
		t.Errorf("%d failed downloads are in the log", n)
	}
	for _, entry := range logs.All() {
		line, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}).EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line.String(), "SECRET") {
			t.Errorf("logged a secret: %s", line)
		}
	}
}
