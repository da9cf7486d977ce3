// Package wholefile writes files such that a power cut leaves the old content or the new one, whole.
//
// It does not know what is in them. There are libraries for this; those that were looked at (renameio among
// them) sync the file but not its folder, so that a power cut may bring the old content back after the
// write was reported as done.
package wholefile

import (
	"os"
	"path/filepath"
	"runtime"
)

// Suffix is added to the name of a file for the new content, as long as that is being written. What a power
// cut leaves there is overwritten by the next write to the same file.
const Suffix = ".tmp"

// Write replaces the content of a file, which is made where there is none, and returns when the new content
// is on the disk for good. Only the owner may read it. After an error the file holds its old content or the
// new one. One file is to be written by one goroutine at a time.
func Write(path string, data []byte) error {
	beside := path + Suffix
	if err := writeSynced(beside, data); err != nil {
		_ = os.Remove(beside) // it may not be there
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		_ = os.Remove(beside)
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// writeSynced writes a file and returns when its content is on the disk.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// SyncFolder returns when files that were made, renamed and removed in a folder are so on the disk for good.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there, and need not be
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close() // Sync has told what there is to tell
	return d.Sync()
}
