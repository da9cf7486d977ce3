package library_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

const week = 7 * 24 * time.Hour

func keepAll(string) bool  { return true }
func keepNone(string) bool { return false }

func TestSweep(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type step struct {
		after  time.Duration // since start
		keep   func(string) bool
		before func(t *testing.T, l *library.Library, dir string)
		reopen bool
		stays  bool
	}
	again := func(t *testing.T, l *library.Library, dir string) { fetchFile(t, l, dir, testImage(3000, 1)) }
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"what is kept stays for ever", []step{{0, keepAll, nil, false, true}, {week, keepAll, nil, false, true}, {52 * week, keepAll, nil, false, true}}},
		{"what nobody refers to goes after a while", []step{{0, keepNone, nil, false, true}, {week - time.Second, keepNone, nil, false, true}, {week, keepNone, nil, false, false}}},
		{"the while begins when it is first seen unused", []step{{0, keepAll, nil, false, true}, {10 * week, keepNone, nil, false, true}, {11 * week, keepNone, nil, false, false}}},
		{"who comes back in time saves it", []step{{0, keepNone, nil, false, true}, {week / 2, keepAll, nil, false, true}, {week, keepNone, nil, false, true}, {2 * week, keepNone, nil, false, false}}},
		{"so does a fetch", []step{{0, keepNone, nil, false, true}, {week, keepNone, again, false, true}, {2 * week, keepNone, nil, false, false}}},
		{"what was noted survives a restart", []step{{0, keepNone, nil, false, true}, {week, keepNone, nil, true, false}}},
		{"and so does what was taken back", []step{{0, keepNone, nil, false, true}, {1, keepAll, nil, false, true}, {week, keepNone, nil, true, true}}},
		{"a clock that was ahead", []step{{100 * week, keepNone, nil, false, true}, {0, keepNone, nil, false, true}, {week, keepNone, nil, false, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, library.Options{Dir: dir})
			image := fetchFile(t, l, dir, testImage(3000, 1))
			for i, s := range c.steps {
				if s.reopen {
					l = open(t, library.Options{Dir: dir})
				}
				if s.before != nil {
					s.before(t, l, dir)
				}
				swept, err := l.Sweep(start.Add(s.after), s.keep, library.Allowance{For: week})
				if err != nil {
					t.Fatal(err)
				}
				_, there := l.Image(image.SHA256)
				if there != s.stays || (len(swept.Removed) == 0) != s.stays {
					t.Fatalf("step %d: there: %v, removed: %v", i+1, there, swept.Removed)
				}
				want := []string{image.SHA256 + ".json", image.SHA256 + ".ota"}
				if !s.stays {
					want = nil
				}
				if d := cmp.Diff(want, stored(t, dir)); d != "" {
					t.Fatalf("step %d: store (-want +got):\n%s", i+1, d)
				}
			}
		})
	}
}

// Only what is unused goes, and the others are not touched.
func TestSweepIsSelective(t *testing.T) {
	dir := t.TempDir()
	l := open(t, library.Options{Dir: dir})
	used, unused := fetchFile(t, l, dir, testImage(3000, 1)), fetchFile(t, l, dir, testImage(3000, 2))
	keep := func(sha256 string) bool { return sha256 == used.SHA256 }
	now := time.Now()
	if swept, err := l.Sweep(now, keep, library.Allowance{For: week}); err != nil || len(swept.Removed) != 0 {
		t.Fatal(swept.Removed, err)
	}
	swept, err := l.Sweep(now.Add(week), keep, library.Allowance{For: week})
	if err != nil || len(swept.Removed) != 1 || swept.Removed[0].SHA256 != unused.SHA256 {
		t.Fatalf("removed %v, %v", swept.Removed, err)
	}
	if d := cmp.Diff([]library.Image{used}, l.Images()); d != "" {
		t.Errorf("images (-want +got):\n%s", d)
	}
	if _, err := l.Load(unused.SHA256); !errors.Is(err, library.ErrNotStored) {
		t.Error(err)
	}
}

// What a Fetch returns after a Sweep began is not removed by it.
func TestSweepAndFetch(t *testing.T) {
	dir := t.TempDir()
	b := testImage(3000, 1)
	l := open(t, library.Options{Dir: dir})
	image := fetchFile(t, l, dir, b)
	now := time.Now()
	if _, err := l.Sweep(now, keepNone, library.Allowance{For: week}); err != nil {
		t.Fatal(err)
	}
	asked := func(string) bool {
		fetchFile(t, l, dir, b) // somebody wants it after the answer was made up
		return false
	}
	swept, err := l.Sweep(now.Add(week), asked, library.Allowance{For: week})
	if err != nil || len(swept.Removed) != 0 {
		t.Errorf("removed %v, %v", swept.Removed, err)
	}
	checkFetched(t, l, image, nil, b)

	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for i := range 25 {
				if _, err := l.Sweep(now.Add(time.Duration(i)*week), keepNone, library.Allowance{}); err != nil {
					t.Error(err)
				}
			}
		})
		wait.Go(func() {
			for range 25 {
				if _, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/" + digestOf(b)[:8] + ".ota"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	fetchFile(t, l, dir, b)
	checkFetched(t, l, image, nil, b)
}

// A file that cannot be removed is told, and does not keep the others.
func TestSweepFails(t *testing.T) {
	dir := t.TempDir()
	l := open(t, library.Options{Dir: dir})
	stuck, other := fetchFile(t, l, dir, testImage(3000, 1)), fetchFile(t, l, dir, testImage(3000, 2))
	now := time.Now()
	if _, err := l.Sweep(now, keepNone, library.Allowance{For: week}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "store", stuck.SHA256+".ota")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, nil, path, "a folder with something in it")
	swept, err := l.Sweep(now.Add(week), keepNone, library.Allowance{For: week})
	if err == nil || len(swept.Removed) != 1 || swept.Removed[0].SHA256 != other.SHA256 {
		t.Errorf("removed %v, %v", swept.Removed, err)
	}
}

// Unused images go by their size as well: the one that was noted first goes first, none that is kept, and none that was
// fetched a moment ago.
func TestSweepBySize(t *testing.T) {
	dir := t.TempDir()
	l := open(t, library.Options{Dir: dir})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var images []library.Image
	for seed := range byte(6) {
		images = append(images, fetchFile(t, l, dir, testImage(3000, seed)))
	}
	size := int64(images[0].Size)
	allowed := library.Allowance{For: week, Bytes: 2 * size}
	used := map[string]bool{images[0].SHA256: true}
	for _, image := range images[1:] { // they come out of use in this order, ten minutes after each other
		used[image.SHA256] = true
	}
	sweep := func(after time.Duration) library.Swept {
		t.Helper()
		swept, err := l.Sweep(now.Add(after), func(sha256 string) bool { return used[sha256] }, allowed)
		if err != nil {
			t.Fatal(err)
		}
		return swept
	}
	check := func(what string, swept library.Swept, surplus int64, gone ...int) {
		t.Helper()
		var want, got []string
		for _, i := range gone {
			want = append(want, images[i].SHA256)
		}
		for _, image := range swept.Removed {
			got = append(got, image.SHA256)
		}
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" || swept.Surplus != surplus {
			t.Errorf("%s: surplus %d, want %d; removed (-want +got):\n%s", what, swept.Surplus, surplus, d)
		}
	}
	check("all are used", sweep(0), 0)
	delete(used, images[4].SHA256)
	check("one is unused", sweep(time.Minute), 0)
	delete(used, images[2].SHA256)
	check("as much as may be", sweep(2*time.Minute), 0)
	delete(used, images[5].SHA256)
	delete(used, images[3].SHA256)
	check("more, of which one is unused for long enough", sweep(3*time.Minute), size, 4)
	fetchFile(t, l, dir, testImage(3000, 2)) // somebody wants it again
	check("the next one was fetched again", sweep(4*time.Minute), size)
	check("the others are unused for long enough", sweep(5*time.Minute), 0, 3)
	check("no more than may be", sweep(50*time.Minute), 0)
	check("by age all go", sweep(2*week), 0, 2, 5)
	if _, there := l.Image(images[0].SHA256); !there || len(l.Images()) != 2 {
		t.Errorf("%d images are left", len(l.Images()))
	}
}
