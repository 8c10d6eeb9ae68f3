//go:build !windows

package diskcache

import (
	"errors"
	"os"
	"syscall"
)

// errFull is what a system says of a full disk.
const errFull = syscall.ENOSPC

// IsFull reports whether err is for want of room on the disk.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// openShared opens a file that somebody else has been given, who may rename
// or remove it meanwhile.
func openShared(path string) (*os.File, error) { return os.Open(path) }

// rename is [os.Rename] without its look for a directory of that name.
func rename(from, to string) error {
	for {
		err := syscall.Rename(from, to)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
	}
}
