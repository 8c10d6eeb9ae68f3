//go:build !linux

package diskcache

import (
	"errors"
	"io/fs"
)

// setAttribute gives a file its early record, which here is for another file.
func setAttribute(string, []byte) error { return errors.ErrUnsupported }

// attributeOf returns the early record of a file. The error is [fs.ErrNotExist]
// if it has none.
func attributeOf(string) ([]byte, error) { return nil, fs.ErrNotExist }

func removeAttribute(string) error { return errors.ErrUnsupported }
