package integration

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
)

// metrics are the samples of ours that Caddy serves, as they are served but
// without what the names of all of them begin with, and without buckets.
type metrics map[string]float64

// metrics reads Caddy's metrics.
func (c *instance) metrics(t testing.TB) metrics {
	t.Helper()
	served := get(t, c.client, "GET", "http://"+c.admin+"/metrics")
	if served.StatusCode != 200 {
		t.Fatalf("/metrics is answered by %d %s", served.StatusCode, served.body)
	}
	all := make(metrics)
	for line := range strings.Lines(served.body) {
		sample, ours := strings.CutPrefix(line, "caddy_onebot_meta_")
		if !ours || strings.Contains(sample, "_bucket{") {
			continue
		}
		space := strings.LastIndex(sample, " ")
		value, err := strconv.ParseFloat(strings.TrimSpace(sample[space:]), 64)
		if _, twice := all[sample[:space]]; err != nil || twice {
			t.Fatalf("the sample %q: %v, twice: %t", line, err, twice)
		}
		all[sample[:space]] = value
	}
	return all
}

// of returns the samples of one metric that are not 0, by their labels.
func (m metrics) of(metric string) metrics {
	some := make(metrics)
	for sample, value := range m {
		if labels, ok := strings.CutPrefix(sample, metric+"{"); ok && value != 0 {
			some[strings.TrimSuffix(labels, "}")] = value
		}
	}
	return some
}

func (m metrics) want(t testing.TB, want metrics) {
	t.Helper()
	if !maps.Equal(m, want) {
		t.Errorf("the metrics are\n%v, want\n%v", m, want)
	}
}

// gauge returns what a gauge says of a bot.
func (c *instance) gauge(t testing.TB, metric, name string) float64 {
	t.Helper()
	value, ok := c.metrics(t)[metric+`{name="`+name+`"}`]
	if !ok {
		t.Fatalf("there is no %s of %s", metric, name)
	}
	return value
}

// awaitGauge returns when a gauge says something: it may, a moment later.
func (c *instance) awaitGauge(t testing.TB, metric, name string, want float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s of %s to be %v", metric, name, want), func() bool { return c.gauge(t, metric, name) == want })
}

// countedCalls are the samples of actions_total that there should be of a bot.
type countedCalls struct {
	name  string
	calls metrics
}

func (e countedCalls) add(action string, retcode int) {
	e.calls[fmt.Sprintf(`action="%s",name="%s",retcode="%d"`, action, e.name, retcode)]++
}

// check fails the test if other calls were counted, or measured.
func (e countedCalls) check(t testing.TB, c *instance) {
	t.Helper()
	served := c.metrics(t)
	served.of("actions_total").want(t, e.calls)
	measured := make(metrics)
	for labels, n := range e.calls {
		labels, _, _ = strings.Cut(labels, `,retcode=`)
		measured[labels] += n
	}
	served.of("action_duration_seconds_count").want(t, measured)
	for labels := range measured {
		if took := served["action_duration_seconds_sum{"+labels+"}"]; took <= 0 {
			t.Errorf("%s took %v seconds", labels, took)
		}
	}
}

func TestEveryCallIsCountedByItsActionAndItsRetcode(t *testing.T) {
	c := startBot(t, "route /bot\nname shop\naccess_token secret\nmax_body 1KiB\n"+download()+"\ncache {\nserve\n}")
	want := countedCalls{"shop", make(metrics)}
	want.check(t, c)
	auth := []string{"Authorization", "Bearer secret"}
	inJSON := []string{"Content-Type", "application/json"}
	for _, call := range []struct {
		method, path, body string
		header             []string
		status             int
		action             string
		retcode            int
	}{
		{"GET", "/bot/get_status", "", auth, 200, "get_status", 0},
		{"POST", "/bot/get_status/", "{}", auth, 200, "get_status", 0},
		{"POST", "/bot/", `{"action":"get_status"}`, auth, 200, "get_status", 0},
		{"POST", "/bot", "action=get_status", append(auth, "Content-Type", "application/x-www-form-urlencoded"), 200, "get_status", 0},
		{"GET", "/bot?action=get_status", "", auth, 200, "get_status", 0},
		{"GET", "/bot/get_status_rate_limited", "", auth, 200, "get_status", 0},
		{"GET", "/bot/get_status_async", "", auth, 200, "get_status", 1},
		{"GET", "/bot/get_version_info", "", auth, 200, "get_version_info", 0},
		{"GET", "/bot/get_supported_actions", "", auth, 200, "get_supported_actions", 0},
		{"GET", "/bot/get_word_slices", "", auth, 200, "get_word_slices", 1404},
		{"GET", "/bot/.get_word_slices", "", auth, 200, ".get_word_slices", 1404},
		{"POST", "/bot/download_file", `{"url":"ftp://x"}`, append(auth, inJSON...), 200, "download_file", 1400},
		{"POST", "/bot/download_file", `{"base64":"AAAA"}`, append(auth, inJSON...), 200, "download_file", 0},
		{"GET", "/bot/get_status", "", nil, 401, "get_status", 1401},
		{"GET", "/bot/get_status_async", "", nil, 401, "get_status", 1401},
		{"GET", "/bot/get_status?access_token=wrong", "", nil, 403, "get_status", 1403},
		{"GET", "/bot/made_up", "", nil, 401, "other", 1401},
		{"GET", "/bot/made_up", "", auth, 404, "other", 1404},
		{"PUT", "/bot/made_up_too", "", auth, 404, "other", 1404},
		{"GET", "/bot/get_status_async_async", "", auth, 404, "other", 1404},
		{"POST", "/bot/", `{"action":"made_up"}`, auth, 404, "other", 1404},
		{"GET", "/bot", "", auth, 404, "other", 1404},
		{"PUT", "/bot/get_status", "", auth, 405, "get_status", 1400},
		{"POST", "/bot/get_status", "x", append(auth, "Content-Type", "text/plain"), 406, "get_status", 1400},
		{"POST", "/bot/get_status", "{", append(auth, inJSON...), 400, "get_status", 1400},
		{"POST", "/bot/", "{", append(auth, inJSON...), 400, "other", 1400},
		{"POST", "/bot/set_restart", filler(2000), append(auth, inJSON...), 413, "set_restart", 1400},
		{"POST", "/bot/", filler(2000), append(auth, inJSON...), 413, "other", 1400},
	} {
		r := c.call(t, call.method, call.path, call.body, call.header...)
		if r.http != call.status || r.retcode != call.retcode {
			t.Errorf("%s %s is answered by %d, %d", call.method, call.path, r.http, r.retcode)
		}
		want.add(call.action, call.retcode)
	}
	for _, path := range []string{"/", "/get_status", "/bots/get_status", "/bot/files/none"} { // no calls
		get(t, c.client, "GET", c.client.base+path, auth...)
	}
	want.check(t, c)

	a := c.open(t, "/bot/api", auth...)
	for _, call := range []struct {
		message, echo, action string
		retcode               int
	}{
		{ours("get_status", "1"), "1", "get_status", 0},
		{ours("get_version_info_rate_limited", "1"), "1", "get_version_info", 0},
		{ours("clean_cache_async", "1"), "1", "clean_cache", 1},
		{ours("made_up", "1"), "1", "other", 1404},
		{"no JSON", "", "other", 1400},
		{ours("download_file", "1", `"params":{"url":"x"}`), "1", "download_file", 1400},
	} {
		a.say(call.message)
		if r := wantEnvelope(t, a.hear(), call.echo); r.retcode != call.retcode {
			t.Errorf("%s is answered by %s", call.message, r.body)
		}
		want.add(call.action, call.retcode)
	}
	events := c.open(t, "/bot/event", auth...)
	events.wantEvent(connecting(0))
	events.call("get_status", "1").wantFailed(t) // it takes no calls
	want.add("get_status", 1400)
	want.check(t, c)
}

func TestWhatPassesIsNoCallOfOurs(t *testing.T) {
	b := newBackend(t)
	c := startFront(t, b, "name front\nmax_body 1KiB")
	want := countedCalls{"front", make(metrics)}
	inJSON := []string{"Content-Type", "application/json"}
	for _, request := range []struct{ method, path, body string }{
		{"POST", "/send_msg", `{"message":"hello"}`},
		{"GET", "/get_login_info", ""},
		{"GET", "/made_up_async", ""},
		{"POST", "/", `{"action":"send_private_msg"}`},
		{"POST", "/send_msg", "{"},
		{"POST", "/send_msg", filler(2000)},
		{"PUT", "/made_up", "x"},
		{"GET", "/", ""},
		{"POST", "/", message("hello")},
		{"POST", "/", heartbeat("true")},
	} {
		if n := len(b.requests()); send(t, c.client, request.method, c.client.base+request.path, request.body, inJSON...).StatusCode >= 500 || len(b.requests()) == n {
			t.Errorf("%v did not pass", request)
		}
	}
	want.check(t, c)

	c.call(t, "GET", "/get_status", "").wantOK(t)
	want.add("get_status", 0)
	c.call(t, "GET", "/get_supported_actions", "").wantOK(t) // which asks what is behind
	want.add("get_supported_actions", 0)
	c.post(t, "/", `{"action":"clean_cache_async"}`).wantAsync(t)
	want.add("clean_cache", 1)
	c.call(t, "PUT", "/get_status", "").wantRefused(t, 405)
	want.add("get_status", 1400)
	c.post(t, "/get_status", "{").wantRefused(t, 400)
	want.add("get_status", 1400)
	c.post(t, "/download_file", filler(2000)).wantRefused(t, 413)
	want.add("download_file", 1400)
	want.check(t, c)

	app := newBackend(t, silent).dial(t, "ws://"+c.addr+"/")
	bot := b.socket(t)
	for _, passes := range []string{calling("send_msg", "1"), "no JSON", message("hello"), calling("made_up", "2")} {
		app.send(t, passes)
		if got := bot.next(t); got != text(passes) {
			t.Errorf("%s became %s", passes, got.text)
		}
	}
	app.next(t)
	app.next(t) // the answers to two of them
	bot.send(t, message("hello"))
	app.want(t, message("hello"))
	app.send(t, ours("get_version_info", "3"))
	app.wantReply(t, "3").wantOK(t)
	want.add("get_version_info", 0)
	app.send(t, ours("get_word_slices", "4"))
	app.wantReply(t, "4").want(t, 200, "failed", 1404)
	want.add("get_word_slices", 1404)
	want.check(t, c)
}
