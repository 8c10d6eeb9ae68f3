package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what is adapted into testdata/adapt")

func TestCaddyfilesAdaptToJSON(t *testing.T) {
	tests, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, path := range tests {
		t.Run(filepath.Base(path), func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			config, want, _ := strings.Cut(string(content), "----------\n")
			if formatted := caddyfile.Format([]byte(config)); !bytes.Equal(formatted, []byte(config)) {
				t.Errorf("caddy fmt would change it to:\n%s", formatted)
			}
			got, err := adapt(config)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				err := os.WriteFile(path, []byte(config+"----------\n"+got), 0o644)
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

func adapt(config string) (string, error) {
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, result, "", "\t"); err != nil {
		return "", err
	}
	pretty.WriteByte('\n')
	return pretty.String(), nil
}

func TestMistakesNameTheLineTheOptionAndWhatIsRight(t *testing.T) {
	const size, duration, number = "such as 16MiB, not '", "must be a positive duration, such as 30s, not '", "must be a number of at least "
	const proxy = "proxy must be an http://, https://, socks5:// or socks5h:// URL with a host"
	for option, want := range map[string]string{
		"route":                            "route takes one argument",
		"route /a /b":                      "route takes one argument",
		"route onebot":                     "route " + wantRoute + ", not 'onebot'",
		"route /a/../b":                    "route " + wantRoute,
		"route //":                         "route " + wantRoute,
		"route /a//b":                      "route " + wantRoute,
		"route /a/*":                       "route " + wantRoute,
		"route /a%20b":                     "route " + wantRoute,
		"route {env.X}":                    "route " + wantRoute,
		"name a/b":                         "name " + wantName + ", not 'a/b'",
		"name ..":                          "name " + wantName,
		"name 机器人":                         "name " + wantName,
		"name " + strings.Repeat("a", 65):  "name " + wantName,
		"name a\nname b":                   "name already specified",
		"access_token":                     "access_token takes one or more tokens",
		"max_body 0":                       "max_body must be a size of at least 1 bytes, " + size + "0'",
		"max_body big":                     "max_body must be a size of at least 1 bytes, " + size + "big'",
		"max_body -1":                      "max_body must be a size",
		"max_body 9999999999TB":            "max_body must be a size",
		"max_body 1MiB 2MiB":               "max_body takes one argument",
		"storage":                          "storage takes the name",
		"storage nonsense":                 "module not registered: caddy.storage.nonsense",
		"storage file_system":              "missing root path",
		"route /a {\n}":                    "route takes no block",
		"nonsense":                         "unrecognized subdirective 'nonsense'",
		"self_id":                          "self_id takes one argument",
		"self_id -1":                       "self_id " + number + "0, not '-1'",
		"self_id 9223372036854775808":      "self_id " + number + "0, not '9223372036854775808'",
		"self_id bot":                      "self_id " + number + "0, not 'bot'",
		"self_id 1\nself_id 1":             "self_id already specified",
		"pass_thru yes":                    "pass_thru takes no argument",
		"pass_thru\npass_thru":             "pass_thru already specified",
		"heartbeat":                        "heartbeat takes one argument",
		"heartbeat -1s":                    "heartbeat must be a duration such as 15s, or 0, not '-1s'",
		"heartbeat often":                  "heartbeat must be a duration such as 15s, or 0, not 'often'",
		"heartbeat 1s\nheartbeat 1s":       "heartbeat already specified",
		"download x":                       "download takes a block",
		"download {\nmax_size x\n}":        "max_size must be a size of at least 0 bytes, " + size + "x'",
		"download {\nmax_size 1 2\n}":      "max_size takes one argument",
		"download {\ntimeout 0\n}":         "timeout " + duration + "0'",
		"download {\ntimeout -1s\n}":       "timeout " + duration,
		"download {\nstall_timeout x\n}":   "stall_timeout " + duration + "x'",
		"download {\nmax_concurrent 0\n}":  "max_concurrent " + number + "1, not '0'",
		"download {\nmax_redirects 1.5\n}": "max_redirects " + number + "0, not '1.5'",
		"download {\nallow_private 10.0.0.0/99\n}": "allow_private: '10.0.0.0/99' is not a network like 10.0.0.0/8",
		"download {\nshare\n}":                     "unrecognized subdirective 'share' of download",
		"download {\ntimeout 1s\ntimeout 1s\n}":    "timeout already specified",
		"download {\n}\ndownload {\n}":             "download already specified",

		"download {\nretries\n}":                              "retries takes one argument",
		"download {\nretries 1 2\n}":                          "retries takes one argument",
		"download {\nretries -1\n}":                           "retries " + number + "0, not '-1'",
		"download {\nretries many\n}":                         "retries " + number + "0, not 'many'",
		"download {\nretries 1\nretries 1\n}":                 "retries already specified",
		"download {\nproxy\n}":                                "proxy takes one argument",
		"download {\nproxy http://a http://SECRET\n}":         "proxy takes one argument",
		"download {\nproxy http://a\nproxy http://a\n}":       "proxy already specified",
		"download {\nproxy 127.0.0.1:3128\n}":                 proxy,
		"download {\nproxy user:SECRET@127.0.0.1\n}":          proxy,
		"download {\nproxy ftp://user:SECRET@127.0.0.1\n}":    proxy,
		"download {\nproxy http://user:SECRET/x@127.0.0.1\n}": proxy,
		"download {\nproxy http://SECRET%zz@127.0.0.1\n}":     proxy,
		"cache 1GiB":                         "cache takes a block and no argument",
		"cache {\nshared\n}":                 "unrecognized subdirective 'shared' of cache",
		"cache {\n}\ncache {\n}":             "cache already specified",
		"cache {\nmax_size\n}":               "max_size takes one argument",
		"cache {\nmax_size -1\n}":            "max_size must be a size of at least 0 bytes, " + size + "-1'",
		"cache {\nmax_size 1\nmax_size 1\n}": "max_size already specified",
		"cache {\nmax_age\n}":                "max_age takes one argument",
		"cache {\nmax_age 1h 2h\n}":          "max_age takes one argument",
		"cache {\nmax_age -1h\n}":            "max_age must be a duration such as 15s, or 0, not '-1h'",
		"cache {\nmax_age week\n}":           "max_age must be a duration such as 15s, or 0, not 'week'",
		"cache {\nmax_age 1h\nmax_age 1h\n}": "max_age already specified",
		"cache {\nmode\n}":                   "mode takes one argument",
		"cache {\nmode 0600 0600\n}":         "mode takes one argument",
		"cache {\nmode 0600\nmode 0600\n}":   "mode already specified",
		"cache {\nmode 0400\n}":              "mode " + wantMode + ", not '0400'",
		"cache {\nmode 0\n}":                 "mode " + wantMode + ", not '0'",
		"cache {\nmode 4600\n}":              "mode " + wantMode + ", not '4600'",
		"cache {\nmode 0o640\n}":             "mode " + wantMode + ", not '0o640'",
		"cache {\nmode 0680\n}":              "mode " + wantMode + ", not '0680'",
		"cache {\nmode rw-r-----\n}":         "mode " + wantMode + ", not 'rw-r-----'",
		"cache {\nserve yes\n}":              "serve takes no argument",
		"cache {\nserve\nserve\n}":           "serve already specified",
		"cache {\nserve {\n}\n}":             "serve takes no block",
		"cache {\nshare 0\n}":                "share must be a size of at least 1 bytes, " + size + "0'",
		"cache {\nshare -1\n}":               "share must be a size of at least 1 bytes, " + size + "-1'",
		"cache {\nshare big\n}":              "share must be a size of at least 1 bytes, " + size + "big'",
		"cache {\nshare 9999999999TB\n}":     "share must be a size",
		"cache {\nshare 1MiB 2MiB\n}":        "share takes one argument at most",
		"cache {\nshare\nshare\n}":           "share already specified",
		"cache {\nshare 1MiB\nshare\n}":      "share already specified",
		"cache {\nshare {\n}\n}":             "share takes no block",
	} {
		_, err := adapt(":8080 {\n\tonebot_meta {\n" + option + "\n}\n}\n")
		if err == nil {
			t.Errorf("%q was accepted", option)
			continue
		}
		line := strconv.Itoa(2 + 1 + strings.Count(strings.TrimRight(option, "\n}"), "\n"))
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: the error shows the password: %v", option, err)
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:"+line) {
			t.Errorf("%q: got %v\nwant %s, at Caddyfile:%s", option, err, want, line)
		}
	}
	if _, err := adapt(":8080 {\n\tonebot_meta /a /b\n}\n"); err == nil || !strings.Contains(err.Error(), "Caddyfile:2") {
		t.Errorf("a second argument: %v", err)
	}
}

// options returns the names that a method of caddyfile.go accepts.
func options(t *testing.T, file *ast.File, receiver, method string) []string {
	var names []string
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != method || f.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name != receiver {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if clause, ok := n.(*ast.CaseClause); ok {
				for _, expr := range clause.List {
					name, err := strconv.Unquote(expr.(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					names = append(names, name)
				}
			}
			return true
		})
	}
	slices.Sort(names)
	return names
}

// grammar returns the names in the grammar of the directive, by the block they
// are in.
func grammar(source []byte) map[string][]string {
	names := make(map[string][]string)
	block := ""
	for _, m := range regexp.MustCompile(`(?m)^//\t(    |        )(\w+)(.*)$`).FindAllStringSubmatch(string(source), -1) {
		if len(m[1]) == 4 {
			block = m[2]
			names[""] = append(names[""], m[2])
		} else {
			names[block] = append(names[block], m[2])
		}
	}
	return names
}

// readmeJSON returns the handler in the JSON config of the README.
func readmeJSON(t *testing.T, readme []byte) map[string]any {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindAllSubmatch(readme, -1) {
		var config struct {
			Apps struct {
				HTTP struct {
					Servers map[string]struct {
						Routes []struct{ Handle []map[string]any }
					}
				}
			}
		}
		if err := json.Unmarshal(m[1], &config); err != nil {
			t.Fatal(err)
		}
		for _, server := range config.Apps.HTTP.Servers {
			return server.Routes[0].Handle[0]
		}
	}
	t.Fatal("the README has no JSON config")
	return nil
}

// The option list exists four times: in the parser, its comment, the JSON
// fields and the README.
func TestEveryOptionIsDocumentedAndInJSON(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "caddyfile.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	handler := readmeJSON(t, readme)
	delete(handler, "handler")
	for block, tt := range map[string]struct {
		receiver, method string
		config           any
		example          any
	}{
		"":         {"Handler", "UnmarshalCaddyfile", Handler{}, handler},
		"download": {"Download", "parse", Download{}, handler["download"]},
		"cache":    {"Cache", "parse", Cache{}, handler["cache"]},
	} {
		names := options(t, file, tt.receiver, tt.method)
		if got := slices.Sorted(slices.Values(grammar(source)[block])); !slices.Equal(got, names) {
			t.Errorf("%s takes %v, its grammar has %v", tt.receiver, names, got)
		}
		var fields []string
		for field := range reflect.TypeOf(tt.config).Fields() {
			if tag, ok := field.Tag.Lookup("json"); ok {
				name, _, _ := strings.Cut(tag, ",")
				fields = append(fields, name)
			}
		}
		slices.Sort(fields)
		if !slices.Equal(fields, names) {
			t.Errorf("%s takes %v, JSON has %v", tt.receiver, names, fields)
		}
		example, ok := tt.example.(map[string]any)
		if got := slices.Sorted(maps.Keys(example)); !ok || !slices.Equal(got, names) {
			t.Errorf("%s takes %v, the README's JSON has %v", tt.receiver, names, got)
		}
		for _, name := range names {
			if name != "download" && name != "cache" && !regexp.MustCompile("(?m)^\\| `"+name+"` \\|").Match(readme) {
				t.Errorf("%s is in no table of the README", name)
			}
		}
	}
}
