package zigate

import (
	"errors"
	"strings"
	"testing"
)

func TestChoosePort(t *testing.T) {
	cp2102 := listedPort{name: "/dev/ttyUSB0", usb: true, vendor: "10C4", product: "EA60", text: "CP2102"}
	pl2303 := listedPort{name: "/dev/ttyUSB1", usb: true, vendor: "067b", product: "2303"}
	ftdi := listedPort{name: "COM4", usb: true, vendor: "0403", product: "6001"}
	ch340 := listedPort{name: "/dev/ttyUSB2", usb: true, vendor: "1A86", product: "7523", text: "USB Serial"}
	board := listedPort{name: "/dev/ttyAMA0"}
	tests := []struct {
		name  string
		ports []listedPort
		want  string
		err   error
		says  []string
	}{
		{"CP2102", []listedPort{board, cp2102, ch340}, "/dev/ttyUSB0", nil, nil},
		{"PL2303, lower case", []listedPort{pl2303}, "/dev/ttyUSB1", nil, nil},
		{"FTDI", []listedPort{ftdi}, "COM4", nil, nil},
		{"several", []listedPort{cp2102, pl2303, board}, "", ErrManyDongles,
			[]string{"/dev/ttyUSB0, /dev/ttyUSB1", "ZIGATE_OTA_DONGLE"}},
		{"others only", []listedPort{ch340, board}, "", ErrNoDongle,
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
	var ports []listedPort
	var failure error
	d := autoDialer{baud: DefaultBaud, list: func() ([]listedPort, error) { return ports, failure }}
	if _, err := d.Dial(t.Context()); !errors.Is(err, ErrNoDongle) {
		t.Errorf("Dial: %v", err)
	}
	ports = []listedPort{{name: "/nowhere/ttyUSB0", usb: true, vendor: "10C4", product: "EA60"}}
	if _, err := d.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "plugged in") {
		t.Errorf("Dial: %v", err)
	}
	failure = errors.New("cannot list")
	if _, err := d.Dial(t.Context()); !errors.Is(err, failure) {
		t.Errorf("Dial: %v", err)
	}
}
