package library

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// An index from a URL is kept on the disk, so that it is there after a restart without the network. The first
// line of the file is the revision in JSON; the index follows as it came. The file's time of modification is
// when the server last confirmed the index.

func (l *Library) cacheDir() string { return filepath.Join(l.storeDir, "indexes") }

// cacheName returns a file name derived from the URL. It does not show the URL, which may hold a password.
func (at *location) cacheName() string { return digestOf([]byte(at.url.String()))[:32] + ".index" }

func (s *indexSource) cachePath() string {
	return filepath.Join(s.library.cacheDir(), s.at.cacheName())
}

// loadCache takes the index that was kept, and returns how long it is before the server has to be asked
// again.
func (s *indexSource) loadCache(ctx context.Context) time.Duration {
	content, kept, err := s.readCache()
	if err == nil {
		err = s.take(ctx, content)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.library.log.Warn("an index of images that was kept cannot be read; it is asked for again",
				"index", s.at.name, "error", err)
		}
		s.revision = revision{}
		return 0
	}
	state := *s.state.Load()
	state.status.ReadAt = kept
	s.state.Store(&state)
	age := time.Since(kept)
	if age < 0 { // the clock was wrong then, or is wrong now
		return 0
	}
	return max(0, s.interval-age)
}

// readCache returns the index that was kept and when the server last confirmed it, and sets the revision.
func (s *indexSource) readCache() (content []byte, kept time.Time, err error) {
	info, err := os.Stat(s.cachePath())
	if err != nil {
		return nil, time.Time{}, err
	}
	b, err := os.ReadFile(s.cachePath())
	if err != nil {
		return nil, time.Time{}, err
	}
	head, content, _ := bytes.Cut(b, []byte("\n"))
	if err := json.Unmarshal(head, &s.revision); err != nil {
		return nil, time.Time{}, fmt.Errorf("its first line: %w", err)
	}
	return content, info.ModTime(), nil
}

// writeCache keeps an index on the disk. A failure is only logged: after a restart the index is downloaded
// again.
func (s *indexSource) writeCache(content []byte) {
	head, err := json.Marshal(s.revision)
	if err == nil {
		err = os.MkdirAll(s.library.cacheDir(), 0o755)
	}
	if err == nil {
		err = wholefile.Write(s.cachePath(), append(append(head, '\n'), content...))
	}
	if err != nil {
		s.library.log.Warn("an index of images cannot be kept on the disk; "+
			"without the network it is missing after a restart",
			"index", s.at.name, "error", err)
		return
	}
	s.touchCache()
}

// touchCache notes on the disk that the server has just confirmed the index.
func (s *indexSource) touchCache() {
	now := time.Now()
	if err := os.Chtimes(s.cachePath(), now, now); err != nil {
		s.library.log.Debug("the time of a kept index cannot be set", "index", s.at.name, "error", err)
	}
}

// tidyCache removes the files of indexes that are no longer configured, and temporary files that an
// interruption left behind.
func (l *Library) tidyCache(indexes []*indexSource) {
	entries, err := os.ReadDir(l.cacheDir())
	if err != nil {
		return // no index was kept yet
	}
	used := map[string]bool{}
	for _, s := range indexes {
		if s.at.url != nil {
			used[s.at.cacheName()] = true
		}
	}
	for _, entry := range entries {
		if used[entry.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(l.cacheDir(), entry.Name())); err != nil {
			l.log.Warn("cannot remove an index that is no longer used", "file", entry.Name(), "error", err)
		}
	}
}
