package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
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
		"pass_thru":                        "unrecognized subdirective 'pass_thru'",
		"download x":                       "download takes a block",
		"download {\nmax_size x\n}":        "max_size must be a size of at least 0 bytes, " + size + "x'",
		"download {\nmax_size 1 2\n}":      "max_size takes one argument",
		"download {\ntimeout 0\n}":         "timeout " + duration + "0'",
		"download {\ntimeout -1s\n}":       "timeout " + duration,
		"download {\nstall_timeout x\n}":   "stall_timeout " + duration + "x'",
		"download {\nmax_concurrent 0\n}":  "max_concurrent " + number + "1, not '0'",
		"download {\nmax_redirects 1.5\n}": "max_redirects " + number + "0, not '1.5'",
		"download {\nallow_private 10.0.0.0/99\n}": "allow_private: '10.0.0.0/99' is not a network like 10.0.0.0/8",
		"download {\nretries 3\n}":                 "unrecognized subdirective 'retries' of download",
		"download {\ntimeout 1s\ntimeout 1s\n}":    "timeout already specified",
		"download {\n}\ndownload {\n}":             "download already specified",
	} {
		_, err := adapt(":8080 {\n\tonebot_meta {\n" + option + "\n}\n}\n")
		if err == nil {
			t.Errorf("%q was accepted", option)
			continue
		}
		line := strconv.Itoa(2 + 1 + strings.Count(strings.TrimSuffix(option, "\n}"), "\n"))
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:"+line) {
			t.Errorf("%q: got %v\nwant %s, at Caddyfile:%s", option, err, want, line)
		}
	}
	if _, err := adapt(":8080 {\n\tonebot_meta /a /b\n}\n"); err == nil || !strings.Contains(err.Error(), "Caddyfile:2") {
		t.Errorf("a second argument: %v", err)
	}
}

// options returns the names that a function of caddyfile.go accepts.
func options(t *testing.T, file *ast.File, function string) []string {
	var names []string
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != function {
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
	for function, config := range map[string]any{"UnmarshalCaddyfile": Handler{}, "parse": Download{}} {
		names := options(t, file, function)
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^//\t +` + name + `\b`).Match(source) {
				t.Errorf("%s is not in the grammar", name)
			}
			if !regexp.MustCompile("(?m)^ *"+name+`\b`).Match(readme) || !bytes.Contains(readme, []byte(`"`+name+`"`)) {
				t.Errorf("%s is not in the README, as Caddyfile and as JSON", name)
			}
		}
		var fields []string
		for field := range reflect.TypeOf(config).Fields() {
			if tag, ok := field.Tag.Lookup("json"); ok {
				name, _, _ := strings.Cut(tag, ",")
				fields = append(fields, name)
			}
		}
		slices.Sort(fields)
		if !slices.Equal(fields, names) {
			t.Errorf("%s takes %v, JSON has %v", function, names, fields)
		}
	}
}

func TestMistakesInJSONNameTheOptionAndWhatIsRight(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("EMPTY", "")
	for config, want := range map[string]string{
		`"route":"onebot"`:                           "route " + wantRoute,
		`"name":"a/b"`:                               "name " + wantName,
		`"max_body":-1`:                              "max_body must be positive",
		`"max_body":"x"`:                             "max_body",
		`"download":{"max_size":-1}`:                 "download max_size must not be negative",
		`"download":{"timeout":"-1s"}`:               "download timeout must be positive",
		`"download":{"stall_timeout":-1}`:            "download stall_timeout must be positive",
		`"download":{"max_concurrent":-1}`:           "download max_concurrent must be positive",
		`"download":{"max_redirects":-1}`:            "download max_redirects must not be negative",
		`"download":{"allow_private":["1/2"]}`:       "allow_private: '1/2' is not a network",
		`"download":{"retries":1}`:                   `unknown field "retries"`,
		`"pass_thru":true`:                           `unknown field "pass_thru"`,
		`"storage":{"module":"nonsense"}`:            "unknown module: caddy.storage.nonsense",
		`"access_token":[""]`:                        "access_token number 1 is empty",
		`"access_token":["SECRET"," SECRET"]`:        "access_token number 2 is empty, or has white space around it",
		`"access_token":["a","{env.EMPTY}"]`:         "access_token number 2 has a placeholder that is unknown or empty",
		`"access_token":["SECRET{SECRET}"]`:          "access_token number 1 has a placeholder that is unknown or empty",
		`"access_token":["{file./nonexistent}"]`:     "access_token number 1 has a placeholder that is unknown or empty",
		`"access_token":["{http.request.header.X}"]`: "access_token number 1 has a placeholder that is unknown or empty",
	} {
		var c caddy.Config
		if err := json.Unmarshal([]byte(`{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"onebot_meta",`+config+`}]}]}}}}}`), &c); err != nil {
			t.Fatal(err)
		}
		err := caddy.Validate(&c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", config, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: the error shows the token: %v", config, err)
		}
	}
}
