package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bars is a view for terminals: under a heading one bar a download, redrawn
// where they are.
type bars struct {
	out     *os.File
	all     *mpb.Progress
	heading atomic.Pointer[string]
	shown   map[uint64]*bar
	redraw  chan any
	ended   chan any // closed when nothing is drawn any more
}

// bar is the bar of a download.
type bar struct {
	*mpb.Bar
	now atomic.Pointer[downloadStatus]
}

func newBars(out *os.File) *bars {
	b := &bars{out: out, shown: make(map[uint64]*bar), redraw: make(chan any), ended: make(chan any)}
	b.heading.Store(new(string))
	output := mpb.WithConsoleWriter(&screen{out: out})
	if runtime.GOOS == "windows" { // whose console mpb knows how to speak to
		output = mpb.WithOutput(out)
	}
	b.all = mpb.New(output, mpb.WithManualRefresh(b.redraw), mpb.WithShutdownNotifier(b.ended))
	b.all.New(0, mpb.NopStyle(), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return *b.heading.Load() })))
	return b
}

func (b *bars) show(downloads []downloadStatus) error {
	_, height := terminalSize(b.out)
	fit := min(len(downloads), max(height-2, 1)) // the heading and the cursor have a line each
	heading := headingOf(downloads, fit)
	b.heading.Store(&heading)

	gone := maps.Clone(b.shown)
	for _, d := range downloads[:fit] {
		delete(gone, d.ID)
	}
	for id, one := range gone {
		one.Abort(true)
		delete(b.shown, id)
	}
	if len(gone) > 0 {
		// What goes is drawn once more. What comes is to find its room, and
		// that has begun to be drawn when the second frame is taken.
		if err := errors.Join(b.draw(), b.draw()); err != nil {
			return err
		}
	}
	for _, d := range downloads[:fit] {
		one, ok := b.shown[d.ID]
		if !ok {
			one = b.add(&d)
			b.shown[d.ID] = one
		}
		one.now.Store(&d)
		total := int64(0)
		if d.Total != nil {
			total = *d.Total
		}
		one.SetTotal(total, false)
		one.SetCurrent(d.Done)
	}
	return b.draw()
}

// draw asks for a frame. It is drawn in the order in which bars come.
func (b *bars) draw() error {
	select {
	case b.redraw <- time.Now():
		return nil
	case <-b.ended:
		return fmt.Errorf("drawing: %w", b.all.Error)
	}
}

// Columns are never narrower than this, so that bars do not grow and shrink all
// the time. A URL may have what they leave beside a bar as wide as waiting.
const (
	usualAmount = "  1.0 MiB / 9.9 MiB"
	usualRate   = "  1.0 MiB/s"
	usualLeft   = "  59s left"
	leastURL    = 18
)

// add returns the bar of a download. Its total is set later: to mpb a bar that
// began with one is over when it is reached, but here it is over when the admin
// API says so.
func (b *bars) add(d *downloadStatus) *bar {
	one := new(bar)
	one.now.Store(d)
	column := func(text func(downloadStatus) string, unit string, wc decor.WC) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			if t := text(*one.now.Load()); t != "" {
				return "  " + t + unit
			}
			return ""
		}, wc)
	}
	one.Bar = b.all.New(0, mpb.BarStyle().Padding(" "), mpb.BarFillerTrim(),
		mpb.BarFillerMiddleware(func(known mpb.BarFiller) mpb.BarFiller {
			return mpb.BarFillerFunc(func(w io.Writer, stat decor.Statistics) error {
				d := one.now.Load()
				if !d.waits() && d.Total != nil {
					return known.Fill(w, stat)
				}
				blank := strings.Repeat(" ", stat.AvailableWidth) // no bar would be true
				if d.waits() {
					blank = (waiting + blank)[:len(blank)]
				}
				_, err := io.WriteString(w, blank)
				return err
			})
		}),
		mpb.PrependDecorators(decor.Any(func(stat decor.Statistics) string {
			room := stat.AvailableWidth - len(" "+waiting+usualAmount+usualRate+usualLeft)
			return shorten(one.now.Load().url(), max(room, leastURL)) + " "
		}, decor.WCSyncWidthR)),
		mpb.AppendDecorators(
			column(downloadStatus.amount, "", decor.WC{C: decor.DSyncWidth, W: len(usualAmount)}),
			column(downloadStatus.rate, "", decor.WC{C: decor.DSyncWidth, W: len(usualRate)}),
			column(downloadStatus.left, " left", decor.WC{C: decor.DSyncWidth, W: len(usualLeft)}),
			column(downloadStatus.again, "", decor.WCSyncWidthR),
		))
	return one
}

func (b *bars) close() error {
	b.all.Shutdown()
	if runtime.GOOS == "windows" || b.all.Error != nil {
		return b.all.Error
	}
	_, err := io.WriteString(b.out, "\r\x1b[K") // no ^C in front of the prompt
	return err
}

// headingOf says how many downloads there are and how fast they are together,
// and how many of them there is room for.
func headingOf(downloads []downloadStatus, fit int) string {
	var rate int64
	for _, d := range downloads {
		rate += d.Rate
	}
	switch n := len(downloads); {
	case n == 0:
		return noDownloads
	case n == 1:
		return "1 download is under way"
	case fit < n:
		return fmt.Sprintf("%d downloads are under way, %s/s, and these are the oldest %d", n, bytesOf(rate), fit)
	default:
		return fmt.Sprintf("%d downloads are under way, %s/s", n, bytesOf(rate))
	}
}

// shorten leaves something out in the middle of a text that is wider than it
// may be.
func shorten(text string, width int) string {
	const gap = "..."
	if len(text) <= width {
		return text
	}
	if width <= len(gap) {
		return text[:max(width, 0)]
	}
	rest := width - len(gap)
	return text[:(rest+1)/2] + gap + text[len(text)-rest/2:]
}
