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
	// garbagePercent is how much garbage may gather, in percent of the live memory, before it is collected.
	// The service shares small computers with a broker and Home Assistant, so it spends processor time to
	// save memory.
	garbagePercent = 25
	// reserveBytes is the size of memory that counts as live but is never used. In a home of a hundred
	// devices 3 MB are live; with a quarter of that as the limit, each image that is fetched would cause
	// several collections, and a collection delays block requests by microseconds.
	reserveBytes = 12 << 20
	// spareProcessors is how many threads more than there are cores may run Go code at once. Hashing an
	// image or writing the state takes tens of milliseconds. With one thread a core, a block request waits
	// until such work is interrupted, up to 10 ms. With spare threads the operating system runs the reader
	// at once.
	spareProcessors = 4
)

// tuneRuntime sets the Go runtime up for the service, unless the environment does (GOGC, GOMAXPROCS). The
// caller must keep the reserve alive for as long as the service runs. Nothing writes to the reserve, so the
// operating system gives it no memory.
func tuneRuntime() (reserve []byte) {
	runtime.MemProfileRate = 0 // nobody reads the profile, whose table takes more than a megabyte
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
	// spareBytes is how much unused memory is kept for the next garbage. About twice as much gathers between
	// two collections.
	spareBytes  = 3 << 20
	spareLooked = 10 * time.Second
)

// returnMemory gives the operating system back what a burst has left unused, such as a hundred images that
// were added or a thousand devices that joined, until ctx is done. The Go runtime does so only after the
// next collection, which in an idle service is minutes away.
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
