//go:build !darwin || cgo

package zigate

import "go.bug.st/serial/enumerator"

// listPorts asks the operating system for serial ports and their USB devices.
func listPorts() ([]listedPort, error) {
	details, err := enumerator.GetDetailedPortsList()
	if err != nil {
		return nil, err
	}
	var ports []listedPort
	for _, d := range details {
		if d.Name == "" { // the library has not found out what it is
			continue
		}
		ports = append(ports, listedPort{
			name: d.Name, usb: d.IsUSB, vendor: d.VID, product: d.PID, text: d.Product,
		})
	}
	return ports, nil
}
