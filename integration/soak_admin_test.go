package integration

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
)

// reconfigure loads another config, or one that is none and changes nothing.
func (s *soak) reconfigure(r *rand.Rand) {
	switch r.IntN(5) {
	case 0, 1:
		s.loadWrong(r)
	case 2: // the cache of small moves
		s.moves.Lock()
		defer s.moves.Unlock()
		before := s.version
		s.loadVersion(r, (before+2)%4)
		s.letGo("small", s.smallCache(before))
	default:
		s.loadVersion(r, s.version^1)
	}
}

// smallCache is where the cache of small is in a version of the config.
func (s *soak) smallCache(version int) string {
	return filepath.Join(s.home, fmt.Sprintf("small%d", version/2), "onebot_meta", "small")
}

func (s *soak) loadVersion(r *rand.Rand, version int) {
	s.reloads.Lock()
	defer s.reloads.Unlock()
	s.awaitLosses()
	if r.IntN(4) == 0 {
		if output, ok := s.insistently(func() (string, bool) { return s.reload(s.site(version)) }); !ok {
			s.t.Errorf("caddy reload: %s", output)
			return
		}
	} else if status, wrong, err := s.load(s.configs[version]); status != http.StatusOK {
		s.t.Errorf("a config is not taken: %d %s %v", status, wrong, err)
		return
	}
	s.version = version
	for range 10_000 { // the one before may answer what it took
		if s.running() == version {
			s.done.add("configs loaded", 1)
			return
		}
	}
	s.t.Errorf("version %d does not answer", version)
}

// awaitLosses returns when every connection that a bot has ended is counted as
// lost: both its ends know it a moment sooner, and a reload in that moment would
// be what has ended it.
func (s *soak) awaitLosses() {
	for _, b := range []*book{s.books["front"], s.books["reverse"]} {
		eventually(s.t, "the connections to be counted that the bot of "+b.name+" ended", func() bool {
			got, ok := s.ask("GET", "/peek/"+b.name+"/get_status", "")
			if !ok {
				return true // which has failed the test
			}
			b.call("get_status", got.retcode)
			counted := got.stat(s.t)["DisconnectTimes"]
			b.mu.Lock()
			defer b.mu.Unlock()
			return counted == b.seen["DisconnectTimes"].least
		})
	}
}

// running returns the version of the config that answers.
func (s *soak) running() int {
	got, ok := s.ask("GET", "/loose/clean_cache", "")
	if !ok {
		return -1
	}
	s.books["loose"].call("clean_cache", got.retcode)
	version, err := strconv.Atoi(got.header.Get("X-Version"))
	if err != nil {
		return -1
	}
	return version
}

// loadWrong loads a config that is wrong, be it at once or at the very end.
func (s *soak) loadWrong(r *rand.Rand) {
	now := s.configs[s.version]
	replaced := func(what, by string) []byte {
		if !bytes.Contains(now, []byte(what)) {
			s.t.Errorf("the config has no %s", what)
		}
		return bytes.Replace(now, []byte(what), []byte(by), 1)
	}
	wrong := pick(r,
		now[:len(now)/2],
		replaced(`"name":"stalls"`, `"name":"no good name"`),
		replaced(`"handler":"reverse_proxy"`, `"handler":"none_such"`),
		replaced(`"max_body":4096`, `"max_body":-1`),
		replaced(`"allow_private":["127.0.0.1"]`, `"allow_private":["10.0.0.0/33"]`),
		replaced(`"listen":["`+s.addr+`"`, `"listen":["127.0.0.1:`+s.origin.port+`"`), // is in use
	)
	if status, _, err := s.load(wrong); err != nil || status == http.StatusOK {
		s.t.Errorf("a wrong config is taken: %d %v\n%s", status, err, wrong)
	}
	if got := s.running(); got != s.version {
		s.t.Errorf("after a wrong config version %d answers instead of %d", got, s.version)
	}
	s.done.add("wrong configs refused", 1)
}

// scrape reads the metrics: no counter may ever be less than it was.
func (s *soak) scrape(*rand.Rand) {
	resp, err := s.do("GET", "/metrics", "")
	if err != nil {
		s.t.Errorf("scraping: %v", err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Errorf("scraping: %d %v", resp.StatusCode, err)
		return
	}
	seen := 0
	for line := range strings.Lines(string(text)) {
		sample, ours := strings.CutPrefix(strings.TrimSpace(line), "caddy_onebot_meta_")
		metric, _, _ := strings.Cut(sample, "{")
		if !ours || !strings.HasSuffix(metric, "_total") {
			continue
		}
		space := strings.LastIndexByte(sample, ' ')
		value, err := strconv.ParseFloat(sample[space+1:], 64)
		if err != nil || value < s.scraped[sample[:space]] {
			s.t.Errorf("%s (%v) was %v", sample, err, s.scraped[sample[:space]])
		}
		s.scraped[sample[:space]] = value
		seen++
	}
	if seen == 0 {
		s.t.Error("there are no counters to scrape")
	}
}

// command runs one of our commands. Those who load a config wait for that.
func (s *soak) command(r *rand.Rand) {
	s.reloads.RLock()
	defer s.reloads.RUnlock()
	args := pick(r, []string{"status"}, []string{"status", "--json"}, []string{"downloads"}, []string{"downloads", "--json"},
		[]string{"purge", "--name", "files"}, []string{"purge"})
	output, ok := s.insistently(func() (string, bool) {
		ran := s.onebotMeta(s.t, args...)
		return ran.out + ran.err, ran.code == 0 && ran.out != ""
	})
	if !ok {
		s.t.Errorf("caddy onebot-meta %v: %s", args, output)
	}
}

// insistently runs a command again that was dropped: the admin endpoint of the
// config before closes its socket, too.
func (s *soak) insistently(run func() (output string, ok bool)) (output string, ok bool) {
	for range 10 {
		output, ok = run()
		if ok || !strings.Contains(output, "EOF") && !strings.Contains(output, "connection re") { // reset, refused
			break
		}
	}
	return output, ok
}
