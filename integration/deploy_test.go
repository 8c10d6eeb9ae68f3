package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// read returns a file that the project has.
func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// everywhere returns what a config in JSON has under a name, wherever it does.
func everywhere(config any, name string) (found []any) {
	switch v := config.(type) {
	case map[string]any:
		for key, value := range v {
			if key == name {
				found = append(found, value)
			}
			found = append(found, everywhere(value, name)...)
		}
	case []any:
		for _, value := range v {
			found = append(found, everywhere(value, name)...)
		}
	}
	return found
}

// only returns the one thing that a config has under a name.
func only[T any](t testing.TB, config any, name string) T {
	t.Helper()
	found := everywhere(config, name)
	if len(found) != 1 {
		t.Fatalf("%s is there %d times: %v", name, len(found), found)
	}
	value, ok := found[0].(T)
	if !ok {
		t.Fatalf("%s is %v", name, found[0])
	}
	return value
}

// deployedCaddyfile checks an example as Caddy does, with the variables that are
// in a file, and returns what Caddy understands.
func deployedCaddyfile(t testing.TB, path, envFile string) any {
	t.Helper()
	home := t.TempDir()
	if output, ok := runCaddy(t, home, "validate", "--config", path, "--adapter", "caddyfile", "--envfile", envFile); !ok {
		t.Fatalf("%s is not valid:\n%s", path, output)
	}
	output, ok := runCaddy(t, home, "fmt", "--diff", path)
	for line := range strings.Lines(output) {
		if ok = ok && strings.HasPrefix(line, "  "); !ok {
			t.Errorf("caddy fmt would change %s: %s", path, line)
		}
	}
	adapted, err := caddyCommand(t, home, "adapt", "--config", path, "--adapter", "caddyfile").Output()
	if err != nil {
		t.Fatal(err)
	}
	var config any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// wantTimeToStop fails the test unless a service manager waits longer than the
// grace period of a config and what a cache may take after that.
func wantTimeToStop(t *testing.T, config any, wait string) {
	t.Helper()
	const syncing = 10 * time.Second // closingTime of meta/diskcache
	grace := time.Duration(only[float64](t, config, "grace_period"))
	if longest, err := time.ParseDuration(wait); err != nil || grace <= 0 || longest <= grace+syncing {
		t.Errorf("Caddy may take %v and then %v to stop, and is killed after %q (%v)", grace, syncing, wait, err)
	}
}

// upstreams are the addresses that a config passes requests on to.
func upstreams(config any) (dials []string) {
	for _, dial := range everywhere(config, "dial") {
		dials = append(dials, fmt.Sprint(dial))
	}
	slices.Sort(dials)
	return dials
}

const composeDir = "deploy/compose/"

// composed is what the tests look at in compose.yaml. Other fields are there,
// too.
type composed struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Context, Dockerfile string }
		User        string
		StopGrace   string `yaml:"stop_grace_period"`
		Environment map[string]string
		Ports       []string
		Volumes     []volume
		Configs     []struct{ Source, Target string }
	}
	Configs map[string]struct{ Content string }
	Volumes map[string]any
}

// volume is where a container has a volume or a directory of the host.
type volume struct {
	Source, Target string
	ReadOnly       bool `yaml:"read_only"`
	Volume         struct{ Nocopy bool }
}

// UnmarshalYAML reads both ways of writing a volume.
func (v *volume) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		type long volume
		return node.Decode((*long)(v))
	}
	parts := append(strings.Split(node.Value, ":"), "", "")
	v.Source, v.Target, v.ReadOnly = parts[0], parts[1], parts[2] == "ro"
	return nil
}

func readComposed(t testing.TB) composed {
	t.Helper()
	var c composed
	if err := yaml.Unmarshal([]byte(read(t, composeDir+"compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestThePiecesOfTheComposeExampleFitEachOther(t *testing.T) {
	c := readComposed(t)
	caddy, bot := c.Services["caddy"], c.Services["napcat"]
	config := deployedCaddyfile(t, composeDir+"conf/Caddyfile", composeDir+".env.example")

	mounts := func(volumes []volume, source string) volume {
		i := slices.IndexFunc(volumes, func(v volume) bool { return v.Source == source })
		if i < 0 {
			t.Fatalf("nothing has %s", source)
		}
		return volumes[i]
	}
	t.Run("a path means the same in both containers", func(t *testing.T) {
		ours, theirs := mounts(caddy.Volumes, "downloads"), mounts(bot.Volumes, "downloads")
		root := only[map[string]any](t, config, "storage")["root"]
		if ours.Target != theirs.Target || ours.Target != root {
			t.Errorf("it is at %s and %s, and Caddy keeps files below %v", ours.Target, theirs.Target, root)
		}
		if ours.ReadOnly || !theirs.ReadOnly || !theirs.Volume.Nocopy {
			t.Errorf("Caddy must be able to write, and the bot leave the volume as it is: %+v %+v", ours, theirs)
		}
		for name := range c.Volumes {
			if !slices.ContainsFunc(slices.Concat(caddy.Volumes, bot.Volumes), func(v volume) bool { return v.Source == name }) {
				t.Errorf("nobody has the volume %s", name)
			}
		}
	})
	t.Run("the bot may read the files", func(t *testing.T) {
		if theirs := bot.Environment["NAPCAT_UID"] + ":" + bot.Environment["NAPCAT_GID"]; caddy.User == "" || caddy.User != theirs {
			t.Errorf("Caddy is %q and the bot %q", caddy.User, theirs)
		}
		if modes := everywhere(config, "mode"); len(modes) > 0 {
			t.Errorf("one user needs no mode: %v", modes)
		}
	})
	t.Run("all have the token of the environment", func(t *testing.T) {
		token := only[[]any](t, config, "access_token")
		if !slices.Equal(token, []any{"{env.ONEBOT_TOKEN}"}) || !strings.HasPrefix(caddy.Environment["ONEBOT_TOKEN"], "${ONEBOT_TOKEN:?") {
			t.Errorf("Caddy has %v, with %q", token, caddy.Environment["ONEBOT_TOKEN"])
		}
		if example := read(t, composeDir+".env.example"); !regexp.MustCompile(`(?m)^ONEBOT_TOKEN=[A-Za-z0-9]+$`).MatchString(example) {
			t.Errorf("the example of a token is\n%s", example)
		}
	})
	t.Run("Caddy finds the bot's servers", func(t *testing.T) {
		if len(bot.Configs) != 1 || bot.Configs[0].Target != "/app/templates/"+bot.Environment["MODE"]+".json" {
			t.Fatalf("the mode %q takes none of %v", bot.Environment["MODE"], bot.Configs)
		}
		type server struct {
			Enable      bool
			Host, Token string
			Port        int
		}
		var theirs struct {
			Network struct{ HTTPServers, WebsocketServers []server }
		}
		content := c.Configs[bot.Configs[0].Source].Content
		if err := json.Unmarshal([]byte(content), &theirs); err != nil {
			t.Fatalf("%v in\n%s", err, content)
		}
		var served []string
		for _, s := range slices.Concat(theirs.Network.HTTPServers, theirs.Network.WebsocketServers) {
			if !s.Enable || s.Host != "0.0.0.0" || s.Token != "${ONEBOT_TOKEN}" {
				t.Errorf("a server is %+v", s)
			}
			served = append(served, fmt.Sprintf("napcat:%d", s.Port))
		}
		slices.Sort(served)
		if got := upstreams(config); !slices.Equal(got, served) {
			t.Errorf("Caddy passes on to %v, and there is %v", got, served)
		}
	})
	t.Run("nobody else can connect", func(t *testing.T) {
		listen := only[[]any](t, config, "listen")
		for port, service := range map[string][]string{":5700": caddy.Ports, ":6099": bot.Ports} {
			if !slices.Equal(service, []string{"127.0.0.1" + port + port}) {
				t.Errorf("%v is published", service)
			}
		}
		if !slices.Equal(listen, []any{":5700"}) {
			t.Errorf("Caddy listens on %v", listen)
		}
	})
	t.Run("Caddy has the time to stop", func(t *testing.T) { wantTimeToStop(t, config, caddy.StopGrace) })
	t.Run("Caddy's config is where it looks for it", func(t *testing.T) {
		conf := mounts(caddy.Volumes, "./conf")
		dockerfile := read(t, filepath.Join(composeDir, caddy.Build.Context, caddy.Build.Dockerfile))
		if want := `"--config", "` + conf.Target + `/Caddyfile"`; !strings.Contains(dockerfile, want) {
			t.Errorf("the Dockerfile has no %s", want)
		}
	})
}

func TestTheDockerfileBuildsAsTheReadmeSays(t *testing.T) {
	dockerfile := read(t, composeDir+"Dockerfile")
	caddy := readComposed(t).Services["caddy"]
	volumes := []string{}
	for _, v := range caddy.Volumes {
		if !strings.HasPrefix(v.Source, ".") {
			volumes = append(volumes, v.Target)
		}
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	for what, line := range map[string]string{
		"the command":            "RUN " + strings.Join(buildCommand, " "),
		"the Go of go.mod":       "FROM golang:" + goVersion + " AS build",
		"what the command built": "COPY --from=build /src/caddy /usr/bin/caddy",
		"the user of compose":    "USER " + caddy.User,
	} {
		if !strings.Contains(dockerfile, "\n"+line+"\n") {
			t.Errorf("it does not have %s: %s", what, line)
		}
	}
	// a volume is the user's only if the directory below it is
	_, owned, _ := strings.Cut(dockerfile, "chown "+caddy.User+" ")
	owned, _, _ = strings.Cut(owned, "\n")
	for _, dir := range volumes {
		if !slices.Contains(strings.Fields(owned), dir) {
			t.Errorf("%s is root's, of %q", dir, owned)
		}
	}
}
