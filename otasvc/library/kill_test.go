package library_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// killedDir, in the environment of this test's program, makes it a process that does nothing but fetch images
// into a library there, until it is killed. It asks the server at killedURL for one after the other.
const (
	killedDir = "LIBRARY_TEST_KILLED_DIR"
	killedURL = "LIBRARY_TEST_KILLED_URL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		fmt.Fprintln(os.Stderr, fetchUntilKilled(dir, os.Getenv(killedURL)))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// fetchUntilKilled fetches images, adds to their reports, and removes them, as a service does in its life. It
// tells on its standard output what is on the disk for good.
func fetchUntilKilled(dir, url string) error {
	l, err := library.Open(library.Options{Dir: dir})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		var request library.Request
		request.URL = fmt.Sprintf("%s/%d", url, n%5)
		image, err := l.Fetch(context.Background(), request)
		if err != nil {
			return err
		}
		fmt.Println("stored", image.SHA256)
		if _, err := l.Load(image.SHA256); err != nil {
			return err
		}
		now := time.Now()
		if n%3 == 0 {
			fmt.Println("removing", image.SHA256)
			for range 2 {
				now = now.Add(time.Hour)
				if _, err := l.Sweep(now, func(sha256 string) bool { return sha256 != image.SHA256 }, library.Allowance{For: time.Minute}); err != nil {
					return err
				}
			}
		}
	}
}

// Killed at any moment of a fetch, of a store or of a removal, the library opens again with whole images,
// nothing else, and all that it had said were kept.
func TestStoreAfterRealKills(t *testing.T) {
	images := make([][]byte, 5)
	for i := range images {
		images[i] = testImage(20_000+i*150_000, byte(i))
	}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		image := images[r.URL.Path[1]-'0']
		w.Write(image[:len(image)/2])
		w.(http.Flusher).Flush()
		time.Sleep(time.Duration(rand.Int64N(int64(time.Millisecond))))
		w.Write(image[len(image)/2:])
	})
	dir := t.TempDir()
	interrupted := 0
	for range 25 {
		kept := killAfter(t, dir, server.URL, time.Duration(rand.Int64N(int64(30*time.Millisecond))))
		if slices.ContainsFunc(storedExt(t, dir), func(ext string) bool { return ext == ".tmp" }) {
			interrupted++
		}
		var log recorder
		l := open(t, library.Options{Dir: dir, Logger: log.logger()})
		for sha256, is := range kept {
			if _, ok := l.Image(sha256); is && !ok {
				t.Fatalf("%s was kept, and is gone:\n%s", sha256, log.lines.String())
			}
		}
		for _, image := range l.Images() {
			b, err := l.Load(image.SHA256)
			i := slices.IndexFunc(images, func(b []byte) bool { return digestOf(b) == image.SHA256 })
			if err != nil || i < 0 || !slices.Equal(b, images[i]) {
				t.Fatalf("%v: %v", image.SHA256, err)
			}
			if len(image.Checks) == 0 || image.StoredAt.IsZero() || !strings.HasPrefix(image.URL, server.URL) {
				t.Fatalf("the report of a kept image is gone: %+v", image)
			}
		}
		if log.says(4, "") || log.says(8, "") {
			t.Fatalf("the store was not whole:\n%s", log.lines.String())
		}
		if got, want := len(storedExt(t, dir)), 2*len(l.Images()); got != want {
			t.Fatalf("%d files for %d images: %v", got, len(l.Images()), stored(t, dir))
		}
	}
	t.Logf("%d of 25 kills left a file that was being written", interrupted)
}

// killAfter runs a process that fetches, kills it some time after it has begun, and returns which images it
// said it had stored: true for those that it had not begun to remove.
func killAfter(t *testing.T, dir, url string, after time.Duration) map[string]bool {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(program)
	process.Env = append(os.Environ(), killedDir+"="+dir, killedURL+"="+url)
	var errs strings.Builder
	process.Stderr = &errs
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	kept := map[string]bool{}
	for told := 0; lines.Scan(); told++ {
		if told == 0 {
			time.AfterFunc(after, func() { process.Process.Kill() })
		}
		what, sha256, _ := strings.Cut(lines.Text(), " ")
		kept[sha256] = what == "stored"
	}
	var exit *exec.ExitError
	if err := process.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("it ended by itself: %v\n%s", err, &errs)
	}
	return kept
}

// storedExt are the extensions of the files in the store.
func storedExt(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, name := range stored(t, dir) {
		all = append(all, filepath.Ext(name))
	}
	return all
}
