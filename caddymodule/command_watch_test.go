package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a view that notes what it is to show.
type recorder struct {
	shown  []string // the URLs of each time
	err    error    // of the next time
	closed int
}

func (r *recorder) show(downloads []downloadStatus) error {
	var urls []string
	for _, d := range downloads {
		urls = append(urls, d.URL)
	}
	r.shown = append(r.shown, strings.Join(urls, " "))
	return r.err
}

func (r *recorder) close() error { r.closed++; return nil }

var errGone = errors.New("connection refused")

// watchAnswers watches an admin API that gives some answers, one at a time, and
// then none. An answer is a URL, or nothing for an error.
func watchAnswers(ctx context.Context, r *recorder, answers ...string) error {
	var answered int
	return watch(ctx, func() ([]downloadStatus, error) {
		if answered == len(answers) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		answered++
		if url := answers[answered-1]; url != "" {
			return []downloadStatus{{URL: url}}, nil
		}
		return nil, errGone
	}, r)
}

func TestAWatchGoesOnUntilItIsEnded(t *testing.T) {
	for name, tt := range map[string]struct {
		answers, shown []string
		gone           bool // before the watch is ended
	}{
		"while Caddy answers":               {answers: []string{"a", "b", "c"}, shown: []string{"a", "b", "c"}},
		"until Caddy has gone":              {answers: []string{"a", "", ""}, shown: []string{"a"}, gone: true},
		"over a connection that is dropped": {answers: []string{"a", "", "b", "", "c"}, shown: []string{"a", "b", "c"}},
		"unless Caddy was never there":      {answers: []string{""}, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var r recorder
				ended := make(chan error)
				go func() { ended <- watchAnswers(ctx, &r, tt.answers...) }()
				if tt.gone {
					if err := <-ended; !errors.Is(err, errGone) {
						t.Errorf("it ends with %v", err)
					}
				} else {
					time.Sleep(time.Duration(len(tt.answers)) * watchInterval) // of this bubble, until it waits for an answer
					cancel()
					if err := <-ended; err != nil {
						t.Errorf("it ends with %v", err)
					}
				}
				if !slices.Equal(r.shown, tt.shown) || r.closed != 1 {
					t.Errorf("it showed %q and was closed %d times", r.shown, r.closed)
				}
			})
		})
	}
}

// What is shown would be too old to be true.
func TestAWatchEndsWhenCaddyDoesNotAnswerAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var r recorder
		err := watchAnswers(ctx, &r, "a", "b")
		if err == nil || !strings.Contains(err.Error(), "has not answered for 10s") || len(r.shown) != 2 || r.closed != 1 {
			t.Errorf("it ends with %v after %q", err, r.shown)
		}
		cancel() // of who still waits for the answer
	})
}

func TestAWatchEndsBetweenTwoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*watchInterval+watchInterval/2)
		defer cancel()
		var r recorder
		if err := watchAnswers(ctx, &r, "1", "2", "3", "4", "5", "6", "7"); err != nil {
			t.Error(err)
		}
		if len(r.shown) != 5 { // at once, and after every interval
			t.Errorf("it showed %q", r.shown)
		}
	})
}

func TestAWatchEndsWithItsView(t *testing.T) {
	r := recorder{err: errors.New("no space left on device")}
	if err := watchAnswers(t.Context(), &r, "a", "b"); !errors.Is(err, r.err) {
		t.Errorf("it ends with %v", err)
	}
	if len(r.shown) != 1 || r.closed != 1 {
		t.Errorf("it showed %q and was closed %d times", r.shown, r.closed)
	}
}

func TestWithoutATerminalAWatchIsALineAChange(t *testing.T) {
	total := int64(4 << 20)
	video := func(done, rate int64, tries int) downloadStatus {
		return downloadStatus{ID: 1, URL: "https://cdn.example.org/video.mp4", Tries: tries, Done: done, Total: &total, Rate: rate}
	}
	voice := func(done int64) downloadStatus {
		return downloadStatus{ID: 2, URL: "https://cdn.example.org/voice.silk\x1b[A", Tries: 1, Done: done, Rate: 100}
	}
	var out bytes.Buffer
	v := newView(&out)
	for _, step := range []struct {
		now  []downloadStatus
		want string
	}{
		{nil, "no downloads are under way\n"},
		{nil, ""},
		{[]downloadStatus{video(0, 0, 0)}, "#1 https://cdn.example.org/video.mp4 waiting for its turn\n"},
		{[]downloadStatus{video(0, 0, 0), voice(1)}, "#2 https://cdn.example.org/voice.silk%1B[A 1 B / ?, 100 B/s, ? left\n"},
		{[]downloadStatus{video(1<<20, 1<<20, 1), voice(1)}, "#1 https://cdn.example.org/video.mp4 1.0 MiB / 4.0 MiB, 1.0 MiB/s, 3s left\n"},
		{[]downloadStatus{video(1<<20, 1<<20, 1), voice(1)}, ""},
		{[]downloadStatus{video(1<<20, 0, 2), voice(2)}, "" +
			"#1 https://cdn.example.org/video.mp4 1.0 MiB / 4.0 MiB, 0 B/s, ? left, try 2\n" +
			"#2 https://cdn.example.org/voice.silk%1B[A 2 B / ?, 100 B/s, ? left\n"},
		{[]downloadStatus{video(1<<20, 0, 2)}, "#2 https://cdn.example.org/voice.silk%1B[A gone\n"},
		{nil, "#1 https://cdn.example.org/video.mp4 gone\n"},
		{nil, ""},
	} {
		out.Reset()
		if err := v.show(step.now); err != nil {
			t.Fatal(err)
		}
		if out.String() != step.want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), step.want)
		}
	}
	out.Reset()
	if err := v.close(); err != nil || out.Len() > 0 {
		t.Errorf("at its end it says %q, with the error %v", out.String(), err)
	}
}
