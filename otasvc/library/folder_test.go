package library_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// headed is an OTA file with this header, around a payload that the seed makes its own.
func headed(seed byte, change func(h *otafile.Header)) []byte {
	h := otafile.Header{ManufacturerCode: 0x1234, ImageType: 0x0042, FileVersion: 0x01020304, StackVersion: 2}
	if change != nil {
		change(&h)
	}
	return otafile.Build(h, []byte{1, 2, 3, seed}, otafile.WithIntegrityCode())
}

// shown is a folder's state in short: "name" of an image, "name: what is wrong".
func shown(state *library.FolderState) []string {
	all := []string{}
	for _, image := range state.Images {
		all = append(all, image.Name)
	}
	for _, fault := range state.Faults {
		all = append(all, fault.Name+": "+fault.Err)
	}
	return all
}

// checkFolder compares a state with names, of which those with a colon are the beginnings of faults.
func checkFolder(t *testing.T, state *library.FolderState, want ...string) {
	t.Helper()
	got := shown(state)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		name, says, fault := strings.Cut(want[i], ": ")
		ok = got[i] == want[i] || fault && strings.HasPrefix(got[i], name+": ") && strings.Contains(got[i], says)
	}
	if !ok {
		t.Fatalf("the folder has %q, want %q", got, want)
	}
}

// inFolder runs a folder without a watcher in fake time.
func inFolder(t *testing.T, options library.Options, before func(dir string), test func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder)) {
	t.Helper()
	dir := t.TempDir()
	if before != nil {
		before(dir)
	}
	synctest.Test(t, func(t *testing.T) {
		var log recorder
		options.Dir, options.Logger = dir, log.logger()
		var changes atomic.Int32
		f := library.NewFolder(open(t, options), func() { changes.Add(1) }).Unwatched()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		test(t, dir, f, &changes, &log)
	})
}

// pass lets fake time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const (
	rescan = time.Minute // what it takes without a watcher to notice a change
	settle = 3 * time.Second
)

func TestFolder(t *testing.T) {
	one := testImage(3000, 1)
	damaged := append(one[:len(one)-1:len(one)-1], one[len(one)-1]^1)
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  []string
	}{
		{"nothing", nil, nil},
		{"images", map[string][]byte{"b.zigbee": one, "a": headed(1, nil)}, []string{"a", "b.zigbee"}},
		{"in subfolders", map[string][]byte{"vendor/x/a.ota": one}, []string{"vendor/x/a.ota"}},
		{"in a container", map[string][]byte{"a.gz": gzipOf(t, one)}, []string{"a.gz"}},
		{"not the store and the drivers", map[string][]byte{"store/a.ota": one, "driver/Lamp/a.ota": one, "vendor/store/a.ota": one, "vendor/driver/b.ota": one},
			[]string{"vendor/driver/b.ota", "vendor/store/a.ota"}},
		{"nothing hidden", map[string][]byte{".a.ota": one, ".git/a.ota": one, "x/.rsync~tmp": one}, nil},
		{"nothing that is being written", map[string][]byte{"a.ota.part": one[:100], "b.tmp": one[:100], "c.crdownload": nil, "d.ota~": one, "e.FILEPART": nil}, nil},
		{"documents are no fault", map[string][]byte{"readme.txt": []byte("hello"), "index.JSON": []byte("[]"), "a.sha256": []byte("00")}, nil},
		{"but an image may be called like one", map[string][]byte{"a.bin.txt": one}, []string{"a.bin.txt"}},
		{"no image", map[string][]byte{"a.ota": []byte("hello")}, []string{"a.ota: not a Zigbee OTA file"}},
		{"empty", map[string][]byte{"a.ota": nil}, []string{"a.ota: it is empty"}},
		{"cut short", map[string][]byte{"a.ota": one[:100]}, []string{"a.ota: cut short"}},
		{"failed check", map[string][]byte{"a.ota": damaged, "b.ota": one}, []string{"b.ota", "a.ota: AES-MMO integrity code failed"}},
		{"too large", map[string][]byte{"a.ota": make([]byte, 60_000)}, []string{"a.ota: has 60000 bytes, at most 50000"}},
		{"codes for any", map[string][]byte{"a.ota": headed(1, func(h *otafile.Header) { h.ManufacturerCode = 0xFFFF })}, []string{"a.ota"}},
		{"Thread", map[string][]byte{"a.ota": headed(1, func(h *otafile.Header) { h.HeaderVersion = 0x0200 })}, []string{"a.ota: Thread"}},
		{"the same twice", map[string][]byte{"a.ota": one, "b.ota": one}, []string{"a.ota", "b.ota"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			write := func(dir string) {
				for name, content := range c.files {
					writeFile(t, content, dir, name)
				}
			}
			inFolder(t, library.Options{MaxBytes: 50_000}, write, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
				pass(settle)
				pass(time.Hour) // what is wrong is told after a while, and once
				checkFolder(t, f.State(), c.want...)
				told := strings.Count(log.lines.String(), "cannot be used")
				if faults := len(f.State().Faults); told != faults {
					t.Errorf("%d faults were told %d times:\n%s", faults, told, log.lines.String())
				}
			})
		})
	}
}

func TestFolderImages(t *testing.T) {
	b := headed(1, func(h *otafile.Header) { h.MinHardwareVersion, h.MaxHardwareVersion = ptr(uint16(1)), ptr(uint16(2)) })
	inFolder(t, library.Options{}, func(dir string) { writeFile(t, gzipOf(t, b), dir, "a.gz") }, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(settle)
		checkFolder(t, f.State(), "a.gz")
		image := f.State().Images[0]
		if image.SHA256 != digestOf(b) || int(image.Size) != len(b) || *image.Header.MaxHardwareVersion != 2 || image.Wrapper != "gzip" || len(image.Checks) != 1 {
			t.Errorf("%+v", image)
		}
		if names := stored(t, dir); names != nil {
			t.Errorf("the store has %v although nobody needs it", names)
		}
	})
}

// Files come, change and go.
func TestFolderChanges(t *testing.T) {
	one, two := headed(1, nil), headed(2, nil)
	inFolder(t, library.Options{}, nil, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(settle)
		checkFolder(t, f.State())

		writeFile(t, one, dir, "a.ota")
		pass(rescan + settle)
		checkFolder(t, f.State(), "a.ota")
		before := f.State()

		writeFile(t, append(two, "behind it"...), dir, "a.ota")
		writeFile(t, one, dir, "sub", "b.ota")
		pass(rescan + settle)
		checkFolder(t, f.State(), "a.ota", "sub/b.ota")
		if f.State().Images[0].SHA256 != digestOf(two) || before.Images[0].SHA256 != digestOf(one) {
			t.Error("the new state has the old image, or the old one the new")
		}

		if err := os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "driver")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "a.ota")); err != nil {
			t.Fatal(err)
		}
		pass(rescan)
		checkFolder(t, f.State())
		so := changes.Load()
		pass(24 * time.Hour)
		if so < 3 || changes.Load() != so {
			t.Errorf("%d changes, and %d while nothing happened", so, changes.Load()-so)
		}
	})
}

// A copy that takes its time, with pauses, is no fault at any time; it is there when it is whole.
func TestFolderSlowCopy(t *testing.T) {
	b := testImage(3000, 1)
	inFolder(t, library.Options{}, nil, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		path := filepath.Join(dir, "a.ota")
		for at := 500; at < len(b); at += 500 {
			writeFile(t, b[:at], path)
			for range 12 {
				pass(time.Second)
				checkFolder(t, f.State())
			}
		}
		writeFile(t, b, path)
		pass(rescan + settle)
		checkFolder(t, f.State(), "a.ota")
		if log.says(slog.LevelWarn, "") {
			t.Errorf("something was wrong about it:\n%s", log.lines.String())
		}
	})
}

// A broken file is told after a while, once; mended, it is an image; removed, it is forgotten.
func TestFolderBrokenFile(t *testing.T) {
	b := testImage(3000, 1)
	inFolder(t, library.Options{}, func(dir string) { writeFile(t, b[:1000], dir, "a.ota") }, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(14 * time.Second)
		checkFolder(t, f.State())
		pass(2 * time.Second)
		checkFolder(t, f.State(), "a.ota: cut short")
		pass(time.Hour)
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
		writeFile(t, b, dir, "a.ota")
		pass(rescan + settle)
		checkFolder(t, f.State(), "a.ota")
		writeFile(t, b[:1000], dir, "a.ota")
		pass(rescan + settle)
		checkFolder(t, f.State(), "a.ota: cut short")
		if err := os.Remove(filepath.Join(dir, "a.ota")); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		checkFolder(t, f.State())
	})
}

// What cannot become an image by more bytes is told as soon as it has settled.
func TestFolderTellsSoon(t *testing.T) {
	b := testImage(3000, 1)
	inFolder(t, library.Options{}, nil, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(settle)
		writeFile(t, []byte("hello"), dir, "a.ota")
		writeFile(t, append(b[:len(b)-1:len(b)-1], b[len(b)-1]^1), dir, "b.ota")
		writeFile(t, b, dir, "c.ota")
		pass(18 * time.Second) // without a watcher: fifteen until the next look, two to settle
		checkFolder(t, f.State(), "c.ota", "a.ota: not a Zigbee OTA file", "b.ota: AES-MMO integrity code failed")
		if err := os.Rename(filepath.Join(dir, "c.ota"), filepath.Join(dir, "d.ota")); err != nil {
			t.Fatal(err)
		}
		pass(18 * time.Second)
		checkFolder(t, f.State(), "d.ota", "a.ota: not a Zigbee OTA file", "b.ota: AES-MMO integrity code failed")
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 2 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
	})
}

// What has been there for long when the service starts needs not settle first.
func TestFolderAtStart(t *testing.T) {
	old := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // fake time begins in 2000
	inFolder(t, library.Options{}, func(dir string) {
		path := writeFile(t, testImage(3000, 1), dir, "a.ota")
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		writeFile(t, testImage(3000, 2), dir, "new.ota")
	}, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		synctest.Wait()
		checkFolder(t, f.State(), "a.ota")
		pass(settle)
		checkFolder(t, f.State(), "a.ota", "new.ota")
	})
}

func TestFolderLinks(t *testing.T) {
	outside := t.TempDir()
	one := writeFile(t, testImage(3000, 1), outside, "secret.ota")
	inFolder(t, library.Options{}, func(dir string) {
		writeFile(t, testImage(3000, 2), dir, "a.ota")
		for link, target := range map[string]string{"inside.ota": "a.ota", "outside.ota": one, "dangling.ota": "nothing", "folder": outside} {
			if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe.ota"), 0o644); err != nil {
			t.Fatal(err)
		}
		socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(socket)
		if err := syscall.Bind(socket, &syscall.SockaddrUnix{Name: filepath.Join(dir, "socket.ota")}); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("pipe.ota", filepath.Join(dir, "to the pipe.ota")); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(time.Hour)
		checkFolder(t, f.State(), "a.ota", "inside.ota", "dangling.ota: no such file", "folder: escapes", "outside.ota: escapes")
	})
}

// When the folder is away nothing is forgotten, and that is told once; so is its return.
func TestFolderAway(t *testing.T) {
	inFolder(t, library.Options{}, func(dir string) { writeFile(t, testImage(3000, 1), dir, "a.ota") }, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(settle)
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		checkFolder(t, f.State(), "a.ota")
		if n := strings.Count(log.lines.String(), "level=WARN"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log.lines.String())
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		pass(rescan)
		checkFolder(t, f.State(), "a.ota")
		if !log.says(slog.LevelInfo, "can be read again") {
			t.Error(log.lines.String())
		}
	})
}

func TestFolderBounds(t *testing.T) {
	deep := strings.Repeat("d/", 15)
	inFolder(t, library.Options{}, func(dir string) {
		for _, name := range []string{deep + "a.ota", deep + "d/d/b.ota"} {
			writeFile(t, testImage(3000, 1), dir, filepath.FromSlash(name))
		}
	}, func(t *testing.T, dir string, f library.Folder, changes *atomic.Int32, log *recorder) {
		pass(settle)
		checkFolder(t, f.State(), deep+"a.ota")
	})
}

// With the system's own notices, in real time: files and folders are found long before the next look.
func TestFolderIsWatched(t *testing.T) {
	dir := t.TempDir()
	changed := make(chan struct{}, 100)
	f := library.NewFolder(open(t, library.Options{Dir: dir}), func() { changed <- struct{}{} })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	waitFor := func(want ...string) {
		t.Helper()
		late := time.After(45 * time.Second) // less than the time to the next look
		for {
			if d := cmp.Diff(append([]string{}, want...), shown(f.State())); d == "" {
				return
			}
			select {
			case <-changed:
			case <-late:
				t.Fatalf("the folder has %q, want %q", shown(f.State()), want)
			}
		}
	}
	time.Sleep(time.Second) // so that it is the notice that it is found by, and not the first look
	writeFile(t, testImage(3000, 1), dir, "a.ota")
	waitFor("a.ota")
	writeFile(t, testImage(3000, 2), dir, "vendor", "lamps", "b.ota")
	waitFor("a.ota", "vendor/lamps/b.ota")
	if err := os.Rename(filepath.Join(dir, "a.ota"), filepath.Join(dir, "vendor", "c.ota")); err != nil {
		t.Fatal(err)
	}
	waitFor("vendor/c.ota", "vendor/lamps/b.ota")
	if err := os.RemoveAll(filepath.Join(dir, "vendor")); err != nil {
		t.Fatal(err)
	}
	waitFor()
}
