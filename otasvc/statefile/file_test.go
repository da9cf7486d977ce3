package statefile_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/statefile"
	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// disk is a folder with a state file, and what was logged of it.
type disk struct {
	t    *testing.T
	path string
	log  bytes.Buffer
}

func newDisk(t *testing.T) *disk {
	return &disk{t: t, path: filepath.Join(t.TempDir(), "state", "state.json")}
}

// open opens the file; it holds what is returned, or nothing.
func (d *disk) open() (*statefile.File, string) {
	d.t.Helper()
	var read string
	f, err := statefile.Open(d.path, slog.New(slog.NewTextHandler(&d.log, nil)), func(data []byte) error {
		if bytes.HasPrefix(data, []byte("!")) {
			return errors.New("it makes no sense")
		}
		read = string(data)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return f, read
}

func (d *disk) put(content string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.path, []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) holds(want string) {
	d.t.Helper()
	if got, err := os.ReadFile(d.path); err != nil || string(got) != want {
		d.t.Errorf("the file holds %q (%v), want %q", got, err, want)
	}
}

// running has a file written for as long as f takes, and its end waited for.
func (d *disk) running(file *statefile.File, last string, f func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		file.Run()
	}()
	f()
	file.Close([]byte(last))
	<-ended
}

func TestStateComesBack(t *testing.T) {
	d := newDisk(t)
	f, read := d.open()
	if read != "" {
		t.Errorf("a new file holds %q", read)
	}
	d.running(f, "last", func() {
		f.SaveNow([]byte("first"))
		d.holds("first")
	})
	d.holds("last")
	if _, read := d.open(); read != "last" {
		t.Errorf("the next life reads %q", read)
	}
}

// What is on the disk already is not written.
func TestStateIsNotWrittenTwice(t *testing.T) {
	d := newDisk(t)
	d.put("same")
	before, err := os.Stat(d.path)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := d.open()
	d.running(f, "same", func() { f.SaveNow([]byte("same")) })
	after, err := os.Stat(d.path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
}

// A file that makes no sense is set aside, whole.
func TestUnreadableStateIsSetAside(t *testing.T) {
	d := newDisk(t)
	d.put("! what is this")
	f, read := d.open()
	if read != "" {
		t.Errorf("read %q", read)
	}
	d.running(f, "new", func() {})
	d.holds("new")
	aside, err := filepath.Glob(d.path + ".unreadable-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside: %v (%v)", aside, err)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || string(kept) != "! what is this" {
		t.Errorf("set aside was %q (%v)", kept, err)
	}
	if !strings.Contains(d.log.String(), "cannot be read") {
		t.Errorf("nothing was logged: %s", &d.log)
	}
}

// Where the last state makes no sense any more, the one before it is taken.
func TestPreviousState(t *testing.T) {
	d := newDisk(t)
	f, _ := d.open()
	d.running(f, "third", func() {
		f.SaveNow([]byte("first"))
		f.SaveNow([]byte("second"))
	})
	d.put("! damaged")
	f, read := d.open()
	if read != "second" {
		t.Errorf("read %q", read)
	}
	if said := d.log.String(); !strings.Contains(said, "is set aside") || !strings.Contains(said, "goes on with the state file of before") {
		t.Errorf("logged: %s", said)
	}
	d.running(f, "fourth", func() {})
	d.holds("fourth")

	if err := os.Remove(d.path); err != nil { // as a power cut between two renames could leave it
		t.Fatal(err)
	}
	f, read = d.open()
	if read != "second" {
		t.Errorf("without a file: read %q", read)
	}
	d.running(f, "fifth", func() {})
}

// A file of which parts were left out is kept for people, and the service goes on with the rest.
func TestDamagedStateIsKept(t *testing.T) {
	d := newDisk(t)
	d.put("half")
	f, err := statefile.Open(d.path, slog.New(slog.NewTextHandler(&d.log, nil)), func([]byte) error { return statefile.ErrDamaged })
	if err != nil {
		t.Fatal(err)
	}
	d.running(f, "rest", func() {})
	d.holds("rest")
	kept, _ := filepath.Glob(d.path + ".damaged-*")
	if len(kept) != 1 {
		t.Fatalf("kept %q", kept)
	}
	if got, err := os.ReadFile(kept[0]); err != nil || string(got) != "half" {
		t.Errorf("kept was %q, %v", got, err)
	}
}

// A file that is for another version stays as it is.
func TestRefusedStateStays(t *testing.T) {
	d := newDisk(t)
	d.put("newer")
	_, err := statefile.Open(d.path, slog.New(slog.DiscardHandler), func([]byte) error { return statefile.ErrRefused })
	if !errors.Is(err, statefile.ErrRefused) {
		t.Errorf("%v", err)
	}
	d.holds("newer")
	f, _ := d.open() // it is not locked by the attempt
	d.running(f, "newer", func() {})
}

// One service has a state file at a time.
func TestStateIsLocked(t *testing.T) {
	d := newDisk(t)
	f, _ := d.open()
	d.running(f, "mine", func() {
		_, err := statefile.Open(d.path, slog.New(slog.DiscardHandler), func([]byte) error { return nil })
		if !errors.Is(err, statefile.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
			t.Errorf("%v", err)
		}
	})
	f, read := d.open()
	if read != "mine" {
		t.Errorf("the next service reads %q", read)
	}
	d.running(f, "mine", func() {})
}

// A disk that refuses a write is tried again; whoever waits is told at once, and the trouble shows as long as it lasts.
func TestRefusedStateIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		f, _ := d.open()
		// The name is taken, by what is no file.
		beside := d.path + wholefile.Suffix
		if err := os.MkdirAll(filepath.Join(beside, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		d.running(f, "second", func() {
			f.SaveNow([]byte("first"))
			if f.Health() == nil {
				t.Error("a disk that refuses a write is well")
			}
			if err := os.RemoveAll(beside); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Second)
			synctest.Wait()
			d.holds("first")
			if err := f.Health(); err != nil {
				t.Errorf("written, and still: %v", err)
			}
		})
		d.holds("second")
	})
}

// Of the states that come while one is being written the newest counts, and all who wait are told.
func TestNewestStateCounts(t *testing.T) {
	d := newDisk(t)
	f, _ := d.open()
	told := make(chan struct{}, 3)
	for _, state := range []string{"1", "2", "3"} {
		f.Save([]byte(state), func(error) { told <- struct{}{} })
	}
	d.running(f, "3", func() {
		for range 3 {
			<-told
		}
		d.holds("3")
	})
}
