//go:build !cgo

package zigate

import "go.bug.st/serial"

// listPorts tells the names only: what is behind them takes cgo on macOS. So no dongle is found there without
// it, but the error lists what can be configured.
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
