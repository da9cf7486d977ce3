package zigate

import (
	"context"
	"fmt"
	"strings"
)

// listedPort is a serial port that is there.
type listedPort struct {
	name            string
	usb             bool
	vendor, product string // of USB ports, four hexadecimal digits in any case
	text            string // what a USB port calls itself, may be empty
}

// autoDialer looks for the dongle each time: it may come back under another name.
type autoDialer struct {
	baud int
	list func() ([]listedPort, error)
}

func (d autoDialer) String() string { return autoSpec }

func (d autoDialer) Dial(ctx context.Context) (Port, error) {
	ports, err := d.list()
	if err != nil {
		return nil, fmt.Errorf("listing serial ports: %w; set ZIGATE_OTA_DONGLE to the path of the dongle's port", err)
	}
	path, err := choosePort(ports)
	if err != nil {
		return nil, err
	}
	return serialDialer{path: path, baud: d.baud}.Dial(ctx)
}

func choosePort(ports []listedPort) (string, error) {
	var found, all []string
	for _, p := range ports {
		all = append(all, describePort(p))
		if isDongle(p) {
			found = append(found, p.name)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%w: %s; set ZIGATE_OTA_DONGLE to one of them", ErrManyDongles, strings.Join(found, ", "))
	case len(all) == 0:
		return "", fmt.Errorf("%w: there is no serial port; plug the dongle in, or set ZIGATE_OTA_DONGLE to its path or to tcp://host:port", ErrNoDongle)
	}
	return "", fmt.Errorf("%w among the serial ports: %s; set ZIGATE_OTA_DONGLE to one of them or to tcp://host:port",
		ErrNoDongle, strings.Join(all, ", "))
}

// isDongle tells whether the port has a USB vendor and product that ZiGate dongles have. They are those of the serial
// chips, which other things have, too.
func isDongle(p listedPort) bool {
	if !p.usb {
		return false
	}
	switch strings.ToLower(p.vendor + ":" + p.product) {
	case "10c4:ea60", // CP2102
		"067b:2303", // PL2303
		"0403:6001", // FTDI FT232, ZiGate DIN
		"0403:6015": // FTDI FT230X, ZiGate+
		return true
	}
	return false
}

func describePort(p listedPort) string {
	if !p.usb {
		return p.name + " (no USB)"
	}
	text := fmt.Sprintf("%s (USB %s:%s", p.name, strings.ToLower(p.vendor), strings.ToLower(p.product))
	if p.text != "" {
		text += ", " + p.text
	}
	return text + ")"
}
