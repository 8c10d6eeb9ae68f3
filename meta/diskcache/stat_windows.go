package diskcache

import (
	"io/fs"
	"time"

	"golang.org/x/sys/windows"
)

// statServer returns the modification time of a file as the server of a network
// file system has it, which Windows asks when a file is opened. For this much it
// is, whoever else has it open.
func statServer(path string) (time.Time, error) {
	failed := func(err error) (time.Time, error) {
		return time.Time{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return failed(err)
	}
	handle, err := windows.CreateFile(name, windows.FILE_READ_ATTRIBUTES,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil,
		windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return failed(err)
	}
	defer windows.CloseHandle(handle)
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(handle, &info); err != nil {
		return failed(err)
	}
	return time.Unix(0, info.LastWriteTime.Nanoseconds()), nil
}
