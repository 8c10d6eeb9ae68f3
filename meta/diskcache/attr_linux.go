package diskcache

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// attribute is where a file has its early record.
const attribute = "user.onebot_meta"

// setAttribute gives a file its early record, all of it or none.
func setAttribute(path string, data []byte) error {
	return attributeError("setxattr", path, unix.Lsetxattr(path, attribute, data, 0))
}

// attributeOf returns the early record of a file. The error is [fs.ErrNotExist]
// if it has none.
func attributeOf(path string) ([]byte, error) {
	data := make([]byte, 4<<10) // as much as most file systems take
	n, err := unix.Lgetxattr(path, attribute, data)
	if errors.Is(err, unix.ERANGE) {
		data = make([]byte, maxRecord)
		n, err = unix.Lgetxattr(path, attribute, data)
	}
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, attributeError("getxattr", path, err)
	}
	return data[:n], nil
}

func removeAttribute(path string) error {
	return attributeError("removexattr", path, unix.Lremovexattr(path, attribute))
}

func attributeError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
