package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What a run of the tests has used and written.
var (
	allSecrets = newSecrets()
	allLogs    = new(logbook)
)

// finder returns what finds the secrets that there are by now.
func (s *secrets) finder() finder {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := make(finder)
	for value := range s.values {
		f[value[:shortestSecret]] = append(f[value[:shortestSecret]], value)
	}
	return f
}

// finder has the secrets by how they begin.
type finder map[string][]string

// in returns the secrets that are in a text.
func (f finder) in(text string) (found []string) {
	for i := 0; i+shortestSecret <= len(text); i++ {
		for _, secret := range f[text[i:i+shortestSecret]] {
			if strings.HasPrefix(text[i:], secret) && !slices.Contains(found, secret) {
				found = append(found, secret)
			}
		}
	}
	return found
}

// inLine returns the secrets that are in a line of a log of Caddy, if it comes
// from the module. Its values are looked at as they are and as they are meant.
func (f finder) inLine(line string) []string {
	var fields map[string]any
	if json.Unmarshal([]byte(line), &fields) == nil {
		if !ofModule(fields) {
			return nil
		}
		line += "\n" + meaning(fields)
	}
	return f.in(line)
}

// ofModule reports whether the module has logged a line, or may have caused it
// by an event, or nobody says who has. What Caddy logs of requests is not the
// module's: it has their URIs.
func ofModule(fields map[string]any) bool {
	logger, named := fields["logger"].(string)
	for _, own := range []string{"http.handlers.onebot_meta", "admin.api.onebot_meta"} {
		if logger == own || strings.HasPrefix(logger, own+".") {
			return true
		}
	}
	return !named || logger == "events"
}

// meaning returns all texts in a value that was JSON, one a line.
func meaning(value any) string {
	switch value := value.(type) {
	case string:
		return value + "\n"
	case []any:
		var all strings.Builder
		for _, item := range value {
			all.WriteString(meaning(item))
		}
		return all.String()
	case map[string]any:
		var all strings.Builder
		for name, field := range value {
			all.WriteString(name + "\n" + meaning(field))
		}
		return all.String()
	}
	return ""
}

// logbook has what all processes of a run of the tests have written.
type logbook struct {
	mu    sync.Mutex
	pages []page
}

type page struct {
	test string
	logs fmt.Stringer
}

func (b *logbook) add(test string, logs fmt.Stringer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages = append(b.pages, page{test, logs})
}

// search calls say for every secret that is in a log, with the first line that
// has it.
func (b *logbook) search(s *secrets, say func(test, secret, line string)) {
	f := s.finder()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pages {
		said := make(map[string]bool)
		for line := range strings.Lines(p.logs.String()) {
			for _, secret := range f.inLine(line) {
				if !said[secret] {
					said[secret] = true
					say(p.test, secret, strings.TrimSpace(line))
				}
			}
		}
	}
}

// checked returns the exit code of a run of the tests that has ended with code:
// no log of it may have a secret that was used in any of them.
func (b *logbook) checked(s *secrets, code int, to io.Writer) int {
	b.search(s, func(test, secret, line string) {
		fmt.Fprintf(to, "a log of %s has the secret %q (%s):\n%.1000s\n", test, secret, s.values[secret], line)
		code = max(code, 1)
	})
	return code
}

func TestASecretIsFoundInEveryKindOfLine(t *testing.T) {
	const secret = "a \"quoted\" s\u00e9cret"
	s := newSecrets()
	s.add(secret, "this test")
	s.add("short", "this test")
	quoted, _ := json.Marshal(secret)
	escaped := strings.ReplaceAll(strings.Trim(string(quoted), `"`), "\u00e9", `\u00e9`)
	own := func(rest string) string { return `{"level":"info","logger":"http.handlers.onebot_meta",` + rest + `}` }
	for name, test := range map[string]struct {
		line  string
		found bool
	}{
		"a message of the handler":             {own(`"msg":"x ` + escaped + `"`), true},
		"a field of it":                        {own(`"msg":"x","url":"http://` + escaped + `/"`), true},
		"a field of a field":                   {own(`"msg":"x","a":{"b":[1,{"c":"` + escaped + `"}]}`), true},
		"the name of a field":                  {own(`"msg":"x","` + escaped + `":1`), true},
		"a logger below":                       {`{"logger":"http.handlers.onebot_meta.relay","msg":"` + escaped + `"}`, true},
		"the admin API":                        {`{"logger":"admin.api.onebot_meta","msg":"` + escaped + `"}`, true},
		"an event":                             {`{"logger":"events","origin":"http.handlers.reverse_proxy","data":{"file":"` + escaped + `"}}`, true},
		"a line that names no logger":          {`{"level":"error","msg":"` + escaped + `"}`, true},
		"a panic":                              {"panic: " + secret, true},
		"half a line":                          {strings.TrimSuffix(own(`"msg":"`+secret+`"`), "}"), true},
		"the handler without it":               {own(`"msg":"x"`), false},
		"a part of it":                         {own(`"msg":"` + escaped[:len(escaped)-1] + `"`), false},
		"what is too short to look for":        {own(`"msg":"short"`), false},
		"a request that Caddy logs":            {`{"logger":"http.log.access","uri":"` + escaped + `"}`, false},
		"a module that is called almost alike": {`{"logger":"http.handlers.onebot_metas","msg":"` + escaped + `"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var logs, told strings.Builder
			logs.WriteString("{}\n" + test.line + "\n{}\n")
			book := new(logbook)
			book.add("a test", &logs)
			for code, want := range map[int]int{0: 1, 1: 1, 2: 2} {
				if !test.found {
					want = code
				}
				if got := book.checked(s, code, &told); got != want {
					t.Errorf("the exit code is %d after %d, want %d", got, code, want)
				}
			}
			if strings.Contains(told.String(), "this test") != test.found {
				t.Errorf("it says %q", told.String())
			}
		})
	}
}

func TestSecretsAreCollectedWhereTheyAreUsed(t *testing.T) {
	s := newSecrets()
	s.addConfig("onebot_meta {\n access_token literal-1 {env.TOKEN_2} \"literal-3\"\n access_token {$TOKEN_4}\n download {\n proxy http://proxy-user:proxy%2dpass@127.0.0.1\n}\n}",
		[]string{"TOKEN_2=variable-2", "TOKEN_4=variable-4", "OTHER=not-this-one"})
	s.addConfig("proxy {env.PROXY_5} {env.PROXY_6} {env.PROXY_7}",
		[]string{"PROXY_5=http://127.0.0.1:20001", "PROXY_6=socks5://[::1]:20001/not-the-path", "PROXY_7=http://127.0.0.1:20003/?variable-7"})
	s.addConfig(`{"apps":{"access_token":["in-json-1","in-json-2"]}}`, nil)
	for _, message := range []string{
		`{"action":"download_file","params":{"url":"http://url-user:url-pass@127.0.0.1/not-the-path?key=url%2Dquery&x=y&url-bare#x","headers":["X-Key: header-1"]}}`,
		`{"action":"download_file","params":{"headers":"X-Key: header-2\r\nCookie: header-3\r\nHost: localhost:20001"}}`,
		"url=http%3A%2F%2F127.0.0.1%2F%3Fkey%3Dform-query&headers=X-Key%3Aform-header&action=download_file",
	} {
		s.addMessage(message, "a message")
	}
	s.addMessage(`{"action":"send_msg","params":{"url":"http://127.0.0.1/?not-this-either"}}`, "a message")
	for _, path := range []string{"/get_status?access_token=in%2Dquery", "/download_file?url=http://127.0.0.1/?in-get"} {
		r, err := http.NewRequest("POST", "http://127.0.0.1"+path, strings.NewReader(`{"url":"http://127.0.0.1/?in-body"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer in-header")
		s.addRequest(r)
	}
	want := strings.Fields("literal-1 variable-2 literal-3 variable-4 http://127.0.0.1:20003/?variable-7 proxy-user proxy%2dpass proxy-pass in-json-1 in-json-2 " +
		"url-user url-pass url%2Dquery url-query url-bare header-1 header-2 header-3 form-query form-header in-query in-header in-get in-body")
	f := s.finder()
	for _, value := range want {
		if !slices.Contains(f.in("x"+value+"x"), value) {
			t.Errorf("%s is not looked for", value)
		}
	}
	for value, where := range s.values {
		if strings.Contains(value, "not-th") || strings.HasSuffix(value, ":20001") {
			t.Errorf("%s is looked for: %s", value, where)
		}
	}
}
