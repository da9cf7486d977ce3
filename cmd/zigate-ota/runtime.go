package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// garbagePercent is how much garbage may come to what is live before it is collected. The service shares small computers
	// with a broker and Home Assistant: rather more collecting than more memory.
	garbagePercent = 25
	// reserveBytes counts as live beside what really is, 3 MB in a home of a hundred devices: of that alone, a quarter would
	// be collected several times for each image that is fetched, and a collection costs block requests microseconds.
	reserveBytes = 24 << 20
	// spareProcessors is for how many threads more than there are cores Go code may run at once. Hashing an image or
	// writing the state out takes tens of milliseconds; with every place taken, a block request that has come waits until
	// one of them is interrupted, up to 10 ms. With places to spare the operating system lets the reader run at once.
	spareProcessors = 4
)

// tuneRuntime makes the Go runtime fit the service, where the environment (GOGC, GOMAXPROCS) does not say otherwise. What
// it returns must be kept alive for as long as the service runs. It is never touched, so that the operating system gives
// it no memory.
func tuneRuntime() (reserve []byte) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
		reserve = make([]byte, reserveBytes)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + spareProcessors)
	}
	return reserve
}
