package otasvc_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// atLength reports whether tests are to take the time of a thousand restarts or a day; otherwise they
// take a tenth of it.
func atLength() bool { return os.Getenv("ZIGATE_OTA_TEST_LONG") != "" }

// A thousand restarts (without ZIGATE_OTA_TEST_LONG a hundred), clean stops and crashes, while devices
// download: whenever it is looked at the state is whole, the downloads go on where they were, and each
// upgrade succeeds and is answered.
func TestRestarts(t *testing.T) {
	restarts := 100
	if atLength() {
		restarts = 1000
	}
	bulbs := []message.IEEE{0x000b57fffec6a5b2, 0x000b57fffec6a5b3, 0x000b57fffec6a5b4}
	var devices []sim.DeviceConfig
	for _, e := range bulbs {
		d := bulbConfig(e)
		d.BlockInterval = 250 * time.Millisecond
		devices = append(devices, d)
	}
	random := rand.New(rand.NewPCG(1, 2))
	inWorld(t, sim.Config{Devices: devices, Seed: 1}, func(w *world) {
		answered := map[message.IEEE]int{}
		data := map[uint32][]byte{}
		image := func(version uint32) (url string) {
			url, data[version] = w.image(0x117C, 0x2201, version, 60_000)
			return url
		}
		version := uint32(2)
		for _, e := range bulbs {
			w.met(e)
			w.add(e, image(version))
			w.queue(otasvc.UpgradeRequest{Device: ref(e), Ticket: upgrade.Ticket(`"` + e.String() + `"`)})
		}
		upgrades := 1
		for n := range restarts {
			time.Sleep(time.Duration(random.Int64N(int64(4 * time.Second))))
			synctest.Wait()
			clean := n%3 == 0
			if clean {
				w.stopService()
			}
			kept, err := os.ReadFile(w.stateFile())
			if err != nil || !json.Valid(kept) {
				t.Fatalf("restart %d: the state is not whole: %v", n, err)
			}
			for _, e := range bulbs {
				answered[e] += len(w.sink.final(e.String()))
			}
			if clean {
				w.start()
			} else {
				w.crash(0)
			}
			if n < restarts-50 && answered[bulbs[0]] > 0 && answered[bulbs[1]] > 0 && answered[bulbs[2]] > 0 {
				version++
				upgrades++
				clear(answered)
				for _, e := range bulbs {
					w.met(e)
					w.add(e, image(version))
					w.queue(otasvc.UpgradeRequest{Device: ref(e), Ticket: upgrade.Ticket(`"` + e.String() + `"`)})
				}
			}
		}
		for _, e := range bulbs {
			if u := w.ended(time.Hour, e); u.State != upgrade.Succeeded || u.Attempt != 1 {
				t.Errorf("%v: %s %s in attempt %d", e, u.State, u.Reason, u.Attempt)
			}
			w.holds(e, version, data[version])
			// An answer that was given when the service crashed may be given again, but none is lost.
			if n := answered[e] + len(w.sink.final(e.String())); n == 0 {
				t.Errorf("%v: no final answer", e)
			}
			if d := w.sim.Device(e).Snapshot(); d.Sessions != upgrades {
				t.Errorf("%v: %d downloads for %d upgrades", e, d.Sessions, upgrades)
			}
		}
		t.Logf("%d restarts, %d upgrades of each device", restarts, upgrades)
	})
}

// A day of upgrades (without ZIGATE_OTA_TEST_LONG five hours), one after the other: memory and goroutines
// stay where they were after the first.
func TestDayIsFlat(t *testing.T) {
	day, first := 5*time.Hour, 90*time.Minute
	if atLength() {
		day, first = 24*time.Hour, 4*time.Hour
	}
	devices := []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.met(bulb)
		w.met(plug)
		heap := func() uint64 {
			for range 3 {
				runtime.GC()
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		var memory uint64
		var goroutines, upgrades int
		began := time.Now()
		for version := uint32(20); time.Since(began) < day; version++ {
			bulbURL, _ := w.image(0x117C, 0x2201, version, 100_000)
			plugURL, _ := w.image(0x100B, 0x0112, version, 30_000)
			for e, url := range map[message.IEEE]string{bulb: bulbURL, plug: plugURL} {
				w.add(e, url)
				w.queue(otasvc.UpgradeRequest{Device: ref(e)})
			}
			for _, e := range []message.IEEE{bulb, plug} {
				if u := w.ended(2*time.Hour, e); u.State != upgrade.Succeeded {
					t.Fatalf("upgrade %d of %v: %s %s", upgrades, e, u.State, u.Reason)
				}
			}
			upgrades++
			time.Sleep(40 * time.Minute)
			w.sink.forget()
			if since := time.Since(began); memory == 0 && since > first {
				memory, goroutines = heap(), runtime.NumGoroutine()
			}
		}
		time.Sleep(time.Hour)
		// A registered image a version of each device is replaced; what is cached of images
		// goes with its upgrade.
		if now := heap(); now > memory+memory/4+1<<20 {
			t.Errorf("memory: %d KiB after %v, %d KiB after %v", memory>>10, first, now>>10, day)
		}
		if now := runtime.NumGoroutine(); now > goroutines {
			t.Errorf("goroutines: %d after %v, %d after %v", goroutines, first, now, day)
		}
		t.Logf("%d upgrades of each device; memory %d KiB after %v, %d KiB after %v; goroutines %d", upgrades, memory>>10, first, heap()>>10, day, goroutines)
	})
}

// forget keeps the recorder from growing for a day.
func (r *recorder) forget() {
	defer r.lock()()
	r.events = nil
	clear(r.history)
}

// A group's answer is given before the state file forgets who waits for it: a crash in between has it given
// again rather than never.
func TestGroupIsKeptUntilItIsAnswered(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 5_000)
		w.add(bulb, url)
		waits := func() bool {
			b, err := os.ReadFile(w.stateFile())
			if err != nil {
				t.Error(err)
			}
			return strings.Contains(string(b), `"everybody"`)
		}
		kept := make(chan bool, 8)
		unlock := w.sink.lock()
		w.sink.onFinal = func() { kept <- waits() }
		unlock()
		w.queue(otasvc.UpgradeRequest{All: true, Ticket: upgrade.Ticket(`"everybody"`)})
		w.within(time.Hour, "the answer", func() bool { return len(w.sink.final("everybody")) > 0 })
		if !<-kept {
			t.Error("the state file had forgotten it already")
		}
		w.within(time.Second, "it is forgotten then", func() bool { return !waits() })
		if n := len(w.sink.final("everybody")); n != 1 {
			t.Errorf("%d answers", n)
		}
	})
}
