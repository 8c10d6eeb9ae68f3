package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminServer is an admin API that gives one answer to everything.
type adminServer struct {
	address string

	mu    sync.Mutex
	asked []string // method and URI of every request
}

// serveAdmin starts an admin API that answers with a status and a body. Every
// connection to it must be given up at once by whoever made it.
func serveAdmin(t *testing.T, status int, body string) *adminServer {
	t.Helper()
	a := new(adminServer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked = append(a.asked, r.Method+" "+r.RequestURI)
		if !r.Close {
			t.Error("the connection of a request is kept")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	a.address = server.Listener.Addr().String()
	return a
}

// requests returns what the admin API was asked.
func (a *adminServer) requests() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.asked, "\n")
}

// command runs `caddy onebot-meta` with some arguments and returns what it
// prints.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := &cobra.Command{Use: "caddy", SilenceErrors: true, SilenceUsage: true}
	cmd := &cobra.Command{Use: "onebot-meta"}
	commands(cmd)
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"onebot-meta"}, args...))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// inJSON returns what the admin API says of something.
func inJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheCommandIsOneOfCaddys(t *testing.T) {
	c, ok := caddycmd.Commands()["onebot-meta"]
	if !ok || c.CobraFunc == nil {
		t.Error("there is no such command")
	}
}

func TestTheCommandAloneShowsItsHelp(t *testing.T) {
	got, err := command(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n  status ", "\n  downloads ", "\n  purge ", " --address ", " --config ", " --adapter "} {
		if !strings.Contains(got, want) {
			t.Errorf("the help does not tell of %s:\n%s", want, got)
		}
	}
}

func TestWhatIsNoProperCallAsksNobody(t *testing.T) {
	for name, tt := range map[string]struct{ call, err string }{
		"an unknown command":        {"stauts", `unknown command "stauts"`},
		"an argument of status":     {"status mybot", `unknown command "mybot"`},
		"an argument of downloads":  {"downloads 1", `unknown command "1"`},
		"an argument of purge":      {"purge mybot", `unknown command "mybot"`},
		"an unknown flag":           {"status --xml", "unknown flag: --xml"},
		"bars in JSON":              {"downloads --watch --json", "[json watch]"},
		"a name that is empty":      {"purge --name=", "--name is empty"},
		"a config that is not":      {"status --config /does/not/exist", "/does/not/exist"},
		"an adapter that is not":    {"status --config command_test.go --adapter toml", "unrecognized config adapter: toml"},
		"a config that needs one":   {"status --config command_test.go", "not valid JSON"},
		"an address that is none":   {"status --address 127.0.0.1:1-9", "invalid admin address 127.0.0.1:1-9"},
		"an address without a port": {"status --address 127.0.0.1:x", "127.0.0.1:x"},
	} {
		t.Run(name, func(t *testing.T) {
			api := serveAdmin(t, 200, "[]")
			args := strings.Fields(tt.call)
			if !strings.Contains(tt.call, "--config") && !strings.Contains(tt.call, "--address") {
				args = append(args, "--address", api.address)
			}
			got, err := command(t, args...)
			if err == nil || !strings.Contains(err.Error(), tt.err) || got != "" {
				t.Errorf("it says %q, with the error %v", got, err)
			}
			if asked := api.requests(); asked != "" {
				t.Errorf("it asked %s", asked)
			}
		})
	}
}

func TestTheFlagsNameTheAdminAPI(t *testing.T) {
	dir := t.TempDir()
	for name, flags := range map[string]func(address string) []string{
		"an address": func(address string) []string { return []string{"--address", address} },
		"an address before a config": func(address string) []string {
			return []string{"--address", address, "--config", "/does/not/exist"}
		},
		"a Caddyfile": func(address string) []string {
			return []string{"--config", writeConfig(t, dir, "Caddyfile", "{\n\tadmin "+address+"\n}\n")}
		},
		"a config and its adapter": func(address string) []string {
			return []string{"-c", writeConfig(t, dir, "site.conf", "{\n\tadmin "+address+"\n}\n"), "-a", "caddyfile"}
		},
		"a config in JSON": func(address string) []string {
			return []string{"--config", writeConfig(t, dir, "caddy.json", `{"admin": {"listen": "`+address+`"}}`)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for call, want := range map[string]string{
				"status":              "GET /onebot_meta/",
				"status --json":       "GET /onebot_meta/",
				"downloads":           "GET /onebot_meta/",
				"downloads --json":    "GET /onebot_meta/",
				"purge":               "DELETE /onebot_meta/cache",
				"purge --name a.b-c1": "DELETE /onebot_meta/cache?name=a.b-c1",
				"purge --name=a&b":    "DELETE /onebot_meta/cache?name=a%26b",
			} {
				api := serveAdmin(t, 200, "[]")
				if _, err := command(t, append(flags(api.address), strings.Fields(call)...)...); err != nil {
					t.Errorf("%s: %v", call, err)
				}
				if asked := api.requests(); asked != want {
					t.Errorf("%s asked %s, want %s", call, asked, want)
				}
			}
		})
	}
}

func writeConfig(t *testing.T, dir, name, config string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnErrorSaysWhatIsWrongAndWhere(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		body, want string
	}{
		"a refusal":               {404, `{"error":"no handler has the name \"x\""}` + "\n", `caddy at <ADDRESS>: HTTP 404: no handler has the name "x"`},
		"a refusal in colour":     {500, `{"error":"a \u001b[31mred one"}`, `caddy at <ADDRESS>: HTTP 500: "a \x1b[31mred one"`},
		"a Caddy without us":      {404, "404 page not found\n", "<ADDRESS> answers HTTP 404: it is not the admin API, or Caddy runs without onebot_meta there"},
		"another server":          {403, "go away\n", "caddy at <ADDRESS>: HTTP 403: go away"},
		"another server's page":   {200, "<html>", "what answers at <ADDRESS> is not Caddy's admin API, or of another version: invalid character '<' looking for beginning of value"},
		"an answer of another us": {200, `[{"name":1}]`, "what answers at <ADDRESS> is not Caddy's admin API, or of another version: json: "},
	} {
		t.Run(name, func(t *testing.T) {
			for _, call := range [][]string{{"status"}, {"status", "--json"}, {"downloads"}, {"downloads", "--watch"}, {"purge"}} {
				api := serveAdmin(t, tt.status, tt.body)
				got, err := command(t, append(call, "--address", api.address)...)
				want := strings.ReplaceAll(tt.want, "<ADDRESS>", api.address)
				if err == nil || !strings.HasPrefix(err.Error(), want) || got != "" {
					t.Errorf("%s says %q, with the error\n%v, want\n%s", call, got, err, want)
				}
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		api := httptest.NewServer(nil)
		api.Close()
		address := api.Listener.Addr().String()
		_, err := command(t, "status", "--address", address)
		if err == nil || !strings.HasPrefix(err.Error(), "asking Caddy's admin API at "+address+" (--address or --config can name another one): ") {
			t.Errorf("the error is %v", err)
		}
	})
}

// Whoever makes a bot download from a URL must not be able to make the terminal
// of an administrator do anything.
func TestATerminalObeysNothingThatTheAdminAPISays(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;a\x07\r\n\t\u009b31m\u202e\u2028\U000e0041\x7f"
	handlers := inJSON(t, []handlerStatus{{
		Name: evil, Route: evil, Storage: evil, Cache: cacheStatus{Directory: evil},
		Downloads: []downloadStatus{{Name: evil, ID: 1, URL: evil, Tries: 1}},
	}})
	for call, says := range map[string]string{
		"status": handlers, "status --json": handlers, "downloads": handlers, "downloads --json": handlers,
		"purge": inJSON(t, []purgeStatus{{Name: evil, Directory: evil}}),
	} {
		api := serveAdmin(t, 200, says)
		got, err := command(t, append(strings.Fields(call), "--address", api.address)...)
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
		inJSON := strings.HasSuffix(call, "--json")
		for _, r := range got {
			if !unicode.IsPrint(r) && r != '\n' && (r != '\t' || !inJSON) {
				t.Errorf("%s prints %q in %q", call, r, got)
				break
			}
		}
		if !inJSON {
			continue
		}
		var decoded []map[string]any
		if err := json.Unmarshal([]byte(got), &decoded); err != nil {
			t.Fatalf("%s: %v in %s", call, err, got)
		}
		for _, name := range []string{"name", "url"} { // of a handler, of a download
			if said, ok := decoded[0][name]; ok && said != evil {
				t.Errorf("%s makes %q of what the admin API says", call, said)
			}
		}
	}
}

func TestAnAnswerThatBreaksOffIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "[]") // which would do
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	got, err := command(t, "status", "--address", address)
	if err == nil || !strings.HasPrefix(err.Error(), "reading the answer of Caddy at "+address+": ") || got != "" {
		t.Errorf("it says %q, with the error %v", got, err)
	}
}

// As with `caddy onebot-meta status | head -n 1`.
func TestWhatNobodyTakesIsAnError(t *testing.T) {
	closed := errors.New("closed")
	none := writerFunc(func([]byte) (int, error) { return 0, closed })
	for name, print := range map[string]func() error{
		"a status":           func() error { return printStatus(none, []handlerStatus{{Name: "mybot"}}) },
		"that there is none": func() error { return printStatus(none, nil) },
		"a purge":            func() error { return printPurge(none, []purgeStatus{{Name: "mybot"}}) },
		"downloads":          func() error { return printDownloads(none, []downloadStatus{{ID: 1}}) },
		"JSON":               func() error { return printJSON(none, []byte("[]")) },
	} {
		if err := print(); !errors.Is(err, closed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
