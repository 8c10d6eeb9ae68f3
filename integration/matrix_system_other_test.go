//go:build !linux

package integration

import "testing"

// smallFiles is for Linux, which can limit another process.
var smallFiles = trouble{name: "files cannot grow", class: ofProcess}

func systemTroubles() []trouble { return nil }

func systemDisaster(testing.TB, trouble) disaster { panic("unreachable") }
