//go:build !cgo

package zigate

import "go.bug.st/serial"

// listPorts returns the names only: on macOS the USB devices can be listed with cgo only. So no dongle is
// found there without cgo, but the error lists the ports.
func listPorts() ([]listedPort, error) {
	names, err := serial.GetPortsList()
	if err != nil {
		return nil, err
	}
	var ports []listedPort
	for _, name := range names {
		ports = append(ports, listedPort{name: name})
	}
	return ports, nil
}
