package otasvc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// wire keeps the commands of some types that go to the dongle.
type wire struct {
	mu   sync.Mutex
	sent []message.Message
}

func (w *world) listen(types ...message.MsgType) *wire {
	l := &wire{}
	w.dongle.TraceTo(func(dir message.Direction, f message.Frame) {
		for _, t := range types {
			if m, err := message.ParseCommand(f.Type, f.Payload); dir == message.ToDongle && f.Type == t && err == nil {
				l.mu.Lock()
				l.sent = append(l.sent, m)
				l.mu.Unlock()
			}
		}
	})
	return l
}

// take gives what was sent and forgets it.
func (l *wire) take() []message.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := l.sent
	l.sent = nil
	return sent
}

func ptr[T any](v T) *T { return &v }

func toBulb() message.Target {
	return message.Target{AddrMode: message.AddrModeNetwork, Addr: 0x4f4f, SrcEndpoint: 1, DstEndpoint: 1}
}

// TestFramesByHand: what is not given comes from the device's upgrade or image.
func TestFramesByHand(t *testing.T) {
	cfg := bulbConfig(bulb)
	cfg.Addr = 0x4f4f
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, func(w *world) {
		w.met(bulb)
		w.settled(1)
		notify := func(n otasvc.ImageNotify) func(otasvc.Respond) {
			n.Device = ref(bulb)
			return func(r otasvc.Respond) { w.service.ImageNotify(n, r) }
		}
		end := func(e otasvc.UpgradeEnd) func(otasvc.Respond) {
			e.Device = ref(bulb)
			return func(r otasvc.Respond) { w.service.UpgradeEnd(e, r) }
		}
		wait := func(f otasvc.WaitForData) func(otasvc.Respond) {
			f.Device = ref(bulb)
			return func(r otasvc.Respond) { w.service.WaitForData(f, r) }
		}
		all := otasvc.ImageKey{ManufacturerCode: ptr(uint16(1)), ImageType: ptr(uint16(2)), ImageVersion: ptr(uint32(3))}
		type test struct {
			name  string
			ask   func(otasvc.Respond)
			frame message.Message // nil: none, refused as invalidData
			names string          // in the error
		}
		var l *wire
		walk := func(tests []test) {
			t.Helper()
			for _, tt := range tests {
				l.take()
				a := w.ask(tt.ask)
				want := otasvc.Success
				var frames []message.Message
				if tt.frame == nil {
					want = otasvc.InvalidData
				} else {
					frames = []message.Message{tt.frame}
				}
				if a.Status != want || !strings.Contains(a.Error, tt.names) || a.Operation == nil || a.Operation.EUID != bulb || a.DongleStatus != nil {
					t.Errorf("%s: %+v", tt.name, a)
				}
				if diff := cmp.Diff(frames, l.take()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tt.name, diff)
				}
			}
		}
		time.Sleep(10 * time.Second) // its interview is over
		l = w.listen(message.TypeImageNotify, message.UpgradeEndResponse{}.Type(), message.WaitForData{}.Type())

		walk([]test{
			{"a notify without an image, with what the device says of itself", notify(otasvc.ImageNotify{}), message.ImageNotify{
				Target: toBulb(), FileVersion: 0xFFFFFFFF, ImageType: 0x2201, ManufacturerCode: 0x117C, QueryJitter: 100,
			}, ""},
			{"a version that is to be told but not known", notify(otasvc.ImageNotify{PayloadType: 3}), nil, "imageVersion: must be given"},
			{"everything given", notify(otasvc.ImageNotify{PayloadType: 3, QueryJitter: 7, Image: all}), message.ImageNotify{
				Target: toBulb(), PayloadType: 3, FileVersion: 3, ImageType: 2, ManufacturerCode: 1, QueryJitter: 7,
			}, ""},
			{"an end without a version", end(otasvc.UpgradeEnd{}), nil, "imageVersion: must be given"},
			{"an end without an upgrade", end(otasvc.UpgradeEnd{Image: all, CurrentTime: 100}), message.UpgradeEndResponse{
				Target: toBulb(), UpgradeTime: 105, CurrentTime: 100, FileVersion: 3, ImageType: 2, ManufacturerCode: 1,
			}, ""},
			{"a wait without a download", wait(otasvc.WaitForData{}), message.WaitForData{
				Target: toBulb(), Status: message.OTAWaitForData, RequestTime: 30,
			}, ""},
			{"a wait with everything", wait(otasvc.WaitForData{CurrentTime: 5, RequestTime: ptr(uint32(65)), BlockRequestDelay: 250}), message.WaitForData{
				Target: toBulb(), Status: message.OTAWaitForData, CurrentTime: 5, RequestTime: 65, BlockRequestDelay: 250,
			}, ""},
		})

		url, data := w.image(0x117C, 0x2201, 2, 20_000)
		w.add(bulb, url)
		l.take()
		walk([]test{
			{"a notify of the image that it would get", notify(otasvc.ImageNotify{PayloadType: 3}), message.ImageNotify{
				Target: toBulb(), PayloadType: 3, FileVersion: 2, ImageType: 0x2201, ManufacturerCode: 0x117C, QueryJitter: 100,
			}, ""},
			{"an end for ever", end(otasvc.UpgradeEnd{UpgradeTime: ptr(message.UpgradeTimeWait)}), message.UpgradeEndResponse{
				Target: toBulb(), UpgradeTime: message.UpgradeTimeWait, FileVersion: 2, ImageType: 0x2201, ManufacturerCode: 0x117C,
			}, ""},
		})

		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold})
		w.within(time.Minute, "the download is under way", func() bool { return w.sink.device(bulb).Upgrade.Offset > 5000 })
		l = w.listen(message.ImageBlockResponse{}.Type(), message.WaitForData{}.Type())
		time.Sleep(time.Second)
		a := w.ask(wait(otasvc.WaitForData{RequestTime: ptr(uint32(1))}))
		sent := l.take()
		if n := len(sent); n < 2 || a.Status != otasvc.Success {
			t.Errorf("a wait during the download: %+v, sent %+v", a, sent)
		} else if block, ok := sent[n-2].(message.ImageBlockResponse); !ok || block.Sequence != sent[n-1].(message.WaitForData).Sequence {
			t.Errorf("the wait does not answer the block request before it: %+v", sent[n-2:])
		}

		w.within(10*time.Minute, "the device waits with its image", func() bool { return w.stateOf(bulb) == upgrade.Downloaded })
		l = w.listen(message.UpgradeEndResponse{}.Type())
		a = w.ask(end(otasvc.UpgradeEnd{UpgradeTime: ptr(uint32(1))}))
		sent = l.take()
		if a.Status != otasvc.Success || len(sent) != 1 || sent[0].(message.UpgradeEndResponse).Sequence == 0 || sent[0].(message.UpgradeEndResponse).FileVersion != 2 {
			t.Errorf("%+v, sent %+v", a, sent)
		}
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Errorf("installed by hand: %+v", u)
		}
		w.holds(bulb, 2, data)
	})
}

// oneImage is a Catalog with one image, which was not fetched yet.
type oneImage struct {
	library   *library.Library
	candidate library.Candidate
	fetch     library.Request
}

func (c *oneImage) Best(library.Device) (library.Candidate, bool) { return c.candidate, true }
func (c *oneImage) All(library.Device) []library.Candidate        { return []library.Candidate{c.candidate} }
func (c *oneImage) Explain(library.Device) error                  { return nil }
func (c *oneImage) Refresh()                                      {}
func (c *oneImage) Changed() <-chan struct{}                      { return nil }
func (c *oneImage) Read() <-chan struct{}                         { return alreadyRead }
func (c *oneImage) Ensure(ctx context.Context, _ library.Candidate) (library.Image, error) {
	image, err := c.library.Fetch(ctx, c.fetch)
	if err == nil {
		c.candidate.SHA256, c.candidate.Stored = image.SHA256, true
	}
	return image, err
}

// TestLoadImageByHandFetches: an image that only an index has is fetched first.
func TestLoadImageByHandFetches(t *testing.T) {
	index := &oneImage{candidate: library.Candidate{Source: library.SourceIndex, ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 2}}
	withRadio(t, index, func(w *world, radio *script) {
		w.service.HandleConnected(zigate.Info{Firmware: "3.23"})
		query := message.DataIndication{Cluster: message.ClusterOTA, SrcAddrMode: message.AddrModeNetwork, SrcAddr: 0x4f4f, Payload: []byte{
			// Who it is: manufacturer code, type, version 1.
			0x01, 0x07, 0x01, 0x00, 0x7C, 0x11, 0x01, 0x22, 0x01, 0x00, 0x00, 0x00,
		}}
		w.service.HandleMessage(query, 100)
		load := func() otasvc.Answer {
			return w.ask(func(r otasvc.Respond) { w.service.LoadImage(ref(bulb), r) })
		}
		index.fetch.URL = "file:///nowhere.ota"
		if a := load(); a.Status != otasvc.ImageAccessFailed || a.Error == "" || *a.Operation.ImageVersion != 2 {
			t.Errorf("%+v", a)
		}
		index.fetch.URL, _ = w.image(0x117C, 0x2201, 2, 500)
		if a := load(); a.Status != otasvc.Success || *a.Operation.ImageVersion != 2 {
			t.Errorf("%+v", a)
		}
		synctest.Wait()
		if w.slot() == nil {
			t.Error("the slot is empty")
		}
	})
}

// TestDongleAnswersByHand: the answer is the dongle's own, and nothing is sent twice.
func TestDongleAnswersByHand(t *testing.T) {
	const notify = message.TypeImageNotify
	status := func(code uint8) func(func(message.Status, error)) {
		s := message.Status{Status: code, Request: notify}
		return func(done func(message.Status, error)) { done(s, &message.StatusError{Status: s}) }
	}
	failed := func(err error) func(func(message.Status, error)) {
		return func(done func(message.Status, error)) {
			done(message.Status{}, fmt.Errorf("0x0505 (image notify): %w", err))
		}
	}
	tests := map[string]struct {
		answer func(func(message.Status, error))
		want   otasvc.Status
		status *uint8
		error  string
	}{
		"taken":             {nil, otasvc.Success, nil, ""},
		"refused":           {status(3), otasvc.Failure, ptr(uint8(3)), "status 0x03 (parameter out of range)"},
		"no buffer":         {status(message.StatusNoBuffer), otasvc.Failure, ptr(message.StatusNoBuffer), "0x14"},
		"no answer":         {failed(zigate.ErrNoAnswer), otasvc.Failure, nil, "may have sent"},
		"too much waiting":  {failed(zigate.ErrQueueFull), otasvc.Failure, nil, "too many commands"},
		"gone meanwhile":    {failed(zigate.ErrNotConnected), otasvc.ServiceNotAvailable, nil, "not connected"},
		"some other reason": {failed(errors.New("broken")), otasvc.Failure, nil, "broken"},
	}
	withRadio(t, nil, func(w *world, radio *script) {
		ask := func() otasvc.Answer {
			return w.ask(func(r otasvc.Respond) { w.service.ImageNotify(otasvc.ImageNotify{Device: ref(bulb)}, r) })
		}
		if a := ask(); a.Status != otasvc.ServiceNotAvailable || a.Error == "" || a.Operation.EUID != bulb {
			t.Errorf("without a dongle: %+v", a)
		}
		w.service.HandleConnected(zigate.Info{Firmware: "3.23"})
		for name, tt := range tests {
			radio.mu.Lock()
			radio.answers[notify], radio.sent[notify] = tt.answer, 0
			radio.mu.Unlock()
			a := ask()
			time.Sleep(time.Minute)
			radio.mu.Lock()
			n := radio.sent[notify]
			radio.mu.Unlock()
			if a.Status != tt.want || cmp.Diff(a.DongleStatus, tt.status) != "" || !strings.Contains(a.Error, tt.error) || (a.Error == "") != (a.Status == otasvc.Success) || n != 1 {
				t.Errorf("%s: %+v after %d frames", name, a, n)
			}
		}
	})
}

func (w *world) slot() *otasvc.Slot {
	defer w.sink.lock()()
	return w.sink.info.Slot
}

// TestLoadImageByHand: the header is shown and stays for ten minutes, unless an upgrade needs the slot; a
// download is never disturbed.
func TestLoadImageByHand(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}}, func(w *world) {
		w.met(bulb)
		w.met(plug)
		bulbURL, bulbData := w.image(0x117C, 0x2201, 2, 20_000)
		plugURL, plugData := w.image(0x100B, 0x0112, 11, 20_000)
		otherURL, _ := w.image(0x1234, 0x0001, 7, 500)
		load := func(e message.IEEE) otasvc.Answer {
			return w.ask(func(r otasvc.Respond) { w.service.LoadImage(ref(e), r) })
		}
		from := func(url string) otasvc.Answer {
			return w.ask(func(r otasvc.Respond) { w.service.LoadImageFrom(url, r) })
		}
		holds := func(want *otasvc.Slot) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, w.slot()); diff != "" {
				t.Errorf("slot (-want +got):\n%s", diff)
			}
		}
		bulbSlot := &otasvc.Slot{ManufacturerCode: 0x117C, ImageType: 0x2201, ImageVersion: 2}
		plugSlot := &otasvc.Slot{ManufacturerCode: 0x100B, ImageType: 0x0112, ImageVersion: 11}

		if a := load(bulb); a.Status != otasvc.ImageInfoNotFound || a.Error == "" || a.Operation.EUID != bulb {
			t.Errorf("without an image: %+v", a)
		}
		if a := from("file:///nowhere.ota"); a.Status != otasvc.ImageAccessFailed || a.Error == "" {
			t.Errorf("from nowhere: %+v", a)
		}
		holds(nil)

		w.add(bulb, bulbURL)
		w.add(plug, plugURL)
		if a := load(bulb); a.Status != otasvc.Success || *a.Operation.ImageVersion != 2 {
			t.Errorf("%+v", a)
		}
		holds(bulbSlot)
		time.Sleep(9 * time.Minute)
		holds(bulbSlot)
		time.Sleep(2 * time.Minute)
		holds(nil)

		// Registered for nobody, and another in its place.
		if a := from(otherURL); a.Status != otasvc.Success || *a.Operation.ImageVersion != 7 || a.Operation.EUID != 0 {
			t.Errorf("%+v", a)
		}
		holds(&otasvc.Slot{ManufacturerCode: 0x1234, ImageType: 1, ImageVersion: 7})
		if a := load(plug); a.Status != otasvc.Success {
			t.Errorf("%+v", a)
		}
		holds(plugSlot)

		// A device that it would fit and that has no upgrade gets nothing by it.
		w.sim.Device(plug).Query()
		time.Sleep(time.Minute)
		holds(plugSlot)
		if d := w.sim.Device(plug).Snapshot(); d.Installs != 0 || d.BlocksReceived != 0 {
			t.Errorf("the plug got %+v", d)
		}

		// An upgrade takes the slot, and keeps it.
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb)})
		w.within(time.Minute, "the download is under way", func() bool {
			u := w.sink.device(bulb).Upgrade
			return u.State == upgrade.Downloading && u.Offset > 5000
		})
		holds(bulbSlot)
		for _, a := range []otasvc.Answer{load(plug), from(otherURL)} {
			if a.Status != otasvc.Failure || !strings.Contains(a.Error, "download would break off") {
				t.Errorf("during a download: %+v", a)
			}
		}
		holds(bulbSlot)
		if a := load(bulb); a.Status != otasvc.Success { // the same header again does no harm
			t.Errorf("%+v", a)
		}
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
			t.Errorf("%+v", u)
		}
		w.holds(bulb, 2, bulbData)
		if n := w.sim.Stats().BlocksRefused(); n != 0 {
			t.Errorf("the dongle refused %d blocks", n)
		}

		// After the upgrade its header does not stay for the rest of somebody's ten minutes.
		if a := from(otherURL); a.Status != otasvc.Success {
			t.Errorf("%+v", a)
		}
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		if u := w.ended(time.Hour, plug); u.State != upgrade.Succeeded {
			t.Errorf("%+v", u)
		}
		w.holds(plug, 11, plugData)
		time.Sleep(20 * time.Second)
		holds(nil)
	})
}

// TestLoadImageByHandDisturbsNoInstallation: a device that waits with its image would be told to install it.
func TestLoadImageByHandDisturbsNoInstallation(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 20_000)
		w.add(bulb, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(bulb), Install: upgrade.InstallHold})
		w.within(10*time.Minute, "the device waits with its image", func() bool { return w.stateOf(bulb) == upgrade.Downloaded })
		a := w.ask(func(r otasvc.Respond) { w.service.LoadImage(ref(bulb), r) })
		if a.Status != otasvc.Failure || !strings.Contains(a.Error, "waits to be told to install") {
			t.Errorf("%+v", a)
		}
		time.Sleep(3 * time.Hour) // it asks again each hour
		if d := w.sink.device(bulb).Upgrade; d.State != upgrade.Downloaded {
			t.Errorf("%+v", d)
		}
	})
}

// TestLoadImageByHandAfterReset: the header is gone then, and so is what is told of it.
func TestLoadImageByHandAfterReset(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		url, _ := w.image(0x117C, 0x2201, 2, 500)
		if a := w.ask(func(r otasvc.Respond) { w.service.LoadImageFrom(url, r) }); a.Status != otasvc.Success {
			t.Fatalf("%+v", a)
		}
		w.within(time.Second, "the slot is shown", func() bool { return w.slot() != nil })
		w.sim.Reset()
		w.within(20*time.Second, "the slot is empty", func() bool { return w.slot() == nil })
		time.Sleep(time.Minute)
		if w.slot() != nil {
			t.Error("the header is shown again")
		}
	})
}

// TestOpenFramesByHandAreAnswered when the dongle goes and when the service stops.
func TestOpenFramesByHandAreAnswered(t *testing.T) {
	silence := func(func(message.Status, error)) {}
	ends := map[string]func(w *world){
		"the dongle goes":   func(w *world) { w.service.HandleDisconnected(errors.New("unplugged")) },
		"the service stops": func(w *world) { w.stop() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				w.service.HandleConnected(zigate.Info{Firmware: "3.23"})
				time.Sleep(time.Minute)
				url, _ := w.image(0x117C, 0x2201, 2, 500)
				radio.mu.Lock()
				radio.answers[message.TypeImageNotify], radio.answers[message.TypeLoadImage] = silence, silence
				radio.mu.Unlock()
				answers := make(chan otasvc.Answer, 10)
				respond := func(a otasvc.Answer) {
					if a.Status.Final() {
						answers <- a
					}
				}
				w.service.ImageNotify(otasvc.ImageNotify{Device: ref(bulb)}, respond)
				w.service.LoadImageFrom(url, respond)
				time.Sleep(time.Second)
				w.service.LoadImageFrom(url, respond) // waits for the one before
				time.Sleep(time.Minute)
				if len(answers) > 0 {
					t.Fatalf("answered %+v", <-answers)
				}
				end(w)
				synctest.Wait()
				if len(answers) != 3 {
					t.Errorf("%d answers", len(answers))
				}
				for len(answers) > 0 {
					if a := <-answers; a.Status != otasvc.ServiceNotAvailable || a.Error == "" {
						t.Errorf("%+v", a)
					}
				}
			})
		})
	}
}
