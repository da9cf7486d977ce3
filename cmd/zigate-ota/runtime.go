package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbagePercent is how much garbage may come to what is live before it is collected. The service shares
	// small computers with a broker and Home Assistant: rather more collecting than more memory.
	garbagePercent = 25
	// reserveBytes counts as live beside what really is, 3 MB in a home of a hundred devices: of that alone,
	// a quarter would be collected several times for each image that is fetched, and a collection costs block
	// requests microseconds.
	reserveBytes = 12 << 20
	// spareProcessors is for how many threads more than there are cores Go code may run at once. Hashing an
	// image or writing the state out takes tens of milliseconds; with every place taken, a block request that
	// has come waits until one of them is interrupted, up to 10 ms. With places to spare the operating system
	// lets the reader run at once.
	spareProcessors = 4
)

// tuneRuntime makes the Go runtime fit the service, where the environment (GOGC, GOMAXPROCS) does not say
// otherwise. What it returns must be kept alive for as long as the service runs. It is never touched, so that
// the operating system gives it no memory.
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

const (
	// spareBytes may lie unused for the next garbage; it is about what comes together
	// between two collections.
	spareBytes  = 6 << 20
	spareLooked = 10 * time.Second
)

// returnMemory gives the operating system back what a burst has left unused, such as a hundred images that
// were added or a thousand devices that joined, until ctx is done. The Go runtime does so of its own accord
// only after the next collection, which in a service that idles is minutes away.
func returnMemory(ctx context.Context) {
	unused := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	look := time.NewTicker(spareLooked)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if metrics.Read(unused); unused[0].Value.Uint64() > spareBytes {
			debug.FreeOSMemory()
		}
	}
}
