package diskcache

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// uptime returns how long ago the machine was started, if that is known.
func uptime() (time.Duration, bool) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, false
	}
	return time.Duration(info.Uptime) * time.Second, true
}

// bootID tells this kernel from others, and from itself before it was started
// anew. It is empty if that is not known.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(id)
}

// allocate has the disk give room for a file of size bytes, which stays as long
// as it is. The error is [errors.ErrUnsupported] where that cannot be done.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if err == nil || IsFull(err) || errors.Is(err, unix.EFBIG) {
		return err
	}
	return errors.ErrUnsupported // it is a help, and not needed
}

// freeSpace returns how many bytes can be written below dir, if that is known.
func freeSpace(dir string) (int64, bool) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, false
	}
	return product(stat.Bavail, uint64(stat.Frsize)), true
}
