//go:build linux

package integration

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// report is the table that a benchmark prints, of which a figure is drawn.
type report struct {
	b      *testing.B
	figure *figure
	text   strings.Builder
	tabs   *tabwriter.Writer
}

// newReport starts a table, which is printed when the benchmark ends.
func newReport(b *testing.B, title string) *report {
	r := &report{b: b, figure: &figure{title: title}}
	r.tabs = tabwriter.NewWriter(&r.text, 0, 0, 2, ' ', 0)
	b.Cleanup(func() {
		_ = r.tabs.Flush()
		for _, c := range r.figure.curves {
			r.text.WriteString("\n")
			c.print(&r.text)
		}
		fmt.Printf("\n\n%s\n%s\n", title, r.text.String()) // b.Log would cut it after ten lines
		allFigures.add(r.figure)
	})
	b.ReportMetric(0, "ns/op") // what a whole benchmark takes says nothing
	return r
}

// line adds a line of cells, aligned with those of other lines. It is printed,
// but not drawn.
func (r *report) line(cells ...string) {
	_, _ = fmt.Fprintln(r.tabs, strings.Join(cells, "\t"))
}

// costs adds a line for each of the named contenders that took part.
func (r *report) costs(got results, names ...string) {
	r.line("", "wall ms", "CPU ms", fmt.Sprintf("(median, least-most of %d)", rounds))
	walls, cpus := bars{unit: "wall ms"}, bars{unit: "CPU ms"}
	for _, name := range names {
		if of, ok := got[name]; ok {
			r.line(name, spread(of, wall), spread(of, cpu))
			walls.add(name, of, wall)
			cpus.add(name, of, cpu)
		}
	}
	r.figure.bars = append(r.figure.bars, walls, cpus)
}

func (b *bars) add(name string, of []cost, by func(cost) time.Duration) {
	ms := milliseconds(of, by)
	b.of = append(b.of, bar{name, ms[len(ms)/2], ms[0], ms[len(ms)-1]})
}

// ratio adds how one contender compares to another in wall or CPU time, and
// the most that is wanted of it, unless that is 0.
func (r *report) ratio(got results, one, other, what string, by func(cost) time.Duration, most float64) {
	if len(got[one]) == 0 || len(got[other]) == 0 {
		return
	}
	each := make([]float64, 0, rounds)
	for i := range got[one] {
		each = append(each, float64(by(got[one][i]))/float64(by(got[other][i])))
	}
	ratio := float64(by(median(got[one], by))) / float64(by(median(got[other], by)))
	name := fmt.Sprintf("%s of %s / %s", what, one, other)
	r.target(name, ratio, most, fmt.Sprintf("(%.2f-%.2f)", slices.Min(each), slices.Max(each)))
	r.b.ReportMetric(ratio, strings.ReplaceAll(what+"/"+other, " ", "-"))
}

// rate adds how many things one contender does a second, and how that compares
// to another, with the least that is wanted of it, unless that is 0.
func (r *report) rate(got results, one, other string, things int, what string, least float64) {
	if len(got[one]) == 0 || len(got[other]) == 0 {
		return
	}
	each := func(name string) float64 { return float64(things) / median(got[name], wall).wall.Seconds() }
	ratio := each(one) / each(other)
	r.line(what+"/s "+one, fmt.Sprintf("%.0f", each(one)))
	r.line(what+"/s "+other, fmt.Sprintf("%.0f", each(other)))
	r.atLeast(fmt.Sprintf("%s/s of %s / %s", what, one, other), ratio, least)
	r.b.ReportMetric(ratio, strings.ReplaceAll(what+"/s/"+other, " ", "-"))
}

// target adds a number and the most that is wanted of it, unless that is 0.
func (r *report) target(name string, got, most float64, more ...string) {
	r.find(name, got, bound{limit: most}, more)
}

// atLeast adds a number and the least that is wanted of it, unless that is 0.
func (r *report) atLeast(name string, got, least float64, more ...string) {
	r.find(name, got, bound{limit: least, atLeast: true}, more)
}

func (r *report) find(name string, got float64, want bound, more []string) {
	r.figure.findings = append(r.figure.findings, finding{name, got, strings.Join(more, " "), want})
	cells := append([]string{name, strconv.FormatFloat(got, 'f', 2, 64)}, more...)
	r.line(append(cells, want.verdict(got))...)
}

// curve starts a curve, to which the benchmark adds points. It is printed below
// the table, each point with how many times the one before it is.
func (r *report) curve(title, xLabel, yLabel string) *curve {
	c := &curve{title: title, xLabel: xLabel, yLabel: yLabel}
	r.figure.curves = append(r.figure.curves, c)
	return c
}

// costs adds what one of n things took, in microseconds, to a series.
func (c *curve) costs(name string, x float64, of []cost, by func(cost) time.Duration, n int) {
	if len(of) == 0 {
		return // it did not take part
	}
	us := milliseconds(of, by)
	for i := range us {
		us[i] *= 1000 / float64(n)
	}
	c.point(name, x, us[len(us)/2], us[0], us[len(us)-1])
}

// median returns the middle one of costs.
func median(of []cost, by func(cost) time.Duration) cost {
	sorted := slices.SortedFunc(slices.Values(of), func(x, y cost) int { return cmp.Compare(by(x), by(y)) })
	return sorted[len(sorted)/2]
}

// milliseconds returns costs, the least one first.
func milliseconds(of []cost, by func(cost) time.Duration) []float64 {
	ms := make([]float64, 0, len(of))
	for _, c := range of {
		ms = append(ms, float64(by(c))/float64(time.Millisecond))
	}
	slices.Sort(ms)
	return ms
}

// spread says what costs were, in milliseconds.
func spread(of []cost, by func(cost) time.Duration) string {
	ms := milliseconds(of, by)
	digits := max(0, 2-int(math.Log10(ms[len(ms)/2]+1)))
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, ms[len(ms)/2], digits, ms[0], digits, ms[len(ms)-1])
}
