//go:build !linux

package background

// GiveWay does nothing where threads have no priority of their own.
func GiveWay() {}
