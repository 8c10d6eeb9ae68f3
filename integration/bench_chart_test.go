package integration

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
)

// Where things are in the chart, in pixels.
const (
	chartWidth = 1180
	margin     = 20
	row        = 20           // from one line of text to the next
	barsAt     = margin + 250 // beside their names
	barsWidth  = 280          // of the longest one
	besideAt   = barsAt + 450 // where the findings are
	plotAt     = margin + 70  // beside what is on the axis
	plotWidth  = besideAt - plotAt - 70
	plotHeight = 260
)

// colours that those tell apart who do not see all of them.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#000000"}

// marks are the points of a curve, each drawn around the origin.
var marks = []string{"M-4,0a4,4 0 1 0 8,0a4,4 0 1 0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,9h-10z", "M0,-5l5,5l-5,5l-5,-5z"}

// element is one of an XML document.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []*element `xml:",any"`
}

// tag returns an element with attributes, each a name and a value.
func tag(name string, attrs ...any) *element {
	e := &element{XMLName: xml.Name{Local: name}}
	for i := 0; i < len(attrs); i += 2 {
		value := fmt.Sprint(attrs[i+1])
		if v, ok := attrs[i+1].(float64); ok {
			value = fmt.Sprintf("%.1f", v)
		}
		e.Attrs = append(e.Attrs, xml.Attr{Name: xml.Name{Local: fmt.Sprint(attrs[i])}, Value: value})
	}
	return e
}

func (e *element) add(children ...*element) *element {
	e.Children = append(e.Children, children...)
	return e
}

// titled gives an element what shows where the mouse is on it.
func (e *element) titled(title string) *element {
	t := tag("title")
	t.Text = title
	return e.add(t)
}

func caption(x, y float64, said string, attrs ...any) *element {
	e := tag("text", append([]any{"x", x, "y", y}, attrs...)...)
	e.Text = said
	return e
}

// draw returns figures as an SVG document.
func draw(all []*figure) ([]byte, error) {
	page := tag("g", "font-family", "sans-serif", "font-size", 12, "fill", "#222")
	y := float64(margin)
	for _, f := range all {
		y = f.draw(page, y)
	}
	svg := tag("svg", "xmlns", "http://www.w3.org/2000/svg", "role", "img",
		"width", chartWidth, "height", y, "viewBox", fmt.Sprintf("0 0 %d %.0f", chartWidth, y))
	svg.titled("Benchmarks of onebot-meta").add(tag("rect", "width", "100%", "height", "100%", "fill", "#fff"), page)
	drawing, err := xml.MarshalIndent(svg, "", " ")
	return append(drawing, '\n'), err
}

// draw adds a figure below y and returns where it ends: bars on the left, the
// findings on the right, and the curves below them.
func (f *figure) draw(page *element, y float64) (end float64) {
	g := tag("g", "class", "figure").titled(f.title)
	page.add(g)
	y += row
	g.add(caption(margin, y, f.title, "font-size", 16, "font-weight", "bold"))
	left, right := y, y
	for _, bars := range f.bars {
		left = bars.draw(g, left)
	}
	for _, finding := range f.findings {
		right = finding.draw(g, right)
	}
	y = max(left, right) + row
	for _, c := range f.curves {
		y = c.draw(g, y)
	}
	g.add(tag("line", "x1", margin, "x2", chartWidth-margin, "y1", y, "y2", y, "stroke", "#bbb"))
	return y + row
}

func (b bars) draw(g *element, y float64) (end float64) {
	longest := 0.
	for _, bar := range b.of {
		longest = max(longest, bar.most)
	}
	if longest <= 0 {
		return y
	}
	y += row
	g.add(caption(barsAt, y, b.unit+": median, and whiskers from least to most", "fill", "#555"))
	at := func(v float64) float64 { return barsAt + max(0, v)/longest*barsWidth }
	for i, bar := range b.of {
		y += row
		said := fmt.Sprintf("%s (%s-%s)", number(bar.median), number(bar.least), number(bar.most))
		g.add(
			caption(barsAt-8, y, bar.name, "text-anchor", "end"),
			tag("rect", "class", "bar", "x", barsAt, "y", y-12, "width", at(bar.median)-barsAt, "height", 14,
				"fill", colours[i%len(colours)]).titled(bar.name+": "+said+" "+b.unit),
			whisker(at(bar.least), y-5, at(bar.most), y-5),
			caption(barsAt+barsWidth+10, y, said),
		)
	}
	return y
}

// whisker returns a line between two points with a bar across each end.
func whisker(x1, y1, x2, y2 float64) *element {
	dx, dy := 0., 4. // across
	if x1 == x2 && y1 != y2 {
		dx, dy = 4, 0
	}
	path := fmt.Sprintf("M%.1f,%.1fL%.1f,%.1f", x1, y1, x2, y2)
	for _, end := range [][2]float64{{x1, y1}, {x2, y2}} {
		path += fmt.Sprintf("M%.1f,%.1fL%.1f,%.1f", end[0]-dx, end[1]-dy, end[0]+dx, end[1]+dy)
	}
	return tag("path", "class", "whisker", "d", path, "stroke", "#222", "fill", "none")
}

func (f finding) draw(g *element, y float64) (end float64) {
	g.add(caption(besideAt, y+row, f.name))
	said := number(f.got)
	if f.more != "" {
		said += " " + f.more
	}
	value := caption(besideAt+row, y+2*row-3, said, "font-weight", "bold")
	switch {
	case f.want.limit == 0:
	case f.want.met(f.got):
		value.Text += " – " + f.want.verdict(f.got)
		value.Attrs = append(value.Attrs, tag("", "fill", "#00654a").Attrs...)
	default:
		value.Text += " – " + f.want.verdict(f.got)
		value.Attrs = append(value.Attrs, tag("", "fill", "#b00020").Attrs...)
	}
	g.add(value)
	return y + 2*row
}

// draw draws a curve on logarithmic axes.
func (c *curve) draw(page *element, y float64) (end float64) {
	var xs, ys []float64 // those that a logarithm can show
	for _, s := range c.series {
		for _, p := range s.points {
			xs = append(xs, p.x)
			for _, v := range []float64{p.median, p.least, p.most} {
				if v > 0 {
					ys = append(ys, v)
				}
			}
		}
	}
	if len(ys) == 0 || slices.Min(xs) <= 0 {
		return y
	}
	g := tag("g", "class", "curve").titled(c.title)
	page.add(g)
	top, bottom := y+2*row, y+2*row+plotHeight
	slices.Sort(xs)
	xs = slices.Compact(xs)
	ticks := oneTwoFive(slices.Min(ys), slices.Max(ys))
	across := scale(xs[0], xs[len(xs)-1], plotAt+10, plotAt+plotWidth-10)
	up := scale(ticks[0], ticks[len(ticks)-1], bottom, top)

	g.add(
		caption(margin, y+row, c.title, "font-weight", "bold"),
		caption(plotAt+plotWidth/2, bottom+2*row, c.xLabel, "text-anchor", "middle"),
		caption(0, 0, c.yLabel, "text-anchor", "middle", "transform", fmt.Sprintf("translate(%d,%.1f) rotate(-90)", margin+10, (top+bottom)/2)),
	)
	for _, x := range xs {
		g.add(tag("line", "x1", across(x), "x2", across(x), "y1", top, "y2", bottom, "stroke", "#ddd"),
			caption(across(x), bottom+row-4, number(x), "text-anchor", "middle"))
	}
	for _, v := range ticks {
		g.add(tag("line", "x1", plotAt, "x2", plotAt+plotWidth, "y1", up(v), "y2", up(v), "stroke", "#ddd"),
			caption(plotAt-6, up(v)+4, number(v), "text-anchor", "end"))
	}
	for i, s := range c.series {
		s.draw(g, across, up, i)
		legend := top + float64(i+1)*row
		g.add(s.mark(i, besideAt, legend-4), caption(besideAt+14, legend, s.name))
	}
	return bottom + 3*row
}

// draw draws the i-th series of a curve.
func (s *series) draw(g *element, across, up func(float64) float64, i int) {
	path, pen := "", "M"
	var points []*element
	for _, p := range s.points {
		if p.median <= 0 {
			continue // there is no such place
		}
		path += fmt.Sprintf("%s%.1f,%.1f", pen, across(p.x), up(p.median))
		pen = "L"
		if p.least < p.most {
			points = append(points, whisker(across(p.x), up(p.least), across(p.x), up(p.most)))
		}
		points = append(points, s.mark(i, across(p.x), up(p.median)).titled(fmt.Sprintf("%s at %s: %s (%s-%s)",
			s.name, number(p.x), number(p.median), number(p.least), number(p.most))))
	}
	g.add(tag("path", "class", "series", "d", path, "fill", "none", "stroke", colours[i%len(colours)], "stroke-width", 2))
	g.add(points...)
}

func (s *series) mark(i int, x, y float64) *element {
	return tag("path", "class", "point", "d", marks[i%len(marks)], "fill", colours[i%len(colours)], "stroke", "#fff",
		"transform", fmt.Sprintf("translate(%.1f,%.1f)", x, y))
}

// scale returns what puts the numbers from low to high between two places, by
// their logarithms. What is lower than low is at its place.
func scale(low, high, from, to float64) func(float64) float64 {
	span := math.Log(high / low)
	if span == 0 {
		return func(float64) float64 { return (from + to) / 2 }
	}
	return func(v float64) float64 { return from + (to-from)*math.Log(max(v, low)/low)/span }
}

// oneTwoFive returns 1, 2 and 5 and their tenfolds from the last that is not
// above low to the first that is not below high, or, if there are many, only
// the ones.
func oneTwoFive(low, high float64) (ticks []float64) {
	steps := []float64{1, 2, 5}
	if high/low > 1e3 {
		steps = steps[:1]
	}
	for decade := math.Floor(math.Log10(low)); ; decade++ {
		for _, step := range steps {
			tick := step * math.Pow(10, decade)
			if tick <= low {
				ticks = ticks[:0]
			}
			if ticks = append(ticks, tick); tick >= high && len(ticks) > 1 {
				return ticks
			}
		}
	}
}
