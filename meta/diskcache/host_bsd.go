//go:build darwin || freebsd

package diskcache

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// uptime returns how long ago the machine was started, if that is known.
func uptime() (time.Duration, bool) {
	boot, err := unix.SysctlTimeval("kern.boottime")
	if err != nil {
		return 0, false
	}
	return time.Since(time.Unix(boot.Unix())), true
}

// bootID tells this kernel from others, and from itself before it was started
// anew. It is empty if that is not known.
func bootID() string {
	for _, name := range []string{"kern.bootsessionuuid", "kern.boot_id"} {
		if id, err := unix.Sysctl(name); err == nil && id != "" {
			return id
		}
	}
	return ""
}

// allocate has the disk give room for a file of size bytes, which stays as long
// as it is. The error is [errors.ErrUnsupported] where that cannot be done.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// freeSpace returns how many bytes can be written below dir, if that is known.
func freeSpace(dir string) (int64, bool) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, false
	}
	// on FreeBSD less than none is left when root alone may write
	return product(uint64(max(int64(stat.Bavail), 0)), uint64(stat.Bsize)), true
}
