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
	// folderRescan is where the system tells of changes: those of network folders are not told.
	folderRescan = time.Minute
	folderPoll   = 15 * time.Second // where it does not
	// Between a change that was told and the look at it: more will follow.
	folderNotice = 500 * time.Millisecond
	folderSettle = 2 * time.Second // a file that has not changed for so long is taken to be whole
	// folderPatience is what may be half a file is not called broken before: a copy may have stalled.
	folderPatience = 15 * time.Second
	maxFolderFiles = 10_000
	maxFolderDepth = 16
)

// Folder watches the image folder: a file dropped there is a candidate as soon as it is whole, until it is
// removed. Subfolders belong to it, but neither the store nor the driver folder, nor anything whose name
// begins with a dot.
//
// Files are only looked at, and read again when their image is needed: see [Catalog.Ensure], by which it
// gets into the store.
type Folder struct {
	library *Library
	changed func()
	state   atomic.Pointer[FolderState]
	news    chan folderNews

	// What follows belongs to Run.
	files     map[string]*folderFile // by name
	away      bool                   // the folder cannot be read, and that was told
	overflow  bool                   // there are too many files, and that was told
	first     bool                   // this is the first scan
	unwatched bool                   // changes are only found by looking
}

// FolderState is what was in the folder at one moment. It does not change.
type FolderState struct {
	Images []FolderImage // by name
	Faults []FolderFault // by name: what is no image that could be given to a device

	matcher *Matcher
}

// FolderImage is an image in the image folder.
type FolderImage struct {
	Name     string // below the folder, with slashes
	SHA256   string // of the image as devices get it, lower-case hex
	Size     uint32 // of the same, in bytes
	Header   otafile.Header
	Wrapper  string // see otafile.File
	Warnings []string
	Checks   []otafile.Check
}

// FolderFault is a file in the image folder that cannot be used.
type FolderFault struct {
	Name string // below the folder, with slashes
	Err  string // why, for people
}

// folderFile is what is known of one file.
type folderFile struct {
	size     int64
	modified time.Time
	since    time.Time // since when it has been as it is, as far as was seen
	next     time.Time // when to look into it (again); zero: not before it changes
	image    *FolderImage
	err      error // why it cannot be used; told
}

// NewFolder makes a watcher of the library's image folder. changed is called from Run whenever the state is
// another one; it must not block, and may be nil.
func NewFolder(l *Library, changed func()) *Folder {
	if changed == nil {
		changed = func() {}
	}
	f := &Folder{
		library: l,
		changed: changed,
		news:    make(chan folderNews),
		files:   map[string]*folderFile{},
		first:   true,
	}
	f.state.Store(&FolderState{matcher: NewMatcher(nil)})
	return f
}

// State returns what is in the folder. Before Run has looked it is empty.
func (f *Folder) State() *FolderState { return f.state.Load() }

// Run watches the folder until ctx is done. It must be called once.
func (f *Folder) Run(ctx context.Context) error {
	w := newFolderWatch(f.library, f.unwatched)
	defer w.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	soon := func() {
		if at := time.Now().Add(folderNotice); at.Before(due) {
			due = at
			timer.Reset(folderNotice)
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
		case <-w.errors: // events were lost
			soon()
		case news := <-f.news:
			f.learn(news)
		case <-timer.C:
			dirs := f.scan(ctx)
			added := w.watch(dirs)
			due = f.nextLook(w.complete)
			timer.Reset(time.Until(due))
			if added {
				soon() // what changed in the new folders before they were watched was not told
			}
		}
	}
}

// nextLook is when something has to be looked at again, changes apart.
func (f *Folder) nextLook(watched bool) time.Time {
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

// scan looks at all files, and into those that are due. It returns the folders that there are.
func (f *Folder) scan(ctx context.Context) (dirs []string) {
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
			changed = f.look(ctx, name, file, now) || changed
		}
	}
	f.first = false
	if changed {
		f.publish()
	}
	return dirs
}

// note compares what is there with what was known.
func (f *Folder) note(found map[string]fs.FileInfo) (changed bool) {
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
			file.next = now // it was there before, and nobody is writing it
		}
		f.files[name] = file
	}
	return changed
}

// look looks into a file that has not changed for a while.
func (f *Folder) look(ctx context.Context, name string, file *folderFile, now time.Time) (changed bool) {
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
	case now.Sub(file.since) < folderPatience && mayBeHalf(file, err):
		// Nobody is told, and it is looked at again if it stays as it is.
		file.next = file.since.Add(folderPatience)
		return false
	}
	if transient {
		file.next = now.Add(folderRescan)
	}
	if file.err != nil {
		return false // it was told
	}
	file.err = err
	f.library.log.Warn("a file in the image folder cannot be used", "file", name, "error", err)
	return true
}

// mayBeHalf reports whether a file that cannot be used may be one that is still being copied.
func mayBeHalf(file *folderFile, err error) bool {
	return file.size == 0 || errors.Is(err, otafile.ErrTruncated) || errors.Is(err, otafile.ErrWrapper)
}

// read reads a file and the image in it. An error that is transient may go away without a change of the file.
func (f *Folder) read(
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

// publish makes what is known the state.
func (f *Folder) publish() {
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
	state.matcher = NewMatcher(candidates)
	f.state.Store(state)
	f.changed()
}

func (f *Folder) candidate(image *FolderImage) Candidate {
	h := &image.Header
	return Candidate{
		Source:           SourceFolder,
		Origin:           image.Name,
		ManufacturerCode: h.ManufacturerCode,
		ImageType:        h.ImageType,
		FileVersion:      h.FileVersion,
		Size:             image.Size,
		SHA256:           image.SHA256,
		Title:            h.Title(),
		path:             image.Name,
		URL:              fileURL(filepath.Join(f.library.options.Dir, filepath.FromSlash(image.Name))),
		Limits: Limits{
			MinHardware: h.MinHardwareVersion, MaxHardware: h.MaxHardwareVersion, Destination: h.Destination,
		},
	}
}

// isDocument reports whether a file's name says that it is something that people put beside images.
func isDocument(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".txt", ".md", ".rst", ".pdf", ".rtf", ".html", ".htm", ".xml", ".json", ".yaml", ".yml",
		".csv", ".log",
		".sha256", ".sha512", ".md5", ".asc", ".sig", ".png", ".jpg", ".jpeg", ".ini", ".db":
		return true
	}
	return false
}

func fileURL(path string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path // C:/...
	}
	return u.String()
}
