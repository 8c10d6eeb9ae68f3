package meta

import (
	"os"
	"regexp"
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
