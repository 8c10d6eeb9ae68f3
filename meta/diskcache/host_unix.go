//go:build linux || darwin || freebsd

package diskcache

import (
	"math"
	"math/bits"
)

// product returns a number of blocks in bytes.
func product(blocks, size uint64) int64 {
	if hi, bytes := bits.Mul64(blocks, size); hi == 0 && bytes <= math.MaxInt64 {
		return int64(bytes)
	}
	return math.MaxInt64
}
