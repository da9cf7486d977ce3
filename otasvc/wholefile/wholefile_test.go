package wholefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

func check(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"+wholefile.Suffix)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// The content is replaced, whatever a power cut has left beside it, and is for the owner alone.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for _, content := range []string{"a long first content", "short", ""} {
		if err := os.WriteFile(path+wholefile.Suffix, []byte("half of something much longer than that"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := wholefile.Write(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		check(t, path, content)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info.Mode(), err)
	}
}

// What cannot be written leaves the old content.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	if err := wholefile.Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	// What has the name for the new content is no file.
	if err := os.MkdirAll(path+wholefile.Suffix+"/full", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(path, []byte("new")); err == nil {
		t.Error("nothing went wrong, though there was no place for the new content")
	}
	if err := os.RemoveAll(path + wholefile.Suffix); err != nil {
		t.Fatal(err)
	}
	check(t, path, "old")

	// The file cannot be replaced, because it is a folder with something in it.
	if err := os.MkdirAll(filepath.Join(dir, "folder", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(filepath.Join(dir, "folder"), []byte("new")); err == nil {
		t.Error("nothing went wrong, though a folder has the name")
	}
	check(t, path, "old")

	if err := wholefile.Write(filepath.Join(dir, "none", "state.json"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}
