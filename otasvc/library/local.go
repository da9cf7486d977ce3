package library

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
)

// readFile reads the file of a file URL. The path must be below the image folder, and neither ".." nor a link
// may lead out of it. Errors are [ErrAccess], among them [ErrPolicy].
func (l *Library) readFile(
	ctx context.Context, u *url.URL, progress func(done, total int64),
) ([]byte, error) {
	if u.Host != "" && !strings.EqualFold(u.Host, "localhost") {
		return nil, fmt.Errorf("%w: %s: a file URL has no host; write it like file://%s/image.ota",
			ErrPolicy, shown(u), filepath.ToSlash(l.options.Dir))
	}
	name, below := l.belowDir(u.Path)
	if !below {
		return nil, fmt.Errorf("%w: %s: files are only read below the image folder %s",
			ErrPolicy, shown(u), l.options.Dir)
	}
	b, err := l.readBelow(ctx, l.options.Dir, name, progress)
	if err != nil {
		return nil, accessError(u, err)
	}
	return b, nil
}

// belowDir returns the part of an absolute path that is below the image folder. The path may go through the
// links that lead to the folder, or not.
func (l *Library) belowDir(path string) (name string, below bool) {
	path = filepath.FromSlash(path)
	dirs := []string{l.options.Dir}
	if resolved, err := filepath.EvalSymlinks(l.options.Dir); err == nil {
		dirs = append(dirs, resolved)
	}
	for _, dir := range dirs {
		if name, below := relativeTo(dir, path); below {
			return name, true
		}
	}
	return "", false
}

// relativeTo returns the part of a path that is below a folder. below is false for a path outside of it.
func relativeTo(dir, path string) (name string, below bool) {
	name, err := filepath.Rel(dir, path)
	return name, err == nil && filepath.IsLocal(name)
}

// readDriverFile reads the file of a controller URL from the driver folder or, where it is not there, from
// the director. Errors are [ErrAccess], among them [ErrPolicy].
func (l *Library) readDriverFile(ctx context.Context, u *url.URL, want wanted) (fetched, error) {
	name, ok := parseDriverPath(strings.TrimPrefix(u.Path, "/"))
	if !strings.EqualFold(u.Host, "driver") || !ok {
		return fetched{}, fmt.Errorf("%w: %s: it must be controller://driver/<name>/<file>",
			ErrPolicy, shown(u))
	}
	b, err := l.readDriver(ctx, name, want.progress)
	if err == nil {
		return fetched{bytes: b}, nil
	}
	if !isMissing(err) {
		return fetched{}, accessError(u, err)
	}
	there := l.director.JoinPath("driver", u.EscapedPath())
	o := l.originOf("")
	o.trusted = hostName(l.director)
	return l.download(ctx, there, o, want)
}

// readBelow reads a file below a folder. It fails where ".." or a link leads out of the folder. A file of
// more than Options.MaxBytes is an [ErrTooLarge].
func (l *Library) readBelow(
	ctx context.Context, dir, name string, progress func(done, total int64),
) ([]byte, error) {
	f, _, err := openBelow(dir, name)
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

// accessError returns an ErrAccess for an error about a local file. The text shows the URL and leaves out the
// path.
func accessError(u *url.URL, err error) error {
	if errors.Is(err, ErrAccess) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrAccess, shown(u), withoutPath(err))
}

// withoutPath returns an error about a file without the file's path, for texts that name the file themselves.
func withoutPath(err error) error {
	var about *fs.PathError
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}
