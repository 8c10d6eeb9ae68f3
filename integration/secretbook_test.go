package integration

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
)

// shortestSecret is how long a value must be that is looked for. What is shorter
// is also a part of words that are no secret.
const shortestSecret = 6

// secrets are the values that the tests have used and that no log may have. They
// are collected where tests hand them over, so that no test has to remember.
type secrets struct {
	mu     sync.Mutex
	values map[string]string // and where each was used
}

func newSecrets() *secrets { return &secrets{values: make(map[string]string)} }

// onLoopback is an address of a test's own, or a URL there, with no login and no
// query. Another test that is given the same port by chance may well log it.
var onLoopback = regexp.MustCompile(`^(?:[a-z0-9]+://)?(?:127(?:\.[0-9]{1,3}){3}|localhost|\[::1\])(?::[0-9]+)?(?:/[^?#\s]*)?$`)

// add adds a value, unless it is too short, or the address of a test.
func (s *secrets) add(value, where string) {
	if len(value) < shortestSecret || onLoopback.MatchString(value) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.values[value]; !known {
		s.values[strings.Clone(value)] = where
	}
}

var (
	tokensOf     = regexp.MustCompile(`\baccess_token[ \t]+(.*)`)
	placeholders = regexp.MustCompile(`\{(?:env\.|file\.|\$)[^}\n]*\}`)
	loginsOf     = regexp.MustCompile(`://([^/\s"@]*)@`)
)

// addConfig adds the tokens and passwords of a config: literal ones, and those
// of the files and variables that it names.
func (s *secrets) addConfig(config string, environ []string) {
	for _, m := range tokensOf.FindAllStringSubmatch(config, -1) {
		for token := range strings.FieldsSeq(placeholders.ReplaceAllString(m[1], " ")) {
			s.add(strings.Trim(token, "\"`"), "an access_token of a Caddyfile")
		}
	}
	for _, m := range loginsOf.FindAllStringSubmatch(config, -1) {
		s.addLogin(m[1], "a config")
	}
	for _, p := range placeholders.FindAllString(config, -1) {
		name := strings.Trim(p, "{$}")
		if path, ok := strings.CutPrefix(name, "file."); ok {
			if content, err := os.ReadFile(path); err == nil {
				s.add(strings.TrimSpace(string(content)), "the file of a placeholder")
			}
			continue
		}
		for _, pair := range environ {
			if value, ok := strings.CutPrefix(pair, strings.TrimPrefix(name, "env.")+"="); ok {
				s.addVariable(value)
			}
		}
	}
	var fields any
	if json.Unmarshal([]byte(config), &fields) == nil {
		s.addFields(fields, "a config in JSON")
	}
}

// addVariable adds a token, or what is secret of a URL.
func (s *secrets) addVariable(value string) {
	if login := loginsOf.FindStringSubmatch(value); login != nil {
		s.addLogin(login[1], "the environment")
		return
	}
	s.add(value, "the environment")
}

// addLogin adds the user and the password of a URL, as they are there, as they
// are meant and as they are sent.
func (s *secrets) addLogin(login, where string) {
	user, password, _ := strings.Cut(login, ":")
	for _, value := range []string{user, password} {
		s.add(value, "userinfo in "+where)
		if meant, err := url.PathUnescape(value); err == nil {
			s.add(meant, "userinfo in "+where)
		}
	}
	if meant, err := url.PathUnescape(login); err == nil && password != "" {
		s.add(base64.StdEncoding.EncodeToString([]byte(meant)), "userinfo in "+where)
	}
}

// addFields adds what is secret of a value that was JSON.
func (s *secrets) addFields(value any, where string) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			s.addFields(item, where)
		}
	case map[string]any:
		for name, field := range value {
			switch name {
			case "access_token":
				for _, token := range texts(field) {
					s.add(token, "an access_token of "+where)
				}
			case "url":
				for _, address := range texts(field) {
					s.addURL(address, where)
				}
			case "headers":
				for _, lines := range texts(field) {
					for line := range strings.SplitSeq(lines, "\n") {
						_, content, _ := strings.Cut(line, ":")
						s.add(strings.TrimSpace(content), "a header in "+where)
					}
				}
			}
			s.addFields(field, where)
		}
	}
}

// texts returns a value that is a string, or those that are in a list.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var all []string
		for _, item := range value {
			if text, ok := item.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}

// addURL adds the userinfo and the values of the query of a URL, however broken
// it is.
func (s *secrets) addURL(address, where string) {
	if login := loginsOf.FindStringSubmatch(address); login != nil {
		s.addLogin(login[1], where)
	}
	address, _, _ = strings.Cut(address, "#")
	_, query, _ := strings.Cut(address, "?")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, named := strings.Cut(pair, "=")
		if !named {
			value = name
		}
		s.add(value, "a query in "+where)
		if meant, err := url.QueryUnescape(value); err == nil {
			s.add(meant, "a query in "+where)
		}
	}
}

// addMessage adds what is secret of a call in JSON or in a form.
func (s *secrets) addMessage(message, where string) {
	if !strings.Contains(where+message, "download_file") {
		return
	}
	var fields any
	if json.Unmarshal([]byte(message), &fields) == nil {
		s.addFields(fields, where)
	} else if form, err := url.ParseQuery(message); err == nil {
		s.addForm(form, where)
	}
}

func (s *secrets) addForm(form url.Values, where string) {
	for _, name := range []string{"url", "headers"} {
		for _, value := range form[name] {
			s.addFields(map[string]any{name: value}, where)
		}
	}
}

// addRequest adds what is secret of a request to Caddy.
func (s *secrets) addRequest(r *http.Request) {
	where := "a request for " + r.URL.Path
	for _, value := range r.Header.Values("Authorization") {
		if _, token, schemed := strings.Cut(value, " "); schemed {
			s.add(token, "Authorization of "+where)
		}
		s.add(value, "Authorization of "+where)
	}
	if r.URL.RawQuery != "" {
		query, _ := url.ParseQuery(r.URL.RawQuery)
		for _, token := range query["access_token"] {
			s.add(token, "access_token of "+where)
		}
		if strings.Contains(r.URL.Path+r.URL.RawQuery, "download_file") {
			s.addForm(query, where)
		}
	}
	const most = 64 << 10 // of a body: larger ones are about their size
	if r.GetBody == nil || r.ContentLength > most {
		return
	}
	if body, err := r.GetBody(); err == nil {
		defer body.Close()
		if text, err := io.ReadAll(body); err == nil {
			s.addMessage(string(text), where)
		}
	}
}

// collector is a transport for clients of Caddy. It collects what is secret of
// the requests.
type collector struct{ *http.Transport }

// RoundTrip satisfies [http.RoundTripper].
func (c collector) RoundTrip(r *http.Request) (*http.Response, error) {
	allSecrets.addRequest(r)
	return c.Transport.RoundTrip(r)
}
