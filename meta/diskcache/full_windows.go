package diskcache

import (
	"errors"

	"golang.org/x/sys/windows"
)

// errFull is what a system says of a full disk.
const errFull = windows.ERROR_DISK_FULL

// IsFull reports whether err is for want of room on the disk.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
