//go:build !windows

package diskcache

import (
	"errors"
	"syscall"
)

// errFull is what a system says of a full disk.
const errFull = syscall.ENOSPC

// IsFull reports whether err is for want of room on the disk.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
