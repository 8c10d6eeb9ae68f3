package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// online returns what get_status says of the bot's state, which must not
// contradict itself.
func (r reply) online(t testing.TB) bool {
	t.Helper()
	var data struct {
		Online         *bool `json:"online"`
		Good           *bool `json:"good"`
		AppGood        *bool `json:"app_good"`
		AppInitialized *bool `json:"app_initialized"`
		AppEnabled     *bool `json:"app_enabled"`
		Stat           stat  `json:"stat"`
	}
	r.wantOK(t).decode(t, &data)
	for _, b := range []*bool{data.Online, data.Good, data.AppGood, data.AppInitialized, data.AppEnabled} {
		if b == nil {
			t.Fatalf("a field is missing in %s", r.data)
		}
	}
	if *data.Good != *data.Online || *data.AppGood != *data.Online || !*data.AppInitialized || !*data.AppEnabled || len(data.Stat) != 8 {
		t.Fatalf("the state contradicts itself: %s", r.data)
	}
	return *data.Online
}

// wantOnline fails the test if get_status says something else.
func (c *instance) wantOnline(t testing.TB, path string, want bool) stat {
	t.Helper()
	r := c.call(t, "GET", path, "")
	if got := r.online(t); got != want {
		t.Errorf("online is %t, want %t", got, want)
	}
	return r.stat(t)
}

func TestTheNewestWordOfTheBackendCounts(t *testing.T) {
	const anotherBeat = `"meta_event_type":"heartbeat","interval":5000`
	up, down := heartbeat("true"), heartbeat("false")
	tests := map[string]struct {
		events []string
		online bool
		lost   int64
	}{
		"a heartbeat":                            {[]string{up}, true, 0},
		"a heartbeat of one who is offline":      {[]string{down}, false, 0},
		"a heartbeat that does not know":         {[]string{up, heartbeat("null")}, false, 1},
		"a heartbeat without a word about it":    {[]string{up, event("meta_event", anotherBeat+`,"status":{"good":true}`)}, false, 1},
		"a heartbeat of another type":            {[]string{up, heartbeat(`"yes"`)}, false, 1},
		"a heartbeat without a status":           {[]string{up, event("meta_event", anotherBeat)}, true, 0},
		"a heartbeat of a good one that is off":  {[]string{up, event("meta_event", anotherBeat+`,"status":{"good":true,"online":false}`)}, false, 1},
		"a heartbeat with its status first":      {[]string{event("meta_event", `"status":{"online":true},`+anotherBeat)}, true, 0},
		"the connect of a lifecycle":             {[]string{down, lifecycle("connect")}, true, 0},
		"the enable of a lifecycle":              {[]string{down, lifecycle("enable")}, true, 0},
		"the disable of a lifecycle":             {[]string{up, lifecycle("disable")}, false, 1},
		"another word of a lifecycle":            {[]string{up, lifecycle("reconnect"), lifecycle("")}, true, 0},
		"a bot that says it is offline":          {[]string{up, notice("bot_offline", `"user_id":1,"tag":"x","message":"kicked"`)}, false, 1},
		"another notice":                         {[]string{up, notice("group_recall"), notice("client_status", `"online":false`)}, true, 0},
		"a message that looks like a word":       {[]string{up, message(lifecycle("disable"), `"meta_event_type":"lifecycle","sub_type":"disable"`)}, true, 0},
		"words in another place":                 {[]string{up, `{"post_type":"notice","x":` + down + `,"y":[` + notice("bot_offline") + `]}`}, true, 0},
		"a word that is large":                   {[]string{up, lifecycle("disable", `"x":"`+filler(1<<20)+`"`)}, false, 1},
		"a word with spaces":                     {[]string{up, " \n" + strings.NewReplacer(",", "\t, ", ":", " : ").Replace(down) + "\n"}, false, 1},
		"a word with escapes":                    {[]string{up, strings.NewReplacer("heartbeat", `h\u0065artbeat`, "post_type", `post\u005ftype`).Replace(down)}, false, 1},
		"half a word":                            {[]string{up, strings.TrimSuffix(lifecycle("disable"), "}")}, true, 0},
		"a word with something behind it":        {[]string{up, lifecycle("disable") + "x"}, true, 0},
		"lost three times":                       {[]string{up, down, down, up, lifecycle("disable"), lifecycle("enable"), notice("bot_offline")}, false, 3},
		"back again":                             {[]string{up, notice("bot_offline"), down, up}, true, 1},
		"the disable of what was never known":    {[]string{lifecycle("disable"), lifecycle("disable")}, false, 0},
		"words of the past are as good as newer": {[]string{up, strings.Replace(down, "1700000000", "1", 1)}, false, 1},
	}
	b := newBackend(t)
	b.answer("get_status", func(call) string { return `{"status":"ok","retcode":0,"data":"must not be asked"}` })
	b.handle("event", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	b.handle("", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }) // half a word
	c := startSites(t, b, tests)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			route := "/" + label(name)
			for _, event := range test.events {
				c.tell(t, route+"/", event)
			}
			if s := c.wantOnline(t, route+"/get_status", test.online); s["DisconnectTimes"] != test.lost {
				t.Errorf("DisconnectTimes is %d, want %d", s["DisconnectTimes"], test.lost)
			}
		})
	}
	if n := len(b.requests("get_status")); n != 0 {
		t.Errorf("the backend was asked %d times, though there was news", n)
	}
}

// label makes a name for a handler of the name of a test.
func label(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// startSites runs Caddy with one handler in front of a backend for each test:
// its route and its name are the test's label.
func startSites[T any](t testing.TB, b *backend, tests map[string]T) *instance {
	t.Helper()
	return startFronts(t, b, tests, func(string) *backend { return b }, "")
}

// startFronts is startSites with a backend for each test. The last argument is
// what is in reverse_proxy.
func startFronts[T any](t testing.TB, b *backend, tests map[string]T, of func(name string) *backend, proxy string) *instance {
	t.Helper()
	var sites strings.Builder
	for name := range tests {
		fmt.Fprintf(&sites, "handle /%[1]s/* {\n onebot_meta {\n route /%[1]s\n name %[1]s\n pass_thru\n}\n reverse_proxy %[2]s {\n%[3]s\n}\n}\n",
			label(name), of(name).addr, proxy)
		// the same counters, without asking
		fmt.Fprintf(&sites, "onebot_meta {\n route /stat/%[1]s\n name %[1]s\n}\n", label(name))
	}
	c := startCaddy(t, "http://<SITE> {\n"+sites.String()+"}")
	t.Cleanup(b.release)
	return c
}

func TestStateAndCountersOutliveAReload(t *testing.T) {
	b := newBackend(t)
	b.answer("get_status", func(call) string { return statusIs("true") })
	site := func(n int) string {
		return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n%s}", n, front("name a.bot", b))
	}
	c := startCaddy(t, site(1))
	t.Cleanup(b.release)
	c.tell(t, "/", heartbeat("true"))
	c.tell(t, "/", message("hello"))
	c.tell(t, "/", heartbeat("false"))
	send(t, c.client, "POST", c.client.base+"/send_msg", "{}")
	if output, ok := c.reload(site(2)); !ok {
		t.Fatal(output)
	}
	r := c.again(t, "GET", "/get_status")
	want := stat{
		"PacketReceived": 5, "PacketSent": 4, "PacketLost": 0, "LostTimes": 0,
		"MessageReceived": 1, "MessageSent": 1, "DisconnectTimes": 1, "LastMessageTime": 0,
	}
	got, _ := json.Marshal(r.stat(t))
	if expected, _ := json.Marshal(want); string(got) != string(expected) || r.online(t) || r.header.Get("X-Version") != "2" {
		t.Errorf("version %s says %s %s, want %s", r.header.Get("X-Version"), r.data, got, expected)
	}
	if n := len(b.requests("get_status")); n != 0 {
		t.Errorf("the backend was asked %d times", n)
	}
}

// News is old after 5 seconds. All that needs them to pass is here.
func TestWhatIsOldIsAskedAgain(t *testing.T) {
	t.Parallel() // it waits most of the time
	type test struct {
		event  string
		header []string
		answer string // of the backend, or "" for none that is proper
		online bool
		lost   int64
	}
	byItself := []string{"X-Self-ID", "10001"}
	long := func(online string) string {
		return strings.Replace(heartbeat(online), `"interval":5000`, `"interval":60000`, 1)
	}
	short := strings.Replace(heartbeat("true"), `"interval":5000`, `"interval":1000`, 1)
	tests := map[string]test{
		"a heartbeat, and then offline":                  {heartbeat("true"), nil, statusIs("false"), false, 1},
		"a heartbeat, and then online":                   {heartbeat("false"), nil, statusIs("true"), true, 0},
		"a heartbeat, and then nobody":                   {long("true"), nil, "", false, 1},
		"a lifecycle, and then nobody":                   {lifecycle("connect"), byItself, "", false, 1},
		"a heartbeat that holds":                         {long("true"), byItself, "", true, 0},
		"a heartbeat that holds and says no":             {long("false"), byItself, "", false, 0},
		"a heartbeat that holds unless it is known":      {long("true"), byItself, statusIs("false"), false, 1},
		"a heartbeat that holds no longer":               {short, byItself, "", false, 1},
		"a disable, and still offline":                   {lifecycle("disable"), nil, statusIs("null"), false, 0},
		"an offline notice, and then a bot that is back": {notice("bot_offline"), nil, statusIs("true"), true, 0},
		"what the backend said, and says no more":        {"", nil, statusIs("true"), true, 0},
	}
	b := newBackend(t)
	for name, test := range tests {
		answer := body(200, test.answer)
		if test.answer == "" {
			answer = body(502, "")
		}
		b.handle("/"+label(name)+"/get_status", answer)
	}
	c := startSites(t, b, tests)
	for name, test := range tests {
		if test.event != "" {
			c.tell(t, "/"+label(name)+"/", test.event, test.header...)
		}
	}
	last := "/" + label("what the backend said, and says no more") + "/get_status"
	c.wantOnline(t, last, true)
	asked := func() int { return len(b.requests("get_status")) }
	if n := asked(); n != 1 {
		t.Errorf("the backend was asked %d times", n)
	}
	b.handle(last, body(200, statusIs("false")))
	deadline := time.Now().Add(patience)
	r := c.call(t, "GET", last, "")
	for ; asked() == 1; r = c.call(t, "GET", last, "") {
		if time.Now().After(deadline) {
			t.Fatal("the backend is never asked again")
		}
		if !r.online(t) {
			t.Fatal("offline, though nobody was asked")
		}
		time.Sleep(20 * time.Millisecond) // for nothing but not to ask all the time
	}
	if s := r.stat(t); r.online(t) || s["DisconnectTimes"] != 1 {
		t.Errorf("the second answer is %s", r.data)
	}
	delete(tests, "what the backend said, and says no more")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := asked()
			for range 10 {
				if s := c.wantOnline(t, "/"+label(name)+"/get_status", test.online); s["DisconnectTimes"] != test.lost {
					t.Errorf("DisconnectTimes is %d, want %d", s["DisconnectTimes"], test.lost)
				}
			}
			if n := asked() - before; n != 1 {
				t.Errorf("the backend was asked %d times", n)
			}
		})
	}
}
