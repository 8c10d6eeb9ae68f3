//go:build linux || darwin || freebsd

package diskcache

import (
	"math"
	"math/bits"
	"os"
	"syscall"
)

// device tells the file system that a directory is on from others that are
// mounted. It is 0 if that is not known.
func device(dir string) uint64 {
	if info, err := os.Stat(dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			return uint64(stat.Dev)
		}
	}
	return 0
}

// product returns a number of blocks in bytes.
func product(blocks, size uint64) int64 {
	if hi, bytes := bits.Mul64(blocks, size); hi == 0 && bytes <= math.MaxInt64 {
		return int64(bytes)
	}
	return math.MaxInt64
}
