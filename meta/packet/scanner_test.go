package packet

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// samples are texts of all kinds, for tests that cut them and for fuzzing.
var samples = []string{
	`{"action":"get_status","params":{},"echo":"1"}`,
	`{"params":{"action":"x","message":[{"type":"text","data":{"text":"a\"\\\/\b\f\n\r\t\u00e9"}}]},"action":"send_msg_async","echo":{"a":[1,{"b":null}], "c":"}"}}`,
	`{"status":"ok","retcode":0,"data":{"online":true},"echo":[1, 2]}`,
	`{"retcode":"1400","status":"failed","echo":null}`,
	`{"time":1,"self_id":10001000,"post_type":"meta_event","meta_event_type":"heartbeat","status":{"good":true,"online":true,"stat":{"online":false}},"interval":5000}`,
	`{"status":{"online":null},"interval":-1.5e3}`,
	`{"status":{"online":false,"online":true},"status":{"online":true}}`,
	`{"status":{}, "interval":1e999, "sub_type":"poke", "notice_type":"notify"}`,
	`{"post_type":"message","sub_type":"friend","message":"你好 😀","raw_message":"\ud83d\ude00\ud83d","sender":{"age":0,"area":""}}`,
	`{"\u0061ction":"\u0073end_msg","post\u005ftype":"\ud83d\ude00 \ud83d"}`,
	"\uFEFF \r\n\t{ \"action\" : \"x\" , \"n\" : [ 0 , -0.5E+10 , 1e-7 , true , false , null , [ ] , { } ] } \u00a0\u3000\v",
	`{"action":5,"action":"later"}`,
	`{"action":"a","action":"b","echo":1,"echo":2}`,
	`{"action":"` + strings.Repeat("x", 254) + `","echo":"` + strings.Repeat("y", 1022) + `"}`,
	`{"action":"` + strings.Repeat("x", 255) + `","echo":"` + strings.Repeat("y", 1023) + `"}`,
	`{"interval":` + strings.Repeat("1", 256) + `,"echo":` + strings.Repeat("2", 1024) + `}`,
	`{"interval":` + strings.Repeat("1", 257) + `,"echo":` + strings.Repeat("2", 1025) + `}`,
	`{"\u006d\u0065\u0074\u0061\u005f\u0065\u0076\u0065\u006e\u0074\u005f\u0074\u0079\u0070\u0065":"lifecycle"}`,
	`{"a":[[[[{"echo":[[1]]}]]]],"echo":[[[["action"]]]]}`,
	`{}`, `{} {}`, `[]`, `"action"`, `null`, `5`, ``, " \n", `{"action":"x"`, `{"action":"x"}}`, `{"action":"x",}`,
	`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-}`, `{"a":1e}`, `{"a":1e+}`, `{"a":+1}`, `{"a":1.5.5}`, `{"a":1e5e5}`, `{"a":1e5.5}`, `{"a":0x1}`,
	`{"a":tru}`, `{"a":nulL}`, `{"a":falsee}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1}`, `{"a":{]}`, `{"a" 1}`, `{"a":1 "b":2}`,
	`{a:1}`, `{"a":'b'}`, `{,}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\":1\v}",
	"{\"action\":\"\xff\xfe\"}", "{\"\xff\":1}", "\xef\xbb{}", "\uFEFF\uFEFF{}", " \uFEFF{}", "{}\xc2", "{}\u0085\u2028", "\xe3\x80\x80{}",
	`{"retcode":"","interval":"30"}`, `{"retcode":" 1"}`, `{"retcode":"\u0031"}`, `{"retcode":null}`, `{"retcode":[0]}`, `{"interval":[1]}`,
	`{"echo":-0}`, `{"echo":true}`, `{"echo":{"a":1 , "a":2}}`, `{"status":["ok"]}`, `{"status":null,"status":"ok"}`,
	`{"online":true,"status":"ok"}`, `{"":1}`,
}

func TestWhatPacketsSay(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, tt := range map[string]struct {
		text string
		kind Kind
		want Packet
	}{
		"a call":                  {samples[0], Call, Packet{Action: "get_status", Echo: raw(`"1"`)}},
		"a call after its params": {samples[1], Call, Packet{Action: "send_msg_async", Echo: raw(`{"a":[1,{"b":null}], "c":"}"}`)}},
		"a response":              {samples[2], Response, Packet{Status: "ok", Retcode: true, Echo: raw(`[1, 2]`)}},
		"a response whose retcode is a string, and that echoes null": {samples[3], Response, Packet{Status: "failed", Retcode: true, Echo: raw(`null`)}},
		"a heartbeat": {samples[4], Event, Packet{
			PostType: "meta_event", MetaEventType: "heartbeat", Online: new(true), Interval: 5 * time.Second,
		}},
		"a notice with an action is an event": {
			`{"action":"x","post_type":"notice","notice_type":"bot_offline","sub_type":"kick"}`, Event,
			Packet{Action: "x", PostType: "notice", NoticeType: "bot_offline", SubType: "kick"},
		},
		"online null is offline":                      {`{"status":{"online":null}}`, Unknown, Packet{Online: new(false)}},
		"a status without online is offline":          {`{"status":{"good":true}}`, Unknown, Packet{Online: new(false)}},
		"the first online counts":                     {`{"status":{"online":true,"online":false}}`, Unknown, Packet{Online: new(true)}},
		"the first status counts":                     {`{"status":"ok","status":{"online":true}}`, Response, Packet{Status: "ok"}},
		"online deeper in the status is another":      {`{"status":{"app":{"online":true},"good":true}}`, Unknown, Packet{Online: new(false)}},
		"online outside a status is another":          {`{"online":true,"data":{"status":{"online":true}}}`, Unknown, Packet{}},
		"members after a status object":               {`{"status":{"online":true},"online":false,"post_type":"x"}`, Event, Packet{PostType: "x", Online: new(true)}},
		"names in other objects do not count":         {`{"params":{"action":"a","echo":1},"message":[{"post_type":"b"}]}`, Unknown, Packet{}},
		"names keep their case":                       {`{"Action":"a"}`, Unknown, Packet{}},
		"a value cut out of a name is none":           {`{"action ":"a","xaction":"b"}`, Unknown, Packet{}},
		"a name that is a value is none":              {`{"a":"action","b":["action","x"]}`, Unknown, Packet{}},
		"the first action counts":                     {`{"action":"a","action":"b"}`, Call, Packet{Action: "a"}},
		"even if it is none":                          {`{"action":null,"action":"b"}`, Unknown, Packet{}},
		"an action of a number is none":               {`{"action":5}`, Unknown, Packet{}},
		"an action that is too long is none":          {`{"action":"` + long + `","retcode":1}`, Response, Packet{Retcode: true}},
		"an interval that is too long is an hour":     {`{"interval":1e999}`, Unknown, Packet{Interval: time.Hour}},
		"an interval may have a fraction":             {`{"interval":1.5}`, Unknown, Packet{Interval: 1500 * time.Microsecond}},
		"an interval in a string":                     {`{"interval":"1000"}`, Unknown, Packet{Interval: time.Second}},
		"a negative interval is none":                 {`{"interval":-5}`, Unknown, Packet{}},
		"a retcode of text is none":                   {`{"retcode":"none"}`, Unknown, Packet{}},
		"escapes and surrogates":                      {`{"\u0061ction":"\ud83d\ude00\n"}`, Call, Packet{Action: "😀\n"}},
		"half a surrogate and bad UTF-8 is replaced":  {"{\"action\":\"\\ud83d\xff\"}", Call, Packet{Action: "\ufffd\ufffd"}},
		"a byte order mark":                           {"\uFEFF\n{\"action\":\"a\"}\n", Call, Packet{Action: "a"}},
		"what is found in a broken text is forgotten": {`{"action":"a","b":}`, Unknown, Packet{}},
		"so is that before garbage":                   {`{"action":"a"}garbage`, Unknown, Packet{}},
		"an array has no members":                     {`[{"action":"a"}]`, Unknown, Packet{}},
	} {
		t.Run(name, func(t *testing.T) {
			var s Scanner
			s.Write([]byte(tt.text))
			if got := s.Packet(); !reflect.DeepEqual(*got, tt.want) || got.Kind() != tt.kind {
				t.Errorf("got kind %d of %+v, want %d of %+v", got.Kind(), *got, tt.kind, tt.want)
			}
			if !s.Decided() {
				t.Error("it is not decided")
			}
		})
	}
}

func TestDecided(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		at   int // bytes after which it is first so
	}{
		"when the action is over":              {`{"a":1,"action":"x","b":2}`, len(`{"a":1,"action":"x"`)},
		"when the post_type is over":           {`{"post_type":"message","action":"x"}`, len(`{"post_type":"message"`)},
		"not by names in other objects":        {`{"params":{"action":"a","post_type":"b"},"action":"x"}`, len(`{"params":{"action":"a","post_type":"b"},"action":"x"`)},
		"not by an action that is none":        {`{"action":5,"post_type":""}`, len(`{"action":5,"post_type":""}`)},
		"at the end of an object with neither": {`{"echo":{}} `, len(`{"echo":{}}`)},
		"when it cannot be an object":          {` null`, 2},
		"at the first error":                   {`{"a":tRue,"action":"x"}`, 7},
		"never if there is nothing":            {" \r\n", -1},
	} {
		t.Run(name, func(t *testing.T) {
			var s Scanner
			at := -1
			for i := range len(tt.text) {
				if s.Decided() {
					at = i
					break
				}
				s.Write([]byte{tt.text[i]})
			}
			if at < 0 && s.Decided() {
				at = len(tt.text)
			}
			if at != tt.at {
				t.Errorf("decided after %d bytes, want %d", at, tt.at)
			}
		})
	}
}

func TestHowATextIsCutDoesNotMatter(t *testing.T) {
	var s Scanner // used again and again, as a connection does
	scan := func(pieces ...string) {
		s.Reset()
		for _, p := range pieces {
			s.Write([]byte(p))
		}
	}
	for _, text := range samples {
		checkScan(t, &s, []byte(text), nil)
		scan(text)
		want, whole := *s.Packet(), s.Whole()
		check := func(how string, at int) {
			if got := *s.Packet(); !reflect.DeepEqual(got, want) || s.Whole() != whole {
				t.Fatalf("%q %s %d: whole %t, %+v; want %t, %+v", text, how, at, s.Whole(), got, whole, want)
			}
		}
		for i := range len(text) + 1 {
			scan(text[:i], text[i:])
			check("cut at", i)
			scan(text[:i], "", text[i:min(i+1, len(text))], text[min(i+1, len(text)):])
			check("cut around", i)
		}
		scan(strings.Split(text, "")...)
		check("cut everywhere", 0)
		s.Reset()
		for i := range len(text) {
			s.Write([]byte{text[i]})
		}
		check("cut in bytes", 0)
	}
}

func TestWhatWasFoundOutlivesTheScanner(t *testing.T) {
	var s Scanner
	text := []byte(`{"action":"my_action","echo":{"n":1},"status":{"online":true}}`)
	s.Write(text[:20])
	s.Write(text[20:])
	p := *s.Packet()
	clear(text)
	s.Reset()
	s.Write([]byte(`{"action":"other_one","ech`))
	s.Write([]byte(`o":[2,3,4]}`))
	if p.Action != "my_action" || string(p.Echo) != `{"n":1}` || !*p.Online {
		t.Errorf("it became %+v", p)
	}
}

func TestScannerIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Scanner{}); size > 320 {
		t.Errorf("a scanner has %d bytes", size)
	}
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }
