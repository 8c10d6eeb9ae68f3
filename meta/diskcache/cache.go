// Package diskcache keeps downloaded files in a directory. A file appears
// under its name only when it is whole, and never changes after that.
package diskcache

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/robustio"
)

const (
	dirMode = 0o700 // as Caddy's own file storage has it

	// Below the cache's directory, files are written in tempDir and move to
	// filesDir when they are whole.
	tempDir  = "tmp"
	filesDir = "files"

	// leftoverAge is how long a temporary file must have been left alone to be
	// taken for what a crash left behind. A download that still runs, in this
	// process or in another, writes far more often.
	leftoverAge = 24 * time.Hour

	sweepInterval = time.Hour
)

// The signature that tells backup programs to leave a directory out; see
// https://bford.info/cachedir/.
const cacheDirTag = "Signature: 8a477f597d28d172789f06886806bc55\n" +
	"# This directory holds files downloaded by onebot-meta.\n"

// Cache is a directory of files. Several processes may use one directory.
type Cache struct {
	dir string
	now func() time.Time

	mu    sync.Mutex
	swept time.Time
}

// New returns the cache in dir, an absolute path. It touches no file: the
// directory is made when the first file is, so that loading a configuration,
// perhaps as another user, leaves nothing behind.
func New(dir string) *Cache {
	return &Cache{dir: dir, now: time.Now}
}

// Dir returns the directory of the cache.
func (c *Cache) Dir() string { return c.dir }

// Create starts a new file. The caller must Abort it, at the latest
// after Commit.
func (c *Cache) Create() (*File, error) {
	temp := filepath.Join(c.dir, tempDir)
	if err := os.MkdirAll(temp, dirMode); err != nil {
		return nil, err
	}
	c.sweep(temp)
	f, err := os.CreateTemp(temp, "*.part") // with mode 0600
	if err != nil {
		return nil, err
	}
	return &File{cache: c, temp: f}, nil
}

// sweep removes what crashes left in temp, now and then.
func (c *Cache) sweep(temp string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.swept) > sweepInterval {
		c.swept = now
		removeLeftovers(temp, now.Add(-leftoverAge))
		tagDir(c.dir)
	}
}

// File is a file being written. Its methods are not safe for concurrent use.
type File struct {
	cache     *Cache
	temp      *os.File
	committed bool
}

// Write appends to the file.
func (f *File) Write(p []byte) (int, error) { return f.temp.Write(p) }

// ReadAt reads back what has been written.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.temp.ReadAt(p, off) }

// Commit makes the file whole on disk, closes it and gives it its name, which
// nobody can guess, with the extension ext. It returns the file's absolute
// path.
//
// The file is synced before it is renamed, and its directory after, so that a
// power cut leaves all of it or nothing.
func (f *File) Commit(ext string) (string, error) {
	if err := f.temp.Sync(); err != nil {
		return "", err
	}
	if err := f.temp.Close(); err != nil {
		return "", err
	}
	name := newName()
	dir := filepath.Join(f.cache.dir, filesDir, name[:2])
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+"."+ext)
	if err := robustio.Rename(f.temp.Name(), path); err != nil {
		return "", err
	}
	f.committed = true
	if err := syncDir(dir); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// Abort gives up a file that is not committed and removes what there is of
// it. After Commit has succeeded it does nothing.
func (f *File) Abort() error {
	if f.committed {
		return nil
	}
	err := f.temp.Close()
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(f.temp.Name()))
}

// newName returns 128 random bits in hexadecimal.
func newName() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// syncDir makes the names in dir last.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there, nor need to be
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil // as some network file systems say; they have no better way
	}
	return errors.Join(err, d.Close())
}

// removeLeftovers removes the files in dir that nobody has written to since
// before. What cannot be removed is left for the next time.
func removeLeftovers(dir string, before time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && info.ModTime().Before(before) {
			_ = os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}

// tagDir marks dir as a cache. A cache without the mark works all the same.
func tagDir(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "CACHEDIR.TAG"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	_, _ = f.WriteString(cacheDirTag)
	_ = f.Close()
}
