package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// usualSize is how much room a body starts with, in bytes, when the length of the download is not known.
const usualSize = 256 << 10

// body collects the bytes of a download.
type body struct {
	name     string // of the download, for errors
	max      int64  // most bytes that are taken
	total    int64  // how many bytes there should be; -1 while that is not known
	progress func(done, total int64)
	data     []byte
}

// restart drops what came so far.
func (b *body) restart() {
	b.data = b.data[:0]
	b.total = -1
}

// checkTotal returns an [ErrTooLarge] where the body will be too large.
func (b *body) checkTotal() error {
	if b.total > b.max {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are taken", ErrTooLarge, b.name, b.total, b.max)
	}
	return nil
}

// checkWhole returns an error where more or fewer bytes came than were announced.
func (b *body) checkWhole() error {
	switch got := int64(len(b.data)); {
	case b.total < 0 || got == b.total:
		return nil
	case got < b.total:
		return &brokenError{fmt.Errorf("the server announced %d bytes and sent %d", b.total, got)}
	default:
		return fmt.Errorf("%w: %s: the server announced %d bytes and sent more", ErrAccess, b.name, b.total)
	}
}

// readFrom appends the bytes of r up to its end. Errors: ErrTooLarge, the context's error, the errors of r.
func (b *body) readFrom(ctx context.Context, r io.Reader) error {
	if b.data == nil {
		size := b.total
		if size < 0 {
			size = usualSize
		}
		b.data = make([]byte, 0, size)
	}
	chunk := make([]byte, 32<<10)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(chunk)
		if int64(len(b.data)+n) > b.max {
			return fmt.Errorf("%w: %s: there are more than %d bytes", ErrTooLarge, b.name, b.max)
		}
		if len(b.data)+n > cap(b.data) {
			// The room doubles: append would grow in smaller steps and leave more garbage.
			b.data = slices.Grow(b.data, max(n, len(b.data)))
		}
		b.data = append(b.data, chunk[:n]...)
		if n > 0 {
			b.progress(int64(len(b.data)), b.total)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
