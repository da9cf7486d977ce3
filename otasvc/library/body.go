package library

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// usualSize is what there is room for at first, in bytes, where nobody told how much comes.
const usualSize = 256 << 10

// body is the bytes of a download as they come in.
type body struct {
	name     string // for errors
	max      int64
	total    int64 // how many there should be; -1 while that is unknown
	progress func(done, total int64)
	data     []byte
}

func (b *body) restart() {
	b.data = b.data[:0]
	b.total = -1
}

// checkTotal refuses a body that will be too large.
func (b *body) checkTotal() error {
	if b.total > b.max {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are taken", ErrTooLarge, b.name, b.total, b.max)
	}
	return nil
}

// checkWhole compares what came with what should have come.
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

// readFrom appends what r has. It fails with ErrTooLarge, with the context's error or with what r fails with.
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
			// Twice as much: append's steps leave more behind.
			b.data = slices.Grow(b.data, max(n, len(b.data)))
		}
		b.data = append(b.data, chunk[:n]...)
		if n > 0 {
			b.progress(int64(len(b.data)), b.total)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
