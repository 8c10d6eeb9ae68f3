package meta

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

// FuzzWanted reads what download_file is to do from JSON, from a form, and with
// the headers as an array: it is the same, or the same is wrong with it.
func FuzzWanted(f *testing.F) {
	f.Add("https://u:p@example.org/a.png?b=c#d", "A: b\r\nHost: x", "", "cat.gif")
	f.Add("", "A: b", "aGVsbG8=", "\x00.png")
	f.Add("http://a/", "", "aGVsbG8=", "")
	f.Add("http://[::1]:99999/", "Range: bytes=0-\n\n: x", "", "x")
	f.Fuzz(func(t *testing.T, rawURL, headers, base64, name string) {
		if !utf8.ValidString(strings.Join([]string{rawURL, headers, base64, name}, " ")) {
			return // which no JSON has
		}
		values := map[string]any{"url": rawURL, "headers": headers, "base64": base64, "name": name}
		form := make(url.Values)
		for name, value := range values {
			form.Set(name, value.(string))
		}
		params, err := ParseForm(form.Encode())
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := parseWanted(params)
		for _, headers := range []any{headers, strings.Split(strings.ReplaceAll(headers, "\r\n", "\n"), "\n")} {
			values["headers"] = headers
			body, err := marshal(values)
			if err != nil {
				t.Fatal(err)
			}
			if params, err = ParseObject(body); err != nil {
				t.Fatal(err)
			}
			if got, err := parseWanted(params); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(err, wantErr) {
				t.Errorf("%s: got %+v, %v; as a form %+v, %v", body, got, err, want, wantErr)
			}
		}
		switch {
		case wantErr != nil:
			failure, _ := explain(wantErr)
			e, ok := errors.AsType[*Error](failure)
			if !ok || e.Retcode != RetcodeBadRequest || e.Message == "" || e.Wording == "" {
				t.Errorf("the failure is %+v", failure)
			}
		case want.URL == nil:
			if want.content != base64 || base64 == "" || rawURL != "" {
				t.Errorf("the content is %q", want.content)
			}
		case want.content != "" || want.Name != name || want.URL.Scheme != "http" && want.URL.Scheme != "https":
			t.Errorf("got %+v", want)
		}
	})
}

// member returns the value of the only member of an object that has a name, as
// encoding/json compares names. It is not ok if there are several.
func member(object []byte, name string) (value json.RawMessage, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(object, &all) != nil {
		return nil, true
	}
	for key, v := range all {
		if strings.EqualFold(key, name) {
			if value != nil || strings.Count(strings.ToLower(string(object)), `"`+name+`"`) != 1 {
				return nil, false
			}
			value = v
		}
	}
	return value, true
}

// FuzzAnswer takes any bytes for what an implementation answers to get_status,
// and to get_supported_actions.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		sayOnline, sayOffline, `{"status":"ok","data":null}`, `{"status":"ok","data":{"online":null}}`, `{"status":"failed","data":{"online":true}}`,
		`{"status":"ok","data":["send_msg","get_status_async","send_msg","get_word_slices",""]}`, `{"status":"ok","data":[1]}`, `null`, `[]`, ``,
		`{"STATUS":"ok","Data":{"ONLINE":true}}`,
	} {
		f.Add([]byte(seed))
	}
	d := NewDispatcher(Options{})
	ours := d.Supported()
	f.Fuzz(func(t *testing.T, envelope []byte) {
		online, answered := onlineIn(envelope)
		if online && !answered || answered && !json.Valid(envelope) {
			t.Errorf("online is %t, answered %t", online, answered)
		}
		status, ok1 := member(envelope, "status")
		data, ok2 := member(envelope, "data")
		said, ok3 := member(data, "online")
		if ok1 && ok2 && ok3 {
			var s string
			_ = json.Unmarshal(status, &s)
			isObject := len(data) > 0 && data[0] == '{' || string(data) == "null"
			isBool := said == nil || slices.Contains([]string{"true", "false", "null"}, string(said))
			if want := s == "ok" && isObject && isBool; answered != want || online != (want && string(said) == "true") {
				t.Errorf("online is %t, answered %t", online, answered)
			}
		}

		var theirs []string
		if dataIn(envelope, &theirs) != nil {
			return
		}
		merged := d.merge(slices.Clone(theirs))
		if !slices.IsSorted(merged) || len(slices.Compact(slices.Clone(merged))) != len(merged) {
			t.Errorf("not sorted, or twice: %q", merged)
		}
		for _, name := range merged {
			if !slices.Contains(ours, name) && (d.Knows(name) || !slices.Contains(theirs, name)) {
				t.Errorf("%q is none that works", name)
			}
		}
		for _, name := range append(theirs, ours...) {
			if !slices.Contains(merged, name) && !d.Knows(name) || slices.Contains(ours, name) && !slices.Contains(merged, name) {
				t.Errorf("%q is missing", name)
			}
		}
	})
}

// event is what encoding/json reads of one, of the names that matter.
type readEvent struct {
	postType, metaType, noticeType, subType string
	online                                  *bool
}

// readOf reads an event by a second parser. It is not ok if that is not to be
// compared: of a name that occurs twice the two take another one, and what is
// long is of no event.
func readOf(text []byte) (e readEvent, ok bool) {
	var all map[string]json.RawMessage
	if len(text) > 1000 || json.Unmarshal(text, &all) != nil || strings.Contains(string(text), `\`) {
		return e, false
	}
	for name, dst := range map[string]*string{"post_type": &e.postType, "meta_event_type": &e.metaType, "notice_type": &e.noticeType, "sub_type": &e.subType} {
		if strings.Count(string(text), `"`+name+`"`) > 1 || len(all[name]) > 200 {
			return e, false
		}
		_ = json.Unmarshal(all[name], dst) // of another type it is as if it were not there
	}
	var status map[string]json.RawMessage
	if strings.Count(string(text), `"status"`) > 1 || strings.Count(string(text), `"online"`) > 1 {
		return e, false
	}
	if json.Unmarshal(all["status"], &status) == nil && status != nil {
		e.online = new(string(status["online"]) == "true")
	}
	return e, true
}

// FuzzHeard takes any bytes for an event of an implementation, of which nothing
// is known, or which is online. What is known then is what a second reader of
// the event says.
func FuzzHeard(f *testing.F) {
	for _, seed := range []string{
		`{"post_type":"meta_event","meta_event_type":"heartbeat","status":{"online":true,"good":true},"interval":5000}`,
		`{"post_type":"meta_event","meta_event_type":"heartbeat","status":{"online":false},"interval":1e300}`,
		`{"post_type":"meta_event","meta_event_type":"heartbeat","status":{"online":null},"interval":-1}`,
		`{"post_type":"meta_event","meta_event_type":"lifecycle","sub_type":"connect"}`,
		`{"post_type":"meta_event","meta_event_type":"lifecycle","sub_type":"disable"}`,
		`{"post_type":"notice","notice_type":"bot_offline"}`, `{"post_type":"message","message":"hi"}`, `{"status":"ok"}`, `[]`, ``,
	} {
		f.Add([]byte(seed), false, true)
		f.Add([]byte(seed), true, false)
	}
	f.Fuzz(func(t *testing.T, text []byte, wasOnline, dialed bool) {
		var scan packet.Scanner
		_, _ = scan.Write(text) // never fails
		if !scan.Whole() {
			return // as nothing that passes is heard then
		}
		counters := new(Counters)
		b := NewBackend(counters, nil)
		defer b.Forget() // stops what it waits for
		if wasOnline {
			b.Heard(heartbeat(true, 0), false)
		}
		b.Heard(scan.Packet(), dialed)
		if late := time.Until(b.due); late > longestHeartbeat*3/2 || late > 0 && time.Until(b.until) > late {
			t.Errorf("it is to be believed for %s", late)
		}
		e, ok := readOf(text)
		if !ok {
			return
		}
		want := wasOnline
		switch {
		case e.metaType == "heartbeat" && e.online != nil:
			want = *e.online
		case e.metaType == "lifecycle":
			want = wasOnline && e.subType != "disable" || e.subType == "connect" || e.subType == "enable"
			if e.noticeType == "bot_offline" && e.subType != "connect" && e.subType != "enable" {
				want = false
			}
		case e.noticeType == "bot_offline":
			want = false
		}
		stat := counters.Stat()
		if b.KnownOnline() != want || (stat.MessageReceived == 1) != (e.postType == "message") || (stat.DisconnectTimes == 1) != (wasOnline && !want) {
			t.Errorf("online is %t, want %t; %+v", b.KnownOnline(), want, stat)
		}
	})
}

// FuzzCutSuffix finds the action that a name is for, as a regular expression
// does.
func FuzzCutSuffix(f *testing.F) {
	for _, seed := range []string{"get_status", "get_status_async", "set_restart_async_rate_limited", "a_rate_limited_async", "_async", "_rate_limited", "", "send_group_msg_async"} {
		f.Add(seed)
	}
	d := NewDispatcher(Options{})
	form := regexp.MustCompile(`^(?s:(.*?))(_async)?(?:_rate_limited)?$`)
	names := regexp.MustCompile(`^(get_status|get_version_info|get_supported_actions|set_restart|clean_cache|reload_event_filter|\.?get_word_slices|download_file)(_async)?(_rate_limited)?$`)
	sends := regexp.MustCompile(`^(?s:send_(?:.*)msg)(_async)?(_rate_limited)?$`)
	f.Fuzz(func(t *testing.T, called string) {
		if utf8.ValidString(called) { // which is what regular expressions are about
			m := form.FindStringSubmatch(called)
			name, async := CutSuffix(called)
			if name != m[1] || async != (m[2] != "") {
				t.Errorf("%q is for %q, %t; want %q", called, name, async, m[1:])
			}
		}
		if d.Knows(called) != names.MatchString(called) {
			t.Errorf("%q is known: %t", called, d.Knows(called))
		}
		if utf8.ValidString(called) && SendsMessage(called) != sends.MatchString(called) {
			t.Errorf("%q sends a message: %t", called, SendsMessage(called))
		}
	})
}
