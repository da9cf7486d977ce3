package sim

import (
	"bytes"
	"testing"
	"time"
)

// What nobody has read for a while is gone when a host comes, and a terminal that nobody reads does not block.
func TestTerminalForgets(t *testing.T) {
	master, slave, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	terminal := &terminal{master: master, slave: slave, staleAfter: 20 * time.Millisecond}
	defer terminal.Close()
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
	buffer := make([]byte, 100_000)
	n, err := slave.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if got := buffer[:n]; bytes.Contains(got, []byte("old")) || !bytes.HasSuffix(got, []byte("new")) {
		t.Errorf("%d bytes, from %q to %q", n, got[:min(n, 8)], got[max(n-8, 0):])
	}
}
