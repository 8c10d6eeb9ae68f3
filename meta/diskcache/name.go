package diskcache

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// A name is <digest>-<random>.<extension>: what a file can be reused for, so
// that it is found by its name alone, and 128 bits that nobody can guess.
const (
	digestLen = 16 // hexadecimal digits
	randomLen = 32
	stemLen   = digestLen + 1 + randomLen
	maxExt    = 10
)

// String returns the key in hexadecimal.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// digest returns the part of k that is in names.
func (k Key) digest() string { return k.String()[:digestLen] }

// newName returns a name that was never used. A file without a key gets a
// random digest.
func newName(key Key, ext string) string {
	var random [randomLen / 2]byte
	rand.Read(random[:]) // never fails
	if key == (Key{}) {
		rand.Read(key[:])
	}
	return key.digest() + "-" + hex.EncodeToString(random[:]) + "." + ext
}

// isName reports whether name is one that newName returns.
func isName(name string) bool {
	const hexDigits, alphanumeric = "0123456789abcdef", "0123456789abcdefghijklmnopqrstuvwxyz"
	only := func(s, allowed string) bool { return strings.Trim(s, allowed) == "" }
	if len(name) < stemLen+2 || len(name) > stemLen+1+maxExt {
		return false
	}
	return only(name[:digestLen], hexDigits) && name[digestLen] == '-' &&
		only(name[digestLen+1:stemLen], hexDigits) && name[stemLen] == '.' &&
		only(name[stemLen+1:], alphanumeric)
}
