package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
)

// logs keeps what a process writes and tells who waits for a message when it
// was logged.
type logs struct {
	mu       sync.Mutex
	text     []byte
	messages map[string]int // how often each was logged
	parsed   int            // how much of text is in messages
	changed  chan struct{}  // closed at the next write
}

func newLogs() *logs {
	return &logs{messages: make(map[string]int), changed: make(chan struct{})}
}

// Write takes output of the process.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	for {
		line, _, whole := bytes.Cut(l.text[l.parsed:], []byte("\n"))
		if !whole {
			break
		}
		l.parsed += len(line) + 1
		var entry struct{ Msg string }
		if json.Unmarshal(line, &entry) == nil { // a panic is not JSON
			l.messages[entry.Msg]++
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

// await returns true when message was logged n times, and false if ctx or the
// process ended before.
func (l *logs) await(ctx context.Context, message string, n int, exited <-chan struct{}) bool {
	for {
		seen, changed := l.count(message)
		if seen >= n {
			return true
		}
		select {
		case <-changed:
		case <-exited: // and its last lines have been read
			seen, _ = l.count(message)
			return seen >= n
		case <-ctx.Done():
			return false
		}
	}
}

// count returns how often message was logged, and what is closed at the next
// write.
func (l *logs) count(message string) (n int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.messages[message], l.changed
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
