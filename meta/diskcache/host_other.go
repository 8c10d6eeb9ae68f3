//go:build !linux && !darwin && !freebsd && !windows

package diskcache

import (
	"errors"
	"os"
	"time"
)

// uptime returns how long ago the machine was started, if that is known.
func uptime() (time.Duration, bool) { return 0, false }

// freeSpace returns how many bytes can be written below dir, if that is known.
func freeSpace(string) (int64, bool) { return 0, false }

// allocate has the disk give room for a file of size bytes, which stays as long
// as it is. The error is [errors.ErrUnsupported] where that cannot be done.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
