//go:build !linux

package terminal

import (
	"errors"
	"fmt"
	"io"
)

// Terminal exists on Linux only.
type Terminal struct{ io.ReadWriteCloser }

// Open works on Linux only; elsewhere the error is errors.ErrUnsupported, and programs have to use TCP.
func Open(string) (*Terminal, error) {
	return nil, fmt.Errorf("open a pseudo-terminal: %w", errors.ErrUnsupported)
}

// Path is empty.
func (*Terminal) Path() string { return "" }
