package diskcache

import (
	"os"
	"syscall"
	"testing"
)

func TestAFileTakesNoMoreOfTheDiskThanItNeeds(t *testing.T) {
	for name, again := range map[string]func(*File) error{
		"begun again": (*File).Restart,
		"trimmed":     (*File).Trim,
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, t.TempDir(), Options{MaxSize: 16 << 20})
			f, err := c.Create()
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Reserve(16 << 20); err != nil {
				t.Fatal(err)
			}
			if err := again(f); err != nil {
				t.Fatal(err)
			}
			if x := c.index; x.reserved != 0 || x.unwritten != 0 {
				t.Errorf("%d bytes are reserved, %d to be written", x.reserved, x.unwritten)
			}
			if _, err := f.Write([]byte("content")); err != nil {
				t.Fatal(err)
			}
			e, err := f.Commit(Key{1}, "bin", Head{})
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(e.Path)
			if err != nil {
				t.Fatal(err)
			}
			if size := info.Sys().(*syscall.Stat_t).Blocks * 512; size > 1<<20 {
				t.Errorf("a file of %d bytes takes %d", info.Size(), size)
			}
		})
	}
}

func TestAGroupThatOwnsTheDirectoryKeepsIt(t *testing.T) {
	c, _ := open(t, t.TempDir(), Options{Mode: 0o640})
	if err := os.Chmod(c.dir, os.ModeSetgid|0o770); err != nil {
		t.Fatal(err)
	}
	store(t, c, Key{1}, "content")
	if info, err := os.Stat(c.dir); err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|0o750 {
		t.Errorf("mode is %v (%v)", info.Mode(), err)
	}
}
