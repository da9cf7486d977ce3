package library

import (
	"sync"
	"sync/atomic"
)

// reading says when everything in which a catalog looks was read for the first time, or could not be.
type reading struct {
	left atomic.Int32
	over chan struct{} // closed when nothing is left
}

// newReading is the reading of so many places.
func newReading(places int) *reading {
	r := &reading{over: make(chan struct{})}
	r.left.Store(int32(places))
	return r
}

// place is one of the places. It is to be called when that was read, or could not be, as often as one likes.
func (r *reading) place() func() {
	return sync.OnceFunc(func() {
		if r.left.Add(-1) == 0 {
			close(r.over)
		}
	})
}
