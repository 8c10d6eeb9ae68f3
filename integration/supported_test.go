package integration

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestSupportedActionsAreOursAndTheBackends(t *testing.T) {
	ours := []string{
		"clean_cache", "download_file", "get_status", "get_supported_actions", "get_version_info",
		"reload_event_filter", "set_restart",
	}
	says := func(data string) http.HandlerFunc {
		return body(200, ok(data), "Content-Type", "application/json")
	}
	tests := map[string]struct {
		answer http.HandlerFunc
		more   []string // than ours
	}{
		"a list":                             {says(`["send_msg","get_login_info"]`), []string{"get_login_info", "send_msg"}},
		"a list with ours in it":             {says(`["set_restart","zzz","get_status","zzz",".handle_quick_operation","zzz"]`), []string{".handle_quick_operation", "zzz"}},
		"the word slices":                    {says(`["get_word_slices",".get_word_slices","send_msg"]`), []string{"send_msg"}},
		"the word slices, with suffixes":     {says(`["get_word_slices_async",".get_word_slices_rate_limited","send_msg_async"]`), []string{"send_msg_async"}},
		"an empty list":                      {says(`[]`), nil},
		"a long list":                        {says(`["` + strings.ReplaceAll(strings.TrimSpace(filler(90_000)), " ", `","`) + `"]`), strings.Fields(filler(90_000))},
		"null":                               {says(`null`), nil},
		"an object":                          {says(`{"actions":["a"]}`), nil},
		"a string":                           {says(`"send_msg"`), nil},
		"not all of it names":                {says(`["a",5,null,{},["b"]]`), nil},
		"no such action":                     {body(404, `{"status":"failed","retcode":1404,"data":null}`), nil},
		"an action that failed with a list":  {body(200, `{"status":"failed","retcode":100,"data":["a"]}`), nil},
		"a list that is no envelope":         {body(200, `["a"]`), nil},
		"nonsense":                           {body(200, "<html>"), nil},
		"a connection that is cut":           {raw("", true), nil},
		"a list without an end":              {endless, nil},
		"a list that is too large to be one": {says(`["` + filler(20<<20) + `"]`), nil},
		"never":                              {nil, nil},
		"nobody":                             {nil, nil},
	}
	b, down := newBackend(t), newBackend(t)
	for name, test := range tests {
		if test.answer == nil {
			test.answer = b.never
		}
		b.handle("/"+label(name)+"/get_supported_actions", test.answer)
	}
	c := startFronts(t, b, tests, func(name string) *backend {
		if name == "nobody" {
			return down
		}
		return b
	}, "header_up X-Added yes")
	down.shutDown()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some take their time
			var got []string
			path := "/" + label(name) + "/get_supported_actions"
			c.call(t, "GET", path, "", "Authorization", "Bearer x").wantOK(t).decode(t, &got)
			want := slices.Sorted(slices.Values(slices.Concat(ours, test.more)))
			if !slices.Equal(got, want) {
				t.Errorf("got  %.500q\nwant %.500q", got, want)
			}
			if name == "nobody" {
				return
			}
			all := slices.DeleteFunc(b.requests("get_supported_actions"), func(s *seen) bool { return s.uri != path })
			if len(all) != 1 {
				t.Fatalf("the backend was asked %d times", len(all))
			}
			if s := all[0]; s.method != "POST" || s.header.Get("Authorization") != "Bearer x" || s.header.Get("X-Added") != "yes" {
				t.Errorf("the question is %s %s %v", s.method, s.uri, s.header)
			}
			if s := c.stat(t, "/stat/"+label(name)+"/get_status"); s["PacketLost"] != 0 || s["PacketReceived"] != 2 {
				t.Errorf("the question counts as a packet: %v", s)
			}
		})
	}
}
