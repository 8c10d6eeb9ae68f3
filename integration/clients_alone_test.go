package integration

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPublicFrameworksTakeTheModuleForAWholeImplementation(t *testing.T) {
	c := startTwice(t, "onebot_meta {\n route /onebot\n self_id 10001\n heartbeat 200ms\n access_token "+rightToken+"\n"+download(openLoopback)+"\n}")
	o := newOrigin(t)
	body := filler(100_000)
	url := o.handle("/a.bin", content(body))
	var version map[string]any
	c.bot(t, "get_version_info").decode(t, &version)
	for name, f := range frameworks {
		t.Run(name, func(t *testing.T) {
			overBoth(t, c, func(t *testing.T, site string, env []string) {
				before := c.bot(t, "get_status").stat(t)
				task := params{
					"url": f.url(site), "offline": true,
					"calls": []any{
						[]any{"get_status", params{}},
						[]any{"get_version_info", params{}},
						[]any{"download_file", params{"url": url}},
						[]any{"no_such_action", params{}},
					},
				}
				if f.meta {
					task["events"] = []string{"meta_event.lifecycle", "meta_event.heartbeat"}
				}
				r := f.start(t, task, env...).finish(4)

				status := r.Outcomes[0].data(t, "")
				if stat, _ := status["stat"].(map[string]any); status["online"] != true || len(stat) != 8 {
					t.Errorf("get_status is %v", status)
				}
				if got := r.Outcomes[1].data(t, ""); params(got).String() != params(version).String() {
					t.Errorf("get_version_info is %v over HTTP, and here %v", version, got)
				}
				file, _ := r.Outcomes[2].data(t, "file")["file"].(string)
				wantContent(t, file, body)
				r.Outcomes[3].wantFailed(t, 1404)
				if f.meta {
					wantEvent(t, r.Events["meta_event.lifecycle"], params{"self_id": 10001, "sub_type": "connect"})
					wantEvent(t, r.Events["meta_event.heartbeat"], params{"self_id": 10001, "interval": 200})
				}
				c.wantMore(t, before, int64(4+len(f.atFirst)), nil)
			})
		})
	}
}

func TestPublicFrameworksWithAWrongTokenAreRefused(t *testing.T) {
	c := startTwice(t, "onebot_meta {\n route /onebot\n access_token "+rightToken+"\n}")
	for name, f := range frameworks {
		t.Run(name, func(t *testing.T) {
			overBoth(t, c, func(t *testing.T, site string, env []string) {
				before := c.bot(t, "get_status").stat(t)
				r := f.start(t, params{"url": f.url(site), "token": "close-sesame"}, env...).finish(0)
				if !strings.Contains(r.Refused, f.refused) {
					t.Errorf("it tells %+v, want that it was refused with %q", r, f.refused)
				}
				c.wantMore(t, before, 0, nil)
			})
		})
	}
}

// wantEvent fails the test unless an event, or another object, has some fields.
func wantEvent(t testing.TB, object json.RawMessage, want params) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(object, &got); err != nil {
		t.Fatalf("it is %s: %v", object, err)
	}
	for name, value := range want {
		if g, w := params.String(params{"": got[name]}), params.String(params{"": value}); g != w {
			t.Errorf("%s is %s, want %s, in\n%.1000s", name, g, w, object)
		}
	}
}
