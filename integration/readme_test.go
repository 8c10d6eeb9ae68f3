package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// readmeBlocks returns the code blocks of the README that are marked as
// language, without the indentation of the list they may be in.
func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(string(readme), -1) {
		blocks = append(blocks, strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n")[1:])
	}
	if len(blocks) == 0 {
		t.Fatalf("the README has no %s", language)
	}
	return blocks
}

func TestTheTwoCommandsOfTheReadmeAreTheOnesThatAreTested(t *testing.T) {
	const test = "go test ./...\n"
	serve := strings.Join(buildCommand, " ") + " && ./caddy run --config Caddyfile.example\n"
	commands := readmeBlocks(t, "sh")
	if want := []string{serve, test, serve}; !slices.Equal(commands, want) {
		t.Errorf("the README has %q, want %q", commands, want)
	}
	ci, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ci), "\n"+strings.TrimSuffix(test, "\n")+" -cover ") {
		t.Error(".ci/run does not run the tests as the README says")
	}
}

func TestEveryConfigOfTheReadmeIsValid(t *testing.T) {
	t.Setenv("ONEBOT_TOKEN", "any")
	home := t.TempDir()
	validate := func(name, config string, args ...string) {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if output, ok := runCaddy(t, home, append([]string{"validate", "--config", path}, args...)...); !ok {
			t.Errorf("%s\n%s", config, output)
		}
	}
	for _, config := range readmeBlocks(t, "caddyfile") {
		validate("Caddyfile", config, "--adapter", "caddyfile")
	}
	configs := 0
	for _, block := range readmeBlocks(t, "json") {
		var content map[string]any
		if err := json.Unmarshal([]byte(block), &content); err != nil {
			t.Errorf("%v in %s", err, block)
		}
		if content["apps"] != nil {
			configs++
			validate("caddy.json", block)
		}
	}
	if configs != 1 {
		t.Errorf("%d JSON configs", configs)
	}
}

func TestEveryCurlOfTheReadmeIsAnsweredAsItSays(t *testing.T) {
	for _, program := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	// what differs from one machine to another
	version := strings.NewReplacer(runtime.Version(), "GO", `"`+runtime.GOOS+`"`, `"OS"`, "go1.26.8", "GO", `"linux"`, `"OS"`)
	startExample(t)
	for _, block := range readmeBlocks(t, "console") {
		command, want, _ := strings.Cut(block, "\n")
		got, err := exec.Command("sh", "-c", strings.TrimPrefix(command, "$ ")).Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if got, want := version.Replace(string(got)), version.Replace(strings.TrimSuffix(want, "\n")); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", command, got, want)
		}
	}
}

// The captures are the ones that the tests of the commands compare with what a
// terminal shows.
func TestTheCapturesOfTheReadmeAreReal(t *testing.T) {
	blocks := readmeBlocks(t, "text")
	for _, name := range []string{"status", "watch"} {
		capture, err := os.ReadFile("testdata/command/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(blocks, string(capture)) {
			t.Errorf("the README does not have\n%s", capture)
		}
	}
}

// The grammar in the README is the one in the parser's documentation.
func TestTheGrammarOfTheReadmeIsTheParsers(t *testing.T) {
	source, err := os.ReadFile("../caddymodule/caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	grammar := regexp.MustCompile(`(?ms)^//\tonebot_meta .*?^//\t}$`).FindString(string(source))
	grammar = regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(grammar, "")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if grammar == "" || !strings.Contains(string(readme), grammar) {
		t.Errorf("the README does not have\n%s", grammar)
	}
}
