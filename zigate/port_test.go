package zigate_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestNewDialer(t *testing.T) {
	tests := []struct {
		spec string
		baud int
		want string // String, if it is valid
	}{
		{"auto", 0, "auto"},
		{"/dev/ttyUSB0", 115200, "/dev/ttyUSB0"},
		{" /dev/ttyUSB0 ", 115200, "/dev/ttyUSB0"},
		{"COM3", 0, "COM3"},
		{"tcp://zigate.local", 0, "tcp://zigate.local:9999"},
		{"tcp://zigate.local/", 0, "tcp://zigate.local:9999"},
		{"tcp://zigate.local:23", 0, "tcp://zigate.local:23"},
		{"tcp://zigate.local:", 0, "tcp://zigate.local:9999"},
		{"tcp://192.0.2.7:9999", 0, "tcp://192.0.2.7:9999"},
		{"tcp://[2001:db8::7]", 0, "tcp://[2001:db8::7]:9999"},
		{"tcp://[2001:db8::7]:23", 0, "tcp://[2001:db8::7]:23"},
		{"", 0, ""},
		{"tcp://", 0, ""},
		{"tcp://:23", 0, ""},
		{"tcp://zigate.local:http", 0, ""},
		{"tcp://zigate.local:70000", 0, ""},
		{"tcp://zigate.local:0", 0, ""},
		{"tcp://2001:db8::7", 0, ""},
		{"udp://zigate.local", 0, ""},
		{"/dev/ttyUSB0", -1, ""},
	}
	for _, tc := range tests {
		t.Run(tc.spec, func(t *testing.T) {
			d, err := zigate.NewDialer(tc.spec, tc.baud)
			switch {
			case tc.want == "" && err == nil:
				t.Errorf("valid: %s", d)
			case tc.want != "" && err != nil:
				t.Error(err)
			case tc.want != "" && d.String() != tc.want:
				t.Errorf("String = %s, want %s", d, tc.want)
			}
			if err != nil && tc.baud >= 0 && !errors.Is(err, zigate.ErrInvalidPort) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestSerialMissing(t *testing.T) {
	d, err := zigate.NewDialer(filepath.Join(t.TempDir(), "ttyUSB7"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Dial: %v", err)
	}
}

func TestSerialNoTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := zigate.NewDialer(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := d.Dial(t.Context()); err == nil {
		p.Close()
		t.Error("a plain file was opened as a serial port")
	}
}

// dialed is a host's port with its other end.
type dialed struct {
	dialer zigate.Dialer
	accept func(t *testing.T) io.ReadWriteCloser // after Dial
}

func overTCP(t *testing.T) dialed {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	d, err := zigate.NewDialer("tcp://"+listener.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return dialed{d, func(t *testing.T) io.ReadWriteCloser {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}}
}

func overPTY(t *testing.T) dialed {
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no PTY: %v", err)
	}
	name := slave.Name()
	// One end stays open: a PTY whose last slave is closed reads as an error until it is opened again.
	t.Cleanup(func() {
		slave.Close()
		master.Close()
	})
	d, err := zigate.NewDialer(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return dialed{d, func(*testing.T) io.ReadWriteCloser { return master }}
}

func forEachPort(t *testing.T, check func(t *testing.T, d dialed)) {
	t.Run("tcp", func(t *testing.T) { check(t, overTCP(t)) })
	t.Run("pty", func(t *testing.T) { check(t, overPTY(t)) })
}

// everyByte has all byte values: a terminal that is not raw would change some.
func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestPortPassesEveryByte(t *testing.T) {
	forEachPort(t, func(t *testing.T, d dialed) {
		port, err := d.dialer.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer port.Close()
		far := d.accept(t)
		want := everyByte()
		for name, way := range map[string]struct{ from, to io.ReadWriter }{"out": {port, far}, "in": {far, port}} {
			if _, err := way.from.Write(want); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if err := readFull(way.to, got); err != nil || string(got) != string(want) {
				t.Errorf("%s: %x, %v", name, got, err)
			}
		}
	})
}

// readFull is io.ReadFull for ports that may read nothing.
func readFull(r io.Reader, b []byte) error {
	for len(b) > 0 {
		n, err := r.Read(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func TestPortCloseUnblocksRead(t *testing.T) {
	forEachPort(t, func(t *testing.T, d dialed) {
		port, err := d.dialer.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- readFull(port, make([]byte, 1)) }()
		if err := port.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("Read ended without an error")
		}
		if _, err := port.Write([]byte{0x03}); err == nil {
			t.Error("Write after Close: no error")
		}
		port.Close() // twice does no harm
	})
}

// TestSerialInUse opens a serial port that is open already: two programs on one port would take
// each other's bytes.
func TestSerialInUse(t *testing.T) {
	d := overPTY(t)
	port, err := d.dialer.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second, err := d.dialer.Dial(t.Context()); err == nil {
		second.Close()
		t.Error("a port that is in use was opened a second time")
	} else if !strings.Contains(err.Error(), "another program has "+d.dialer.String()+" open") {
		t.Errorf("Dial: %v", err)
	}
	if err := port.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	again, err := d.dialer.Dial(t.Context())
	if err != nil {
		t.Fatalf("after it was closed: %v", err)
	}
	again.Close()
}

// TestDongleOnPort connects over a real port, twice: a port that was closed can be opened again.
func TestDongleOnPort(t *testing.T) {
	forEachPort(t, func(t *testing.T, d dialed) {
		for range 2 {
			handler := &recorder{reply: replyBlock}
			connected := make(chan struct{})
			handler.onConnected = func() { close(connected) }
			dongle := zigate.NewDongle(zigate.Options{Dialer: d.dialer, Handler: handler})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			ended := make(chan error, 1)
			go func() { ended <- dongle.Run(ctx) }()

			far := d.accept(t)
			farEnded := make(chan struct{})
			blocks := make(chan message.Frame, 8)
			go func() {
				defer close(farEnded)
				serve(far, blocks)
			}()
			select {
			case <-connected:
			case <-ctx.Done():
				t.Fatal("not connected")
			}
			if err := command(ctx, dongle, message.SetTime{}); err != nil {
				t.Errorf("SetTime: %v", err)
			}
			if _, err := far.Write(fromDongle(message.ImageBlockRequest{Offset: 64})); err != nil {
				t.Error(err)
			}
			select {
			case <-blocks:
			case <-ctx.Done():
				t.Error("no answer to a block request")
			}
			// Stops the far end's reader, which nothing else can interrupt on a PTY.
			if err := command(ctx, dongle, message.Reset{}); err != nil {
				t.Errorf("Reset: %v", err)
			}
			<-farEnded
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			if _, ok := far.(net.Conn); ok {
				far.Close()
			}
		}
	})
}

// serve answers commands until a Reset.
func serve(far io.ReadWriter, blocks chan<- message.Frame) {
	var decoder message.Decoder
	buf := make([]byte, 512)
	for {
		n, err := far.Read(buf)
		if err != nil {
			return
		}
		for _, f := range frames(&decoder, buf[:n]) {
			if f.Type == (message.ImageBlockResponse{}).Type() {
				blocks <- f
			}
			if _, err := far.Write(ordinaryAnswer(f.Type)); err != nil || f.Type == message.TypeReset {
				return
			}
		}
	}
}

// command submits a command and waits for its status.
func command(ctx context.Context, d *zigate.Dongle, cmd message.Message) error {
	done := make(chan error, 1)
	d.Submit(cmd, func(_ message.Status, err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
