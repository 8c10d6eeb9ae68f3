package integration

import (
	"fmt"
	"math"
	"os/exec"
	"syscall"
	"testing"
)

var (
	// smallFiles is as if the disk were full: no file may become larger.
	smallFiles = trouble{name: "files cannot grow", class: ofProcess}

	// These come to the storage that machines share.
	storageDies  = trouble{name: "the shared storage dies", class: ofProcess}
	storageHangs = trouble{name: "the shared storage hangs", class: ofProcess}
)

// systemTroubles are those that take Linux, and some of them a program.
func systemTroubles() []trouble {
	if _, err := exec.LookPath(redisServer); err != nil {
		return []trouble{smallFiles}
	}
	return []trouble{smallFiles, storageDies, storageHangs}
}

func systemDisaster(t testing.TB, f trouble) disaster {
	t.Helper()
	if f == smallFiles {
		const most = 1000 // bytes
		return disaster{
			strike: func(t testing.TB, c *instance, _ []downloadCase) { limitFiles(t, c, most) },
			mend: func(t testing.TB, c *instance, _ []downloadCase) *instance {
				limitFiles(t, c, math.MaxInt64)
				return c
			},
		}
	}
	binary, err := redisCaddy()
	if err != nil {
		t.Fatal(err)
	}
	r := startRealRedis(t)
	begin, end := r.kill, r.start
	if f == storageHangs {
		begin, end = r.signal(syscall.SIGSTOP), r.signal(syscall.SIGCONT)
		t.Cleanup(end) // before it is killed
	}
	return disaster{
		binary: binary,
		global: fmt.Sprintf("\tstorage redis {\n\t\thost %s\n\t\tport %s\n\t\tkey_prefix %s\n\t}", r.host, r.port, keyPrefix),
		strike: func(testing.TB, *instance, []downloadCase) { begin() },
		mend: func(_ testing.TB, c *instance, _ []downloadCase) *instance {
			end()
			return c
		},
	}
}

// signal returns what sends it a signal.
func (r *redis) signal(s syscall.Signal) func() {
	return func() {
		if err := r.server.Process.Signal(s); err != nil {
			r.t.Error(err)
		}
	}
}
