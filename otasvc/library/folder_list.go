package library

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// list lists the folders to watch, as paths, and the files to look at, by their names below the image folder.
func (f *Folder) list(ctx context.Context) (dirs []string, files map[string]fs.FileInfo, err error) {
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
			return nil // a subfolder that cannot be read, or is gone: the others are as good as before
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

// infoOf returns what there is to know about a file that may be an image; nil for what is none. A link that
// leads nowhere, or out of the folder, is told to be there, so that reading it tells what is wrong.
func infoOf(root *os.Root, name string, entry fs.DirEntry) fs.FileInfo {
	info, err := entry.Info()
	if err != nil {
		return nil // it is gone
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

// isForeign reports whether a file or folder is not for images that are dropped: the store, the driver
// folder, hidden ones, and those whose name says that they are being written.
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

// maxWatched bounds the folders that are watched; the rest is looked at now and then. The system has a limit
// for all programs together.
const maxWatched = 1024

// folderWatch is told of changes in folders by the system, where it can.
type folderWatch struct {
	watcher  *fsnotify.Watcher   // nil: it cannot
	events   chan fsnotify.Event // nil likewise
	errors   chan error          // nil likewise
	watched  map[string]struct{} // as of the last look
	complete bool                // the system tells of changes in all folders
	library  *Library
	told     bool // that a folder cannot be watched
}

func newFolderWatch(l *Library, unwatched bool) *folderWatch {
	w := &folderWatch{library: l}
	if unwatched {
		return w
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		l.log.Info("the system does not tell of changes in the image folder; it is looked at every so often",
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
		w.watcher.Close() // what it could fail with matters no more
	}
}

// watch watches these folders; those that are gone are forgotten by the system. It reports
// whether one is new.
func (w *folderWatch) watch(dirs []string) (added bool) {
	if w.watcher == nil {
		return false
	}
	watched := make(map[string]struct{}, len(dirs))
	for _, dir := range dirs[:min(len(dirs), maxWatched)] {
		// Also those that are watched: one may have been removed and made again.
		if err := w.watcher.Add(dir); err != nil {
			if !w.told {
				w.told = true
				w.library.log.Info("the system does not tell of changes in a folder of images; "+
					"it is looked at every so often", "folder", dir, "every", folderPoll, "error", err)
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
