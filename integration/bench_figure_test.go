package integration

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
)

var chartFile = flag.String("chart", "", "draw what the benchmarks find out into an SVG `file`; a relative one is in the root of the checkout")

// figure is what a benchmark has found out, in the order in which it did.
type figure struct {
	title    string
	bars     []bars
	findings []finding
	curves   []*curve
}

// bars compare contenders in one unit.
type bars struct {
	unit string
	of   []bar
}

// bar is what one contender took: the middle one of some rounds, and between
// which values all of them are.
type bar struct {
	name                string
	median, least, most float64
}

// finding is a number that is not a cost, such as a ratio.
type finding struct {
	name string
	got  float64
	more string // in words
	want bound
}

// bound is what is wanted of a number. The zero bound wants nothing.
type bound struct {
	limit   float64
	atLeast bool // rather than at most
}

func (want bound) met(got float64) bool {
	return want.limit == 0 || (want.atLeast && got >= want.limit) || (!want.atLeast && got <= want.limit)
}

// verdict says what is wanted and whether that is what there is.
func (want bound) verdict(got float64) string {
	if want.limit == 0 {
		return ""
	}
	said := fmt.Sprintf("at most %.3g: ", want.limit)
	if want.atLeast {
		said = fmt.Sprintf("at least %.3g: ", want.limit)
	}
	if want.met(got) {
		return said + "met"
	}
	return said + "MISSED"
}

// curve is how something grows with something else, for each of its series.
type curve struct {
	title, xLabel, yLabel string
	series                []*series
}

type series struct {
	name   string
	points []point
}

// point is what was measured at x: the middle one of some rounds, and between
// which values all of them are.
type point struct{ x, median, least, most float64 }

// point adds a point to a series, which it starts if there is none of that name.
func (c *curve) point(name string, x, median, least, most float64) {
	i := slices.IndexFunc(c.series, func(s *series) bool { return s.name == name })
	if i < 0 {
		i = len(c.series)
		c.series = append(c.series, &series{name: name})
	}
	s := c.series[i]
	s.points = append(s.points, point{x, median, least, most})
	slices.SortStableFunc(s.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
}

// print writes the curve as a table: a line for every x, and what each series
// has there, with how many times that is what it had at the x before.
func (c *curve) print(w io.Writer) {
	var xs []float64
	names := []string{c.xLabel}
	for _, s := range c.series {
		names = append(names, s.name)
		for _, p := range s.points {
			xs = append(xs, p.x)
		}
	}
	slices.Sort(xs)
	fmt.Fprintf(w, "%s: %s\n", c.title, c.yLabel)
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tabs.Flush()
	fmt.Fprintln(tabs, strings.Join(names, "\t"))
	for _, x := range slices.Compact(xs) {
		cells := []string{number(x)}
		for _, s := range c.series {
			cells = append(cells, s.cell(x))
		}
		fmt.Fprintln(tabs, strings.Join(cells, "\t"))
	}
}

func (s *series) cell(x float64) string {
	i := slices.IndexFunc(s.points, func(p point) bool { return p.x == x })
	if i < 0 {
		return "-"
	}
	p := s.points[i]
	cell := number(p.median)
	if p.least != p.most {
		cell += fmt.Sprintf(" (%s-%s)", number(p.least), number(p.most))
	}
	if i > 0 && s.points[i-1].median > 0 {
		cell += fmt.Sprintf(" x%.2f", p.median/s.points[i-1].median)
	}
	return cell
}

// number writes a number with three digits, or all that are before the point,
// in groups. A whole number has no others.
func number(v float64) string {
	if a := math.Abs(v); a < 100 && v != math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', max(0, min(6, 2-int(math.Floor(math.Log10(a))))), 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// figures collects those of all benchmarks of this process.
type figures struct {
	mu  sync.Mutex
	all []*figure
}

var allFigures figures

func (f *figures) add(one *figure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, one)
}

// publish writes every finding of which something is wanted, and draws the
// chart, if one is asked for. It does nothing where no benchmark ran.
func (f *figures) publish(w io.Writer, chart string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) == 0 {
		return nil
	}
	summarize(w, f.all)
	if chart == "" {
		return nil
	}
	if !filepath.IsAbs(chart) {
		chart = filepath.Join("..", chart)
	}
	drawing, err := draw(f.all)
	if err != nil {
		return err
	}
	return os.WriteFile(chart, drawing, 0o644)
}

// summarize writes a line for every finding of which something is wanted.
func summarize(w io.Writer, all []*figure) {
	missed, wanted := 0, 0
	fmt.Fprintf(w, "\n\nWhat is wanted\n")
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, figure := range all {
		for _, f := range figure.findings {
			if f.want.limit == 0 {
				continue
			}
			wanted++
			if !f.want.met(f.got) {
				missed++
			}
			fmt.Fprintf(tabs, "%s\t%s\t%.2f\t%s\n", figure.title, f.name, f.got, f.want.verdict(f.got))
		}
	}
	_ = tabs.Flush()
	fmt.Fprintf(w, "%d of %d met\n", wanted-missed, wanted)
}
