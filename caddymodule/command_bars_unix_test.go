//go:build unix

package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// terminal is where bars draw: it has no size, as some have not, and 80 columns
// and 24 lines are taken for granted.
type terminal struct {
	*bars
	t     *testing.T
	drawn *bufio.Reader
	lines int // that the last frame has
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &terminal{bars: newBars(w), t: t, drawn: bufio.NewReader(r)}
}

// next returns what the next frame shows. It must be drawn over the one before.
func (term *terminal) next() string {
	term.t.Helper()
	const end = "\x1b[J"
	var frame string
	for !strings.HasSuffix(frame, end) {
		part, err := term.drawn.ReadString(end[len(end)-1])
		if err != nil {
			term.t.Fatalf("%v after %q", err, frame+part)
		}
		frame += part
	}
	frame = strings.TrimSuffix(frame, end)
	if term.lines > 0 {
		up := fmt.Sprintf("\r\x1b[%dA", term.lines)
		if !strings.HasPrefix(frame, up) {
			term.t.Errorf("%q does not begin with %q", frame, up)
		}
		frame = strings.TrimPrefix(frame, up)
	}
	term.lines = strings.Count(frame, "\n")
	if term.lines > 23 {
		term.t.Errorf("%d lines on a terminal that has 24 and a cursor", term.lines)
	}
	var text strings.Builder
	for line := range strings.Lines(frame) {
		row, erased := strings.CutSuffix(line, "\x1b[K\n")
		if !erased || strings.ContainsRune(row, '\x1b') || len(row) > 79 {
			term.t.Errorf("%q is no line of 79 columns", line)
		}
		text.WriteString(strings.TrimRight(row, " ") + "\n")
	}
	return text.String()
}

// want shows some downloads and checks the last of the frames that it takes.
func (term *terminal) want(now []downloadStatus, frames int, want string) {
	term.t.Helper()
	if err := term.show(now); err != nil {
		term.t.Fatal(err)
	}
	var got string
	for range frames {
		got = term.next()
	}
	if got != want {
		term.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// end closes the bars, and checks what they leave behind.
func (term *terminal) end() {
	term.t.Helper()
	if err := term.close(); err != nil {
		term.t.Error(err)
	}
	term.out.Close()
	if left, _ := term.drawn.ReadString(0); left != "\r\x1b[K" {
		term.t.Errorf("%q is left behind", left)
	}
}

func TestBarsShowWhatIsUnderWay(t *testing.T) {
	const mib = 1 << 20
	video := downloadStatus{ID: 1, URL: "https://cdn.example.org/a/long/path/to/video.mp4", Tries: 1, Done: 2 * mib, Total: new(int64(4 * mib)), Rate: mib}
	voice := downloadStatus{ID: 2, URL: "https://cdn.example.org/\x1b[A", Tries: 2, Done: 20 << 10, Rate: 1000}
	waits := downloadStatus{ID: 3, URL: "http://127.0.0.1/x"}
	for name, tt := range map[string]struct {
		now  []downloadStatus
		want string
	}{
		"nothing": {nil, "no downloads are under way\n"},
		"one": {[]downloadStatus{video}, "" +
			"1 download is under way\n" +
			"https://...deo.mp4 [========>         ]  2.0 MiB / 4.0 MiB  1.0 MiB/s   2s left\n"},
		"one that waits": {[]downloadStatus{waits}, "" +
			"1 download is under way\n" +
			"http://127.0.0.1/x waiting for its turn\n"},
		"some": {[]downloadStatus{video, voice, waits}, "" +
			"3 downloads are under way, 1.0 MiB/s\n" +
			"https://...deo.mp4 [=====>     ]  2.0 MiB / 4.0 MiB  1.0 MiB/s   2s left\n" +
			"https://...g/%1B[A                       20 KiB / ?   1000 B/s    ? left  try 2\n" +
			"http://127.0.0.1/x waiting for i\n"},
	} {
		t.Run(name, func(t *testing.T) {
			term := newTerminal(t)
			term.want(tt.now, 1, tt.want)
			term.end()
		})
	}
}

func TestBarsComeAndGoWithTheirDownloads(t *testing.T) {
	total := int64(100)
	d := func(id uint64, done int64) downloadStatus {
		return downloadStatus{ID: id, URL: fmt.Sprintf("http://a/%d", id), Tries: 1, Done: done, Total: &total}
	}
	bar := func(done int) string {
		const width = 26
		n := (width*done + 50) / 100
		if n == 0 {
			return "[" + strings.Repeat(" ", width) + "]"
		}
		return "[" + strings.Repeat("=", n-1) + ">" + strings.Repeat(" ", width-n) + "]"
	}
	term := newTerminal(t)
	term.want([]downloadStatus{d(1, 0), d(2, 50)}, 1, "2 downloads are under way, 0 B/s\n"+
		"http://a/1 "+bar(0)+"        0 B / 100 B      0 B/s    ? left\n"+
		"http://a/2 "+bar(50)+"       50 B / 100 B      0 B/s    ? left\n")
	// the one is being stored, the other began anew
	term.want([]downloadStatus{d(1, 100), d(2, 20)}, 1, "2 downloads are under way, 0 B/s\n"+
		"http://a/1 "+bar(100)+"      100 B / 100 B      0 B/s    ? left\n"+
		"http://a/2 "+bar(20)+"       20 B / 100 B      0 B/s    ? left\n")
	term.want([]downloadStatus{d(2, 60), d(3, 10)}, 3, "2 downloads are under way, 0 B/s\n"+
		"http://a/2 "+bar(60)+"       60 B / 100 B      0 B/s    ? left\n"+
		"http://a/3 "+bar(10)+"       10 B / 100 B      0 B/s    ? left\n")
	term.want(nil, 3, "no downloads are under way\n")
	term.want([]downloadStatus{d(4, 0)}, 1, "1 download is under way\n"+
		"http://a/4 "+bar(0)+"        0 B / 100 B      0 B/s    ? left\n")
	term.end()
}

func TestBarsLeaveOutWhatThereIsNoRoomFor(t *testing.T) {
	var many []downloadStatus
	for id := range uint64(100) {
		many = append(many, downloadStatus{ID: id, URL: fmt.Sprintf("http://a/%02d", id), Rate: 1024})
	}
	rows := func(heading string, from, to int) string {
		for id := from; id < to; id++ {
			heading += fmt.Sprintf("\nhttp://a/%02d waiting for its turn", id)
		}
		return heading + "\n"
	}
	term := newTerminal(t)
	term.want(many, 1, rows("100 downloads are under way, 100 KiB/s, and these are the oldest 22", 0, 22))
	term.want(many[50:], 3, rows("50 downloads are under way, 50 KiB/s, and these are the oldest 22", 50, 72))
	term.want(many[60:], 3, rows("40 downloads are under way, 40 KiB/s, and these are the oldest 22", 60, 82))
	term.want(many[90:], 3, rows("10 downloads are under way, 10 KiB/s", 90, 100))
	term.end()
}

func TestBarsEndWithTheirTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b := newBars(w)
	r.Close()
	if err := b.show(nil); err != nil {
		t.Errorf("the first frame was taken with %v", err)
	}
	select {
	case <-b.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("drawing goes on")
	}
	if err := b.show(nil); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the second frame was taken with %v", err)
	}
	if err := b.close(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("at its end it says %v", err)
	}
}

func TestATerminalThatWasMadeNarrowerIsDrawnAnew(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := &screen{out: w}
	for _, width := range []int{0, 80, 100, 60} { // before a frame on one that has 80 columns
		s.width = width
		if w, h, err := s.GetTermSize(); w != 79 || h != 23 || err != nil {
			t.Fatalf("the size is %d by %d, %v", w, h, err)
		}
		fmt.Fprintf(s, "after %d\n", width)
		if err := s.Flush(1); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	const want = "after 0\x1b[K\n\x1b[J" +
		"\r\x1b[1Aafter 80\x1b[K\n\x1b[J" +
		"\x1b[H\x1b[2Jafter 100\x1b[K\n\x1b[J" +
		"\r\x1b[1Aafter 60\x1b[K\n\x1b[J"
	if got, _ := bufio.NewReader(r).ReadString(0); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBarsThatGoEndWithTheirTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	bars := newBars(w)
	if err := bars.show([]downloadStatus{{ID: 1, URL: "http://a/1", Tries: 1}}); err != nil {
		t.Fatal(err)
	}
	r.Close()
	// the frame that takes the bar away cannot be drawn any more
	if err := bars.show(nil); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the next ones: %v", err)
	}
	if err := bars.close(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the end: %v", err)
	}
}
