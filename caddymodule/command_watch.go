package caddymodule

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// watchInterval is how often downloads are asked for that somebody watches. Caddy
// logs every request to its admin API.
const watchInterval = time.Second

// watchPatience is how long an answer may take until what is shown is too old.
const watchPatience = 10 * time.Second

// view shows downloads to whom watches them.
type view interface {
	// show shows the downloads that are under way now.
	show([]downloadStatus) error
	// close leaves what was shown last, and the terminal as it was.
	close() error
}

// newView returns bars on a terminal that can redraw them, and lines elsewhere.
func newView(out io.Writer) view {
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		return newBars(file)
	}
	return &lines{out: out, shown: make(map[uint64]downloadStatus)}
}

// watch shows what ask returns again and again, until ctx ends, which is no
// error, or there is nobody to ask any more.
func watch(ctx context.Context, ask func() ([]downloadStatus, error), v view) (err error) {
	defer func() {
		if closing := v.close(); err == nil {
			err = closing
		}
	}()
	type answer struct {
		downloads []downloadStatus
		err       error
	}
	answers := make(chan answer, 1) // so that nobody is left behind
	ticks := time.NewTicker(watchInterval)
	defer ticks.Stop()
	for failures, begun := 0, false; ; {
		go func() {
			downloads, err := ask()
			answers <- answer{downloads, err}
		}()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPatience):
			return fmt.Errorf("caddy has not answered for %s", watchPatience)
		case a := <-answers:
			switch {
			case a.err == nil:
				if err := v.show(a.downloads); err != nil {
					return err
				}
				failures, begun = 0, true
			// A reload that gives the admin API a new listener may drop a
			// connection that came to the old one.
			case begun && failures == 0:
				failures++
			default:
				return a.err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// lines is a view for what is no terminal: a line for every change.
type lines struct {
	out   io.Writer
	begun bool
	order []uint64 // of shown
	shown map[uint64]downloadStatus
}

func (l *lines) show(downloads []downloadStatus) error {
	var b strings.Builder
	if !l.begun && len(downloads) == 0 {
		fmt.Fprintln(&b, noDownloads)
	}
	l.begun = true
	now := make(map[uint64]downloadStatus)
	for _, d := range downloads {
		now[d.ID] = d
	}
	for _, id := range l.order {
		if _, ok := now[id]; !ok {
			fmt.Fprintf(&b, "%s gone\n", l.shown[id].label())
		}
	}
	l.order = l.order[:0]
	for _, d := range downloads {
		l.order = append(l.order, d.ID)
		if old, ok := l.shown[d.ID]; !ok || old.line() != d.line() {
			fmt.Fprintln(&b, d.line())
		}
	}
	l.shown = now
	_, err := io.WriteString(l.out, b.String())
	return err
}

func (l *lines) close() error { return nil }

// label names the download. Many have the same URL without its query.
func (d downloadStatus) label() string { return fmt.Sprintf("#%d %s", d.ID, d.url()) }

func (d downloadStatus) line() string {
	if d.waits() {
		return d.label() + " " + waiting
	}
	line := d.label() + " " + d.amount() + ", " + d.rate() + ", " + d.left() + " left"
	if again := d.again(); again != "" {
		line += ", " + again
	}
	return line
}
