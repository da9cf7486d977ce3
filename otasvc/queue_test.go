package otasvc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/queue"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// homeOfTwoImages is a home of two plugs of one image and two bulbs of another, of which the last one sleeps.
func homeOfTwoImages() []sim.DeviceConfig {
	var devices []sim.DeviceConfig
	for i := range 4 {
		d := bulbConfig(message.IEEE(0x000b57fffe000000 + uint64(i)))
		d.ImageType = uint16(0x2200 + i/2)
		d.Sleepy = i == 3
		devices = append(devices, d)
	}
	return devices
}

// imagesFor registers images that the devices take for some six minutes.
func (w *world) imagesFor(devices []sim.DeviceConfig) {
	w.t.Helper()
	w.policy.Canary = false
	w.restart()
	for _, d := range devices {
		w.met(d.IEEE)
		url, _ := w.image(0x117C, d.ImageType, 2, 200_000)
		w.add(d.IEEE, url)
	}
}

// queueAll has all devices upgraded, the first ones first.
func (w *world) queueAll(devices []sim.DeviceConfig) {
	w.t.Helper()
	for _, d := range devices {
		w.queue(otasvc.UpgradeRequest{Device: ref(d.IEEE)})
	}
	w.within(time.Minute, "the first ones download", func() bool {
		first := w.sink.device(devices[0].IEEE).Upgrade
		second := w.sink.device(devices[1].IEEE).Upgrade
		return first.State == upgrade.Downloading && second.State == upgrade.Downloading
	})
}

// told is what stands in the record of a device: its position, and what it waits for.
func (w *world) told(e message.IEEE) string {
	place := w.sink.device(e).Queue
	if place == nil {
		return "no place"
	}
	return fmt.Sprintf("%d %q %v", place.Position, place.WaitsFor, !place.End.IsZero())
}

// People are told who has the slot when, what the others wait for, and when all is done, and it comes about so.
func TestQueueIsTold(t *testing.T) {
	devices := homeOfTwoImages()
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		w.imagesFor(devices)
		begun := time.Now()
		w.queueAll(devices)
		time.Sleep(2 * time.Minute) // by then their rates are known, and told
		var got []string
		for _, d := range devices {
			got = append(got, w.told(d.IEEE))
		}
		want := []string{`0 "" true`, `0 "" true`, `1 "slot" true`, `2 "device" false`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		foreseen := *w.sink.device(devices[2].IEEE).Queue
		allDone := w.info().DownloadsEnd

		var ends []time.Time
		for _, d := range devices {
			w.ended(time.Hour, d.IEEE)
			ends = append(ends, w.sink.device(d.IEEE).History[0].EndedAt)
		}
		t.Logf("foreseen %v to %v, all %v; ended %v", foreseen.Start.Sub(begun), foreseen.End.Sub(begun),
			allDone.Sub(begun), ends[2].Sub(begun))
		if off := ends[2].Sub(foreseen.End).Abs(); off > 3*time.Minute {
			t.Errorf("the download was to end at %v, and the upgrade has at %v", foreseen.End, ends[2])
		}
		if !allDone.Equal(foreseen.End) {
			t.Errorf("the queue is to end at %v, its last download at %v", allDone, foreseen.End)
		}
		for _, d := range devices {
			if got := w.told(d.IEEE); got != "no place" {
				t.Errorf("%v has ended, and has the place %s", d.IEEE, got)
			}
		}
		if got := w.info().DownloadsEnd; !got.IsZero() {
			t.Errorf("all have ended, and the queue ends at %v", got)
		}
	})
}

// info is the service's record as it was told last.
func (w *world) info() otasvc.InfoRecord { defer w.sink.lock()(); return w.sink.info }

// What is told of the queue changes as rarely as it was promised, whatever happens.
func TestQueueIsToldRarely(t *testing.T) {
	devices := homeOfTwoImages()
	inWorld(t, sim.Config{Devices: devices}, func(w *world) {
		changes := newQueueChanges(t)
		w.imagesFor(devices)
		w.sink.watchDevices(changes.take)
		w.queueAll(devices)
		w.unplug()
		time.Sleep(30 * time.Second)
		w.plug()
		for _, d := range devices {
			w.ended(2*time.Hour, d.IEEE)
		}
		defer w.sink.lock()()
		if changes.places < 8 || changes.times < 2 {
			t.Errorf("only %d places and %d times were told", changes.places, changes.times)
		}
		t.Logf("%d places and %d times were told", changes.places, changes.times)
	})
}

// queueChanges holds what is told of the queue, one record after the other, against what was promised.
type queueChanges struct {
	t             *testing.T
	last          map[message.IEEE]slot.Place
	placed, timed map[message.IEEE]time.Time
	places, times int // that were told
}

func newQueueChanges(t *testing.T) *queueChanges {
	return &queueChanges{
		t:      t,
		last:   map[message.IEEE]slot.Place{},
		placed: map[message.IEEE]time.Time{},
		timed:  map[message.IEEE]time.Time{},
	}
}

func (q *queueChanges) take(d otasvc.DeviceRecord) {
	if d.Queue == nil {
		delete(q.last, d.EUID)
		return
	}
	now := time.Now()
	place := *d.Queue
	for _, at := range []time.Time{place.Start, place.End} {
		if !at.Equal(at.Truncate(time.Minute)) {
			q.t.Errorf("%v is no whole minute", at)
		}
	}
	before, had := q.last[d.EUID]
	q.last[d.EUID] = place
	goesOn := had && (before.Position == 0) == (place.Position == 0)
	if !had || before.Position != place.Position || before.WaitsFor != place.WaitsFor {
		if since := now.Sub(q.placed[d.EUID]); goesOn && since < queue.PlaceInterval {
			q.t.Errorf("%v: %+v is told %v after %+v", d.EUID, place, since, before)
		}
		q.placed[d.EUID] = now
		q.places++
	}
	if !had || !before.End.Equal(place.End) || !before.Start.Equal(place.Start) {
		known := before.End.IsZero() == place.End.IsZero()
		if since := now.Sub(q.timed[d.EUID]); goesOn && known && since < queue.TimesInterval {
			q.t.Errorf("%v: %+v is told %v after %+v", d.EUID, place, since, before)
		}
		q.timed[d.EUID] = now
		q.times++
	}
}
