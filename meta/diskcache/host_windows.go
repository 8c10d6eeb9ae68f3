package diskcache

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/robustio"
	"golang.org/x/sys/windows"
)

// errFull is what a system says of a full disk.
const errFull = windows.ERROR_DISK_FULL

// IsFull reports whether err is for want of room on the disk.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// rename is [os.Rename], again and again while another program, such as a
// virus scanner, has one of the files open.
func rename(from, to string) error { return robustio.Rename(from, to) }

// uptime returns how long ago the machine was started, if that is known.
func uptime() (time.Duration, bool) { return windows.DurationSinceBoot(), true }

// freeSpace returns how many bytes can be written below dir, if that is known.
func freeSpace(dir string) (int64, bool) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, false
	}
	return int64(min(free, math.MaxInt64)), true
}

// device tells the file system that a directory is on from others that are
// mounted. It is 0 if that is not known.
func device(string) uint64 { return 0 }

// bootID tells this kernel from others, and from itself before it was started
// anew. It is empty if that is not known.
func bootID() string { return "" }

// allocate has the disk give room for a file of size bytes, which stays as long
// as it is. The error is [errors.ErrUnsupported] where that cannot be done.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// openShared opens a file that somebody else has been given, who may rename
// or remove it meanwhile. Windows syncs only what could be written.
func openShared(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	handle, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil,
		windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(handle), path), nil
}
