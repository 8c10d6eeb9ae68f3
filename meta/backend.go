package meta

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/onebot-caddy/onebot-meta/meta/packet"
)

const (
	// newsLast is how long what is known of a backend is current.
	newsLast = 5 * time.Second

	// askPatience is how long a backend may take to say how it is.
	askPatience = 2 * time.Second

	// longestHeartbeat bounds how long an implementation may make its word last,
	// and longestConnection how long it may be connected without a word.
	longestHeartbeat  = 5 * time.Minute
	longestConnection = 365 * 24 * time.Hour

	// reconnectPatience is how long a word is not overdue, at least, when the
	// connection that it came by has ended. The app may just be restarting.
	reconnectPatience = time.Minute
)

// Of an [Ask]: why there is no answer that says how the implementation is.
var (
	// ErrCallerRefused says that the caller, with whose token it was asked, may
	// not ask it.
	ErrCallerRefused = errors.New("the implementation refuses the caller")
	// ErrNotSpoken says that what is there is alive and answers no such calls,
	// as a port for WebSocket only does.
	ErrNotSpoken = errors.New("the implementation takes no calls over HTTP")
)

// Backend is what is known of a bot's implementation: whether it is logged in,
// by the newest word of it. It is safe for concurrent use.
type Backend struct {
	counters *Counters
	changed  func(online bool) // or nil

	mu      sync.Mutex
	told    *bool       // what changed was told last
	overdue *time.Timer // tells when the next word is, or nil
	known   bool        // and then the newest word is
	word
	news  int       // counts the words, so that an answer older than the newest is recognised
	at    time.Time // of the newest word, or of the last question in vain
	asked *question // under way, or nil
}

// word is what was said of an implementation.
type word struct {
	online bool
	by     *Watch    // the connection that it came by, or nil
	until  time.Time // how long it holds where the implementation cannot be asked
	due    time.Time // when the next word is overdue, or zero if none was promised
	dialed bool      // it came from an implementation that cannot be asked, since it is the client
}

// question is a question to the implementation that several callers wait for.
type question struct {
	done   chan struct{}
	online bool // when done is closed
}

// NewBackend returns a Backend of which nothing is known yet. Unless changed is
// nil it is told whether the bot is online as soon as that is known, and
// whenever it changes, in order. It must return at once.
func NewBackend(counters *Counters, changed func(online bool)) *Backend {
	return &Backend{counters: counters, changed: changed}
}

// Heard takes in an event that was posted. dialed says that the implementation
// itself did, so that what is behind here is an app.
func (b *Backend) Heard(event *packet.Packet, dialed bool) { b.heard(event, nil, dialed) }

// heard takes in an event, which came by a connection if by is not nil.
func (b *Backend) heard(event *packet.Packet, by *Watch, dialed bool) {
	if event.PostType == "message" {
		b.counters.MessagesReceived.Add(1)
	}
	said := word{by: by, dialed: dialed}
	switch {
	case event.MetaEventType == "heartbeat" && event.Online != nil:
		said.online = *event.Online
		interval := cmp.Or(min(event.Interval, longestHeartbeat), longestHeartbeat)
		said.due = time.Now().Add(max(interval*3/2, newsLast))
		if by != nil || dialed {
			said.until = said.due
		}
	case event.MetaEventType == "lifecycle" && (event.SubType == "connect" || event.SubType == "enable"):
		said.online = true
		if by != nil && dialed { // as long as it is connected, unless there are heartbeats
			said.until = time.Now().Add(longestConnection)
		}
	case event.MetaEventType == "lifecycle" && event.SubType == "disable", event.NoticeType == "bot_offline":
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.learn(said)
}

// learn takes in a word. b.mu is held.
func (b *Backend) learn(said word) {
	if b.known && b.online && !said.online {
		b.counters.Disconnects.Add(1)
	}
	b.known, b.word, b.at = true, said, time.Now()
	b.news++
	b.tell(said.online)
	b.expect()
}

// expect sees to it that a word that is overdue is told as one of being offline.
// b.mu is held.
func (b *Backend) expect() {
	if b.overdue != nil {
		b.overdue.Stop()
		b.overdue = nil
	}
	if b.due.IsZero() || !b.online {
		return
	}
	news := b.news
	b.overdue = time.AfterFunc(time.Until(b.due), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.news == news {
			b.tell(false)
		}
	})
}

// Forget forgets all that was heard, as if it had been of another bot.
func (b *Backend) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
	b.told = nil
}

// forget makes nothing known. b.mu is held.
func (b *Backend) forget() {
	b.known, b.word, b.at = false, word{}, time.Time{}
	b.news++
	b.expect()
}

// tell says whether the bot is online, if that is news. b.mu is held.
func (b *Backend) tell(online bool) {
	if b.changed != nil && (b.told == nil || *b.told != online) {
		b.told = &online
		b.changed(online)
	}
}

// KnownOnline returns whether the bot is known to be logged in, by what was
// heard last and without asking. It is not when the next word is overdue.
func (b *Backend) KnownOnline() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known && b.online && (b.due.IsZero() || time.Now().Before(b.due))
}

// left takes in that a connection has ended, and whether the implementation
// ended it, unasked. Then nothing is known of it until it is heard of again,
// unless by another connection.
func (b *Backend) left(w *Watch, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == w {
		b.until = time.Time{}
		if due := time.Now().Add(reconnectPatience); b.due.Before(due) {
			b.due = due
			b.expect()
		}
	}
	if !lost {
		return
	}
	b.counters.Disconnects.Add(1)
	if b.by == w || b.by == nil && !b.dialed {
		b.forget()
		b.tell(false)
	}
}

// Online returns whether the bot is logged in, or, if what is known of it is
// not current, the question that is put to the implementation. All who want to
// know at a time share one question.
func (b *Backend) Online(ask Ask) (online bool, asked *question) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) < newsLast {
		return b.online, nil
	}
	if b.asked == nil {
		b.asked = &question{done: make(chan struct{})}
		go b.ask(b.asked, b.news, ask("get_status"))
	}
	return false, b.asked
}

// ask puts a question to the implementation when news words of it were known.
func (b *Backend) ask(q *question, news int, ask func(context.Context) ([]byte, error)) {
	envelope, err := within(context.Background(), ask)
	online, answered := onlineIn(envelope)

	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.news != news && b.known: // there is a newer word by now
	case err == nil && answered:
		b.learn(word{online: online})
	case errors.Is(err, ErrCallerRefused): // which says nothing
	case time.Now().Before(b.until) && (b.dialed || errors.Is(err, ErrNotSpoken)):
		b.at = time.Now()
	default:
		b.learn(word{})
	}
	q.online = b.online
	b.asked = nil
	close(q.done)
}

// within returns what ask returns, or an error when that takes longer than
// anybody waits for. A handler that does not heed its context is left alone.
func within(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	type answer struct {
		envelope []byte
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		envelope, err := ask(ctx)
		answers <- answer{envelope, err}
	}()
	select {
	case a := <-answers:
		return a.envelope, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// onlineIn returns the online of an answer of get_status. An implementation
// that says null does not know, which is not online.
func onlineIn(envelope []byte) (online, answered bool) {
	var status struct{ Online *bool }
	if dataIn(envelope, &status) != nil {
		return false, false
	}
	return status.Online != nil && *status.Online, true
}

// dataIn reads the data of an action's envelope into dst.
func dataIn(envelope []byte, dst any) error {
	var reply struct {
		Status string
		Data   json.RawMessage
	}
	if err := json.Unmarshal(envelope, &reply); err != nil {
		return err
	}
	if reply.Status != "ok" {
		return errors.New("the action failed")
	}
	return json.Unmarshal(reply.Data, dst)
}
