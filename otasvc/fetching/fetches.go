// Package fetching has images fetched for those who wait for them: one that several wait for is fetched once,
// and given up when the last of them does not wait any more. How far a fetch has come is told to all of them.
//
// It does not know how an image is fetched, who waits for it, or what becomes of it then.
package fetching

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// Owner is the goroutine to which everything here belongs: methods are called on it, and waiters told.
type Owner interface {
	// Now is the time. Any goroutine may call it.
	Now() time.Time
	// Context is done when nothing is to be fetched any more.
	Context() context.Context
	// Async runs work on a goroutine of its own, and then, on the owner, what work returned. Work that is to
	// end early takes a context of its own.
	Async(work func() func())
	// Post has something done on the owner. Any goroutine may call it.
	Post(f func())
}

// Image is an image to be fetched.
type Image struct {
	// Key is the same for two images only where a fetch of the one is as good as one of the other.
	Key string
	// Many says that it is one of many that are wanted at once: then only a few are fetched at a time.
	Many bool
	// Get fetches the image, on a goroutine of its own, and calls progress as bytes arrive; total is -1 while
	// it is not known.
	Get func(ctx context.Context, progress func(done, total int64)) (library.Image, error)
	// Ended takes what came of it before the waiters do; it may be nil. It is not called where the fetch was
	// given up.
	Ended func(error)
}

// Waiter is somebody who waits for an image.
type Waiter struct {
	// Progress takes how many bytes of the download are there, once a second at most; total is -1 while it is
	// not known. It may be nil.
	Progress func(done, total int64)
	// Done takes the image, or why there is none.
	Done func(library.Image, error)
}

// manyAtOnce is how many of the images that are wanted in numbers are fetched at the same time.
const manyAtOnce = 4

// progressInterval is how often a waiter is told at most how far its fetch has come.
const progressInterval = time.Second

// Fetches is every image that somebody waits for.
type Fetches struct {
	owner    Owner
	byKey    map[string]*fetch
	queue    []*fetch // of those that are wanted in numbers and are not being fetched yet, in order
	underway int      // of those that are wanted in numbers
}

// New returns fetches without any.
func New(owner Owner) *Fetches { return &Fetches{owner: owner, byKey: map[string]*fetch{}} }

// fetch is an image that somebody waits for.
type fetch struct {
	image       Image
	waiters     []*Waiting
	cancel      context.CancelFunc // nil while it stands in the queue
	counted     bool               // among those that are under way
	done, total int64              // as told last; done is 0 while nothing was told
}

// Waiting is somebody's place at a fetch.
type Waiting struct {
	fetches *Fetches
	fetch   *fetch
	waiter  Waiter
}

// Wait has an image fetched for somebody, unless that is being done already. The waiter is told how far it
// is at once where that is known, and what came of it later.
func (fs *Fetches) Wait(image Image, w Waiter) *Waiting {
	f := fs.byKey[image.Key]
	if f == nil {
		f = &fetch{image: image}
		fs.byKey[image.Key] = f
		fs.queue = append(fs.queue, f)
	}
	f.image.Many = f.image.Many && image.Many
	place := &Waiting{fetches: fs, fetch: f, waiter: w}
	f.waiters = append(f.waiters, place)
	if f.done > 0 && w.Progress != nil {
		w.Progress(f.done, f.total)
	}
	fs.begin()
	return place
}

// Leave says that nobody waits in this place any more: nothing is told there from now on. It does nothing
// where the fetch is over, or the place is nil.
func (p *Waiting) Leave() {
	if p == nil || !slices.Contains(p.fetch.waiters, p) {
		return
	}
	f := p.fetch
	f.waiters = slices.DeleteFunc(f.waiters, func(other *Waiting) bool { return other == p })
	if len(f.waiters) > 0 {
		return
	}
	fs := p.fetches
	fs.drop(f)
	if f.cancel != nil {
		f.cancel()
	}
	fs.owner.Post(fs.begin) // others may be about to leave, too
}

// begin begins those fetches whose turn it is.
func (fs *Fetches) begin() {
	for _, f := range slices.Clone(fs.queue) {
		if f.image.Many && fs.underway >= manyAtOnce {
			continue
		}
		fs.queue = slices.DeleteFunc(fs.queue, func(other *fetch) bool { return other == f })
		fs.start(f)
	}
}

// start has an image fetched.
func (fs *Fetches) start(f *fetch) {
	if f.image.Many {
		f.counted = true
		fs.underway++
	}
	ctx, cancel := context.WithCancel(fs.owner.Context())
	f.cancel = cancel
	progress := fs.progress(f)
	fs.owner.Async(func() func() {
		image, err := f.image.Get(ctx, progress)
		return func() {
			cancel()
			fs.ended(f, image, err)
		}
	})
}

// progress returns what takes the progress of a fetch, on the goroutine that fetches.
func (fs *Fetches) progress(f *fetch) func(done, total int64) {
	var next time.Time
	var posted atomic.Bool // what was told last is still on its way
	return func(done, total int64) {
		now := fs.owner.Now()
		if now.Before(next) || posted.Swap(true) {
			return
		}
		next = now.Add(progressInterval)
		fs.owner.Post(func() {
			posted.Store(false)
			fs.tell(f, done, total)
		})
	}
}

// tell tells those who wait for an image how far it is.
func (fs *Fetches) tell(f *fetch, done, total int64) {
	if fs.byKey[f.image.Key] != f {
		return
	}
	f.done = done
	f.total = total
	for _, p := range slices.Clone(f.waiters) {
		if p.waiter.Progress != nil && slices.Contains(f.waiters, p) {
			p.waiter.Progress(done, total)
		}
	}
}

// ended tells those who wait for an image what came of it, unless nobody does any more.
func (fs *Fetches) ended(f *fetch, image library.Image, err error) {
	if fs.byKey[f.image.Key] != f {
		return
	}
	fs.drop(f)
	if f.image.Ended != nil {
		f.image.Ended(err)
	}
	for len(f.waiters) > 0 { // one may leave while another one is told
		p := f.waiters[0]
		f.waiters = f.waiters[1:]
		p.waiter.Done(image, err)
	}
	fs.begin()
}

// drop forgets a fetch: who wants its image from now on has it fetched anew.
func (fs *Fetches) drop(f *fetch) {
	if fs.byKey[f.image.Key] != f {
		return // it is over, and its waiters are being told
	}
	delete(fs.byKey, f.image.Key)
	fs.queue = slices.DeleteFunc(fs.queue, func(other *fetch) bool { return other == f })
	if f.counted {
		fs.underway--
	}
}
