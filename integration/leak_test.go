package integration

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// held is what a process holds: goroutines and, where it can be told, open
// files.
type held struct{ goroutines, files int }

// holds asks a process what it holds.
func (c *instance) holds(t testing.TB) held {
	t.Helper()
	c.client.CloseIdleConnections()
	req, err := http.NewRequest("GET", "http://"+c.admin+"/debug/pprof/goroutine?debug=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var h held
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if _, scan := fmt.Sscanf(line, "goroutine profile: total %d", &h.goroutines); err != nil || scan != nil {
		t.Fatalf("the profile begins with %q: %v %v", line, err, scan)
	}
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid)); err == nil { // on Linux
		h.files = len(files)
	}
	return h
}

// No kind of failure may cost anything for good: not a goroutine, not an open
// file, not a turn of max_concurrent.
func TestFailedDownloadsCostNothingForGood(t *testing.T) {
	const turns, times, slack = 4, 12, 6
	c := startBot(t, download("max_concurrent 4", "max_size 100kB", "max_redirects 1", "stall_timeout 150ms", "retries 0"))
	o := newOrigin(t)
	o.server.Config.SetKeepAlivesEnabled(false) // an idle connection is no leak
	c.fetch(t, o.handle("/a.png", content("a picture")))
	before := c.holds(t)

	faults := o.faults()
	faults["nobody listens"] = fault{}
	faults["refused"] = fault{}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			b := o.batch()
			for n := range times {
				call := fmt.Sprintf("%s %d", name, n)
				switch b.add(call, fault.answer); name {
				case "nobody listens":
					b.calls[call] = params{"url": "http://" + freeAddr(t) + "/"}
				case "refused":
					b.calls[call] = params{"url": "http://127.0.0.2:" + o.port + "/" + fmt.Sprint(n)}
				}
			}
			for _, r := range b.run(t, c, "") {
				r.wantFailed(t)
			}
			wantNothingOpen(t, c, before, slack)
		})
	}
	for how, later := range map[string]bool{"before the answer": false, "in the body": true} {
		t.Run("callers that give up "+how, func(t *testing.T) {
			for n := range times {
				answer := stuck(10, content("what never ends"))
				if !later {
					answer = func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
				}
				calls := c.ask(t, 2, params{"url": o.handle("/stuck", answer) + "?" + strings.ReplaceAll(how, " ", "-") + fmt.Sprint(n)})
				for _, call := range calls {
					call.giveUp() // unless it has stalled by now
				}
			}
			wantNothingOpen(t, c, before, slack)
		})
	}
	t.Run("every turn is still there", func(t *testing.T) {
		g := newGate()
		b := o.batch()
		for n := range turns {
			b.add(fmt.Sprint(n), g.after(0, content("a picture")))
		}
		done := make(chan map[string]reply, 1)
		go func() { done <- b.run(t, c, "") }()
		for range turns { // at one time
			receive(t, g.passed, "a download whose turn it must be")
		}
		g.open()
		for _, r := range receive(t, done, "the downloads") {
			wantContent(t, r.file(t), "a picture")
		}
	})
	wantNoParts(t, c.cacheDir("onebot"))
}

// A connection is not left to itself when who asked for it has gone, be the
// other end as patient as it likes.
func TestAHandshakeThatNeverEndsCostsNothingForGood(t *testing.T) {
	const times, slack = 12, 6
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // the system takes its connections, and nobody reads them
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for who, proxy := range map[string]string{
		"the origin": "", "a SOCKS5 proxy": "proxy socks5://" + deaf.Addr().String(), "an HTTPS proxy": "proxy https://" + deaf.Addr().String(),
	} {
		t.Run("with "+who, func(t *testing.T) {
			c := startBot(t, download("retries 0", "stall_timeout 150ms", proxy))
			before := c.holds(t)
			for n := range times {
				r := c.post(t, "/download_file", params{"url": "https://" + deaf.Addr().String() + "/" + fmt.Sprint(n)}.String())
				if r.wantFailed(t); !strings.Contains(r.message, "stalled") {
					t.Errorf("message is %q", r.message)
				}
			}
			wantNothingOpen(t, c, before, slack)
		})
	}
}

// wantNothingOpen fails the test if a process goes on holding more than before.
// What is on its way out has the time that it takes.
func wantNothingOpen(t testing.TB, c *instance, before held, slack int) {
	t.Helper()
	eventually(t, fmt.Sprintf("Caddy to hold no more than %+v", before), func() bool {
		now := c.holds(t)
		return now.goroutines <= before.goroutines+slack && now.files <= before.files+slack
	})
}
