package library

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

const (
	// addedDir is the subfolder of the image folder that added images lie in.
	addedDir = "added"
	// maxAdded is the largest number of files in it. Without a limit, adding could fill the disk.
	maxAdded = 500
	// maxAddedName is the longest name of an added file, in characters.
	maxAddedName = 100
)

// The errors of adding and removing files, besides those of Fetch.
var (
	// ErrFolderFull means that there are too many added files.
	ErrFolderFull = errors.New("too many images were added")
	// ErrNotAdded means that there is no added file of this name.
	ErrNotAdded = errors.New("no image was added under this name")
)

// Added is an image that a person adds, given by its bytes or its URL.
type Added struct {
	// Name becomes the name of the file. Characters that file names must not have are replaced. It may be
	// empty where there is a URL.
	Name           string
	Data           []byte // the file; nil when it is to be fetched from the URL
	URL            string // as in Request
	SHA256, SHA512 string // as in Request
}

// Add checks a file and puts it into the image folder, below "added". By the time Add returns, Best and All
// offer it to the devices that it fits. An image that is in the folder already is not written again; isNew is
// false then. The catalog must be running.
//
// Errors: [ErrAccess], with [ErrTooLarge] and [ErrPolicy]; [ErrValidation]; [ErrFolderFull]; errors of the
// disk; the context's error, where it ended.
func (k *Catalog) Add(ctx context.Context, added Added) (image FolderImage, isNew bool, err error) {
	l := k.library
	name := added.Name
	shownName := added.Name
	request := Request{SHA256: added.SHA256, SHA512: added.SHA512}
	if added.Data == nil {
		u, err := parseURL(added.URL)
		if err != nil {
			return FolderImage{}, false, err
		}
		got, err := l.getFor(ctx, u, &request)
		if err != nil {
			return FolderImage{}, false, err
		}
		added.Data = got.choose(&request)
		shownName = shown(u)
		if name == "" {
			name = path.Base(u.Path)
		}
	}
	if int64(len(added.Data)) > l.options.MaxBytes {
		return FolderImage{}, false, fmt.Errorf("%w: it has %d bytes, %d are allowed",
			ErrTooLarge, len(added.Data), l.options.MaxBytes)
	}
	read, err := l.readFolderImage(added.Data, &request)
	if err != nil {
		return FolderImage{}, false, fmt.Errorf("%w: %s: %w", ErrValidation, shownName, err)
	}
	for _, there := range k.Folder().Images {
		if there.SHA256 == read.SHA256 {
			return there, false, nil
		}
	}
	if err := k.place(read, fileName(name), added.Data); err != nil {
		return FolderImage{}, false, err
	}
	return *read, true, k.folder.announce(ctx, read.Name, read)
}

// place writes an added file under its name. Where another file has that name, a part of the SHA-256 is
// added.
func (k *Catalog) place(image *FolderImage, name string, data []byte) error {
	l := k.library
	l.storing.Lock()
	defer l.storing.Unlock()
	dir := filepath.Join(l.options.Dir, addedDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("add an image: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("add an image: %w", err)
	}
	if len(there) >= maxAdded {
		return fmt.Errorf("%w: there are %d files in %s; remove some", ErrFolderFull, len(there), dir)
	}
	if taken, err := os.ReadFile(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) &&
		!bytes.Equal(taken, data) {
		ext := path.Ext(name)
		name = strings.TrimSuffix(name, ext) + "-" + image.SHA256[:8] + ext
	}
	if err := wholefile.Write(filepath.Join(dir, name), data); err != nil {
		return fmt.Errorf("add an image: %w", err)
	}
	image.Name = addedDir + "/" + name
	return nil
}

// AddedName returns the name that an added file has below the image folder.
func AddedName(name string) string { return addedDir + "/" + name }

// Added reports whether the image was added by [Catalog.Add], so that [Catalog.RemoveAdded] can remove it.
func (i *FolderImage) Added() bool {
	below, ok := strings.CutPrefix(i.Name, addedDir+"/")
	return ok && !strings.Contains(below, "/")
}

// RemoveAdded removes a file that was added; the name is as Add returned it. Upgrades that run are not
// affected: their images are in the store. The catalog must be running. Errors: [ErrNotAdded]; errors of the
// disk; the context's error, where it ended.
func (k *Catalog) RemoveAdded(ctx context.Context, name string) error {
	below, ok := strings.CutPrefix(name, addedDir+"/")
	if !ok || strings.ContainsAny(below, `/\`) || !filepath.IsLocal(below) {
		return fmt.Errorf("%w: %q", ErrNotAdded, name)
	}
	err := os.Remove(filepath.Join(k.library.options.Dir, addedDir, below))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %q", ErrNotAdded, name)
	}
	if err != nil {
		return fmt.Errorf("remove an added image: %w", err)
	}
	return k.folder.announce(ctx, name, nil)
}

// fileName makes a valid file name from the name that a person gave.
func fileName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII &&
			(unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" ._-+()", r)) {
			return r
		}
		return '_'
	}, name)
	if len(name) > maxAddedName {
		name = name[len(name)-maxAddedName:]
	}
	name = strings.Trim(name, " .")
	if name == "" {
		name = "image.ota"
	}
	if isForeign(name) || isDocument(name) {
		name += ".ota"
	}
	return name
}

// folderNews is a file that the catalog itself has put into the folder or removed.
type folderNews struct {
	name  string
	image *FolderImage  // nil when the file was removed
	known chan struct{} // closed when the folder's state shows it
}

// announce tells run about a file that it would find by itself in a few seconds, and waits until the state
// shows it.
func (f *folder) announce(ctx context.Context, name string, image *FolderImage) error {
	news := folderNews{name: name, image: image, known: make(chan struct{})}
	select {
	case f.news <- news:
		<-news.known
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the image folder to be looked at: %w", ctx.Err())
	}
}

// learn takes news into the state.
func (f *folder) learn(news folderNews) {
	defer close(news.known)
	if news.image == nil {
		delete(f.files, news.name)
		f.publish()
		return
	}
	info, err := os.Stat(filepath.Join(f.library.options.Dir, filepath.FromSlash(news.name)))
	if err != nil {
		return // somebody has removed it already
	}
	f.files[news.name] = &folderFile{
		size: info.Size(), modified: info.ModTime(), since: time.Now(), image: news.image,
	}
	f.publish()
}

// readFolderImage checks a file of the image folder. It leaves the name empty.
func (l *Library) readFolderImage(b []byte, request *Request) (*FolderImage, error) {
	parsed, err := l.validate(b, request)
	switch {
	case err != nil:
		return nil, err
	case parsed.Header.HeaderVersion == otafile.HeaderVersionThread:
		return nil, errors.New("it is made for Thread devices, not Zigbee ones")
	}
	return &FolderImage{
		SHA256: digestOf(parsed.Image), Size: uint32(len(parsed.Image)), Header: parsed.Header,
		Wrapper: parsed.Wrapper, Warnings: parsed.Warnings, Checks: parsed.Checks,
		downloads: downloadDigests(b),
	}, nil
}
