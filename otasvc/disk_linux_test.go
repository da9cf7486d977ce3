package otasvc_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/statefile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// mounted puts a small disk where the state is.
func (w *world) mounted(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk")
	}
	dir := filepath.Dir(w.stateFile())
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// A disk that is full, or that turned read-only as worn memory cards do, in the middle of an upgrade:
// it is told, the upgrade goes on and is answered, what is on the disk stays whole, and all is kept
// once there is room.
func TestDiskTrouble(t *testing.T) {
	tests := map[string]struct{ spoil, mend func(dir string) error }{
		"full": {
			func(dir string) error {
				// What the state file of before takes would be room for the next one.
				if err := os.Remove(dir + "/state.json" + statefile.Previous); err != nil {
					return err
				}
				f, err := os.Create(dir + "/filler")
				if err != nil {
					return err
				}
				defer f.Close()
				for err == nil {
					_, err = f.Write(make([]byte, 4096))
				}
				return nil
			},
			func(dir string) error { return os.Remove(dir + "/filler") },
		},
		"read-only": {
			func(dir string) error {
				return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=64k")
			},
			func(dir string) error {
				return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64k")
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t, dir: dir, policy: defaultPolicy()}
				if err := os.MkdirAll(filepath.Dir(w.stateFile()), 0o700); err != nil {
					t.Fatal(err)
				}
				w.mounted(t)
				w.run(sim.Config{Speed: 1, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
					url, data := w.image(0x117C, 0x2201, 2, 20_000)
					w.met(bulb)
					w.add(bulb, url)
					w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Ticket: upgrade.Ticket(`"mine"`)})
					w.within(time.Minute, "kept", func() bool { state, _ := w.keptUpgrade(bulb); return state == upgrade.Downloading })
					if err := tt.spoil(filepath.Dir(w.stateFile())); err != nil {
						t.Fatal(err)
					}
					if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
						t.Errorf("%s %s", u.State, u.Reason)
					}
					w.holds(bulb, 2, data)
					w.within(time.Minute, "final answer", func() bool { return len(w.sink.final("mine")) == 1 })
					time.Sleep(time.Hour)
					if err := w.service.StoreHealth(); err == nil {
						t.Error("the disk is well")
					}
					if state, version := w.keptUpgrade(bulb); state != upgrade.Downloading || version != 1 {
						t.Errorf("the disk has %s, version %d", state, version)
					}
					if n := strings.Count(w.said.String(), "the state cannot be written"); n != 1 {
						t.Errorf("told %d times", n)
					}
					if err := tt.mend(filepath.Dir(w.stateFile())); err != nil {
						t.Fatal(err)
					}
					w.within(time.Minute, "kept", func() bool { state, version := w.keptUpgrade(bulb); return state == upgrade.Succeeded && version == 2 })
					if err := w.service.StoreHealth(); err != nil {
						t.Error(err)
					}
					left, _ := filepath.Glob(w.stateFile() + "?*")
					if want := []string{w.stateFile() + statefile.Lock, w.stateFile() + statefile.Previous}; !slices.Equal(left, want) {
						t.Errorf("beside it are %s", left)
					}
				})
			})
		})
	}
}

// A state file that can be neither read nor set aside is not overwritten.
func TestUnreadableStateStays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir}
		if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file, w.stateFile()); err != nil {
			t.Fatal(err)
		}
		w.mounted(t)
		if err := os.WriteFile(w.stateFile(), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		remount := func(flags uintptr) {
			if err := syscall.Mount("tmpfs", filepath.Dir(w.stateFile()), "tmpfs", syscall.MS_REMOUNT|flags, "size=64k"); err != nil {
				t.Fatal(err)
			}
		}
		remount(syscall.MS_RDONLY)
		w.policy = defaultPolicy()
		w.run(sim.Config{Speed: 1, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
			w.met(bulb)
			time.Sleep(time.Minute)
			if err := w.service.StoreHealth(); err == nil {
				t.Error("the disk is well")
			}
			remount(0)
			time.Sleep(time.Minute)
			aside, _ := filepath.Glob(w.stateFile() + ".unreadable-*")
			if len(aside) != 1 {
				t.Fatalf("set aside: %q", aside)
			}
			if got, err := os.ReadFile(aside[0]); err != nil || string(got) != "{" {
				t.Errorf("%v %q", err, got)
			}
			if err := w.service.StoreHealth(); err != nil {
				t.Error(err)
			}
		})
	})
}
