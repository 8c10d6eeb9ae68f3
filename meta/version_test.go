package meta

import (
	"os"
	"regexp"
	"runtime/debug"
	"testing"
)

func TestTheReleaseIsTheNewestOfTheChangelog(t *testing.T) {
	changelog, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	newest := regexp.MustCompile(`(?m)^## (v\d+\.\d+\.\d+)`).FindSubmatch(changelog)
	if newest == nil || string(newest[1]) != release {
		t.Errorf("CHANGELOG.md begins with %q, the code is %s", newest, release)
	}
}

func TestTheVersionIsWhatTheModuleProxyServed(t *testing.T) {
	const path = "github.com/onebot-caddy/onebot-meta"
	for name, tt := range map[string]struct {
		info *debug.BuildInfo
		want string
	}{
		"a release":            {&debug.BuildInfo{Deps: []*debug.Module{{Path: "github.com/caddyserver/caddy/v2", Version: "v2.11.9"}, {Path: path, Version: "v0.9.1"}}}, "v0.9.1"},
		"a commit":             {&debug.BuildInfo{Deps: []*debug.Module{{Path: path, Version: "v0.9.2-0.20260101000000-0123456789ab"}}}, "v0.9.2-0.20260101000000-0123456789ab"},
		"a checkout":           {&debug.BuildInfo{Deps: []*debug.Module{{Path: path, Version: "v0.0.0", Replace: &debug.Module{Path: "."}}}}, release},
		"another module of us": {&debug.BuildInfo{Deps: []*debug.Module{{Path: path + "/v2", Version: "v2.0.0"}}}, release},
		"its own tests":        {&debug.BuildInfo{Main: debug.Module{Path: path, Version: "(devel)"}}, release},
		"nobody can tell":      {nil, release},
	} {
		t.Run(name, func(t *testing.T) {
			if got := versionIn(tt.info); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
