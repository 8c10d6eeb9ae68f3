package caddymodule

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/term"
)

// screen is how mpb writes to a terminal. It does what mpb itself would do, and
// bears what people do to a terminal meanwhile.
type screen struct {
	bytes.Buffer // the frame that is being drawn

	out      *os.File
	lines    int  // of the frame that is on the terminal
	width    int  // that the terminal had then
	narrowed bool // since then
}

// IsTerminal says that mpb may ask for the size.
func (s *screen) IsTerminal() bool { return true }

// GetTermSize returns the room for a frame, which mpb asks for before each. It
// has no last column, where terminals disagree on when a line is full, and no
// last line, where the cursor waits.
func (s *screen) GetTermSize() (width, height int, err error) {
	width, height = terminalSize(s.out)
	s.narrowed = width < s.width
	s.width = width
	return max(width-1, 1), max(height-1, 1), nil
}

// Flush puts the frame over the one before, line by line: what is erased first
// flickers, and some terminals keep it in their history. It counts the lines
// itself, since mpb is wrong about them when there are too many.
func (s *screen) Flush(int) error {
	var frame bytes.Buffer
	switch {
	case s.narrowed:
		// What is there may have been wrapped, or cut off, as terminals like.
		// Nobody knows how many lines it has now, so the whole screen goes.
		frame.WriteString("\x1b[H\x1b[2J")
	case s.lines > 0:
		fmt.Fprintf(&frame, "\r\x1b[%dA", s.lines) // \r: somebody may have typed
	}
	s.lines = bytes.Count(s.Bytes(), []byte("\n"))
	frame.Write(bytes.ReplaceAll(s.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
	frame.WriteString("\x1b[J")
	s.Reset()
	_, err := s.out.Write(frame.Bytes())
	return err
}

// terminalSize returns the size of a terminal, and what terminals have always
// had where it does not know.
func terminalSize(out *os.File) (width, height int) {
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}
