package meta

import (
	"runtime/debug"
	"sync"
)

// release is the version of this source tree, the newest of CHANGELOG.md.
const release = "v0.1.0"

// Version returns the version of this project that the program was built
// from: what the module proxy served, or else the release of the source tree.
var Version = sync.OnceValue(func() string {
	info, _ := debug.ReadBuildInfo()
	return versionIn(info)
})

// versionIn is Version of a program that says how it was built, unless info is
// nil.
func versionIn(info *debug.BuildInfo) string {
	if info == nil {
		return release
	}
	for _, dep := range info.Deps {
		// A module replaced by a directory has no version worth the name.
		if dep.Path == "github.com/onebot-caddy/onebot-meta" && dep.Replace == nil {
			return dep.Version
		}
	}
	return release
}
