package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// handlerStatus is what the admin API tells of a handler: exactly this.
type handlerStatus struct {
	Name        string           `json:"name"`
	Route       string           `json:"route"`
	PassThru    bool             `json:"pass_thru"`
	Online      bool             `json:"online"`
	Storage     string           `json:"storage"`
	Connections int64            `json:"websocket_connections"`
	Cache       cacheStatus      `json:"cache"`
	Stat        stat             `json:"stat"`
	Downloads   []downloadStatus `json:"downloads"`
}

type cacheStatus struct {
	Directory string `json:"directory"`
	Files     int    `json:"files"`
	Bytes     int64  `json:"bytes"`
	MaxSize   int64  `json:"max_size"`
	Share     int64  `json:"share,omitempty"`
}

type downloadStatus struct {
	ID      uint64    `json:"id"`
	Name    string    `json:"name"`
	URL     string    `json:"url"`
	Started time.Time `json:"started"`
	Tries   int       `json:"tries"`
	Callers int       `json:"callers"`
	Done    int64     `json:"done"`
	Total   *int64    `json:"total"`
	Rate    int64     `json:"rate"`
}

// administer sends a request to the admin API and reads the array that it is
// answered with, in which all fields must be that there are.
func administer[T any](t testing.TB, c *instance, method, target string) []T {
	t.Helper()
	a := get(t, c.client, method, "http://"+c.admin+target)
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s %s is answered by %d %v\n%s", method, target, a.StatusCode, a.Header, a.body)
	}
	var all []T
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil || all == nil || dec.More() {
		t.Fatalf("%s %s: %v\n%s", method, target, err, a.body)
	}
	// as it came back, nothing is missing
	again, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if json.Unmarshal([]byte(a.body), &got) != nil || json.Unmarshal(again, &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s %s is answered by\n%s, want all fields of\n%s", method, target, a.body, again)
	}
	return all
}

func (c *instance) handlers(t testing.TB) []handlerStatus {
	t.Helper()
	return administer[handlerStatus](t, c, "GET", "/onebot_meta/")
}

// places returns the names and routes of the handlers, in order.
func (c *instance) places(t testing.TB) string {
	t.Helper()
	var places []string
	for _, h := range c.handlers(t) {
		places = append(places, h.Name+h.Route)
	}
	return strings.Join(places, " ")
}

func TestTheAdminAPITellsOfEveryHandler(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n route /z\n name b\n"+download()+"\ncache {\nmax_size 0\n}\n}\n"+
		"handle /front/* {\n onebot_meta {\n route /front\n name c.front\n pass_thru\n}\n reverse_proxy "+b.addr+"\n}\n}\n"+
		"http://<OTHER> {\n onebot_meta {\n route /a/\n name b\n}\n onebot_meta {\n name a\n storage file_system <HOME>/own\n cache {\n max_size 1MiB\n}\n}\n}")
	t.Cleanup(b.release)
	o := newOrigin(t)
	c.post(t, "/z/download_file", params{"url": o.handle("/1", content(filler(1000)))}.String()).wantOK(t)
	c.post(t, "/z/download_file", `{"base64":"AAAA"}`).wantOK(t)
	c.tell(t, "/front/", heartbeat("true"))
	c.tell(t, "/front/", message("hello"))
	c.open(t, "/z").wantEvent(connecting(0))
	c.awaitGauge(t, "websocket_connections", "b", 1)

	none := stat{
		"PacketReceived": 0, "PacketSent": 0, "PacketLost": 0, "MessageReceived": 0,
		"MessageSent": 0, "DisconnectTimes": 0, "LostTimes": 0, "LastMessageTime": 0,
	}
	with := func(counts stat) stat {
		s := maps.Clone(none)
		maps.Copy(s, counts)
		return s
	}
	shared := handlerStatus{
		Name: "b", Route: "/z", Online: true, Storage: "file_system", Connections: 1,
		Cache: cacheStatus{c.cacheDir("b"), 2, 1003, 0, 0},
		Stat:  with(stat{"PacketReceived": 2, "PacketSent": 2}), Downloads: []downloadStatus{},
	}
	other := shared
	other.Route = "/a/"
	want := []handlerStatus{
		{
			Name: "a", Route: "/", Online: true, Storage: "file_system",
			Cache: cacheStatus{filepath.Join(c.home, "own", "onebot_meta", "a"), 0, 0, 1 << 20, 0},
			Stat:  none, Downloads: []downloadStatus{},
		},
		other, shared,
		{
			Name: "c.front", Route: "/front", PassThru: true, Online: true, Storage: "file_system",
			Cache: cacheStatus{c.cacheDir("c.front"), 0, 0, 10 << 30, 0},
			Stat:  with(stat{"PacketReceived": 2, "PacketSent": 2, "MessageReceived": 1}), Downloads: []downloadStatus{},
		},
	}
	var got string
	expected := fmt.Sprintf("%+v", want)
	defer func() {
		if t.Failed() {
			t.Logf("the handlers were\n%s, want\n%s", got, expected)
		}
	}()
	eventually(t, "what is expected", func() bool { // what was delivered is counted a moment later
		got = fmt.Sprintf("%+v", c.handlers(t))
		return got == expected
	})
	c.tell(t, "/front/", notice("bot_offline"))
	if h := c.handlers(t)[3]; h.Online || h.Stat["DisconnectTimes"] != 1 {
		t.Errorf("the bot that went offline is %+v", h)
	}
	if n := len(b.requests("get_status")); n > 0 {
		t.Errorf("the backend was asked %d times", n)
	}
}

func TestTheAdminAPITellsOfTheConfigThatRuns(t *testing.T) {
	site := func(version int, names ...string) string {
		var handlers strings.Builder
		for _, name := range names {
			fmt.Fprintf(&handlers, "onebot_meta {\n route /%[1]s\n name %[1]s\n%[2]s\n}\n", name, download())
		}
		return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n%s}\n", version, &handlers)
	}
	c := startCaddy(t, site(1, "stays", "goes"))
	o := newOrigin(t)
	url := o.handle("/slow", o.stall(filler(1000), "rest"))
	wantPlaces := func(when, want string) {
		t.Helper()
		if got := c.places(t); got != want {
			t.Errorf("%s the handlers are %q, want %q", when, got, want)
		}
	}
	wantPlaces("at first", "goes/goes stays/stays")

	for n, bad := range []string{
		site(2, "stays", "comes") + "http://<OTHER> {\n onebot_meta {\n access_token {env.ONEBOT_META_UNSET}\n}\n}",
		site(2, "comes") + "http://<OTHER> {\n bind 127.0.0.1\n respond x\n}\nhttp://" + o.server.Listener.Addr().String() + " {\n respond x\n}", // in use
	} {
		if output, ok := c.reload(bad); ok {
			t.Fatalf("bad config %d is taken: %s", n, output)
		}
		wantPlaces(fmt.Sprint("after bad config ", n), "goes/goes stays/stays")
	}

	// calls that the old config still has to answer, of both of its names
	answers := make(map[string]chan reply)
	for _, name := range []string{"goes", "stays"} {
		answer := make(chan reply, 1)
		answers[name] = answer
		go func() {
			r, err := c.client.try("POST", "/"+name+"/download_file", params{"url": url}.String())
			if err != nil {
				t.Error(err)
			}
			answer <- r
		}()
		o.await(t)
	}
	if output, ok := c.reload(site(3, "stays", "comes")); !ok {
		t.Fatal(output)
	}
	wantPlaces("after a reload", "comes/comes stays/stays")
	for _, h := range c.handlers(t) {
		// the download goes on, in a cache that the new config has too
		if want := map[string]int{"comes": 0, "stays": 1}[h.Name]; len(h.Downloads) != want {
			t.Errorf("%s has the downloads %+v, want %d", h.Name, h.Downloads, want)
		}
	}
	for sample := range c.metrics(t) {
		if strings.HasSuffix(sample, `{name="goes"}`) && !strings.HasPrefix(sample, "download_bytes_total") {
			t.Errorf("there is %s of a name that is gone", sample)
		}
	}
	receive(t, answers["goes"], "the answer of a name that is gone").wantFailed(t)
	o.release()
	receive(t, answers["stays"], "the answer of a name that stays").wantOK(t)
	wantPlaces("when that is answered", "comes/comes stays/stays")
}

func TestTheAdminAPITellsHowDownloadsGetOn(t *testing.T) {
	t.Parallel() // it waits for a rate to fall
	const secret = "5ecret"
	c := startCaddy(t, "http://<SITE> {\n onebot_meta {\n name shared\n"+download("max_concurrent 3")+"\n}\n}\n"+
		"http://<OTHER> {\n onebot_meta {\n route /other\n name shared\n}\n}")
	o := newOrigin(t)
	authority := strings.Replace(o.url, "://", "://user:"+secret+"@", 1)
	begin := func(path string, callers int) {
		t.Helper()
		c.ask(t, callers, params{"url": authority + path + "?key=" + secret + "#" + secret, "headers": "X-Key: " + secret})
		eventually(t, "a download of "+path, func() bool {
			return slices.ContainsFunc(c.handlers(t)[0].Downloads, func(d downloadStatus) bool { return d.URL == o.url+path && d.Callers == callers })
		})
	}
	g := newGate()
	o.handle("/slow.bin", o.stall(filler(100_000), filler(50_000)))
	o.handle("/unknown.bin", g.after(3000, chunked(filler(5000))))
	o.handle("/again.bin", steps(cut(100, content(filler(2000))), o.stall(filler(700), filler(1300))))
	o.handle("/waits.bin", o.stall(filler(10), filler(10)))
	began := time.Now()
	begin("/slow.bin", 3)
	begin("/unknown.bin", 1)
	begin("/again.bin", 1)
	// while it waits for its next try, another one might take its turn
	eventually(t, "the second try", func() bool { return c.handlers(t)[0].Downloads[2].Done == 700 })
	begin("/waits.bin", 2)

	want := []downloadStatus{
		{Name: "shared", URL: o.url + "/slow.bin", Tries: 1, Callers: 3, Done: 100_000, Total: new(int64(150_000))},
		{Name: "shared", URL: o.url + "/unknown.bin", Tries: 1, Callers: 1, Done: 3000},
		{Name: "shared", URL: o.url + "/again.bin", Tries: 2, Callers: 1, Done: 700, Total: new(int64(2000))},
		{Name: "shared", URL: o.url + "/waits.bin", Callers: 2},
	}
	var handlers []handlerStatus
	without := func(d downloadStatus) string { // what is checked below
		d.ID, d.Started = 0, time.Time{}
		b, _ := json.Marshal(d)
		return string(b)
	}
	defer func() {
		if t.Failed() {
			t.Logf("the handlers were %+v", handlers)
		}
	}()
	eventually(t, "the downloads to stall, and their rates to be 0", func() bool {
		handlers = c.handlers(t)
		return slices.EqualFunc(handlers[0].Downloads, want, func(a, b downloadStatus) bool { return without(a) == without(b) })
	})
	for i, d := range handlers[0].Downloads {
		if i > 0 && d.ID <= handlers[0].Downloads[i-1].ID {
			t.Errorf("the ids are not in order: %d", d.ID)
		}
		if d.Started.Before(began.Add(-patience)) || d.Started.After(time.Now().Add(patience)) {
			t.Errorf("download %d started at %v", i, d.Started)
		}
	}
	if len(handlers) != 2 || handlers[1].Route != "/other" || !slices.EqualFunc(handlers[1].Downloads, want, func(a, b downloadStatus) bool { return without(a) == without(b) }) {
		t.Errorf("the other handler of the name has %+v", handlers[1].Downloads)
	}
	if body := get(t, c.client, "GET", "http://"+c.admin+"/onebot_meta/").body; strings.Contains(body, secret) || strings.Contains(body, "user") {
		t.Errorf("the answer has a secret: %s", body)
	}
	o.release()
	g.open()
	eventually(t, "all downloads to end", func() bool { return len(c.handlers(t)[0].Downloads) == 0 })
}
