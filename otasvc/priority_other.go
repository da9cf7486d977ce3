//go:build !linux

package otasvc

// giveWay does nothing where threads have no priority of their own.
func giveWay() {}
