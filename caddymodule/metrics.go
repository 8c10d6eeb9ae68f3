package caddymodule

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onebot-caddy/onebot-meta/meta"
	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
	"github.com/onebot-caddy/onebot-meta/meta/fetch"
)

// otherAction is the label of every action that is not ours, so that callers
// cannot make up labels.
const otherAction = "other"

// The metrics that count since the process began, whatever was reloaded. Each
// config has a registry of its own, in which they are all registered.
var (
	actionsTotal = counters("actions_total", "Calls that were answered or refused here, by the retcode of the answer.", "action", "retcode")

	actionDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricName("action_duration_seconds"),
		Help: "How long calls waited for their answer.",
		// from what needs no network to the longest downloads
		Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 300, 1800},
	}, []string{"name", "action"})

	downloadsTotal = counters("downloads_total", "Downloads that have ended, by what came of them; calls that share one count once.", "result")
	downloadBytes  = counters("download_bytes_total", "Bytes of files that came from origins.")

	collectors = []prometheus.Collector{actionsTotal, actionDuration, downloadsTotal, downloadBytes}
)

// The metrics that are read off the state there is.
var (
	downloadsInFlight = gauge("downloads_in_flight", "Downloads that are under way or wait for their turn.")
	cacheBytes        = gauge("cache_bytes", "How large the files in the cache are.")
	cacheFiles        = gauge("cache_files", "How many files there are in the cache.")
	backendOnline     = gauge("backend_online", "1 if the bot was online when it was heard of last and is not overdue, and always without pass_thru.")
	connectionsOpen   = gauge("websocket_connections", "WebSocket connections that are open.")
)

func metricName(what string) string { return prometheus.BuildFQName("caddy", "onebot_meta", what) }

func counters(what, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricName(what), Help: help}, append([]string{"name"}, labels...))
}

func gauge(what, help string) *prometheus.Desc {
	return prometheus.NewDesc(metricName(what), help, []string{"name"}, nil)
}

// metrics collects all of them.
type metrics struct{}

// registerMetrics sees to it that a config serves the metrics, once however many
// handlers it has.
func registerMetrics(registry *prometheus.Registry) error {
	err := registry.Register(metrics{})
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	return err
}

// Describe implements [prometheus.Collector].
func (metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range collectors {
		c.Describe(descs)
	}
	for _, desc := range []*prometheus.Desc{downloadsInFlight, cacheBytes, cacheFiles, backendOnline, connectionsOpen} {
		descs <- desc
	}
}

// Collect implements [prometheus.Collector].
func (metrics) Collect(samples chan<- prometheus.Metric) {
	for _, c := range collectors {
		c.Collect(samples)
	}
	for name, now := range states() {
		for desc, value := range map[*prometheus.Desc]float64{
			downloadsInFlight: float64(now.downloads),
			cacheBytes:        float64(now.cache.Bytes),
			cacheFiles:        float64(now.cache.Files),
			backendOnline:     now.online,
			connectionsOpen:   float64(now.connections),
		} {
			samples <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, name)
		}
	}
}

// state is how it is with a bot.
type state struct {
	downloads   int
	cache       diskcache.Usage
	online      float64
	connections int64
}

// states returns how it is with every bot that has handlers, by its name. One
// may have several caches, and a cache several handlers.
func states() map[string]*state {
	all := make(map[string]*state)
	present := provisioned.list()
	for _, h := range present {
		s := all[h.Name]
		if s == nil {
			s = &state{connections: h.shared.connections.Load()}
			all[h.Name] = s
		}
		if h.online() {
			s.online = 1
		}
	}
	for h := range firsts(present, storeOf) {
		s, usage := all[h.Name], h.store.cache.Usage()
		s.cache.Files += usage.Files
		s.cache.Bytes += usage.Bytes
		s.downloads += h.store.flights.Running()
	}
	return all
}

// online reports whether the bot is known to be online, without asking.
func (h *Handler) online() bool { return !h.PassThru || h.shared.backend.KnownOnline() }

// measureCall counts a call that is answered with a retcode, whatever action
// the caller says.
func (h *Handler) measureCall(called string, retcode int, start time.Time) {
	m := h.measure(called, retcode)
	m.calls.Inc()
	m.duration.Observe(time.Since(start).Seconds())
}

// measure returns what counts such calls.
func (h *Handler) measure(called string, retcode int) measure {
	if succeeded := h.successes[called]; succeeded != nil && retcode == meta.RetcodeOK {
		return succeeded()
	}
	action, ok := h.dispatcher.Base(called)
	if !ok {
		action = otherAction
	}
	return measureOf(h.Name, action, retcode)
}

// measure is what the calls of an action with some retcode are counted by.
type measure struct {
	calls    prometheus.Counter
	duration prometheus.Observer
}

func measureOf(name, action string, retcode int) measure {
	return measure{
		calls:    actionsTotal.WithLabelValues(name, action, strconv.Itoa(retcode)),
		duration: actionDuration.WithLabelValues(name, action),
	}
}

// successesOf returns what the calls of actions are counted by that succeed:
// most do, and to find it among all labels takes a third of what get_status
// does. Each comes into being with the first such call.
func successesOf(name string, actions []string) map[string]func() measure {
	successes := make(map[string]func() measure, len(actions))
	for _, action := range actions {
		successes[action] = sync.OnceValue(func() measure { return measureOf(name, action, meta.RetcodeOK) })
	}
	return successes
}

// downloadResults are the values of the label result.
var downloadResults = []string{string(fetch.Fetched), string(fetch.Fresh), string(fetch.Revalidated), meta.Failed, meta.Refused}

// measureDownload counts a download that has ended.
func measureDownload(name, result string) { downloadsTotal.WithLabelValues(name, result).Inc() }

// measureReceived counts bytes that a download has received.
func measureReceived(name string, n int) { downloadBytes.WithLabelValues(name).Add(float64(n)) }

// initMetrics makes what counts downloads: a counter that comes into being with
// the first event has no rate.
func initMetrics(name string) {
	for _, result := range downloadResults {
		downloadsTotal.WithLabelValues(name, result)
	}
	downloadBytes.WithLabelValues(name)
}

// Interface guards
var _ prometheus.Collector = metrics{}
