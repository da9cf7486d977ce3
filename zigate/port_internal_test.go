package zigate

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

var (
	cp2102 = listedPort{name: "/dev/ttyUSB0", usb: true, vendor: "10C4", product: "EA60", text: "CP2102"}
	pl2303 = listedPort{name: "/dev/ttyUSB1", usb: true, vendor: "067b", product: "2303"}
	ft232  = listedPort{name: "COM4", usb: true, vendor: "0403", product: "6001"}
	ft230x = listedPort{name: "/dev/ttyUSB3", usb: true, vendor: "0403", product: "6015", text: "ZiGate+"}
	ch340  = listedPort{name: "/dev/ttyUSB2", usb: true, vendor: "1A86", product: "7523", text: "USB Serial"}
	board  = listedPort{name: "/dev/ttyAMA0"}
)

// bench are serial ports with things behind them: ZiGates answer, others are silent or say something else.
type bench struct {
	ports []listedPort
	fail  error // of listing

	things  sync.WaitGroup
	mu      sync.Mutex
	zigates map[string]bool
	opened  []string
	heard   map[string]int // bytes written to each
}

func (b *bench) dialer() *autoDialer {
	b.heard = map[string]int{}
	return &autoDialer{list: func() ([]listedPort, error) { return b.ports, b.fail }, open: b.open}
}

func (b *bench) open(_ context.Context, path string, _ int) (Port, error) {
	b.mu.Lock()
	b.opened = append(b.opened, path)
	b.mu.Unlock()
	host, thing := net.Pipe()
	b.things.Go(func() {
		buf := make([]byte, 256)
		for {
			n, err := thing.Read(buf)
			if err != nil {
				return
			}
			b.mu.Lock()
			b.heard[path] += n
			zigate := b.zigates[path]
			b.mu.Unlock()
			answer := []byte("AT?\r\nERROR\r\n")
			if zigate {
				answer = message.AppendFrame(nil, message.TypeStatus, message.AppendPayload(nil, message.Status{Request: message.TypeGetVersion, Form: message.StatusFormBuffers}))
				answer = message.AppendFrame(answer, message.TypeVersion, append(message.AppendPayload(nil, message.Version{Major: 3, Minor: 0x31E}), 0))
				answer = append(answer, "rest"...)
			}
			if _, err := thing.Write(answer); err != nil {
				return
			}
		}
	})
	return host, nil
}

func (b *bench) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	opened := b.opened
	b.opened = nil
	return opened
}

func TestAutoFindsTheDongle(t *testing.T) {
	tests := []struct {
		name    string
		ports   []listedPort
		zigates map[string]bool
		want    string
		err     error
		says    []string
	}{
		{"CP2102", []listedPort{board, cp2102, ch340}, map[string]bool{cp2102.name: true}, cp2102.name, nil, nil},
		{"PL2303, lower case", []listedPort{pl2303}, map[string]bool{pl2303.name: true}, pl2303.name, nil, nil},
		{"FT232", []listedPort{ft232}, map[string]bool{ft232.name: true}, ft232.name, nil, nil},
		{"FT230X", []listedPort{ft230x}, map[string]bool{ft230x.name: true}, ft230x.name, nil, nil},
		{"the one of several that answers", []listedPort{cp2102, pl2303, ft232}, map[string]bool{pl2303.name: true}, pl2303.name, nil, nil},
		{"several that answer", []listedPort{cp2102, pl2303, board}, map[string]bool{cp2102.name: true, pl2303.name: true}, "",
			ErrManyDongles, []string{"/dev/ttyUSB0, /dev/ttyUSB1", "ZIGATE_OTA_DONGLE"}},
		{"none that answers", []listedPort{cp2102, board}, nil, "", ErrNoDongle,
			[]string{"/dev/ttyUSB0 (USB 10c4:ea60, CP2102)", "does not answer like a ZiGate", "ZIGATE_OTA_DONGLE"}},
		{"others only", []listedPort{ch340, board}, map[string]bool{ch340.name: true}, "", ErrNoDongle,
			[]string{"/dev/ttyUSB2 (USB 1a86:7523, USB Serial), /dev/ttyAMA0 (no USB)", "ZIGATE_OTA_DONGLE"}},
		{"none", nil, nil, "", ErrNoDongle, []string{"no serial port", "ZIGATE_OTA_DONGLE"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bench{ports: tc.ports, zigates: tc.zigates}
				defer b.things.Wait()
				port, err := b.dialer().Dial(t.Context())
				if !errors.Is(err, tc.err) {
					t.Fatalf("Dial: %v, want %v", err, tc.err)
				}
				for _, s := range tc.says {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%q does not say %q", err, s)
					}
				}
				b.mu.Lock()
				if b.heard[ch340.name] != 0 || b.heard[board.name] != 0 {
					t.Errorf("written to ports that are no dongle's: %v", b.heard)
				}
				b.mu.Unlock()
				if err != nil {
					return
				}
				defer port.Close()
				if got := port.(*probedPort).String(); got != tc.want {
					t.Errorf("found %s, want %s", got, tc.want)
				}
				rest := make([]byte, 8)
				if n, err := port.Read(rest); err != nil || string(rest[:n]) != "rest" {
					t.Errorf("behind the answer: %q, %v", rest[:n], err)
				}
			})
		})
	}
}

// TestAutoLeavesOthersAlone has a device with a dongle's serial chip that is no dongle: it is asked once, not
// with each attempt, and again when it was plugged in anew.
func TestAutoLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bench{ports: []listedPort{cp2102}, zigates: map[string]bool{}}
		defer b.things.Wait()
		d := b.dialer()
		for range 3 {
			if _, err := d.Dial(t.Context()); !errors.Is(err, ErrNoDongle) {
				t.Fatalf("Dial: %v", err)
			}
			time.Sleep(10 * time.Second)
		}
		if opened := b.take(); len(opened) != 1 {
			t.Errorf("opened %v, want it once", opened)
		}
		b.ports = nil
		if _, err := d.Dial(t.Context()); !errors.Is(err, ErrNoDongle) {
			t.Errorf("Dial: %v", err)
		}
		b.ports = []listedPort{cp2102}
		b.mu.Lock()
		b.zigates = map[string]bool{cp2102.name: true}
		b.mu.Unlock()
		port, err := d.Dial(t.Context())
		if err != nil {
			t.Fatalf("plugged in anew: %v", err)
		}
		port.Close()
	})
}

// TestAutoFollowsTheDongle has the dongle come back under another name, and another ZiGate appear beside it.
func TestAutoFollowsTheDongle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bench{ports: []listedPort{cp2102}, zigates: map[string]bool{cp2102.name: true, pl2303.name: true}}
		defer b.things.Wait()
		d := b.dialer()
		for _, step := range []struct {
			ports []listedPort
			want  string
		}{
			{[]listedPort{cp2102}, cp2102.name},
			{[]listedPort{cp2102, pl2303}, cp2102.name},
			{[]listedPort{pl2303}, pl2303.name},
		} {
			b.ports = step.ports
			port, err := d.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			port.Close()
			if opened := b.take(); len(opened) != 1 || opened[0] != step.want {
				t.Errorf("opened %v, want %s", opened, step.want)
			}
		}
		b.fail = errors.New("cannot list")
		if _, err := d.Dial(t.Context()); !errors.Is(err, b.fail) {
			t.Errorf("Dial: %v", err)
		}
	})
}

// How much a port carries is known where it is a serial one, however it was found.
func TestByteRate(t *testing.T) {
	serial := &serialPort{baud: 115200}
	for name, tt := range map[string]struct {
		port Port
		want int
	}{
		"serial":               {serial, 11520},
		"found by itself":      {&probedPort{Port: serial}, 11520},
		"TCP":                  {&net.TCPConn{}, 0},
		"TCP, found by itself": {&probedPort{Port: &net.TCPConn{}}, 0},
	} {
		if got := byteRate(tt.port); got != tt.want {
			t.Errorf("%s: %d bytes a second, want %d", name, got, tt.want)
		}
	}
	var unknown *Line
	if received, sent := unknown.Bytes(); received != 0 || sent != 0 || unknown.Rate() != 0 {
		t.Errorf("of no line %d, %d and %d are known", received, sent, unknown.Rate())
	}
}
