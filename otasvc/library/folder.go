package library

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

const (
	// folderRescan is the time between two scans where the system notifies of changes. They are needed all
	// the same: changes that other machines make in a network folder are not notified.
	folderRescan = time.Minute
	folderPoll   = 15 * time.Second // time between two scans where the system does not notify
	// folderDelay is the time between a notification and the scan: usually more changes follow.
	folderDelay = 500 * time.Millisecond
	// folderSettle is how long a file must stay unchanged before it is read: it may still be written.
	folderSettle = 2 * time.Second
	// copyTimeout is how long a file that may be incomplete must stay unchanged before it is reported as
	// unusable: a slow copy can pause.
	copyTimeout    = 15 * time.Second
	maxFolderFiles = 10_000 // files that are looked at
	maxFolderDepth = 16     // folders below each other
)

// folder watches the image folder: a file dropped there is a candidate as soon as it is complete, until it is
// removed. Files in subfolders count too, except those in the store, in the driver folder and below names
// that begin with a dot.
//
// It keeps what a file's header and checks say, but not its bytes. [Catalog.Ensure] reads the file again and
// puts the image into the store.
type folder struct {
	library *Library
	makers  *makers
	changed func()
	wasRead func() // is called when all files that are there were read
	state   atomic.Pointer[FolderState]
	news    chan folderNews

	// The fields below belong to the goroutine of run.
	files     map[string]*folderFile // by name
	away      bool                   // the folder could not be read at the last scan, which was logged
	overflow  bool                   // there were too many files at the last scan, which was logged
	first     bool                   // there was no scan yet
	unwatched bool                   // notifications are not used
}

// FolderState is the content of the image folder at one moment. It does not change.
type FolderState struct {
	Images []FolderImage // by name
	Faults []FolderFault // the files that cannot be used, by name

	matcher *matcher
}

// FolderImage is an image in the image folder.
type FolderImage struct {
	Name     string // path below the folder, with slashes
	SHA256   string // digest of the bytes that devices get, in lower-case hex
	Size     uint32 // number of the same bytes
	Header   otafile.Header
	Wrapper  string // the container that the image is in, as in otafile.File
	Warnings []string
	Checks   []otafile.Check

	downloads []string // digests of the file, as in Image.Downloads
}

// FolderFault is a file in the image folder that cannot be used.
type FolderFault struct {
	Name string // path below the folder, with slashes
	Err  string // why it cannot be used, for people
}

// folderFile holds what is known of one file.
type folderFile struct {
	size     int64
	modified time.Time
	since    time.Time // when this size and time of modification were first seen
	next     time.Time // when to read it next; zero when it is read after its next change
	image    *FolderImage
	err      error // why it cannot be used, which was logged
}

// newFolder makes a watcher of the library's image folder. Run calls changed whenever the state has changed;
// changed must not block.
func newFolder(l *Library, makers *makers, changed func()) *folder {
	f := &folder{
		library: l,
		makers:  makers,
		changed: changed,
		wasRead: func() {},
		news:    make(chan folderNews),
		files:   map[string]*folderFile{},
		first:   true,
	}
	f.state.Store(&FolderState{matcher: newMatcher(nil, makers)})
	return f
}

// current returns what is in the folder. It is empty before Run has read the folder.
func (f *folder) current() *FolderState { return f.state.Load() }

// run watches the folder until ctx is done. It must be called once.
func (f *folder) run(ctx context.Context) error {
	w := newFolderWatch(f.library, f.unwatched)
	defer w.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	soon := func() {
		if at := time.Now().Add(folderDelay); at.Before(due) {
			due = at
			timer.Reset(folderDelay)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-w.events:
			if event.Op != fsnotify.Chmod {
				soon()
			}
		case err := <-w.errors: // events were lost
			f.library.log.Debug("changes in the image folder were missed; it is scanned again", "error", err)
			soon()
		case news := <-f.news:
			f.learn(news)
		case <-timer.C:
			dirs := f.scan(ctx)
			added := w.watch(dirs)
			if f.settled() {
				f.wasRead()
			}
			due = f.nextScan(w.complete)
			timer.Reset(time.Until(due))
			if added {
				soon() // files may have come into the new folders before they were watched
			}
		}
	}
}

// settled reports whether no file waits to be read because it may still be written.
func (f *folder) settled() bool {
	soon := time.Now().Add(copyTimeout)
	for _, file := range f.files {
		if !file.next.IsZero() && !file.next.After(soon) {
			return false
		}
	}
	return true
}

// nextScan returns when the next scan is due if no change is notified before.
func (f *folder) nextScan(watched bool) time.Time {
	next := time.Now().Add(folderPoll)
	if watched {
		next = time.Now().Add(folderRescan)
	}
	for _, file := range f.files {
		if !file.next.IsZero() && file.next.Before(next) {
			next = file.next
		}
	}
	return next
}

// scan lists all files and reads those that are due. It returns the folders to watch.
func (f *folder) scan(ctx context.Context) (dirs []string) {
	dirs, found, err := f.list(ctx)
	if err != nil {
		if ctx.Err() == nil && !f.away {
			f.away = true
			f.library.log.Warn("the image folder cannot be read; what was known of it stays",
				"folder", f.library.options.Dir, "error", err)
		}
		return nil
	}
	if f.away {
		f.away = false
		f.library.log.Info("the image folder can be read again", "folder", f.library.options.Dir)
	}
	changed := f.note(found)
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[name]
		if now := time.Now(); ctx.Err() == nil && !file.next.IsZero() && !file.next.After(now) {
			changed = f.inspect(ctx, name, file, now) || changed
		}
	}
	f.first = false
	if changed {
		f.publish()
	}
	return dirs
}

// note updates files to those that were found. changed is true when an image or a fault has gone.
func (f *folder) note(found map[string]fs.FileInfo) (changed bool) {
	for name, file := range f.files {
		if _, there := found[name]; !there {
			delete(f.files, name)
			changed = changed || file.image != nil || file.err != nil
		}
	}
	now := time.Now()
	for name, info := range found {
		file := f.files[name]
		if file != nil && file.size == info.Size() && file.modified.Equal(info.ModTime()) {
			continue
		}
		changed = changed || file != nil && (file.image != nil || file.err != nil)
		file = &folderFile{
			size: info.Size(), modified: info.ModTime(), since: now, next: now.Add(folderSettle),
		}
		if f.first && now.Sub(file.modified) > folderSettle {
			file.next = now // the file is old, so nobody is writing it
		}
		f.files[name] = file
	}
	return changed
}

// inspect reads a file that has not changed for a while. changed is true when there is a new image or fault.
func (f *folder) inspect(ctx context.Context, name string, file *folderFile, now time.Time) (changed bool) {
	file.next = time.Time{}
	image, transient, err := f.read(ctx, name, file)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
		file.image = image
		file.err = nil
		return true
	case errors.Is(err, otafile.ErrNotOTA) && isDocument(name):
		return false
	case now.Sub(file.since) < copyTimeout && mayBeIncomplete(file, err):
		// It is read again if it does not change before.
		file.next = file.since.Add(copyTimeout)
		return false
	}
	if transient {
		file.next = now.Add(folderRescan)
	}
	if file.err != nil {
		return false // it was logged already
	}
	file.err = err
	f.library.log.Warn("a file in the image folder cannot be used", "file", name, "error", err)
	return true
}

// mayBeIncomplete reports whether a file that cannot be used may still be written.
func mayBeIncomplete(file *folderFile, err error) bool {
	return file.size == 0 || errors.Is(err, otafile.ErrTruncated) || errors.Is(err, otafile.ErrWrapper)
}

// read reads a file and the image in it. transient is true for an error that may go away without a change of
// the file.
func (f *folder) read(
	ctx context.Context, name string, file *folderFile,
) (image *FolderImage, transient bool, err error) {
	b, err := f.library.readBelow(ctx, f.library.options.Dir,
		filepath.FromSlash(name), func(done, total int64) {})
	if err != nil {
		return nil, !errors.Is(err, ErrTooLarge), withoutPath(err)
	}
	if int64(len(b)) != file.size {
		return nil, true, errors.New("it changed while it was read")
	}
	if image, err = f.library.readFolderImage(b, &Request{}); err != nil {
		return nil, false, err
	}
	image.Name = name
	return image, false, nil
}

// publish makes a state of what is known of the files, and tells that it has changed.
func (f *folder) publish() {
	state := &FolderState{}
	var candidates []Candidate
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[name]
		switch {
		case file.image != nil:
			state.Images = append(state.Images, *file.image)
			candidates = append(candidates, f.candidate(file.image))
		case file.err != nil:
			state.Faults = append(state.Faults, FolderFault{name, file.err.Error()})
		}
	}
	state.matcher = newMatcher(candidates, f.makers)
	f.state.Store(state)
	f.changed()
}

// candidate makes a candidate of an image in the folder.
func (f *folder) candidate(image *FolderImage) Candidate {
	h := &image.Header
	c := Candidate{
		Source:           SourceFolder,
		Origin:           image.Name,
		ManufacturerCode: h.ManufacturerCode,
		ImageType:        h.ImageType,
		FileVersion:      h.FileVersion,
		Size:             image.Size,
		SHA256:           image.SHA256,
		Title:            h.Title(),
		path:             image.Name,
		downloads:        image.downloads,
		URL:              fileURL(filepath.Join(f.library.options.Dir, filepath.FromSlash(image.Name))),
	}
	c.SetHeader(h)
	return c
}

// isDocument reports whether the extension is that of a text, picture or list that people put beside images.
func isDocument(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".txt", ".md", ".rst", ".pdf", ".rtf", ".html", ".htm", ".xml", ".json", ".yaml", ".yml",
		".csv", ".log",
		".sha256", ".sha512", ".md5", ".asc", ".sig", ".png", ".jpg", ".jpeg", ".ini", ".db":
		return true
	}
	return false
}

// fileURL returns the file URL of an absolute path.
func fileURL(path string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path // C:/...
	}
	return u.String()
}
