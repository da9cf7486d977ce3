package otasvc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// fleet is a home whose devices are all upgraded at once.
type fleet struct {
	devices  int
	images   int
	download time.Duration // about, of one device by itself
	dead     int           // of the devices; they are switched off
	sleepers int           // besides the devices
	telink   bool          // their stack ignores the dongle's refusals
	auto     bool          // as many download at once as line and radio take, else floorPlaces
	// What is wanted, as multiples of the floor; 0: nothing is.
	most      float64
	mostMains float64
}

// fleets are the homes of BenchmarkFleet, and what is wanted of each.
var fleets = map[string]fleet{
	"12min":          {devices: 30, images: 12, download: 12 * time.Minute, most: 1.05},
	"21min":          {devices: 30, images: 12, download: 21 * time.Minute, most: 1.05},
	"41min":          {devices: 30, images: 12, download: 41 * time.Minute, most: 1.05},
	"12min/3dead":    {devices: 30, images: 12, download: 12 * time.Minute, dead: 3, most: 1.08},
	"12min/sleepers": {devices: 30, images: 12, download: 12 * time.Minute, sleepers: 5, mostMains: 1.08},
	"20 of a kind":   {devices: 20, images: 1, download: 12 * time.Minute, auto: true, most: 0.6},
	"telink":         {devices: 12, images: 12, download: 12 * time.Minute, telink: true, most: 0.45},
}

// BenchmarkFleet upgrades whole homes in fake time. It reports how long that took against the floor (one image
// after the other, its devices side by side as far as may), how long the first device took against one that is
// alone, the blocks that the dongle refused, and how many headers were loaded. A device counts as done when it
// has its whole image: what comes then is its own time.
func BenchmarkFleet(b *testing.B) {
	for name, f := range fleets {
		b.Run(name, func(b *testing.B) {
			var o outcome
			for b.Loop() {
				o = f.upgraded(b)
			}
			b.ReportMetric(o.span.Seconds()/o.floor.Seconds(), "span/floor")
			b.ReportMetric(o.mains.Seconds()/o.floor.Seconds(), "mains/floor")
			b.ReportMetric(o.first.Seconds()/o.alone.Seconds(), "first/alone")
			b.ReportMetric(float64(o.refused), "refused")
			b.ReportMetric(float64(o.loads), "loads")
			b.ReportMetric(0, "ns/op")
			for _, wrong := range o.against(f) {
				b.Error(wrong)
			}
		})
	}
}

// TestWholeHomeLosesNoTime holds a small one of these homes to what is wanted.
func TestWholeHomeLosesNoTime(t *testing.T) {
	t.Parallel()
	f := fleet{devices: 4, images: 2, download: 12 * time.Minute, dead: 1, most: 1.2}
	for _, wrong := range f.upgraded(t).against(f) {
		t.Error(wrong)
	}
}

// outcome is how the upgrade of a fleet went.
type outcome struct {
	alone   time.Duration // what one device takes by itself
	floor   time.Duration
	span    time.Duration // until the last device that is not dead has its image
	mains   time.Duration // until the last one has it that does not sleep
	first   time.Duration // until the first one has it
	refused uint64        // blocks that the dongle refused
	loads   int           // headers that it was given
	done    int           // devices that have their image
	failed  []string
}

// against says what is not as it is wanted.
func (o outcome) against(f fleet) []string {
	wrong := o.failed
	wanted := func(holds bool, format string, args ...any) {
		if !holds {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	ratio := func(d, of time.Duration) float64 { return d.Seconds() / of.Seconds() }
	if f.most > 0 {
		wanted(ratio(o.span, o.floor) <= f.most, "it took %v, the floor is %v", o.span, o.floor)
	}
	if f.mostMains > 0 {
		wanted(ratio(o.mains, o.floor) <= f.mostMains, "mains took %v, the floor is %v", o.mains, o.floor)
	}
	wanted(ratio(o.first, o.alone) <= 1.1, "the first took %v, alone it takes %v", o.first, o.alone)
	if !f.telink {
		wanted(o.refused == 0, "the dongle refused %d blocks", o.refused)
	}
	if f.dead+f.sleepers == 0 {
		wanted(o.loads <= f.images+3, "%d headers were loaded for %d images", o.loads, f.images)
	}
	return wrong
}

const (
	floorPlaces = 4       // downloads at once
	fleetImage  = 240_000 // bytes of an image
	fleetBlock  = 63      // bytes of a block
)

// upgraded upgrades a fleet, and one of its devices alone before.
func (f fleet) upgraded(tb testing.TB) outcome {
	alone := fleet{devices: 1, images: 1, download: f.download, telink: f.telink}
	var single, o outcome
	f.inFakeTime(tb, func(t *testing.T) {
		single = alone.run(t)
		o = f.run(t)
	})
	o.alone = single.first
	rounds := 0
	for image := range f.images {
		devices := (f.devices - image + f.images - 1) / f.images
		rounds += (devices + floorPlaces - 1) / floorPlaces
	}
	o.floor = time.Duration(rounds) * o.alone
	return o
}

// inFakeTime runs f as a test, also in a benchmark: fake time is for tests alone.
func (f fleet) inFakeTime(tb testing.TB, run func(t *testing.T)) {
	if t, ok := tb.(*testing.T); ok {
		run(t)
		return
	}
	all := func(string, string) (bool, error) { return true, nil }
	if !testing.RunTests(all, []testing.InternalTest{{Name: tb.Name(), F: run}}) {
		tb.Error("the upgrade of the home failed")
	}
}

// configs are the devices of a fleet.
func (f fleet) configs() []sim.DeviceConfig {
	blocks := fleetImage/fleetBlock + 1
	var configs []sim.DeviceConfig
	for i := range f.devices + f.sleepers {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i%f.images)
		d.MaxDataSize = fleetBlock
		d.BlockInterval = f.download / time.Duration(blocks)
		if f.telink {
			d.Stack = sim.Telink
		}
		if i >= f.devices {
			d.Sleepy = true
		}
		configs = append(configs, d)
	}
	return configs
}

// run upgrades all devices of a fleet.
func (f fleet) run(t *testing.T) (o outcome) {
	configs := f.configs()
	inWorld(t, sim.Config{Devices: configs}, func(w *world) {
		w.policy.Slice = 30 * time.Minute
		w.policy.Overlap = true
		w.policy.Canary = false
		w.policy.Concurrency = floorPlaces
		if f.auto {
			w.policy.Concurrency = 0
		}
		w.restart()
		for i, d := range configs {
			w.met(d.IEEE)
			w.add(d.IEEE, w.fleetFile(d.ImageType, fleetImage, f.telink))
			switch {
			case i < f.dead:
				w.sim.Device(d.IEEE).PowerOff()
			case i >= f.devices:
				w.sim.Device(d.IEEE).SetPoll(10 * time.Minute)
			}
		}
		begun := time.Now()
		for _, d := range configs {
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
		}
		defer f.stir(w, configs)()
		for i, d := range configs {
			if u := w.ended(7*24*time.Hour, d.IEEE); u.State != upgrade.Succeeded && i >= f.dead {
				o.failed = append(o.failed, fmt.Sprintf("%v ended %+v", d.IEEE, u))
			}
		}
		o.count(w, f, begun)
	})
	return o
}

// BenchmarkInventoryBesideDownloads has four devices download, in fake time, by themselves and while a hundred
// others have joined of which nothing is known. It reports what these cost the downloads (nothing is wanted), how
// many were asked who they are meanwhile (none), and how long it takes then until all have said it, against the time
// that 20 a minute take.
func BenchmarkInventoryBesideDownloads(b *testing.B) {
	const newcomers = 100
	for b.Loop() {
		var alone, beside besideOutcome
		fleet{}.inFakeTime(b, func(t *testing.T) {
			alone = downloadsBeside(t, 0)
			beside = downloadsBeside(t, newcomers)
		})
		floor := (newcomers/20 - 1) * time.Minute
		b.ReportMetric(beside.took.Seconds()/alone.took.Seconds(), "took/alone")
		b.ReportMetric(float64(beside.again)-float64(alone.again), "asked-again")
		b.ReportMetric(float64(beside.asked), "notified-meanwhile")
		b.ReportMetric(beside.known.Seconds()/floor.Seconds(), "known/floor")
		if beside.took > alone.took*102/100 || beside.asked > 0 {
			b.Errorf("alone %+v, beside %+v", alone, beside)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// besideOutcome is how downloads went beside newcomers.
type besideOutcome struct {
	took  time.Duration // until the last device had its image
	again uint64        // blocks that were asked for again
	asked int           // newcomers that were asked who they are meanwhile
	known time.Duration // until all newcomers have said it, from then on
}

// downloadsBeside has four devices download, and others join when they do.
func downloadsBeside(t *testing.T, newcomers int) (o besideOutcome) {
	var devices []sim.DeviceConfig
	for i := range floorPlaces {
		devices = append(devices, bulbConfig(bulb+message.IEEE(i)))
	}
	air := &notices{}
	inWorld(t, sim.Config{Devices: devices, OnAir: air.hear}, func(w *world) {
		w.policy.Canary = false
		w.restart()
		w.settled(len(devices))
		url, _ := w.image(0x117C, 0x2201, 2, fleetImage)
		for _, d := range devices {
			w.add(d.IEEE, url)
			w.accepted(d.IEEE, "")
		}
		w.within(5*time.Minute, "all download", func() bool {
			for _, d := range devices {
				if w.sim.Device(d.IEEE).Snapshot().Offset == 0 {
					return false
				}
			}
			return true
		})
		begun := time.Now()
		air.take()
		var joined []sim.DeviceConfig
		for i := range newcomers {
			cfg := quietConfig(plug+message.IEEE(i), uint16(i+1))
			d, err := w.sim.AddDevice(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d.Announce()
			joined = append(joined, cfg)
			time.Sleep(time.Second)
		}
		var ended time.Time
		w.within(3*time.Hour, "all have their image", func() bool {
			for _, d := range devices {
				at := w.lastOf(d.IEEE, otasvc.EventDownloadFinished)
				if at.IsZero() {
					return false
				}
				if at.After(ended) {
					ended = at
				}
			}
			return true
		})
		o.took = ended.Sub(begun)
		for _, n := range air.take() {
			if n.at.Before(ended) {
				o.asked++
			}
		}
		for _, d := range devices {
			o.again += w.sim.Device(d.IEEE).Snapshot().BlocksAsked
		}
		w.within(time.Hour, "all newcomers are known", func() bool {
			for _, d := range joined {
				if !w.hasSaid(d) {
					return false
				}
			}
			return true
		})
		o.known = time.Since(ended)
	})
	return o
}

// BenchmarkShortSlices upgrades eight quick devices of four images over a real TCP port, in real time, with
// slices that are shorter than a download and with one that never ends, all at the same time. Nobody is
// interrupted who is as quick as the others, however short the slice, and the headers of images that wait are
// not loaded in turn.
func BenchmarkShortSlices(b *testing.B) {
	slices := []time.Duration{24 * time.Hour, 2 * time.Second, 10 * time.Second}
	for b.Loop() {
		outcomes := make([]outcome, len(slices))
		var all sync.WaitGroup
		for i, slice := range slices {
			all.Go(func() { outcomes[i] = overTCP(b, slice) })
		}
		all.Wait()
		for i, o := range outcomes[1:] {
			b.ReportMetric(o.span.Seconds()/outcomes[0].span.Seconds(), fmt.Sprintf("%v/unending", slices[i+1]))
			b.ReportMetric(float64(o.loads), fmt.Sprintf("loads-%v", slices[i+1]))
			if o.loads > 20 || o.refused > 0 {
				b.Errorf("slices of %v: %d headers were loaded, and %d blocks refused", slices[i+1], o.loads, o.refused)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
}

// overTCP upgrades the devices of BenchmarkShortSlices.
func overTCP(b *testing.B, slice time.Duration) (o outcome) {
	var devices []sim.DeviceConfig
	for i := range 8 {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i%4)
		d.BlockInterval = 20 * time.Millisecond
		devices = append(devices, d)
	}
	policy := defaultPolicy()
	policy.Slice = slice
	w := &world{t: b, dir: b.TempDir(), policy: policy, real: true, tcp: true}
	w.run(sim.Config{Devices: devices, Speed: 1}, func(w *world) {
		for _, d := range devices {
			w.met(d.IEEE)
			url, _ := w.image(0x117C, d.ImageType, 2, 12_000)
			w.add(d.IEEE, url)
		}
		begun := time.Now()
		for _, d := range devices {
			w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
		}
		f := fleet{devices: len(devices)}
		w.within(5*time.Minute, "all have their image", func() bool {
			o = outcome{}
			o.count(w, f, begun)
			return o.done == len(devices)
		})
	})
	return o
}

// stir has the sleeping devices report something now and then, which is when they can be reached. The returned
// function ends that.
func (f fleet) stir(w *world, configs []sim.DeviceConfig) (end func()) {
	ended := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			for _, d := range configs[f.devices:] {
				w.sim.Device(d.IEEE).SetBattery(uint8(50 + n%50))
			}
			select {
			case <-ended:
				return
			case <-time.After(7 * time.Minute):
			}
		}
	}()
	return func() { close(ended) }
}

// count takes what the service has told of the upgrades.
func (o *outcome) count(w *world, f fleet, begun time.Time) {
	defer w.sink.lock()()
	mains := message.IEEE(0x000b57fffe000000 + uint64(f.devices))
	for _, e := range w.sink.events {
		took := e.Time.Sub(begun)
		switch e.Name {
		case otasvc.EventDownloadFinished:
			if o.first == 0 {
				o.first = took
			}
			o.span = took
			o.done++
			if e.EUID < mains {
				o.mains = took
			}
		case otasvc.EventImageLoaded:
			o.loads++
		}
	}
	o.refused = w.sim.Stats().BlocksRefused()
}

// fleetFile makes an image file of about so many bytes, with the marks of Telink's firmware where it is wanted.
func (w *world) fleetFile(imageType uint16, size int, telink bool) string {
	w.t.Helper()
	if !telink {
		url, _ := w.image(0x117C, imageType, 2, size)
		return url
	}
	firmware := telinkFirmware(size, byte(imageType))
	data := otafile.Build(otafile.Header{ManufacturerCode: 0x117C, ImageType: imageType, FileVersion: 2}, firmware)
	path := filepath.Join(w.dir, "images", fmt.Sprintf("telink-%04x.ota", imageType))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return "file://" + path
}
