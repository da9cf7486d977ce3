package library

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An index from a URL is kept on the disk, so that it is there after a restart without the network. The
// file has one line of JSON, the revision, and then the index as it came. Its time is when the server
// last confirmed it.

func (l *Library) cacheDir() string { return filepath.Join(l.storeDir, "indexes") }

// cacheName is made of the URL without showing it: there may be a password in it.
func (at *location) cacheName() string { return digestOf([]byte(at.url.String()))[:32] + ".index" }

func (s *indexSource) cachePath() string {
	return filepath.Join(s.library.cacheDir(), s.at.cacheName())
}

// loadCache takes the index that was kept, and returns how long it will do.
func (s *indexSource) loadCache() time.Duration {
	content, kept, err := s.readCache()
	if err == nil {
		err = s.take(content)
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
	if age < 0 { // the clock was wrong then or is now
		return 0
	}
	return max(0, s.interval-age)
}

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

// writeCache keeps an index. Without it the index is only asked for again after a restart.
func (s *indexSource) writeCache(content []byte) {
	head, err := json.Marshal(s.revision)
	if err == nil {
		err = os.MkdirAll(s.library.cacheDir(), 0o755)
	}
	if err == nil {
		err = s.library.write(s.cachePath(), append(append(head, '\n'), content...))
	}
	if err != nil {
		s.library.log.Warn("an index of images cannot be kept for when the network is away",
			"index", s.at.name, "error", err)
		return
	}
	s.touchCache()
}

// touchCache notes on the disk that the index is still as it is.
func (s *indexSource) touchCache() {
	now := time.Now()
	if err := os.Chtimes(s.cachePath(), now, now); err != nil {
		s.library.log.Debug("the time of a kept index cannot be set", "index", s.at.name, "error", err)
	}
}

// tidyCache removes what was kept of indexes that are no longer configured, and what an
// interruption left behind.
func (l *Library) tidyCache(indexes []*indexSource) {
	entries, err := os.ReadDir(l.cacheDir())
	if err != nil {
		return // there is nothing
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
