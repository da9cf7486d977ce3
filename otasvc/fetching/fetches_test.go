package fetching_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// owner does what was posted when the test lets it.
type owner struct {
	ctx    context.Context
	posted chan func()
}

func (o *owner) Now() time.Time           { return time.Now() }
func (o *owner) Context() context.Context { return o.ctx }
func (o *owner) Post(f func())            { o.posted <- f }
func (o *owner) Async(work func() func()) {
	go func() { o.Post(work()) }()
}

// run does what is posted until nothing further comes for a while.
func (o *owner) run(d time.Duration) {
	for end := time.After(d); ; {
		select {
		case f := <-o.posted:
			f()
		case <-end:
			return
		}
	}
}

// bench is fetches of images that take a time, each some bytes a second.
type bench struct {
	*owner
	*fetching.Fetches
	begun, givenUp []string
	told           []string
	progress       map[string]int
}

func inBench(t *testing.T, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &owner{ctx: t.Context(), posted: make(chan func(), 1000)}
		f(&bench{owner: o, Fetches: fetching.New(o), progress: map[string]int{}})
		synctest.Wait()
	})
}

var errTaken = errors.New("it is taken")

// image is one that is there after so many seconds; a negative number stands for one that cannot be had then.
func (b *bench) image(key string, seconds int, many bool) fetching.Image {
	return fetching.Image{
		Key:  key,
		Many: many,
		Get: func(ctx context.Context, progress func(done, total int64)) (library.Image, error) {
			b.Post(func() { b.begun = append(b.begun, key) })
			for range 10 * max(seconds, -seconds) {
				select {
				case <-time.After(100 * time.Millisecond):
					progress(10, 100)
				case <-ctx.Done():
					b.Post(func() { b.givenUp = append(b.givenUp, key) })
					return library.Image{}, ctx.Err()
				}
			}
			if seconds < 0 {
				return library.Image{}, errTaken
			}
			return library.Image{SHA256: key}, nil
		},
		Ended: func(err error) { b.told = append(b.told, fmt.Sprint("ended ", key, " ", err)) },
	}
}

// wait has somebody wait for an image.
func (b *bench) wait(who, key string, seconds int, many bool) *fetching.Waiting {
	return b.Wait(b.image(key, seconds, many), fetching.Waiter{
		Progress: func(int64, int64) { b.progress[who]++ },
		Done: func(image library.Image, err error) {
			b.told = append(b.told, fmt.Sprint(who, " ", image.SHA256, " ", err))
		},
	})
}

// Several who wait for one image have it fetched once, and are told of it in order; who comes later sees at once how
// far it is.
func TestOneFetchForAll(t *testing.T) {
	inBench(t, func(b *bench) {
		b.wait("first", "a", 10, false)
		b.run(10 * time.Millisecond)
		b.wait("other", "b", -3, false)
		b.run(5 * time.Second)
		b.wait("second", "a", 10, false)
		if b.progress["second"] != 1 || b.progress["first"] < 4 || b.progress["first"] > 6 {
			t.Errorf("progress was told %v times", b.progress)
		}
		b.run(time.Minute)
		want := []string{"ended b it is taken", "other  it is taken", "ended a <nil>", "first a <nil>", "second a <nil>"}
		if diff := cmp.Diff(want, b.told); diff != "" {
			t.Error(diff)
		}
		b.wait("third", "a", 1, false)
		b.run(time.Minute)
		if diff := cmp.Diff([]string{"a", "b", "a"}, b.begun); diff != "" {
			t.Error(diff)
		}
	})
}

// A fetch is given up when the last who waits has left, not before; who comes then has it begun anew.
func TestGivenUp(t *testing.T) {
	inBench(t, func(b *bench) {
		first := b.wait("first", "a", 10, false)
		second := b.wait("second", "a", 10, false)
		b.run(2 * time.Second)
		first.Leave()
		first.Leave()
		b.run(2 * time.Second)
		if len(b.givenUp) > 0 {
			t.Errorf("given up: %v", b.givenUp)
		}
		second.Leave()
		b.wait("third", "a", 10, false)
		b.run(time.Minute)
		if diff := cmp.Diff([]string{"a"}, b.givenUp); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"ended a <nil>", "third a <nil>"}, b.told); diff != "" {
			t.Error(diff)
		}
		var nobody *fetching.Waiting
		nobody.Leave()
	})
}

// Who leaves while others are told is not told, and who begins to wait then has the image fetched anew.
func TestLeavingWhileTold(t *testing.T) {
	inBench(t, func(b *bench) {
		var second *fetching.Waiting
		b.Wait(b.image("a", 1, false), fetching.Waiter{Done: func(library.Image, error) {
			second.Leave()
			b.wait("third", "a", 1, false)
		}})
		second = b.wait("second", "a", 1, false)
		b.run(time.Minute)
		if diff := cmp.Diff([]string{"ended a <nil>", "ended a <nil>", "third a <nil>"}, b.told); diff != "" {
			t.Error(diff)
		}
	})
}

// Of images that are wanted in numbers a few are fetched at a time, in their order. One that somebody asks for by name
// does not wait, and those whose waiters have left are never begun.
func TestManyAtATime(t *testing.T) {
	inBench(t, func(b *bench) {
		var places []*fetching.Waiting
		for i := range 8 {
			places = append(places, b.wait(fmt.Sprint(i), fmt.Sprint(i), 10, true))
		}
		b.run(5 * time.Second)
		b.wait("named", "x", 10, false)
		b.wait("named", "7", 10, false)
		places[4].Leave()
		b.run(time.Second)
		slices.Sort(b.begun[:4])
		if diff := cmp.Diff([]string{"0", "1", "2", "3"}, b.begun[:4]); diff != "" || len(b.begun) != 6 {
			t.Errorf("begun: %v", b.begun)
		}
		b.run(5 * time.Second)
		slices.Sort(b.begun)
		if diff := cmp.Diff([]string{"0", "1", "2", "3", "5", "6", "7", "x"}, b.begun); diff != "" {
			t.Error(diff)
		}
		for _, place := range places {
			place.Leave()
		}
		b.run(time.Minute)
		for i := range 4 {
			b.wait("again", fmt.Sprint("again ", i), 1, true)
		}
		b.begun = nil
		b.run(500 * time.Millisecond)
		if len(b.begun) != 4 {
			t.Errorf("after all that %v are begun at once", b.begun)
		}
		b.run(time.Minute)
	})
}
