//go:build !windows

package diskcache

import "syscall"

const diskFull = syscall.ENOSPC
