package diskcache

import (
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// statServer returns the modification time of a file as the server of a network
// file system has it. The error is [errors.ErrUnsupported] if the kernel cannot
// ask for that.
func statServer(path string) (time.Time, error) {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_FORCE_SYNC, unix.STATX_MTIME, &stat)
	if errors.Is(err, unix.EPERM) { // as some sandboxes say of calls that they do not know
		err = errors.ErrUnsupported
	}
	if err != nil {
		return time.Time{}, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	return time.Unix(stat.Mtime.Sec, int64(stat.Mtime.Nsec)), nil
}
