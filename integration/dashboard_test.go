package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metricPrefix is how the names of all metrics of the module begin.
const metricPrefix = "caddy_onebot_meta_"

// servedMetric is a metric as Caddy serves it.
type servedMetric struct {
	kind   string
	labels []string // of a bucket, le too
}

var (
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	sampleLine = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)
)

// servedMetrics returns the metrics of the module that Caddy serves, by name. Those of
// a histogram are there with each suffix.
func (c *instance) servedMetrics(t testing.TB) map[string]servedMetric {
	t.Helper()
	resp := get(t, c.client, "GET", "http://"+c.admin+"/metrics")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	kinds := make(map[string]string)
	for _, m := range typeLine.FindAllStringSubmatch(resp.body, -1) {
		kinds[m[1]] = m[2]
	}
	served := make(map[string]servedMetric)
	for _, m := range sampleLine.FindAllStringSubmatch(resp.body, -1) {
		name, of := m[1], m[1]
		if !strings.HasPrefix(name, metricPrefix) {
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && kinds[base] == "histogram" {
				of = base
			}
		}
		var labels []string
		for _, label := range labelName.FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, label[1])
		}
		slices.Sort(labels)
		if known, ok := served[name]; ok && !slices.Equal(known.labels, labels) {
			t.Errorf("%s has the labels %v and %v", name, known.labels, labels)
		}
		served[name] = servedMetric{kinds[of], labels}
	}
	return served
}

type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type string
			Definition string
			Query      json.RawMessage
			Datasource datasource
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  datasource
	Targets     []struct {
		Expr, LegendFormat, RefID string
		Datasource                datasource
	}
}

type datasource struct{ Type, UID string }

// chosen is the data source that the user of the dashboard chooses.
var chosen = datasource{"prometheus", "${datasource}"}

func readDashboard(t testing.TB) dashboard {
	t.Helper()
	content, err := os.ReadFile("grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheDashboardShowsTheMetricsThatThereAre(t *testing.T) {
	b := newBackend(t)
	c := startCaddy(t, "http://<SITE> {\n"+front("name behind\nroute /behind", b)+"}\n"+
		"http://<OTHER> {\n onebot_meta {\n name alone\n access_token the-only-token\n"+download()+"\n}\n}")
	t.Cleanup(b.release)
	o := newOrigin(t)
	alone := newClient("http://" + c.other)
	t.Cleanup(alone.CloseIdleConnections)
	for _, call := range []string{
		"/get_status", "/set_restart_async", "/no_such_action", "/download_file?url=ftp://x", "/download_file?url=" + o.handle("/a.png", content("a picture")),
	} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer the-only-token"}} {
			if _, err := alone.try("GET", call, "", header...); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.call(t, "GET", "/behind/get_status", "").wantOK(t)
	c.open(t, "/behind/")
	served := c.servedMetrics(t)
	if len(served) == 0 {
		t.Fatal("Caddy serves no metric of the module")
	}

	d := readDashboard(t)
	used := make(map[string]bool)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			t.Run(p.Title+" "+target.RefID, func(t *testing.T) {
				e := parseExpression(t, target.Expr, served)
				for _, name := range e.metrics {
					used[name] = true
				}
				for _, m := range regexp.MustCompile(`\{\{(.*?)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					if !slices.Contains(e.grouped, strings.TrimSpace(m[1])) {
						t.Errorf("the legend %q has a label that %s does not leave", target.LegendFormat, target.Expr)
					}
				}
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		if !used[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil || !slices.Contains(served[m[1]].labels, m[2]) {
			t.Errorf("the variable %s has values by %q", v.Name, v.Definition)
		}
		if !strings.Contains(string(v.Query), v.Definition) {
			t.Errorf("the variable %s has the definition %q and the query %s", v.Name, v.Definition, v.Query)
		}
	}
}

func TestTheDashboardIsOneThatGrafanaTakes(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 { // which brought data sources as they are here
		t.Errorf("it is %q %q of schema %d", d.Title, d.UID, d.SchemaVersion)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name+" "+v.Type)
		if v.Type == "query" && v.Datasource != chosen {
			t.Errorf("the variable %s asks %v", v.Name, v.Datasource)
		}
	}
	if want := []string{"datasource datasource", "name query"}; !slices.Equal(names, want) {
		t.Errorf("the variables are %v, want %v", names, want)
	}
	ids, titles, cells := make(map[int]bool), make(map[string]bool), make(map[string]string)
	for _, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.ID <= 0 || p.Title == "" {
			t.Errorf("the id %d and the title %q are not one panel's alone", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		if g := p.GridPos; g.X < 0 || g.Y < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := fmt.Sprint(p.GridPos.X+x, p.GridPos.Y+y)
				if other, taken := cells[cell]; taken {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				cells[cell] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource != chosen || len(p.Targets) == 0 {
			t.Errorf("%s asks %v for %d things", p.Title, p.Datasource, len(p.Targets))
		}
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			if target.Datasource != chosen || refs[target.RefID] || target.RefID == "" {
				t.Errorf("%s asks %v for %q", p.Title, target.Datasource, target.RefID)
			}
			refs[target.RefID] = true
		}
	}
}
