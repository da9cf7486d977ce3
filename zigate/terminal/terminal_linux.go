package terminal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// staleAfter is how long the pseudo-terminal keeps bytes that nobody reads. A serial line keeps nothing for a
// port that is not open.
const staleAfter = 2 * time.Second

// Terminal is the side of a pseudo-terminal that plays the dongle. The terminal is in raw mode and stays
// while programs open and close the other side.
type Terminal struct {
	master, slave *os.File
	path, link    string // the path that a program opens, and the link if there is one
	staleAfter    time.Duration
	once          sync.Once
	slaveMu       sync.Mutex // keeps Close from closing the slave while it is used

	// Only Write uses these.
	unread int       // bytes that wait for a program
	since  time.Time // when a program last read something, or had nothing to read
	absent bool      // no program reads
}

// Open makes a pseudo-terminal. link, where not empty, becomes a symbolic link to it: it replaces an earlier
// link to one, never a file of another kind or a link to one, and Close removes it.
func Open(link string) (*Terminal, error) {
	master, slave, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("open a pseudo-terminal: %w", err)
	}
	t := &Terminal{master: master, slave: slave, path: slave.Name(), staleAfter: staleAfter}
	if link != "" {
		if err := replaceLink(t.path, link); err != nil {
			master.Close()
			slave.Close()
			return nil, err
		}
		t.path = link
		t.link = link
	}
	return t, nil
}

// Path returns the path that a program opens: the link, or the terminal itself.
func (t *Terminal) Path() string { return t.path }

// Read blocks until the program has written something, or Close.
func (t *Terminal) Read(p []byte) (int, error) { return t.master.Read(p) }

// Write throws away bytes that no program has read for 2 s, so that the next one does not find them, and
// bytes that do not fit: on a line that nobody reads they are lost, too. One goroutine may call it at a time.
func (t *Terminal) Write(p []byte) (int, error) {
	now := time.Now()
	if unread, ok := t.waiting(); ok {
		if unread == 0 || unread < t.unread {
			t.since = now
			t.absent = false
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
	if errors.Is(err, os.ErrDeadlineExceeded) { // the buffer is full, and no program reads
		t.absent = true
		t.forget()
		n, err = t.writeInTime(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The bytes are lost, as on a line.
			n = len(p)
			err = nil
		}
	}
	t.unread += n
	return n, err
}

// waiting returns how many bytes wait for a program. ok is false where that cannot be found out.
func (t *Terminal) waiting() (n int, ok bool) {
	t.slaveMu.Lock()
	defer t.slaveMu.Unlock()
	n, err := unix.IoctlGetInt(int(t.slave.Fd()), unix.TIOCINQ)
	return n, err == nil
}

// writeInTime writes. The error is os.ErrDeadlineExceeded where no program makes room in time.
func (t *Terminal) writeInTime(p []byte) (int, error) {
	if err := t.master.SetWriteDeadline(time.Now().Add(t.staleAfter)); err != nil {
		return 0, err
	}
	return t.master.Write(p)
}

// forget throws away the bytes that wait for a program. After an error they stay, which does no harm.
func (t *Terminal) forget() {
	t.slaveMu.Lock()
	_ = unix.IoctlSetInt(int(t.slave.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	t.slaveMu.Unlock()
	t.unread = 0
}

// Close unblocks Read and Write, and removes the link if it still leads here. A second call
// returns os.ErrClosed.
func (t *Terminal) Close() error {
	err := os.ErrClosed
	t.once.Do(func() {
		err = nil
		if to, lost := os.Readlink(t.link); t.link != "" && lost == nil && to == t.slave.Name() {
			err = os.Remove(t.link)
		}
		err = errors.Join(err, t.master.Close())
		// The slave was held open until now, so that the terminal does not hang up when a program closes it.
		t.slaveMu.Lock()
		defer t.slaveMu.Unlock()
		err = errors.Join(err, t.slave.Close())
	})
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
		return nil, nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), blocking.Name()), slave, nil
}

// makeRaw makes the terminal pass all bytes unchanged.
func makeRaw(f *os.File) error {
	fd := int(f.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	mode.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR |
		unix.ICRNL | unix.IXON
	mode.Oflag &^= unix.OPOST
	mode.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	mode.Cflag = mode.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	mode.Cc[unix.VMIN] = 1
	mode.Cc[unix.VTIME] = 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, mode)
}

// replaceLink makes link point to path. It replaces a link that leads to a pseudo-terminal or to nothing, and
// nothing else: a link that leads to a real dongle belongs to udev.
func replaceLink(path, link string) error {
	if info, err := os.Lstat(link); err == nil {
		if info.Mode()&os.ModeSymlink == 0 {
			return fmt.Errorf("link %s to %s: %s is a file of another kind; remove it or choose another name",
				path, link, link)
		}
		if to, err := filepath.EvalSymlinks(link); err == nil && !strings.HasPrefix(to, "/dev/pts/") {
			return fmt.Errorf("link %s to %s: %s leads to %s, which is no pseudo-terminal; "+
				"remove it or choose another name", path, link, link, to)
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
