package terminal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What nobody has read for a while is gone when a host comes, and a terminal that nobody
// reads does not block.
func TestTerminalForgets(t *testing.T) {
	terminal, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	terminal.staleAfter = 20 * time.Millisecond
	write := func(b []byte) {
		t.Helper()
		if n, err := terminal.Write(b); n != len(b) || err != nil {
			t.Fatalf("%d of %d bytes written: %v", n, len(b), err)
		}
	}
	write([]byte("old"))
	time.Sleep(50 * time.Millisecond)
	for range 10 { // several times of what a terminal holds
		write(bytes.Repeat([]byte{0x5A}, 1000))
		time.Sleep(5 * time.Millisecond)
	}
	write([]byte("new"))
	var got []byte
	for !bytes.HasSuffix(got, []byte("new")) { // one read gives what one buffer of the kernel holds
		buffer := make([]byte, 100_000)
		n, err := terminal.slave.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buffer[:n]...)
	}
	if bytes.Contains(got, []byte("old")) {
		t.Errorf("%d bytes, from %q", len(got), got[:min(len(got), 8)])
	}
}

// A link of an earlier run is replaced, whether its terminal is there or not; a file of another kind stays;
// Close takes the link away, but not one that somebody else has put there meanwhile.
func TestLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "zigate")
	if err := os.Symlink("/nowhere/at/all", link); err != nil {
		t.Fatal(err)
	}
	first, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if first.Path() != link {
		t.Errorf("path %q, want %q", first.Path(), link)
	}
	second, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if to, err := os.Readlink(link); err != nil || to != second.slave.Name() {
		t.Errorf("after the first has closed the link leads to %q (%v), want the second, %q", to, err, second.slave.Name())
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v, want os.ErrClosed", err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
	if err := os.WriteFile(link, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err == nil {
		t.Error("a file was taken for a link")
	}
	if content, err := os.ReadFile(link); err != nil || string(content) != "mine" {
		t.Errorf("the file holds %q (%v)", content, err)
	}
}

// A link to something else than a pseudo-terminal, like those that udev makes for real dongles,
// is somebody else's.
func TestLinkOfOthers(t *testing.T) {
	dir := t.TempDir()
	device, link := filepath.Join(dir, "ttyUSB0"), filepath.Join(dir, "usb-ZiGate")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("ttyUSB0", link); err != nil {
		t.Fatal(err)
	}
	if terminal, err := Open(link); err == nil {
		terminal.Close()
		t.Error("the link was replaced")
	}
	if to, err := os.Readlink(link); err != nil || to != "ttyUSB0" {
		t.Errorf("the link leads to %q (%v)", to, err)
	}
}
