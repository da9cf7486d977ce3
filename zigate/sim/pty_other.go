//go:build !linux

package sim

import (
	"context"
	"errors"
	"fmt"
)

// ServePTY is there on Linux only; elsewhere the error is errors.ErrUnsupported, and ServeTCP is the way.
func (d *Dongle) ServePTY(context.Context, string, func(path string)) error {
	return fmt.Errorf("open a pseudo-terminal: %w", errors.ErrUnsupported)
}
