//go:build !linux && !windows

package diskcache

import (
	"errors"
	"time"
)

// statServer returns the modification time of a file as the server of a network
// file system has it. The error is [errors.ErrUnsupported] if the kernel cannot
// ask for that.
func statServer(string) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }
