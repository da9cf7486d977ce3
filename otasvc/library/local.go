package library

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// readFile reads what a file URL names. The path must be below the image folder; neither ".." nor a link gets out.
func (l *Library) readFile(ctx context.Context, u *url.URL, progress func(done, total int64)) ([]byte, error) {
	if u.Host != "" && !strings.EqualFold(u.Host, "localhost") {
		return nil, fmt.Errorf("%w: %s: a file URL has no host; write it like file://%s/image.ota", ErrPolicy, shown(u), filepath.ToSlash(l.options.Dir))
	}
	name, below := l.belowDir(u.Path)
	if !below {
		return nil, fmt.Errorf("%w: %s: files are only read below the image folder %s", ErrPolicy, shown(u), l.options.Dir)
	}
	b, err := l.readBelow(ctx, name, progress)
	if err != nil {
		return nil, accessError(u, err)
	}
	return b, nil
}

// belowDir returns the part of an absolute path that is below the image folder, as it was configured or as it really is.
func (l *Library) belowDir(path string) (name string, below bool) {
	path = filepath.FromSlash(path)
	dirs := []string{l.options.Dir}
	if real, err := filepath.EvalSymlinks(l.options.Dir); err == nil {
		dirs = append(dirs, real)
	}
	for _, dir := range dirs {
		name, err := filepath.Rel(dir, path)
		if err == nil && filepath.IsLocal(name) {
			return name, true
		}
	}
	return "", false
}

// readDriverFile reads what a controller URL names: from the driver folder, else from the director.
func (l *Library) readDriverFile(ctx context.Context, u *url.URL, progress func(done, total int64)) ([]byte, error) {
	driver, file, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	name := filepath.FromSlash(driver + "/" + file)
	if u.Host != "driver" || driver == "" || file == "" || !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return nil, fmt.Errorf("%w: %s: it must be controller://driver/<name>/<file>", ErrPolicy, shown(u))
	}
	b, err := l.readBelow(ctx, filepath.Join("driver", name), progress)
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, accessError(u, err)
	}
	there := l.director.JoinPath("driver", u.EscapedPath())
	return l.download(ctx, there, hostName(l.director), progress)
}

// readBelow reads a file below the image folder.
func (l *Library) readBelow(ctx context.Context, name string, progress func(done, total int64)) ([]byte, error) {
	root, err := os.OpenRoot(l.options.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Opening a named pipe would wait for somebody to write to it.
	if info, err := root.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	body := &body{name: filepath.Base(name), max: l.options.MaxBytes, total: info.Size(), progress: progress}
	if err := body.checkTotal(); err != nil {
		return nil, err
	}
	if err := body.readFrom(ctx, f); err != nil {
		return nil, err
	}
	return body.data, nil
}

// accessError makes an ErrAccess of an error about a local file. Its text names no path, which the URL does already.
func accessError(u *url.URL, err error) error {
	if errors.Is(err, ErrAccess) {
		return err
	}
	var about *fs.PathError
	if errors.As(err, &about) {
		err = about.Err
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, shown(u), err)
}
