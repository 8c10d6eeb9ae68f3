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

// device tells the file system that a directory is on from others that are
// mounted. It is 0 if that is not known.
func device(string) uint64 { return 0 }

// bootID tells this kernel from others, and from itself before it was started
// anew. It is empty if that is not known.
func bootID() string { return "" }

// allocate has the disk give room for a file of size bytes, which stays as long
// as it is. The error is [errors.ErrUnsupported] where that cannot be done.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
