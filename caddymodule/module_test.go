package caddymodule

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// What is left out has its default; zero is no default where it can be meant.
func TestDefaults(t *testing.T) {
	week := caddy.Duration(168 * time.Hour)
	for name, tt := range map[string]struct {
		config   string
		download Download
		cache    Cache
	}{
		"of everything": {
			`{}`,
			Download{MaxSize: new(int64(4 << 30)), Timeout: caddy.Duration(30 * time.Minute), StallTimeout: caddy.Duration(30 * time.Second),
				Retries: new(3), MaxConcurrent: 64, MaxRedirects: new(10)},
			Cache{MaxSize: new(int64(10 << 30)), MaxAge: &week, Mode: 0o600},
		},
		"not where zero is said": {
			`{"download": {"max_size": 0, "retries": 0, "max_redirects": 0}, "cache": {"max_size": 0, "max_age": 0}}`,
			Download{MaxSize: new(int64), Timeout: caddy.Duration(30 * time.Minute), StallTimeout: caddy.Duration(30 * time.Second),
				Retries: new(int), MaxConcurrent: 64, MaxRedirects: new(int)},
			Cache{MaxSize: new(int64), MaxAge: new(caddy.Duration), Mode: 0o600},
		},
		"not where another value is said": {
			`{"download": {"max_size": 1, "timeout": "2h", "stall_timeout": 3, "retries": 4, "max_concurrent": 5, "max_redirects": 6, "proxy": "http://127.0.0.1:3128"},
			  "cache": {"max_size": 7, "max_age": "8d", "mode": "640", "serve": true}}`,
			Download{MaxSize: new(int64(1)), Timeout: caddy.Duration(2 * time.Hour), StallTimeout: 3,
				Retries: new(4), MaxConcurrent: 5, MaxRedirects: new(6), Proxy: "http://127.0.0.1:3128"},
			Cache{MaxSize: new(int64(7)), MaxAge: new(caddy.Duration(8 * 24 * time.Hour)), Mode: 0o640, Serve: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := provision(t, func(h *Handler) {
				if err := json.Unmarshal([]byte(tt.config), h); err != nil {
					t.Fatal(err)
				}
			})
			if !reflect.DeepEqual(h.Download, tt.download) || !reflect.DeepEqual(h.Cache, tt.cache) {
				download, _ := json.Marshal(h.Download)
				cache, _ := json.Marshal(h.Cache)
				t.Errorf("got %s and %s", download, cache)
			}
		})
	}
}

func TestDefaultsOfWebSocketAndPassThru(t *testing.T) {
	for config, want := range map[string]struct {
		heartbeat caddy.Duration
		selfID    int64
		passThru  bool
	}{
		`{}`:                 {caddy.Duration(15 * time.Second), 0, false},
		`{"heartbeat": 0}`:   {0, 0, false},
		`{"heartbeat":"5s"}`: {caddy.Duration(5 * time.Second), 0, false},
		`{"self_id": 10001}`: {caddy.Duration(15 * time.Second), 10001, false},
		`{"pass_thru":true}`: {caddy.Duration(15 * time.Second), 0, true},
	} {
		h := provision(t, func(h *Handler) {
			if err := json.Unmarshal([]byte(config), h); err != nil {
				t.Fatal(err)
			}
		})
		if *h.Heartbeat != want.heartbeat || h.SelfID != want.selfID || h.PassThru != want.passThru {
			t.Errorf("%s: got %v, %d, %t", config, *h.Heartbeat, h.SelfID, h.PassThru)
		}
	}
}

func TestModesAreOctalAndLeaveTheOwnerReadAndWrite(t *testing.T) {
	for s, want := range map[string]os.FileMode{
		"0600": 0o600, "600": 0o600, "0644": 0o644, "640": 0o640, "0777": 0o777, "0660": 0o660,
		"": 0, "0": 0, "0400": 0, "0200": 0, "0066": 0, "01600": 0, "4755": 0, "0680": 0, "0o640": 0, "0x180": 0, "-600": 0, "+600": 0, " 600": 0, "6_00": 0,
		"u=rw": 0, "777777777777777777777777777600": 0,
	} {
		mode, ok := parseMode(s)
		if ok != (want != 0) || ok && os.FileMode(mode) != want {
			t.Errorf("%q: got %04o, %t", s, mode, ok)
		}
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var c Cache
		if err := json.Unmarshal([]byte(`{"mode": `+string(quoted)+`}`), &c); (err == nil) != (want != 0) || err == nil && os.FileMode(c.Mode) != want {
			t.Errorf("%q in JSON: got %04o, %v", s, c.Mode, err)
		}
	}
	if b, err := json.Marshal(Cache{Mode: 0o640}); err != nil || string(b) != `{"mode":"0640"}` {
		t.Errorf("written as %s, %v", b, err)
	}
}

func TestMistakesInJSONNameTheOptionAndWhatIsRight(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("EMPTY", "")
	t.Setenv("BAD_PROXY", "ftp://user:SECRET@127.0.0.1")
	for config, want := range map[string]string{
		`"route":"onebot"`:                           "route " + wantRoute,
		`"name":"a/b"`:                               "name " + wantName,
		`"max_body":-1`:                              "max_body must be positive",
		`"max_body":"x"`:                             "max_body",
		`"download":{"max_size":-1}`:                 "download max_size must not be negative",
		`"download":{"timeout":"-1s"}`:               "download timeout must be positive",
		`"download":{"stall_timeout":-1}`:            "download stall_timeout must be positive",
		`"download":{"max_concurrent":-1}`:           "download max_concurrent must be positive",
		`"download":{"max_redirects":-1}`:            "download max_redirects must not be negative",
		`"download":{"allow_private":["1/2"]}`:       "allow_private: '1/2' is not a network",
		`"download":{"retries":-1}`:                  "download retries must not be negative",
		`"download":{"retries":"3"}`:                 "retries",
		`"download":{"share":1}`:                     `unknown field "share"`,
		`"download":{"proxy":"127.0.0.1:3128"}`:      "download proxy must be an http://, https://, socks5:// or socks5h:// URL",
		`"download":{"proxy":"http:/SECRET@a"}`:      "download proxy must be",
		`"download":{"proxy":"{env.BAD_PROXY}"}`:     "download proxy must be",
		`"download":{"proxy":"{env.EMPTY}"}`:         "download proxy has a placeholder that is unknown or empty",
		`"download":{"proxy":"http://SECRET{x}@a"}`:  "download proxy has a placeholder that is unknown or empty",
		`"cache":{"max_size":-1}`:                    "cache max_size must not be negative",
		`"cache":{"max_age":-1}`:                     "cache max_age must not be negative",
		`"cache":{"max_age":"-1h"}`:                  "cache max_age must not be negative",
		`"cache":{"mode":"0400"}`:                    "cache mode " + wantMode,
		`"cache":{"mode":"rw"}`:                      "cache mode " + wantMode,
		`"cache":{"mode":"1600"}`:                    "cache mode " + wantMode,
		`"cache":{"mode":""}`:                        "cache mode " + wantMode,
		`"cache":{"mode":416}`:                       "cache mode " + wantMode + ", in quotes",
		`"cache":{"serve":"yes"}`:                    "serve",
		`"cache":{"share":0}`:                        "cache share must be positive",
		`"cache":{"share":-1}`:                       "cache share must be positive",
		`"cache":{"share":true}`:                     "share",
		`"cache":{"shared":true}`:                    `unknown field "shared"`,
		`"pass_thru":1`:                              "pass_thru",
		`"self_id":-1`:                               "self_id must not be negative",
		`"self_id":"1"`:                              "self_id",
		`"heartbeat":-1`:                             "heartbeat must not be negative",
		`"heartbeat":"-1s"`:                          "heartbeat must not be negative",
		`"nonsense":true`:                            `unknown field "nonsense"`,
		`"storage":{"module":"nonsense"}`:            "unknown module: caddy.storage.nonsense",
		`"access_token":[""]`:                        "access_token number 1 is empty",
		`"access_token":["SECRET"," SECRET"]`:        "access_token number 2 is empty, or has white space around it",
		`"access_token":["a","{env.EMPTY}"]`:         "access_token number 2 has a placeholder that is unknown or empty",
		`"access_token":["SECRET{SECRET}"]`:          "access_token number 1 has a placeholder that is unknown or empty",
		`"access_token":["{file./nonexistent}"]`:     "access_token number 1 has a placeholder that is unknown or empty",
		`"access_token":["{http.request.header.X}"]`: "access_token number 1 has a placeholder that is unknown or empty",
	} {
		var c caddy.Config
		if err := json.Unmarshal([]byte(`{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"onebot_meta",`+config+`}]}]}}}}}`), &c); err != nil {
			t.Fatal(err)
		}
		err := caddy.Validate(&c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", config, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: the error shows the token: %v", config, err)
		}
	}
}
