package library

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// packageExt ends the name of a driver package: a zip file with the files that a controller serves for
	// the driver, below www/.
	packageExt = ".c4z"
	// maxPackageFiles is the largest number of files in a driver package. Real ones have a few hundred.
	maxPackageFiles = 10_000
	// driverTimeout is how long the answer to one request for a driver's file may take.
	driverTimeout = 10 * time.Minute
)

var errNotRegular = errors.New("it is no regular file")

// driverDir returns the driver folder. It holds <name>/<file>, or <name>.c4z with <file> below www/.
func (l *Library) driverDir() string { return filepath.Join(l.options.Dir, "driver") }

// parseDriverPath checks a path <name>/<file>, where the file may be in folders, and returns it with the
// separators of this system. ok is false for any other path.
func parseDriverPath(path string) (name string, ok bool) {
	name = filepath.FromSlash(path)
	driver, file, _ := strings.Cut(path, "/")
	if driver == "" || file == "" || !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return "", false
	}
	return name, true
}

// readDriver reads a file of a driver from the driver's folder or, where it is not there, from its package.
func (l *Library) readDriver(
	ctx context.Context, name string, progress func(done, total int64),
) ([]byte, error) {
	b, err := l.readBelow(ctx, l.driverDir(), name, progress)
	if !isMissing(err) {
		return b, err
	}
	b, _, err = l.readPackaged(ctx, name)
	if err == nil {
		progress(int64(len(b)), int64(len(b)))
	}
	return b, err
}

// isMissing reports whether an error says that there is no such file. ENOTDIR says so too: a part of the path
// may be a file, such as a package.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// readPackaged reads a file of a driver from its package. name begins with the name of the package, with or
// without its extension.
func (l *Library) readPackaged(
	ctx context.Context, name string,
) (content []byte, modified time.Time, err error) {
	driver, file, _ := strings.Cut(filepath.ToSlash(name), "/")
	if !strings.EqualFold(filepath.Ext(driver), packageExt) {
		driver += packageExt
	}
	b, err := l.readBelow(ctx, l.driverDir(), driver, func(done, total int64) {})
	if err != nil {
		return nil, time.Time{}, err
	}
	return fromPackage(b, driver, file, l.options.MaxBytes)
}

// fromPackage unpacks a file of a driver from its package b. A file of more than most bytes is an
// [ErrTooLarge].
func fromPackage(b []byte, driver, file string, most int64) (content []byte, modified time.Time, err error) {
	// Each file of the archive has this signature in the directory. They are counted first, because reading a
	// large directory takes much memory.
	if bytes.Count(b, []byte("PK\x01\x02")) > maxPackageFiles {
		return nil, time.Time{}, fmt.Errorf("the driver package %s has more than %d files",
			driver, maxPackageFiles)
	}
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("the driver package %s cannot be opened: %w", driver, err)
	}
	at := slices.IndexFunc(r.File, func(f *zip.File) bool {
		return strings.ReplaceAll(f.Name, `\`, "/") == "www/"+file // some are packed on Windows
	})
	if at < 0 {
		return nil, time.Time{}, fmt.Errorf("%w in the driver package %s", fs.ErrNotExist, driver)
	}
	entry, err := r.File[at].Open()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("the driver package %s: %w", driver, err)
	}
	defer entry.Close() // it was only read
	content, err = io.ReadAll(io.LimitReader(entry, most+1))
	switch {
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("the driver package %s: %w", driver, err)
	case int64(len(content)) > most:
		return nil, time.Time{}, fmt.Errorf("%w: %s in the driver package %s unpacks to more than %d bytes",
			ErrTooLarge, file, driver, most)
	}
	return content, r.File[at].Modified, nil
}

// DriverHandler returns a handler that serves the files of the driver folder at /driver/<name>/<file>, as a
// controller does: other programs find there what controller://driver/<name>/<file> stands for. It answers
// GET and HEAD, with ranges, and lists no folders. It follows no link that leads out of the driver folder and
// does not serve hidden files. A file that is below www/ in the package <name>.c4z is served from there.
func (l *Library) DriverHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		path, below := strings.CutPrefix(r.URL.Path, "/driver/")
		name, ok := parseDriverPath(path)
		if !below || !ok || strings.HasPrefix(path, ".") || strings.Contains(path, "/.") {
			http.NotFound(w, r)
			return
		}
		content, modified, err := l.openDriver(r.Context(), name)
		if err != nil {
			l.log.Debug("a file of a driver cannot be served", "file", path, "error", err)
			http.NotFound(w, r)
			return
		}
		defer content.Close() // it was only read
		w.Header().Set("Content-Type", "application/octet-stream")
		// An error means that deadlines are not supported; then there is none to extend.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(driverTimeout))
		http.ServeContent(w, r, "", modified, content)
	})
}

// readSeekCloser gives the bytes of a packed file a Close method.
type readSeekCloser struct {
	io.ReadSeeker
	io.Closer
}

// openDriver opens a file of a driver, from the driver's folder or its package.
func (l *Library) openDriver(
	ctx context.Context, name string,
) (content io.ReadSeekCloser, modified time.Time, err error) {
	f, modified, err := openBelow(l.driverDir(), name)
	if err == nil {
		return f, modified, nil
	}
	if !isMissing(err) {
		return nil, time.Time{}, err
	}
	b, modified, err := l.readPackaged(ctx, name)
	if err != nil {
		return nil, time.Time{}, err
	}
	return readSeekCloser{bytes.NewReader(b), io.NopCloser(nil)}, modified, nil
}

// openBelow opens a regular file below a folder. It fails where ".." or a link leads out of the folder.
func openBelow(dir, name string) (*os.File, time.Time, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer root.Close() // it was only read
	// A device is not opened at all: opening one can have effects.
	info, err := root.Stat(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, time.Time{}, errNotRegular
	}
	// The file may be replaced between the two calls. O_NONBLOCK keeps a named pipe from blocking the open.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close() // it was only read
		return nil, time.Time{}, err
	}
	return f, info.ModTime(), nil
}
