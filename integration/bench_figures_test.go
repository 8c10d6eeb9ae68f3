package integration

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// someFigures are of names that are no XML.
func someFigures() []*figure {
	growing := &curve{title: "Files & time", xLabel: "files <at once>", yLabel: "CPU µs"}
	growing.point("ours & <mine>", 100, 4000, 3000, 5000)
	growing.point("ours & <mine>", 1, 10, 9, 11)
	growing.point("ours & <mine>", 10, 200, 200, 200)
	growing.point("theirs", 1, 0.5, 0, 1)
	return []*figure{{
		title: `Speed of <this> & "that"`,
		bars: []bars{{"wall ms", []bar{
			{"fast <1>", 10, 8, 15},
			{"slow & steady", 40, 30, 80},
		}}},
		findings: []finding{
			{"ratio of fast <1> / slow & steady", 0.25, "(0.20-0.30)", bound{limit: 0.5}},
			{"bytes & more", 3, "", bound{limit: 2}},
			{"calls", 0.8, "", bound{limit: 0.9, atLeast: true}},
			{"rate", 1.1, "", bound{limit: 1.05, atLeast: true}},
			{"of which nothing is wanted", 9, "", bound{}},
		},
		curves: []*curve{growing},
	}}
}

// all returns the elements of a name, or of a class, in the order of a document.
func (e *element) all(name, class string) (found []*element) {
	if e.XMLName.Local == name && (class == "" || e.attr("class") == class) {
		found = append(found, e)
	}
	for _, child := range e.Children {
		found = append(found, child.all(name, class)...)
	}
	return found
}

func (e *element) attr(name string) string {
	i := slices.IndexFunc(e.Attrs, func(a xml.Attr) bool { return a.Name.Local == name })
	if i < 0 {
		return ""
	}
	return e.Attrs[i].Value
}

func chartOf(t *testing.T, all []*figure) (document *element) {
	t.Helper()
	drawing, err := draw(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(drawing, &document); err != nil {
		t.Fatalf("%v in\n%s", err, drawing)
	}
	return document
}

func TestAChartSaysWhatIsInItsFigures(t *testing.T) {
	t.Parallel()
	document := chartOf(t, someFigures())
	if got := document.XMLName; got != (xml.Name{Space: "http://www.w3.org/2000/svg", Local: "svg"}) {
		t.Errorf("the document is %v", got)
	}
	var texts, titles []string
	for _, e := range document.all("text", "") {
		texts = append(texts, e.Text)
	}
	for _, e := range document.all("title", "") {
		titles = append(titles, e.Text)
	}
	for _, want := range []string{
		`Speed of <this> & "that"`, "fast <1>", "slow & steady", "10 (8-15)",
		"ratio of fast <1> / slow & steady", "0.250 (0.20-0.30) – at most 0.5: met", "3 – at most 2: MISSED",
		"0.800 – at least 0.9: MISSED", "1.10 – at least 1.05: met", "9",
		"Files & time", "files <at once>", "CPU µs", "ours & <mine>", "theirs",
	} {
		if !slices.Contains(texts, want) {
			t.Errorf("no text is %q, only %q", want, texts)
		}
	}
	for _, want := range []string{"slow & steady: 40 (30-80) wall ms", "ours & <mine> at 100: 4,000 (3,000-5,000)"} {
		if !slices.Contains(titles, want) {
			t.Errorf("no title is %q, only %q", want, titles)
		}
	}
}

func TestAChartPutsThingsWhereTheirNumbersAre(t *testing.T) {
	t.Parallel()
	document := chartOf(t, someFigures())
	var widths []float64
	for _, e := range document.all("rect", "bar") {
		widths = append(widths, numbersIn(t, e.attr("width"))[0])
	}
	if len(widths) != 2 || widths[1] != 4*widths[0] {
		t.Errorf("the bars of 10 and 40 are %v wide", widths)
	}
	// of the slow one: a line from the least to the most, which is twice the bar
	slow := numbersIn(t, document.all("path", "whisker")[1].attr("d"))
	if from, to := slow[0]-barsAt, slow[2]-barsAt; from >= widths[1] || from <= widths[0] || to != 2*widths[1] {
		t.Errorf("the whisker of 30 to 80 goes from %v to %v", from, to)
	}

	lines := document.all("path", "series")
	if len(lines) != 2 {
		t.Fatalf("the curve has %d lines", len(lines))
	}
	at := numbersIn(t, lines[0].attr("d")) // of 1, 10 and 100, which are as far from each other on this axis
	if len(at) != 6 || at[0] >= at[2] || fmt.Sprintf("%.0f", at[2]-at[0]) != fmt.Sprintf("%.0f", at[4]-at[2]) {
		t.Errorf("the points are at %v", at)
	}
	if len(at) == 6 && (at[1] <= at[3] || at[3] <= at[5]) {
		t.Errorf("10, 200 and 4,000 are not one above the other: %v", at)
	}
	for _, e := range document.all("path", "whisker") {
		for _, v := range numbersIn(t, e.attr("d")) {
			if v < 0 || v > chartWidth {
				t.Errorf("a whisker is off the page: %s", e.attr("d"))
			}
		}
	}
}

// numbersIn returns those in an attribute.
func numbersIn(t *testing.T, value string) (all []float64) {
	t.Helper()
	for _, field := range strings.FieldsFunc(value, func(r rune) bool { return !strings.ContainsRune("-.0123456789", r) }) {
		var v float64
		if _, err := fmt.Sscan(field, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestACurveIsPrintedWithItsGrowth(t *testing.T) {
	t.Parallel()
	var printed strings.Builder
	someFigures()[0].curves[0].print(&printed)
	const want = `Files & time: CPU µs
files <at once>  ours & <mine>               theirs
1                10 (9-11)                   0.500 (0-1)
10               200 x20.00                  -
100              4,000 (3,000-5,000) x20.00  -
`
	if got := printed.String(); got != want {
		t.Errorf("the table is\n%s, want\n%s", got, want)
	}
}

func TestBenchmarksAreSummedUp(t *testing.T) {
	t.Parallel()
	chart := filepath.Join(t.TempDir(), "chart.svg")
	for name, c := range map[string]struct {
		all     []*figure
		chart   string
		printed string
		drawn   bool
	}{
		"nothing where no benchmark ran": {nil, chart, "", false},
		"without a chart":                {someFigures(), "", "2 of 4 met", false},
		"with a chart":                   {someFigures(), chart, "2 of 4 met", true},
	} {
		t.Run(name, func(t *testing.T) {
			var printed strings.Builder
			if err := (&figures{all: c.all}).publish(&printed, c.chart); err != nil {
				t.Fatal(err)
			}
			if got := printed.String(); (got == "") != (c.printed == "") || !strings.Contains(got, c.printed) {
				t.Errorf("it prints %q", got)
			}
			for _, line := range strings.Split(printed.String(), "\n") {
				if strings.Contains(line, "nothing is wanted") || strings.Contains(line, "bytes & more") && !strings.Contains(line, "MISSED") {
					t.Errorf("it prints %q", line)
				}
			}
			drawing, err := os.ReadFile(chart)
			_ = os.Remove(chart)
			if (err == nil) != c.drawn || c.drawn && !strings.HasPrefix(string(drawing), "<svg ") {
				t.Errorf("the chart is %q (%v)", drawing, err)
			}
		})
	}
}

func TestAxesHaveRoundNumbers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		low, high float64
		want      string
	}{
		"one value":         {1, 1, "[1 2]"},
		"within a decade":   {0.3, 0.9, "[0.2 0.5 1]"},
		"a round one":       {20, 50, "[20 50]"},
		"over decades":      {7, 130, "[5 10 20 50 100 200]"},
		"over many decades": {3, 20_000, "[1 10 100 1000 1e+04 1e+05]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprintf("%.4g", oneTwoFive(c.low, c.high)); got != c.want {
				t.Errorf("the ticks of %v to %v are %s, want %s", c.low, c.high, got, c.want)
			}
		})
	}
}
