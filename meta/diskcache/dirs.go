package diskcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// modes says whether the system has the permissions of Unix.
const modes = runtime.GOOS != "windows"

// dirMode returns the mode of directories whose files have mode: whoever may
// read a file may search for it, and only the owner may change what is there.
func dirMode(mode fs.FileMode) fs.FileMode {
	read := mode & 0o044
	return 0o700 | read | read>>2
}

// makeDir makes a directory at or below c.dir with those above it, each with
// the mode of the configuration, or open to the owner alone.
func (c *Cache) makeDir(dir string, shared bool) error {
	mode := fs.FileMode(0o700)
	if shared {
		mode = dirMode(c.options().Mode)
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() && (!shared || !modes || info.Mode().Perm() == mode) {
		return nil
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	if !shared || !modes {
		return nil
	}
	// what the umask took away, and what another configuration had
	for d := dir; strings.HasPrefix(d, c.root) && d != c.root; d = filepath.Dir(d) {
		// some file systems have no modes, and what is there may be another's
		_ = openDir(d, mode, d == c.dir || strings.HasPrefix(d, c.dir+string(filepath.Separator)))
	}
	return nil
}

// openDir sets the mode of a directory that is exclusively ours, and adds to
// that of another one.
func openDir(dir string, mode fs.FileMode, ours bool) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !ours {
		mode |= info.Mode().Perm()
	}
	if info.Mode().Perm() == mode {
		return nil
	}
	return os.Chmod(dir, mode|info.Mode()&(fs.ModeSetgid|fs.ModeSticky))
}

// tagDir marks dir as a cache. A cache without the mark works all the same.
func tagDir(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "CACHEDIR.TAG"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	_, err = f.WriteString(cacheDirTag)
	if errors.Join(err, f.Close()) != nil {
		_ = os.Remove(f.Name())
	}
}
