package zigate

import (
	"errors"
	"strings"
	"testing"

	"go.bug.st/serial/enumerator"
)

func TestChoosePort(t *testing.T) {
	cp2102 := &enumerator.PortDetails{Name: "/dev/ttyUSB0", IsUSB: true, VID: "10C4", PID: "EA60", Product: "CP2102"}
	pl2303 := &enumerator.PortDetails{Name: "/dev/ttyUSB1", IsUSB: true, VID: "067b", PID: "2303"}
	ftdi := &enumerator.PortDetails{Name: "COM4", IsUSB: true, VID: "0403", PID: "6001"}
	ch340 := &enumerator.PortDetails{Name: "/dev/ttyUSB2", IsUSB: true, VID: "1A86", PID: "7523", Product: "USB Serial"}
	board := &enumerator.PortDetails{Name: "/dev/ttyAMA0"}
	nameless := &enumerator.PortDetails{}
	tests := []struct {
		name  string
		ports []*enumerator.PortDetails
		want  string
		err   error
		says  []string
	}{
		{"CP2102", []*enumerator.PortDetails{board, cp2102, ch340}, "/dev/ttyUSB0", nil, nil},
		{"PL2303, lower case", []*enumerator.PortDetails{pl2303}, "/dev/ttyUSB1", nil, nil},
		{"FTDI", []*enumerator.PortDetails{ftdi}, "COM4", nil, nil},
		{"several", []*enumerator.PortDetails{cp2102, pl2303, board}, "", ErrManyDongles,
			[]string{"/dev/ttyUSB0, /dev/ttyUSB1", "ZIGATE_OTA_DONGLE"}},
		{"others only", []*enumerator.PortDetails{ch340, board, nameless}, "", ErrNoDongle,
			[]string{"/dev/ttyUSB2 (USB 1a86:7523, USB Serial), /dev/ttyAMA0 (no USB)", "ZIGATE_OTA_DONGLE"}},
		{"none", nil, "", ErrNoDongle, []string{"no serial port", "ZIGATE_OTA_DONGLE"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := choosePort(tc.ports)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Fatalf("choosePort = %q, %v; want %q, %v", got, err, tc.want, tc.err)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

// TestAutoDialerLooksAgain has the dongle unplugged: what is said tells what is there now.
func TestAutoDialerLooksAgain(t *testing.T) {
	var ports []*enumerator.PortDetails
	var failure error
	d := autoDialer{baud: DefaultBaud, list: func() ([]*enumerator.PortDetails, error) { return ports, failure }}
	if _, err := d.Dial(t.Context()); !errors.Is(err, ErrNoDongle) {
		t.Errorf("Dial: %v", err)
	}
	ports = []*enumerator.PortDetails{{Name: "/nowhere/ttyUSB0", IsUSB: true, VID: "10C4", PID: "EA60"}}
	if _, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "plugged in") {
		t.Errorf("Dial: %v", err)
	}
	failure = errors.New("cannot list")
	if _, err := d.Dial(t.Context()); !errors.Is(err, failure) {
		t.Errorf("Dial: %v", err)
	}
}
