package sim

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/zigate-ota/zigate-ota/zigate/terminal"
)

// ServePTY lets hosts reach the dongle over a pseudo-terminal, as over a serial port. The terminal is in raw
// mode and stays while hosts come and go. ready, where not nil, is told the path to open: link if that is not
// empty, a symbolic link that replaces an earlier one and is removed at the end, else the terminal itself.
// ServePTY returns nil when the context ends, or the dongle stops. It works on Linux; elsewhere the error is
// errors.ErrUnsupported, and ServeTCP is the way.
func (d *Dongle) ServePTY(ctx context.Context, link string, ready func(path string)) error {
	t, err := terminal.Open(link)
	if err != nil {
		return err
	}
	defer t.Close()
	path := t.Path()
	d.log.Info("serial port ready", "path", path)
	if ready != nil {
		ready(path)
	}
	err = d.serve(ctx, t)
	if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	return nil
}
