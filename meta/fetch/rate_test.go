package fetch

import (
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// receive lets bytes come for a while, ten times a second.
func (p *progress) receive(rate int, span time.Duration) {
	const every = time.Second / 10
	for range span / every {
		time.Sleep(every)
		p.add(rate / 10)
	}
}

// watched looks how it is going all along.
func (p *progress) watched(every, span time.Duration) {
	for range span / every {
		time.Sleep(every)
		p.status(time.Now())
	}
}

func TestTheRateIsThatOfTheLastSecondOrTwo(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(p *progress)
		want   int64 // give or take a tenth
	}{
		"nothing has come":                  {func(*progress) { time.Sleep(time.Second) }, 0},
		"it has just begun":                 {func(p *progress) { p.receive(1000, time.Second/2) }, 1000},
		"it comes steadily":                 {func(p *progress) { p.receive(1000, 10*time.Second) }, 1000},
		"it has become faster":              {func(p *progress) { p.receive(1000, time.Minute); p.receive(9000, 2*time.Second) }, 9000},
		"it has become slower":              {func(p *progress) { p.receive(9000, time.Minute); p.receive(1000, 2*time.Second) }, 1000},
		"it stalls, and that is looked at":  {func(p *progress) { p.receive(1000, 10*time.Second); p.watched(time.Second, 3*time.Second) }, 0},
		"it goes on after it was looked at": {func(p *progress) { p.watched(time.Second, 10*time.Second); p.receive(1000, 2*time.Second) }, 1000},
		"it stalls, and nobody looks":       {func(p *progress) { p.receive(1000, 10500*time.Millisecond); time.Sleep(3 * time.Second) }, 0},
		"it stalls long, and nobody looks":  {func(p *progress) { p.receive(1000, 10900*time.Millisecond); time.Sleep(29 * time.Second) }, 0},
		"it goes on after a stall that nobody looked at": {func(p *progress) {
			p.receive(1000, 10*time.Second)
			time.Sleep(30 * time.Second)
			p.receive(1000, 2*time.Second)
		}, 1000},
		"it has waited for its turn again": {func(p *progress) {
			p.receive(1000, 5*time.Second)
			time.Sleep(time.Minute)
			p.try()
			p.receive(1000, time.Second)
		}, 1000},
		"it starts over": {func(p *progress) {
			p.begin(0, 100_000)
			p.receive(1000, 5*time.Second)
			p.try()
			p.begin(0, 100_000)
			p.receive(1000, 2*time.Second)
		}, 1000},
		"it is looked at all the time by many": {func(p *progress) {
			for range 50 {
				p.receive(1000, time.Second/10)
				for range 10 {
					p.status(time.Now())
				}
			}
		}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProgress("")
				time.Sleep(time.Hour) // for its turn
				p.try()
				tt.before(p)
				if got := p.status(time.Now()).Rate; math.Abs(float64(got-tt.want)) > float64(tt.want)/10 {
					t.Errorf("got %d bytes a second, want about %d", got, tt.want)
				}
			})
		})
	}
}

func TestTheRateOfADownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPipedClient(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				send(w, 1000)
				time.Sleep(time.Second / 10)
			}
		}, nil)
		failed := start(t.Context(), t, c, "http://127.0.0.1/")
		time.Sleep(5*time.Second + time.Second/20)
		if got := statusOf(t, c); got.Rate < 9000 || got.Rate > 11_000 || got.Done != 51_000 {
			t.Errorf("got %+v, want about 10000 bytes a second", got)
		}
		c.flights.Close()
		checkFailure(t, <-failed, Error{Kind: Cancelled})
	})
}
