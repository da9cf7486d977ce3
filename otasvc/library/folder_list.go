package library

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// list returns the paths of the folders to watch, and the files to look at by their names below the image
// folder.
func (f *folder) list(ctx context.Context) (dirs []string, files map[string]fs.FileInfo, err error) {
	root, err := os.OpenRoot(f.library.options.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	files = map[string]fs.FileInfo{}
	overflow := false
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && name == ".":
			return err
		case err != nil:
			// A subfolder cannot be read or is gone; the others are listed all the same.
			f.library.log.Debug("a part of the image folder cannot be read", "name", name, "error", err)
			return nil
		case entry.IsDir():
			if name != "." && (isForeign(name) || strings.Count(name, "/") >= maxFolderDepth) {
				return fs.SkipDir
			}
			dirs = append(dirs, filepath.Join(f.library.options.Dir, filepath.FromSlash(name)))
			return nil
		case isForeign(name):
			return nil
		case len(files) == maxFolderFiles:
			overflow = true
			return fs.SkipAll
		}
		if info := infoOf(root, name, entry); info != nil {
			files[name] = info
		}
		return nil
	})
	if overflow && !f.overflow {
		f.library.log.Warn("there are too many files in the image folder; the rest is not looked at",
			"folder", f.library.options.Dir, "most", maxFolderFiles)
	}
	f.overflow = overflow
	return dirs, files, err
}

// infoOf returns size and time of a file that may be an image. It returns nil for anything that is no file. A
// link that leads nowhere, or out of the folder, counts as a file, so that reading it shows what is wrong.
func infoOf(root *os.Root, name string, entry fs.DirEntry) fs.FileInfo {
	info, err := entry.Info()
	if err != nil {
		return nil // it was removed meanwhile
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err := root.Stat(filepath.FromSlash(name)); err == nil {
			info = target
		}
	}
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	return info
}

// isForeign reports whether a file or folder does not belong to the image folder: the store, the driver
// folder, hidden ones, and files whose name says that they are still written.
func isForeign(name string) bool {
	if name == "store" || name == "driver" {
		return true
	}
	base := name[strings.LastIndexByte(name, '/')+1:]
	if strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~") {
		return true
	}
	switch strings.ToLower(filepath.Ext(base)) {
	case ".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp":
		return true
	}
	return false
}

// maxWatched is the largest number of folders that are watched; the others are found by scans. The system has
// a limit for all programs together.
const maxWatched = 1024

// folderWatch receives the system's notifications of changes in folders, where the system has them.
type folderWatch struct {
	watcher  *fsnotify.Watcher   // nil where the system has no notifications; so are the channels
	events   chan fsnotify.Event // notifications
	errors   chan error          // tells that notifications were lost
	watched  map[string]struct{} // the folders that were watched after the last scan
	complete bool                // all folders are watched
	library  *Library
	warned   bool // that a folder cannot be watched was logged
}

// newFolderWatch starts to listen for notifications, unless unwatched is true.
func newFolderWatch(l *Library, unwatched bool) *folderWatch {
	w := &folderWatch{library: l}
	if unwatched {
		return w
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		l.log.Info("the system does not notify of changes in the image folder; it is scanned instead",
			"every", folderPoll, "error", err)
		return w
	}
	w.watcher = watcher
	w.events = watcher.Events
	w.errors = watcher.Errors
	return w
}

func (w *folderWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // an error changes nothing any more
	}
}

// watch watches these folders. The system forgets folders that are gone by itself. added is true when one of
// them was not watched before.
func (w *folderWatch) watch(dirs []string) (added bool) {
	if w.watcher == nil {
		return false
	}
	watched := make(map[string]struct{}, len(dirs))
	for _, dir := range dirs[:min(len(dirs), maxWatched)] {
		// Folders that are watched are added again: one may have been removed and made anew.
		if err := w.watcher.Add(dir); err != nil {
			if !w.warned {
				w.warned = true
				w.library.log.Info("the system does not notify of changes in a folder of images; "+
					"it is scanned instead", "folder", dir, "every", folderPoll, "error", err)
			}
			continue
		}
		watched[dir] = struct{}{}
		if _, known := w.watched[dir]; !known {
			added = true
		}
	}
	w.watched = watched
	w.complete = len(watched) == len(dirs) && len(dirs) > 0
	return added
}
