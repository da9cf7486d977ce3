package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// staleAfter is how long the pseudo-terminal keeps what nobody reads. A serial line keeps nothing for a port that is not
// open.
const staleAfter = 2 * time.Second

// ServePTY lets hosts reach the dongle over a pseudo-terminal, as over a serial port. The terminal is in raw mode and
// stays while hosts come and go. ready, where not nil, is told the path to open: link if that is not empty, a symbolic
// link that replaces an earlier one and is removed at the end, else the terminal itself. ServePTY returns nil when the
// context ends, or the dongle stops.
func (d *Dongle) ServePTY(ctx context.Context, link string, ready func(path string)) error {
	master, slave, err := openTerminal()
	if err != nil {
		return fmt.Errorf("open a pseudo-terminal: %w", err)
	}
	defer slave.Close() // held open, so that the terminal does not hang up when a host closes it
	path := slave.Name()
	if link != "" {
		if err := replaceLink(path, link); err != nil {
			master.Close()
			return err
		}
		defer os.Remove(link)
		path = link
	}
	d.log.Info("serial port ready", "path", path)
	if ready != nil {
		ready(path)
	}
	err = d.serve(ctx, &terminal{master: master, slave: slave, staleAfter: staleAfter})
	if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	return nil
}

// terminal is the master side. It throws away what no host has read for a while, so that the next one does not find it.
type terminal struct {
	master, slave *os.File
	staleAfter    time.Duration
	once          sync.Once
	// For Write, which is called from one goroutine.
	unread int
	since  time.Time // when a host last read something, or had nothing to read
	absent bool      // nobody reads
}

func (t *terminal) Read(p []byte) (int, error) { return t.master.Read(p) }

func (t *terminal) Write(p []byte) (int, error) {
	now := time.Now()
	if unread, err := unix.IoctlGetInt(int(t.slave.Fd()), unix.TIOCINQ); err == nil {
		if unread == 0 || unread < t.unread {
			t.since, t.absent = now, false
		}
		if unread > 0 && now.Sub(t.since) > t.staleAfter {
			t.absent = true
		}
		t.unread = unread
	}
	if t.absent {
		t.forget()
	}
	n, err := t.writeInTime(p)
	if errors.Is(err, os.ErrDeadlineExceeded) { // full, and nobody reads
		t.absent = true
		t.forget()
		n, err = t.writeInTime(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n, err = len(p), nil // lost, as on a line
		}
	}
	t.unread += n
	return n, err
}

func (t *terminal) writeInTime(p []byte) (int, error) {
	if err := t.master.SetWriteDeadline(time.Now().Add(t.staleAfter)); err != nil {
		return 0, err
	}
	return t.master.Write(p)
}

// forget throws away what waits for a host. An error only means that it stays.
func (t *terminal) forget() {
	_ = unix.IoctlSetInt(int(t.slave.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	t.unread = 0
}

func (t *terminal) Close() error {
	err := os.ErrClosed
	t.once.Do(func() { err = t.master.Close() })
	return err
}

// openTerminal opens both sides, in raw mode, the master so that closing it unblocks Read and Write.
func openTerminal() (master, slave *os.File, err error) {
	blocking, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer blocking.Close()
	defer func() {
		if err != nil {
			slave.Close()
		}
	}()
	if err := makeRaw(slave); err != nil {
		return nil, nil, fmt.Errorf("set %s to raw mode: %w", slave.Name(), err)
	}
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), blocking.Name()), slave, nil
}

func makeRaw(f *os.File) error {
	fd := int(f.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	mode.Oflag &^= unix.OPOST
	mode.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	mode.Cflag = mode.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, mode)
}

// replaceLink makes link point to path. It replaces a link, and nothing else.
func replaceLink(path, link string) error {
	if info, err := os.Lstat(link); err == nil {
		if info.Mode()&os.ModeSymlink == 0 {
			return fmt.Errorf("link %s to %s: %s is a file of another kind; remove it or choose another name", path, link, link)
		}
		if err := os.Remove(link); err != nil {
			return fmt.Errorf("replace the old link: %w", err)
		}
	}
	if err := os.Symlink(path, link); err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}
