package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

func TestGaugesTellOfEveryHandlerAndCacheOnce(t *testing.T) {
	ctx := caddyContext(t)
	name := newName()
	root, elsewhere := t.TempDir(), t.TempDir()
	first := handlerIn(t, ctx, name, root)
	second := handlerIn(t, ctx, name, root) // the same cache
	third := handlerIn(t, ctx, name, elsewhere)
	another := handlerIn(t, ctx, name+".another", root)
	fill(t, first, 100)
	fill(t, second, 20)
	fill(t, third, 3)
	fill(t, another, 5000)
	first.shared.connections.Add(4)
	defer first.shared.connections.Add(-4)
	gather(t, name).gauges().want(t, samples{
		"downloads_in_flight": 0, "cache_bytes": 123, "cache_files": 3, "backend_online": 1, "websocket_connections": 4,
	})
	gather(t, name+".another").gauges().want(t, samples{
		"downloads_in_flight": 0, "cache_bytes": 5000, "cache_files": 1, "backend_online": 1, "websocket_connections": 0,
	})
	unload(t, third)
	gather(t, name).gauges().want(t, samples{
		"downloads_in_flight": 0, "cache_bytes": 120, "cache_files": 2, "backend_online": 1, "websocket_connections": 4,
	})
}

func TestDownloadsInFlightAreThoseOfEachCacheOnce(t *testing.T) {
	h, url, release := stalling(t, func(h *Handler) { h.Name, h.Download.MaxConcurrent = newName(), 1 })
	root := strings.TrimSuffix(h.store.cache.Dir(), cacheSub(h.Name))
	if same := handlerIn(t, caddyContext(t), h.Name, root); same.store != h.store {
		t.Fatal("they have not one cache")
	}
	for i := range 3 { // of which two wait for their turn
		params := object{"url": fmt.Sprintf("%s?%d", url, i)}
		serve(t, h, httptest.NewRequest("POST", "/download_file_async", strings.NewReader(params.String())))
	}
	await(t, "all downloads to begin", func() bool { return h.store.flights.Running() == 3 })
	if got := gather(t, h.Name)["downloads_in_flight"]; got != 3 {
		t.Errorf("%v downloads are in flight, want 3", got)
	}
	release()
	await(t, "all downloads to end", func() bool { return gather(t, h.Name)["downloads_in_flight"] == 0 })
	gather(t, h.Name).of("downloads_total").want(t, samples{
		"downloads_total fetched": 3, "downloads_total fresh": 0, "downloads_total revalidated": 0,
		"downloads_total failed": 0, "downloads_total refused": 0,
	})
}

func TestTheBackendIsOnlineIfItIsKnownToBe(t *testing.T) {
	h := measured(t, func(h *Handler) { h.PassThru = true })
	online := func(want float64, when string) {
		t.Helper()
		if got := gather(t, h.Name)["backend_online"]; got != want {
			t.Errorf("%s backend_online is %v", when, got)
		}
	}
	heartbeat := func(online bool) *packet.Packet {
		return &packet.Packet{PostType: "meta_event", MetaEventType: "heartbeat", Online: &online, Interval: time.Hour}
	}
	online(0, "as long as nothing is known")
	h.shared.backend.Heard(heartbeat(true), false)
	online(1, "after a heartbeat")
	h.shared.backend.Heard(heartbeat(false), false)
	online(0, "after a heartbeat of one who is offline")
	watch := h.shared.backend.NewWatch(false)
	watch.FromImplementation(heartbeat(true), true)
	online(1, "after a heartbeat over WebSocket")
	watch.Close(true)
	online(0, "when that is lost")
}

func TestCountersOutliveAReloadAndGaugesGoWithTheName(t *testing.T) {
	root, name := t.TempDir(), newName()
	before := gather(t, name).of("actions_total")
	call := func(h *Handler, calls float64) {
		t.Helper()
		serve(t, h, httptest.NewRequest("GET", "/get_status", nil))
		gather(t, name).of("actions_total").since(before).want(t, samples{"actions_total get_status 0": calls})
	}
	first := handlerIn(t, caddyContext(t), name, root)
	call(first, 1)
	fill(t, first, 10)
	before = gather(t, name).of("actions_total")
	next := caddyContext(t)
	second := handlerIn(t, next, name, root)
	unload(t, first)
	call(second, 1)
	gauges := samples{"downloads_in_flight": 0, "cache_bytes": 10, "cache_files": 1, "backend_online": 1, "websocket_connections": 0}
	gathered(t, next.GetMetricsRegistry(), name).gauges().want(t, gauges)
	unload(t, second)
	left := gather(t, name)
	left.gauges().want(t, samples{})
	if left["actions_total get_status 0"] == 0 {
		t.Error("the counters went with the name")
	}
	third := handlerIn(t, caddyContext(t), name, root)
	call(third, 2)
	gather(t, name).gauges().want(t, gauges)
}

// The handlers of a config that ends are still there for a while.
func TestTheMetricsCanBeReadWhileConfigsComeAndGo(t *testing.T) {
	root := t.TempDir()
	names := []string{newName(), newName()}
	end := make(chan struct{})
	var reloads sync.WaitGroup
	for _, name := range names {
		reloads.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
				h := &Handler{Name: name, StorageRaw: json.RawMessage(`{"module":"file_system","root":` + quote(t, root) + `}`)}
				if err := h.Provision(ctx); err != nil {
					t.Error(err)
				}
				cancel()
				if err := h.Cleanup(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	stays := handlerIn(t, caddyContext(t), names[0], root)
	fill(t, stays, 10)
	for range 100 {
		if got := gather(t, names[0])["cache_bytes"]; got != 10 {
			t.Errorf("cache_bytes is %v", got)
			break
		}
		gather(t, names[1])
	}
	close(end)
	reloads.Wait()
}

func TestOnlyWhatWasDownloadedIsADownload(t *testing.T) {
	h := measured(t, nil)
	fill(t, h, 1000)
	gather(t, h.Name).of("downloads_total", "download_bytes_total").since(samples{}).want(t, samples{})
	for _, result := range []string{"sent", "failed"} {
		h.shared.downloaded(meta.Download{Result: result}) // there was nothing to fetch
	}
	for _, result := range []string{"fetched", "fresh", "revalidated", "failed", "refused"} {
		h.shared.downloaded(meta.Download{Result: result, URL: "http://127.0.0.1/"})
	}
	gather(t, h.Name).of("downloads_total").want(t, samples{
		"downloads_total fetched": 1, "downloads_total fresh": 1, "downloads_total revalidated": 1,
		"downloads_total failed": 1, "downloads_total refused": 1,
	})
}

// How long a call takes is that of the whole call, in seconds.
func TestDurationsAreInSeconds(t *testing.T) {
	h := measured(t, nil)
	h.measureCall("get_status", 0, time.Now().Add(-100*time.Second))
	h.measureCall("get_status", 0, time.Now().Add(-100*time.Hour))
	families, err := h.ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, family := range families {
		if family.GetName() != "caddy_onebot_meta_action_duration_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[1].GetValue() != h.Name {
				continue
			}
			found = true
			got := make(map[float64]uint64)
			for _, bucket := range metric.GetHistogram().GetBucket() {
				got[bucket.GetUpperBound()] = bucket.GetCumulativeCount()
			}
			if got[60] != 0 || got[300] != 1 || got[1800] != 1 || metric.GetHistogram().GetSampleCount() != 2 {
				t.Errorf("the buckets are %v", got)
			}
		}
	}
	if !found {
		t.Error("there is no histogram")
	}
}
