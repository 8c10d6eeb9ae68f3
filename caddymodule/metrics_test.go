package caddymodule

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// samples are the values of a bot's metrics: by their names without what all of
// them begin with, and behind that the values of the other labels. Of a
// histogram it is how often something was observed.
type samples map[string]float64

// namesGiven counts the names that newName gave out.
var namesGiven atomic.Int64

// newName returns a name that nothing was counted for, however often a test runs
// in one process.
func newName() string { return fmt.Sprintf("measured.%d", namesGiven.Add(1)) }

// measured is provision with a newName.
func measured(t *testing.T, change func(*Handler)) *Handler {
	t.Helper()
	return provision(t, func(h *Handler) {
		h.Name = newName()
		if change != nil {
			change(h)
		}
	})
}

// gather returns the samples of a bot, as a registry finds them that believes
// nothing.
func gather(t *testing.T, name string) samples {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	return gathered(t, registry, name)
}

func gathered(t *testing.T, from prometheus.Gatherer, name string) samples {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(samples)
	for _, family := range families {
		short, ours := strings.CutPrefix(family.GetName(), "caddy_onebot_meta_")
		if !ours {
			continue
		}
		for _, metric := range family.GetMetric() {
			key, its := short, false
			for _, label := range metric.GetLabel() {
				if label.GetName() == "name" {
					its = label.GetValue() == name
				} else {
					key += " " + label.GetValue()
				}
			}
			if its {
				all[key] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

// of returns the samples of some metrics alone.
func (s samples) of(metrics ...string) samples {
	some := maps.Clone(s)
	maps.DeleteFunc(some, func(key string, _ float64) bool {
		short, _, _ := strings.Cut(key, " ")
		return !slices.Contains(metrics, short)
	})
	return some
}

// since returns what is more than there was.
func (s samples) since(before samples) samples {
	more := make(samples)
	for key, value := range s {
		if value != before[key] {
			more[key] = value - before[key]
		}
	}
	return more
}

// gauges returns the metrics that tell how it is now.
func (s samples) gauges() samples {
	return s.of("downloads_in_flight", "cache_bytes", "cache_files", "backend_online", "websocket_connections")
}

func (s samples) want(t *testing.T, want samples) {
	t.Helper()
	if !maps.Equal(s, want) {
		t.Errorf("got  %v\nwant %v", s, want)
	}
}

func TestTheMetricsHaveTheNamesAndLabelsThatUsersRelyOn(t *testing.T) {
	h := measured(t, nil)
	serve(t, h, httptest.NewRequest("GET", "/get_status", nil))
	registry := h.ctx.GetMetricsRegistry() // Caddy's own
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	ours := families[:0]
	for _, family := range families {
		if !strings.Contains(family.GetName(), "onebot") {
			continue
		}
		ours = append(ours, family)
		for _, metric := range family.GetMetric() {
			about := strings.ToLower(family.GetType().String())
			for _, label := range metric.GetLabel() {
				about += " " + label.GetName()
			}
			if other, ok := got[family.GetName()]; ok && other != about {
				t.Errorf("%s is a %s and a %s", family.GetName(), other, about)
			}
			got[family.GetName()] = about
		}
	}
	if want := map[string]string{
		"caddy_onebot_meta_actions_total":           "counter action name retcode",
		"caddy_onebot_meta_action_duration_seconds": "histogram action name",
		"caddy_onebot_meta_downloads_total":         "counter name result",
		"caddy_onebot_meta_download_bytes_total":    "counter name",
		"caddy_onebot_meta_downloads_in_flight":     "gauge name",
		"caddy_onebot_meta_cache_bytes":             "gauge name",
		"caddy_onebot_meta_cache_files":             "gauge name",
		"caddy_onebot_meta_backend_online":          "gauge name",
		"caddy_onebot_meta_websocket_connections":   "gauge name",
	}; !maps.Equal(got, want) {
		t.Errorf("the metrics are\n%v, want\n%v", got, want)
	}
	problems, err := promlint.NewWithMetricFamilies(ours).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("Prometheus finds fault: %v, %v", problems, err)
	}
}

func TestABotHasItsMetricsBeforeAnythingHappens(t *testing.T) {
	gather(t, measured(t, nil).Name).want(t, samples{
		"downloads_total fetched": 0, "downloads_total fresh": 0, "downloads_total revalidated": 0,
		"downloads_total failed": 0, "downloads_total refused": 0, "download_bytes_total": 0,
		"downloads_in_flight": 0, "cache_bytes": 0, "cache_files": 0, "backend_online": 1, "websocket_connections": 0,
	})
}

func TestEachConfigServesTheMetricsOnceHoweverManyHandlersItHas(t *testing.T) {
	one, other := caddyContext(t), caddyContext(t)
	name := newName()
	for _, h := range []*Handler{
		handlerIn(t, one, name, t.TempDir()), handlerIn(t, one, name, t.TempDir()),
		handlerIn(t, one, "another", t.TempDir()), handlerIn(t, other, name, t.TempDir()),
	} {
		h.measureCall("get_status", 0, time.Now())
	}
	for i, ctx := range []caddy.Context{one, other} {
		registry := ctx.GetMetricsRegistry()
		if got := gathered(t, registry, name).of("actions_total")["actions_total get_status 0"]; got != 3 {
			t.Errorf("the registry of config %d says %v calls, want 3", i, got)
		}
	}
}

func TestAMetricOfAnothersThatHasOurNameIsAnError(t *testing.T) {
	ctx := caddyContext(t)
	ctx.GetMetricsRegistry().MustRegister(prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "caddy_onebot_meta_cache_files", Help: "something else",
	}, []string{"name"}))
	h := &Handler{Name: "clash", StorageRaw: json.RawMessage(`{"module":"test_memory"}`)}
	err := h.Provision(ctx)
	if err == nil || !strings.Contains(err.Error(), "registering metrics") {
		t.Errorf("got %v", err)
	}
	if err := h.Cleanup(); err != nil { // as Caddy does
		t.Error(err)
	}
	if provisioned.of("clash") != nil {
		t.Error("a handler that failed to load is known")
	}
}

func caddyContext(t *testing.T) caddy.Context {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return ctx
}

// handlerIn returns a handler that belongs to a config.
func handlerIn(t *testing.T, ctx caddy.Context, name, root string) *Handler {
	t.Helper()
	h := &Handler{Name: name, StorageRaw: json.RawMessage(`{"module":"file_system","root":` + quote(t, root) + `}`)}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // which may be done a second time
		if slices.Contains(provisioned.list(), h) {
			unload(t, h)
		}
	})
	return h
}

func unload(t *testing.T, h *Handler) {
	t.Helper()
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
}

// fill has a handler keep content of some size.
func fill(t *testing.T, h *Handler, size int) {
	t.Helper()
	params := object{"base64": base64.StdEncoding.EncodeToString(make([]byte, size))}
	if _, envelope := serve(t, h, httptest.NewRequest("POST", "/download_file", strings.NewReader(params.String()))); envelope["status"] != "ok" {
		t.Fatal(envelope)
	}
}

func TestLabelsDoNotComeFromCallers(t *testing.T) {
	h := measured(t, nil)
	c := newTaken(t, h)
	strange := []string{
		"nonsense", "other", "GET_STATUS", "Get_Status", " get_status", "get_status ", "get_status\x00", "get_status\n", "get\u200b_status",
		"get_status_", "get_status_async_async", "get_status_rate_limited_async", "get_status_ASYNC", "_async", "_rate_limited", "async",
		"get_status/", "../get_status", "files/a", "api", "event", "get_status?x", `get_status",name="x`, "{action}", "${action}",
		"..get_word_slices", "word_slices", "..", ".", "\u202e", "获取状态", strings.Repeat("x", 100_000), strings.Repeat("get_status", 1000),
	}
	for i := range 1000 {
		strange = append(strange, fmt.Sprintf("made_up_%d", i))
	}
	n := float64(0)
	for _, action := range strange {
		c.call(object{"action": action}.String())
		c.next(t)
		h.measureCall(action, 1404, time.Now())
		n += 2
	}
	for _, raw := range []string{"", "\xff\xfe", "get_status\xff"} { // which JSON cannot say
		h.measureCall(raw, 1404, time.Now())
		n++
	}
	for _, action := range strange[len(strange)-50:] {
		serve(t, h, httptest.NewRequest("GET", "/"+action, nil))
		serve(t, h, httptest.NewRequest("POST", "/", strings.NewReader(object{"action": action}.String())))
		n += 2
	}
	gather(t, h.Name).of("actions_total", "action_duration_seconds").want(t, samples{
		"actions_total other 1404": n, "action_duration_seconds other": n,
	})
}

func (o object) String() string {
	b, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestSuffixesAreNoActionsOfTheirOwn(t *testing.T) {
	h := measured(t, nil)
	for called, want := range map[string]string{
		"get_status": "get_status 0", "get_status_rate_limited": "get_status 0",
		"get_status_async": "get_status 1", "get_status_async_rate_limited": "get_status 1",
		"get_word_slices": "get_word_slices 1404", ".get_word_slices": ".get_word_slices 1404",
		"get_word_slices_rate_limited": "get_word_slices 1404", ".get_word_slices_async": ".get_word_slices 1",
		"download_file": "download_file 1400", "download_file_async": "download_file 1",
	} {
		before := gather(t, h.Name).of("actions_total")
		serve(t, h, httptest.NewRequest("GET", "/"+called, nil))
		c := newTaken(t, h)
		c.call(object{"action": called}.String())
		c.next(t)
		gather(t, h.Name).of("actions_total").since(before).want(t, samples{"actions_total " + want: 2})
	}
}

func TestEveryActionHasALabel(t *testing.T) {
	h := measured(t, nil)
	var all struct{ Data []string }
	w, _ := serve(t, h, httptest.NewRequest("GET", "/get_supported_actions", nil))
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Data) < 7 {
		t.Fatalf("the actions are %v", all.Data)
	}
	for _, action := range all.Data {
		h.measureCall(action, 7, time.Now())
	}
	got := gather(t, h.Name)
	for _, action := range all.Data {
		if got["actions_total "+action+" 7"] != 1 {
			t.Errorf("%s has no label of its own", action)
		}
	}
}
