package integration

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGetStatusHasExactlyThePagesFields(t *testing.T) {
	c := startBot(t, "")
	r := c.post(t, "/get_status", "{}").wantOK(t)
	fields, err := parseObject(r.data)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := parseObject(fields["stat"])
	if err != nil {
		t.Fatal(err)
	}
	delete(fields, "stat")
	for _, name := range []string{"app_initialized", "app_enabled", "app_good", "online", "good"} {
		if string(fields[name]) != "true" {
			t.Errorf("%s is %s", name, fields[name])
		}
		delete(fields, name)
	}
	// this call was received, and is not answered yet
	for name, want := range map[string]string{
		"PacketReceived": "1", "PacketSent": "0", "PacketLost": "0", "MessageReceived": "0",
		"MessageSent": "0", "DisconnectTimes": "0", "LostTimes": "0", "LastMessageTime": "0",
	} {
		if string(stat[name]) != want {
			t.Errorf("stat.%s is %s, want %s", name, stat[name], want)
		}
		delete(stat, name)
	}
	if len(fields)+len(stat) > 0 {
		t.Errorf("unknown fields %v %v", fields, stat)
	}
}

func TestGetVersionInfoHasExactlyThePagesFields(t *testing.T) {
	c := startBot(t, "")
	built, err := buildinfo.ReadFile(caddyBinary)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	c.post(t, "/get_version_info", "{}").wantOK(t).decode(t, &got)
	version, _ := got["version"].(string)
	if !regexp.MustCompile(`^v\d+\.\d+\.\d+`).MatchString(version) || version == "v0.0.0" {
		t.Errorf("version is %q, which is no real version", version)
	}
	if full, _ := got["app_full_name"].(string); !strings.Contains(full, "onebot-meta") || !strings.Contains(full, version) {
		t.Errorf("app_full_name is %q, without the name or the version", full)
	}
	delete(got, "version")
	delete(got, "app_full_name")
	want := map[string]any{
		"app_name":                   "go-cqhttp",
		"app_version":                "v1.2.0",
		"protocol_version":           "v11",
		"coolq_edition":              "pro",
		"coolq_directory":            "",
		"go-cqhttp":                  true,
		"plugin_version":             "4.15.0",
		"plugin_build_number":        99.0,
		"plugin_build_configuration": "release",
		"runtime_version":            built.GoVersion,
		"runtime_os":                 runtime.GOOS,
		"protocol_name":              1.0,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestGetSupportedActionsListsWhatCanSucceed(t *testing.T) {
	c := startBot(t, "")
	var got []string
	c.call(t, "GET", "/get_supported_actions", "").wantOK(t).decode(t, &got)
	want := []string{
		"clean_cache", "download_file", "get_status", "get_supported_actions", "get_version_info",
		"reload_event_filter", "set_restart",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestWordSlicesAreNotSupported(t *testing.T) {
	c := startBot(t, "")
	for _, action := range []string{"get_word_slices", ".get_word_slices"} {
		for _, body := range []string{`{}`, `{"content":"今天天气"}`, `{"content":5}`} {
			t.Run(action+" of "+body, func(t *testing.T) {
				r := c.post(t, "/"+action, body).want(t, 200, "failed", 1404)
				var data map[string]any
				r.decode(t, &data)
				if message, _ := data["message"].(string); len(data) != 2 || data["not_supported"] != true || message == "" {
					t.Errorf("data is %s", r.data)
				}
			})
		}
	}
}

func TestNobodyRestartsABotOrEmptiesACacheByACall(t *testing.T) {
	c := startBot(t, "")
	file := c.post(t, "/download_file", `{"base64":"aGVsbG8="}`).file(t)
	for _, action := range []string{"set_restart", "clean_cache", "reload_event_filter"} {
		for _, body := range []string{`{}`, `{"delay":0}`, `{"delay":"0"}`} {
			if r := c.post(t, "/"+action, body).wantOK(t); string(r.data) != "null" {
				t.Errorf("data of %s is %s", action, r.data)
			}
			c.post(t, "/"+action+"_async", body).wantAsync(t)
		}
	}
	wantContent(t, file, "hello")
	if n := c.stat(t, "/get_status")["PacketReceived"]; n != 20 {
		t.Errorf("PacketReceived is %d after 20 calls", n)
	}
	select {
	case <-c.exited:
		t.Error("Caddy ended")
	default:
	}
}

func TestAnAnswerNobodyTookIsALostPacket(t *testing.T) {
	c := startBot(t, "download {\n allow_private 127.0.0.1\n}")
	o := newOrigin(t)
	url := o.handle("/a.png", o.stall("", "content"))

	conn, err := dialLoopback(t.Context(), "tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /download_file?url=%s HTTP/1.1\r\nHost: %s\r\n\r\n", url, c.addr); err != nil {
		t.Fatal(err)
	}
	o.await(t)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}

	// nothing tells when Caddy has noticed, so ask until it has
	var s stat
	asked := int64(0)
	for deadline := time.Now().Add(patience); s["PacketLost"] == 0 && time.Now().Before(deadline); asked++ {
		s = c.stat(t, "/get_status")
	}
	want := stat{
		"PacketReceived": asked + 1, "PacketSent": asked - 1, "PacketLost": 1, "LostTimes": 1,
		"MessageReceived": 0, "MessageSent": 0, "DisconnectTimes": 0, "LastMessageTime": 0,
	}
	if !maps.Equal(s, want) {
		t.Errorf("stat is %v, want %v", s, want)
	}
}

// This is the shape that frameworks parse; integers must not become 1e+06.
func TestCountersAreIntegersHoweverLarge(t *testing.T) {
	c := startBot(t, "")
	for range 1000 {
		c.call(t, "GET", "/set_restart", "").wantOK(t)
	}
	var data struct{ Stat map[string]json.RawMessage }
	if err := json.Unmarshal(c.call(t, "GET", "/get_status", "").data, &data); err != nil {
		t.Fatal(err)
	}
	for name, value := range data.Stat {
		if !regexp.MustCompile(`^\d+$`).Match(value) {
			t.Errorf("%s is %s", name, value)
		}
	}
	if got := string(data.Stat["PacketReceived"]); got != "1001" {
		t.Errorf("PacketReceived is %s after 1001 calls", got)
	}
	if _, err := os.Stat(c.cacheDir("onebot")); !os.IsNotExist(err) {
		t.Errorf("calls that keep no file left a cache directory: %v", err)
	}
}
