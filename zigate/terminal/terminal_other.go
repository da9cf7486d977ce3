//go:build !linux

package terminal

import (
	"errors"
	"fmt"
	"io"
)

// Terminal is there on Linux only.
type Terminal struct{ io.ReadWriteCloser }

// Open is there on Linux only; elsewhere the error is errors.ErrUnsupported, and TCP is the way.
func Open(string) (*Terminal, error) {
	return nil, fmt.Errorf("open a pseudo-terminal: %w", errors.ErrUnsupported)
}

// Path is empty.
func (*Terminal) Path() string { return "" }
