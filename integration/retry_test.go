package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRetryAfterIsHonoured(t *testing.T) {
	c := startCaddy(t, "http://<SITE> {\n"+
		"onebot_meta {\n route /long\n name long\n"+download("timeout 20s", "stall_timeout 300ms")+"\n}\n"+
		"onebot_meta {\n route /short\n name short\n"+download("timeout 5s")+"\n}\n}")
	o := newOrigin(t)
	date := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(http.TimeFormat) }
	// insists refuses for good who comes before the time that it names
	insists := func(refusal http.HandlerFunc, wait func(since time.Time) time.Duration) http.HandlerFunc {
		var since atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) {
			const imprecise = 10 * time.Millisecond // as clocks are
			now := time.Now()
			switch first := since.Load(); {
			case first == 0:
				since.Store(now.UnixNano())
				refusal(w, r)
			case now.Add(imprecise).Before(time.Unix(0, first).Add(wait(time.Unix(0, first)))):
				w.WriteHeader(http.StatusGone)
			default:
				content("a picture")(w, r)
			}
		}
	}
	rows := map[string]struct {
		route, after string
		waits        bool // and succeeds with the second request
	}{
		"at once":                         {"/short", "0", true},
		"in a second":                     {"/short", "1", true},
		"in more than stall_timeout":      {"/long", "1", true},
		"at a date":                       {"/short", date(2 * time.Second), true},
		"at a date that is past":          {"/short", date(-time.Hour), true},
		"some day":                        {"/short", "some day", true},
		"before now":                      {"/short", "-5", true},
		"not said":                        {"/short", "", true},
		"in an hour":                      {"/short", "3600", false},
		"at a date that is far away":      {"/short", date(time.Hour), false},
		"in more than a timeout":          {"/long", "21", false},
		"in more than a number can count": {"/short", "9223372036854775807", false},
	}
	for _, route := range []string{"/long", "/short"} {
		b := o.batch()
		for name, row := range rows {
			if row.route != route {
				continue
			}
			for _, code := range []int{429, 503} {
				refusal := status(code)
				if row.after != "" {
					refusal = with(refusal, "Retry-After", row.after)
				}
				b.add(fmt.Sprintf("%s, with status %d", name, code), insists(refusal, func(since time.Time) time.Duration {
					if seconds, err := strconv.Atoi(row.after); err == nil {
						return time.Duration(seconds) * time.Second
					}
					at, _ := http.ParseTime(row.after)
					return at.Sub(since) // long ago if there is no time
				}))
			}
		}
		for name, r := range b.run(t, c, route) {
			t.Run(name, func(t *testing.T) {
				base, code, _ := strings.Cut(name, ", with status ")
				tries := len(b.asked(name))
				if rows[base].waits {
					wantContent(t, r.file(t), "a picture")
					if tries != 2 {
						t.Errorf("the origin had %d requests, want 2", tries)
					}
					return
				}
				// had it waited, it would have timed out
				if r.wantFailed(t); !strings.Contains(r.message, code) || tries != 1 {
					t.Errorf("message is %q after %d requests", r.message, tries)
				}
			})
		}
	}
}

func TestADownloadIsTriedAsOftenAsRetriesSays(t *testing.T) {
	const limits = "max_size 100kB\nmax_redirects 1\nstall_timeout 500ms\n"
	c := startCaddy(t, "http://<SITE> {\n"+
		"onebot_meta {\n route /none\n name none\n"+download(limits, "retries 0")+"\n}\n"+
		"onebot_meta {\n route /two\n name two\n"+download(limits, "retries 2")+"\n}\n}")
	o := newOrigin(t)
	// otherwise a connection that breaks before an answer may have been idle,
	// and net/http tries again by itself
	o.server.Config.SetKeepAlivesEnabled(false)
	faults := o.faults()
	for route, retries := range map[string]int{"/none": 0, "/two": 2} {
		b := o.batch()
		for name, fault := range faults {
			b.add(name, fault.answer)
		}
		for name, r := range b.run(t, c, route) {
			t.Run(fmt.Sprintf("%s with %d retries", name, retries), func(t *testing.T) {
				r.wantFailed(t)
				want := 1
				if faults[name].retried {
					want += retries
				}
				if strings.Contains(name, "circles") {
					want++ // the redirect that is followed
				}
				if got := len(b.asked(name)); got != want {
					t.Errorf("the origin had %d requests, want %d: %s", got, want, r.message)
				}
			})
		}
		wantNothingKept(t, c.cacheDir(route[1:]))
	}
}

func TestTriesTakeNoLongerThanTimeout(t *testing.T) {
	c := startBot(t, download("timeout 1s", "retries 1000000"))
	o := newOrigin(t)
	// always one more byte, so that every try has made progress
	e := edition{body: filler(1000), etag: `"v1"`}
	r := c.post(t, "/download_file", params{"url": o.handle("/a.bin", cut(1, e.offer))}.String()).wantFailed(t)
	if !strings.Contains(r.message, "timed out") && !strings.Contains(r.message, "broke off") {
		t.Errorf("message is %q", r.message)
	}
	if n := o.count(); n < 2 {
		t.Errorf("the origin had %d requests", n)
	}
	wantNothingKept(t, c.cacheDir("onebot"))
}
