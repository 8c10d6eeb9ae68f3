package diskcache

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file being written. Its methods are not safe for concurrent use.
type File struct {
	cache    *Cache
	temp     *os.File
	size     int64 // written so far
	reserved int64 // of the cache, at least onDisk
	onDisk   int64 // what the disk has given, at least size
	done     bool
}

// preallocated is the least length of which the disk is asked for all of it at
// once. That is quicker, and finds a full disk out before it is.
const preallocated = 1 << 20

// Create starts a new file. The caller must Abort it, at the latest after
// Commit.
func (c *Cache) Create() (*File, error) {
	c.removeLeft()
	var f *os.File
	err := c.inSession(func(s *session) (err error) {
		f, err = s.create(".part")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &File{cache: c, temp: f}, nil
}

// Reserve makes room for a file of size bytes in all, or fails with
// [ErrNoRoom] or an error that [IsFull] knows.
func (f *File) Reserve(size int64) error {
	if err := f.reserve(size); err != nil || size-f.onDisk < preallocated {
		return err
	}
	err := allocate(f.temp, size)
	if err == nil {
		f.has(size)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (f *File) reserve(size int64) error {
	if size <= f.reserved {
		return nil
	}
	if err := f.cache.reserve(size-f.reserved, size); err != nil {
		return err
	}
	f.reserved = size
	return nil
}

// has notes how much of the file the disk has given room.
func (f *File) has(n int64) {
	c := f.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.unwritten -= n - f.onDisk
	f.onDisk = n
}

// Write appends to the file, for which it makes room.
func (f *File) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := f.reserve(f.size + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.temp.Write(p)
	f.size += int64(n)
	f.has(max(f.size, f.onDisk))
	return n, err
}

// ReadAt reads back what has been written.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.temp.ReadAt(p, off) }

// Size returns how much has been written, in bytes.
func (f *File) Size() int64 { return f.size }

// Restart empties the file, and gives back the room it had.
func (f *File) Restart() error {
	if f.size == 0 && f.reserved == 0 {
		return nil
	}
	f.size = 0
	if _, err := f.temp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return f.Trim()
}

// Trim gives back the room that is reserved for more than what is written.
func (f *File) Trim() error {
	if f.onDisk > f.size { // what was preallocated counts too
		if err := f.temp.Truncate(f.size); err != nil {
			return err
		}
	}
	f.release(f.size)
	return nil
}

// Commit closes the file and gives it a name that nobody can guess, with the
// extension ext, from where on it never changes. Later it is found by key,
// unless that is zero, with its head.
func (f *File) Commit(key Key, ext string, head Head) (Entry, error) {
	c := f.cache
	if mode := c.options().Mode; mode != 0o600 {
		if err := f.temp.Chmod(mode); err != nil {
			return Entry{}, err
		}
	}
	if err := f.temp.Close(); err != nil {
		return Entry{}, err
	}
	now := c.now()
	if used, err := modified(f.temp.Name()); err == nil && !recent(used, now) {
		// it took long to end, or the clock of a server is wrong
		_ = os.Chtimes(f.temp.Name(), now, now)
	}
	it := &item{name: newName(key, ext), size: f.size, used: now, claimed: now.UnixNano(), pending: true, ours: true}
	it.record = &record{Version: recordVersion, Size: f.size, Stored: now.Round(0), Head: head}
	if key != (Key{}) {
		it.record.Key = key.String()
	}
	rec := it.record                                  // which may be forgotten once it is on disk
	announced := rec.Key == "" || c.options().Private // others can do without
	if !announced && c.attach(f.temp.Name(), rec) == nil {
		announced, it.written, it.attached = true, rec, true
	}
	c.at("attached")
	if err := c.rename(f.temp.Name(), c.filePath(it.name)); err != nil {
		return Entry{}, err
	}
	f.done = true
	f.release(0)
	c.at("renamed")
	if !announced && c.announce(it.name, rec) == nil {
		it.written = rec
	}
	c.at("announced")
	c.mu.Lock()
	it = c.index.put(it)
	c.mu.Unlock()
	c.syncLater(it)
	return c.entry(it, rec), nil
}

// rename moves a finished file to its place. Its directory is made only when
// it turns out to be missing, as it is for the first few files.
func (c *Cache) rename(from, to string) error {
	err := rename(from, to)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.makeDir(filepath.Dir(to), true); err != nil {
		return err
	}
	return rename(from, to)
}

// Abort gives up a file that is not committed and removes what there is of
// it, later if that cannot be done now. After Commit has succeeded it does
// nothing.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	f.release(0)
	err := f.temp.Close()
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	if removeErr := os.Remove(f.temp.Name()); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		f.cache.leave(f.temp.Name())
		err = errors.Join(err, removeErr)
	}
	return err
}

// release gives back what is reserved but for keep bytes, which are on disk.
func (f *File) release(keep int64) {
	c := f.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.reserved -= f.reserved - keep
	c.index.unwritten -= f.reserved - f.onDisk
	f.reserved, f.onDisk = keep, keep
}
