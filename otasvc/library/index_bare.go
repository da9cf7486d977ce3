package library

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// complete completes the entries of an index on the disk that say where their image is and little more, as
// people write them by hand: what is missing is read from the image. An entry whose image cannot be had
// counts as one that cannot be used.
func (s *indexSource) complete(ctx context.Context, index *Index) {
	s.incomplete = false
	for _, bare := range index.bare {
		header, err := s.headerOf(ctx, &bare.candidate)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.incomplete = true
			index.skip(bare.number, fmt.Errorf("what it leaves out cannot be read from its image: %w", err))
			continue
		}
		index.Entries = append(index.Entries, bare.candidate.completed(header))
	}
}

// completed returns the candidate with what only its image says.
func (c Candidate) completed(h *otafile.Header) Candidate {
	c.bare = false
	c.ManufacturerCode = h.ManufacturerCode
	c.ImageType = h.ImageType
	c.FileVersion = h.FileVersion
	c.Size = h.TotalSize
	c.request.ManufacturerCode = &c.ManufacturerCode
	c.request.ImageType = &c.ImageType
	c.request.FileVersion = &c.FileVersion
	c.SetHeader(h)
	return c
}

// headerOf returns the header of a candidate's image. An image on a server is downloaded and kept in the
// store; where the store has the one from that URL already, that is taken.
func (s *indexSource) headerOf(ctx context.Context, c *Candidate) (*otafile.Header, error) {
	l := s.library
	if c.dir == "" {
		images := l.Images()
		at := slices.IndexFunc(images, func(i Image) bool { return i.URL == c.URL })
		if at >= 0 && !hasSecrets(c.request.URL) {
			return &images[at].Header, nil
		}
		image, err := l.Fetch(ctx, c.request)
		return &image.Header, err
	}
	b, err := l.readBelow(ctx, c.dir, filepath.FromSlash(c.path), func(done, total int64) {})
	if err != nil {
		return nil, withoutPath(err)
	}
	f, err := l.validate(b, &c.request)
	if err != nil {
		return nil, err
	}
	return &f.Header, nil
}
