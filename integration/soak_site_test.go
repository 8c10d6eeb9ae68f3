package integration

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
)

// The handlers of the soak, by their names, and whether what they count can be
// known exactly. All live below a route of their name.
var soakNames = map[string]bool{
	"calls": true, "loose": false, // stand alone
	"files": true, "small": true, "crowd": false, "stalls": false, // download
	"front": true, "reverse": true, "rough": false, // stand in front of something
}

const (
	soakToken   = "the-token-of-the-soak"
	soakMaxSize = 1 << 20 // of a download
	soakRetries = 1
	soakBody    = 4 << 10 // the largest body of a call, to calls
)

var soakAuth = []string{"Authorization", "Bearer " + soakToken}

// site is a config. An odd version has other options, and from version 2 on the
// cache of small is elsewhere.
func (s *soak) site(version int) string {
	odd, elsewhere := version%2, version/2
	downloads := download(fmt.Sprintf("max_size %d", soakMaxSize), fmt.Sprintf("retries %d", soakRetries),
		fmt.Sprintf("max_concurrent %d", 8+odd), fmt.Sprintf("timeout %dm", 10+odd))
	alone := func(name, options string) string {
		return "onebot_meta {\n route /" + name + "\n name " + name + "\n" + options + "\n}\n"
	}
	before := func(name, options string, behind *backend) string {
		// the second handler tells the counters without asking the bot
		return "onebot_meta {\n route /peek/" + name + "\n name " + name + "\n}\nhandle /" + name + "/* {\n" +
			alone(name, "pass_thru\n access_token "+soakToken+"\n"+options) + "reverse_proxy " + behind.addr + "\n}\n"
	}
	return fmt.Sprintf("http://<SITE> {\n header X-Version %d\n metrics /metrics\n", version) +
		alone("calls", fmt.Sprintf("access_token %s other-%d\n max_body %d\n heartbeat %dms\n self_id %d", soakToken, version, soakBody, 500+500*odd, 10+odd)) +
		alone("loose", fmt.Sprintf("heartbeat %dms\n", 300+200*odd)+download()) +
		alone("files", downloads+"\n cache {\n serve\n max_age 11m\n}") +
		alone("small", downloads+fmt.Sprintf("\n cache {\n max_size 1MiB\n}\n storage file_system <HOME>/small%d", elsewhere)) +
		alone("crowd", downloads+"\n cache {\n max_age 11m\n}") +
		alone("stalls", download("stall_timeout 300ms", "retries 0")) +
		before("front", fmt.Sprintf("max_body %dKiB\n", 256+odd)+download(), s.bot) +
		before("reverse", fmt.Sprintf("self_id %d", odd), s.app) +
		before("rough", fmt.Sprintf("max_body %dKiB", 64+odd), s.dying) + "}"
}

// newSoak starts everybody.
func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{t: t, seed: seed, books: make(map[string]*book), scraped: make(map[string]float64)}
	s.bot, s.app, s.dying, s.apps = newBackend(t, silent), newBackend(t, silent), newBackend(t), newBackend(t, silent)
	s.dying.shutDown()
	s.dying.addr = freeAddr(t) // which nobody takes while it is dead
	s.dying.startAgain(t)
	s.pairing = map[*backend]*sync.Mutex{s.bot: {}, s.app: {}, s.dying: {}}
	s.bot.handle("no_such_action", body(http.StatusNotFound, "no such action"))
	s.bot.handle("hang_up", raw("", false))
	s.bot.handle("send_broken_msg", rawBody(1000, `{"status":"ok","retcode":0,"data":{}`, false))
	s.dying.handle("send_garbage_msg", raw("\x16\x03\x01 what is this\r\n\r\n", false))
	for name, exact := range soakNames {
		s.books[name] = &book{name: name, exact: exact, seen: make(map[string]span)}
	}
	s.instance = startCaddy(t, s.site(0), global("\tpersist_config off"))
	for _, b := range []*backend{s.bot, s.app, s.dying} {
		t.Cleanup(b.release)
	}
	for version := range 4 {
		s.configs = append(s.configs, s.adapted(t, s.site(version)))
	}
	s.origin = newSoakOrigin(t)
	forget(t, s.bot, s.app, s.dying, s.apps)
	return s
}

// forget has backends keep nothing of what they see: it would be too much.
func forget(t *testing.T, backends ...*backend) {
	for _, b := range backends {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-b.arrived:
					b.mu.Lock()
					b.seen = nil
					b.mu.Unlock()
				case <-b.life.Done():
					return
				}
			}
		}()
		t.Cleanup(func() {
			b.release()
			<-done
		})
	}
}

// do sends a request to Caddy until it is taken: a reload takes connections with
// it on which nothing has been read. It returns an error if nobody knows whether
// the request arrived.
func (s *soak) do(method, path, body string, header ...string) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := s.doOnce(method, path, body, header...)
		dropped, ok := errors.AsType[*url.Error](err)
		if !ok || dropped.Timeout() || attempt == 100 {
			return resp, err
		}
	}
}

// doOnce is do for what may not be sent again.
func (s *soak) doOnce(method, path, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, s.client.base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header = headerOf(header...)
	return s.client.Do(req)
}

// ask calls an action until the call is taken, and returns the answer.
func (s *soak) ask(method, path, body string, header ...string) (reply, bool) {
	resp, err := s.do(method, path, body, header...)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
		return reply{}, false
	}
	defer resp.Body.Close()
	r, err := parseReply(resp)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
	}
	return r, err == nil
}
