package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const example = "../Caddyfile.example"

func TestCaddysCommandsTakeTheExample(t *testing.T) {
	home := t.TempDir()
	for _, args := range [][]string{
		{"adapt", "--config", example, "--adapter", "caddyfile"},
		{"adapt", "--validate", "--config", example, "--adapter", "caddyfile"},
		{"validate", "--config", example, "--adapter", "caddyfile"},
		{"fmt", example},
	} {
		if output, ok := runCaddy(t, home, args...); !ok {
			t.Errorf("caddy %s failed:\n%s", strings.Join(args, " "), output)
		}
	}
	output, ok := runCaddy(t, home, "fmt", "--diff", example)
	if !ok {
		t.Error("caddy fmt --diff failed")
	}
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "  ") {
			t.Errorf("caddy fmt would change the example: %s", line)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "data", "caddy", "onebot_meta")); !os.IsNotExist(err) {
		t.Errorf("looking at a config made a cache directory: %v", err)
	}
	if list, _ := runCaddy(t, home, "list-modules"); !strings.Contains(list, "\nhttp.handlers.onebot_meta\n") {
		t.Error("caddy list-modules does not have http.handlers.onebot_meta")
	}
}

// everyOption is a Caddyfile with all that can be said.
const everyOption = `onebot_meta {
	route /onebot
	name my.bot_1-x
	access_token one two
	access_token three
	max_body 2MiB
	storage file_system {
		root "<HOME>/own"
	}
	download {
		max_size 1GiB
		timeout 1h
		stall_timeout 1m
		max_concurrent 5
		max_redirects 3
		allow_private 127.0.0.0/8 ::1
		allow_private nas.lan
	}
}`

func TestEveryOptionIsInJSONUnderItsName(t *testing.T) {
	home := t.TempDir()
	addr, admin := freeAddr(t), freeAddr(t)
	caddyfile := "{\nadmin " + admin + "\n}\nhttp://" + addr + " {\nbind 127.0.0.1\n" + strings.ReplaceAll(everyOption, "<HOME>", filepath.ToSlash(home)) + "\n}\n"
	path := filepath.Join(home, "every")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	adapt := caddyCommand(t, home, "adapt", "--config", path, "--adapter", "caddyfile")
	adapted, err := adapt.Output() // warnings are on stderr
	if err != nil {
		t.Fatal(err)
	}
	var config any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal([]byte(`{
		"handler": "onebot_meta",
		"route": "/onebot",
		"name": "my.bot_1-x",
		"access_token": ["one", "two", "three"],
		"max_body": 2097152,
		"storage": {"module": "file_system", "root": "`+filepath.ToSlash(home)+`/own"},
		"download": {
			"max_size": 1073741824,
			"timeout": 3600000000000,
			"stall_timeout": 60000000000,
			"max_concurrent": 5,
			"max_redirects": 3,
			"allow_private": ["127.0.0.0/8", "::1", "nas.lan"]
		}
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if got := findHandler(config); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	t.Run("and the JSON works as the Caddyfile does", func(t *testing.T) {
		c := startCaddy(t, string(adapted), verbatim(addr, admin), inJSON, at(home))
		file := c.post(t, "/onebot/download_file?access_token=three", `{"base64":"aGVsbG8="}`).file(t)
		wantWithin(t, file, filepath.Join(home, "own", "onebot_meta", "my.bot_1-x"))
	})
	t.Run("and an unknown name is an error", func(t *testing.T) {
		for _, typo := range []string{`"max_body"`, `"max_redirects"`} {
			path := filepath.Join(home, "typo.json")
			text := strings.Replace(string(adapted), typo, strings.Replace(typo, "m", "n", 1), 1)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if output, ok := runCaddy(t, home, "validate", "--config", path); ok || !strings.Contains(output, strings.Trim(typo, `"m`)) {
				t.Errorf("a typo in %s passes, or is not named:\n%s", typo, output)
			}
		}
	})
}

// findHandler returns the first onebot_meta handler in a config.
func findHandler(config any) any {
	switch v := config.(type) {
	case map[string]any:
		if v["handler"] == "onebot_meta" {
			return v
		}
		for _, inner := range v {
			if found := findHandler(inner); found != nil {
				return found
			}
		}
	case []any:
		for _, inner := range v {
			if found := findHandler(inner); found != nil {
				return found
			}
		}
	}
	return nil
}

// wantConfigError fails the test unless a command refuses a Caddyfile with an
// error that names the file, the line and the option.
func wantConfigError(t *testing.T, command, caddyfile string, line int, option string) {
	t.Helper()
	home := t.TempDir()
	path := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	output, ok := runCaddy(t, home, command, "--config", path, "--adapter", "caddyfile")
	if ok {
		t.Errorf("%s takes it", command)
	}
	where := fmt.Sprintf("%s:%d", path, line)
	if !strings.Contains(output, where) || !strings.Contains(strings.ReplaceAll(output, path, ""), option) {
		t.Errorf("the error of %s does not name file, line %d and option:\n%s", command, line, output)
	}
}

func TestABadCaddyfileIsRefusedWithFileLineAndOption(t *testing.T) {
	const inHandler, inDownload = "http://127.0.0.1:1 {\n\tonebot_meta {\n\t\t%s\n\t}\n}\n",
		"http://127.0.0.1:1 {\n\tonebot_meta {\n\t\tdownload {\n\t\t\t%s\n\t\t}\n\t}\n}\n"
	for _, test := range []struct {
		frame  string
		line   int
		option string
		bad    []string // what is behind the option
	}{
		{inHandler, 3, "rout", []string{"/x"}},
		{inHandler, 3, "route", []string{"", "/a /b", "onebot", "/a//b", "/a/../b", "/a/*", "/{x}"}},
		{inHandler, 3, "name", []string{"", "a b", "a/b", ".", "..", `""`, strings.Repeat("a", 65), "名"}},
		{inHandler, 3, "access_token", []string{""}},
		{inHandler, 3, "max_body", []string{"", "1MiB 2MiB", "lots", "-1", "0", "1e99"}},
		{inHandler, 3, "storage", []string{"", "no_such_module"}},
		{inHandler, 3, "download", []string{"1GiB"}},
		{inDownload, 4, "max_seize", []string{"1"}},
		{inDownload, 4, "max_size", []string{"", "1 2", "big", "-1", "99999999999999999999"}},
		{inDownload, 4, "timeout", []string{"", "1s 2s", "soon", "-1s", "0"}},
		{inDownload, 4, "stall_timeout", []string{"", "1s 2s", "soon", "-1s", "0"}},
		{inDownload, 4, "max_concurrent", []string{"", "1 2", "many", "-1", "0", "1.5"}},
		{inDownload, 4, "max_redirects", []string{"", "1 2", "many", "-1", "1.5"}},
		{inDownload, 4, "allow_private", []string{"10.0.0.0/33", "10.0.0/8", "a/b", "1.2.3", "http://nas.lan/", "::ffff:10.0.0.0/104"}},
	} {
		for _, bad := range test.bad {
			t.Run(test.option+" "+bad, func(t *testing.T) {
				t.Parallel()
				wantConfigError(t, "adapt", fmt.Sprintf(test.frame, test.option+" "+bad), test.line, test.option)
			})
		}
	}
	for option, twice := range map[string]string{
		"route":    "route /a\nroute /a",
		"name":     "name a\nname b",
		"max_body": "max_body 1\nmax_body 1",
		"storage":  "storage file_system /a\nstorage file_system /b",
		"download": "download\ndownload",
	} {
		t.Run(option+" twice", func(t *testing.T) {
			t.Parallel()
			wantConfigError(t, "adapt", fmt.Sprintf(inHandler, twice), 4, option)
		})
	}
	t.Run("and Caddy does not start", func(t *testing.T) {
		t.Parallel()
		wantConfigError(t, "validate", fmt.Sprintf(inHandler, "name .."), 3, "name")
		wantConfigError(t, "run", fmt.Sprintf(inHandler, "name .."), 3, "name")
	})
}

func TestATokenThatIsNotThereIsRefusedAtStartAndNoneIsShown(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "Caddyfile")
	missing := filepath.Join(home, "no-such-file")
	for _, token := range []string{"{env.ONEBOT_META_UNSET}", "{file." + missing + "}", "prefix-{env.ONEBOT_META_UNSET}", `""`, "{no.such.thing}", "{$ONEBOT_META_UNSET:\" \"}"} {
		t.Run(token, func(t *testing.T) {
			caddyfile := "{\n\tadmin " + freeAddr(t) + "\n}\nhttp://" + freeAddr(t) + " {\n\tbind 127.0.0.1\n\tonebot_meta {\n\t\taccess_token open-sesame " + token + "\n\t}\n}\n"
			if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"validate", "run"} {
				output, ok := runCaddy(t, home, command, "--config", path, "--adapter", "caddyfile")
				if ok || !strings.Contains(output, "access_token") {
					t.Errorf("%s takes it, or does not name access_token:\n%s", command, output)
				}
				if strings.Contains(output, "sesame") || strings.Contains(output, "prefix-") {
					t.Errorf("%s shows a token:\n%s", command, output)
				}
			}
		})
	}
}

func TestTheStorageDecidesWhereDownloadsAre(t *testing.T) {
	for name, test := range map[string]struct{ global, own, dir string }{
		"Caddy's data directory by default": {"", "", "data/caddy/onebot_meta/mybot"},
		"below the global storage":          {"storage file_system \"<HOME>/global\"", "", "global/onebot_meta/mybot"},
		"below the handler's own storage":   {"", "storage file_system \"<HOME>/own\"", "own/onebot_meta/mybot"},
		"below the handler's own storage and not the global one": {
			"storage file_system \"<HOME>/global\"", "storage file_system {\nroot \"<HOME>/own\"\n}", "own/onebot_meta/mybot",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, "http://<SITE> {\nonebot_meta {\nname mybot\n"+test.own+"\n}\n}", global(test.global))
			dir := filepath.Join(c.home, filepath.FromSlash(test.dir))
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("it is made before it is needed: %v", err)
			}
			file := c.post(t, "/download_file", `{"base64":"aGVsbG8="}`).file(t)
			wantContent(t, file, "hello")
			wantWithin(t, file, dir)
		})
	}
}
