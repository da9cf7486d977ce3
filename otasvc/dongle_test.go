package otasvc_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// trouble is what info says of the dongle.
func (w *world) trouble() string {
	defer w.sink.lock()()
	return w.sink.info.Dongle.Error
}

// TestSilentResetInMidDownload has a dongle that restarts without a word: it refuses the next block, the
// device stops asking, and nothing else tells.
func TestSilentResetInMidDownload(t *testing.T) {
	for name, firmware := range map[string]sim.Firmware{"3.1c": sim.V131C, "3.23": sim.V1323, "v2": sim.V2324} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
				data := upgraded(w, 30_000)
				w.within(time.Minute, "the download runs", func() bool { return w.sim.Device(bulb).Snapshot().Offset > 5000 })
				w.sim.SilentReset()
				w.within(80*time.Second, "it begins anew", func() bool { return w.sim.Device(bulb).Snapshot().Sessions == 2 })
				if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || u.Attempt != 1 {
					t.Fatalf("ended %+v", u)
				}
				w.holds(bulb, 2, data)
				if !w.said.has("the image header is loaded again") {
					t.Error("nothing was said of it")
				}
			})
		})
	}
}

// TestFirmwareWithoutOTA has a dongle that does not know the OTA commands.
func TestFirmwareWithoutOTA(t *testing.T) {
	withRadio(t, nil, func(w *world, radio *script) {
		radio.answers[message.TypeLoadImage] = func(done func(message.Status, error)) {
			st := message.Status{Request: message.TypeLoadImage, Status: message.StatusUnhandled}
			done(st, &message.StatusError{Status: st})
		}
		w.service.HandleConnected(zigate.Info{Firmware: "3.0d", NetworkUp: true})
		w.within(time.Minute, "info says so", func() bool { return strings.Contains(w.trouble(), "3.0d has no OTA server") })
		a := w.ask(func(r otasvc.Respond) { w.service.ServiceStatus(nil, r) })
		if a.Status != otasvc.ServiceNotAvailable || !strings.Contains(a.Error, "3.0d has no OTA server") {
			t.Errorf("service_status: %+v", a)
		}
		if !w.said.has("has no OTA server") {
			t.Error("the log does not say so")
		}
	})
}

// TestFlashTrouble has a dongle whose memory fails: what runs goes on, nothing begins.
func TestFlashTrouble(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		w.met(bulb)
		w.service.HandleMessage(message.PDMEvent{Event: recordTooLarge, Record: 7}, 0)
		upgraded(w, 2_000)
		time.Sleep(10 * time.Minute)
		if u := w.sink.device(bulb).Upgrade; u.State != upgrade.Queued || !strings.Contains(w.trouble(), "flash memory") {
			t.Errorf("upgrade %s, trouble %q", u.State, w.trouble())
		}
		w.service.HandleMessage(message.PDMEvent{Event: message.PDMSaved, Record: 7}, 0)
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded || w.trouble() != "" {
			t.Errorf("ended %+v, trouble %q", u, w.trouble())
		}
	})
}

// TestDongleWithoutNetwork gets its network while the service runs.
func TestDongleWithoutNetwork(t *testing.T) {
	inWorld(t, sim.Config{FactoryNew: true}, func(w *world) {
		w.within(time.Minute, "info says so", func() bool { return strings.Contains(w.trouble(), "no network") })
		w.command(message.StartNetwork{})
		w.within(time.Minute, "the network is there", func() bool {
			defer w.sink.lock()()
			return w.sink.info.Dongle.Error == "" && w.sink.info.Dongle.Channel == 15
		})
	})
}

// TestCommandsWaitForBuffers has a dongle that tells that its buffers are full.
func TestCommandsWaitForBuffers(t *testing.T) {
	full := message.Status{Request: message.ImageBlockResponse{}.Type(), Form: message.StatusFormBuffers, NPDUUsed: 3, APDUUsed: 12}
	tests := map[string]struct {
		tell func(s *otasvc.Service)
		wait bool
	}{
		"APDUs, with a block's status": {func(s *otasvc.Service) { s.HandleBlockStatus(&full) }, true},
		"NPDUs, with a delivery report": {func(s *otasvc.Service) {
			s.HandleMessage(message.Confirm{Kind: message.TypeConfirm, HasBuffers: true, NPDUUsed: 13}, 0)
		}, true},
		"an error of the stack": {func(s *otasvc.Service) { s.HandleMessage(message.ExtendedStatus{Code: 0x81}, 0) }, true},
		"another error":         {func(s *otasvc.Service) { s.HandleMessage(message.ExtendedStatus{Code: 0x8A}, 0) }, false},
		"nothing":               {func(*otasvc.Service) {}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				asked := func() int {
					radio.mu.Lock()
					defer radio.mu.Unlock()
					return radio.sent[message.IEEEAddrRequest{}.Type()]
				}
				w.service.HandleConnected(zigate.Info{Firmware: "3.23", NetworkUp: true})
				synctest.Wait()
				tc.tell(w.service)
				// Whose address is it?
				w.service.HandleBlockRequest(&message.ImageBlockRequest{Addr: 0x1234, Endpoint: 1}, nil)
				synctest.Wait()
				if waits := asked() == 0; waits != tc.wait {
					t.Errorf("the question waits: %t, want %t", waits, tc.wait)
				}
				w.within(time.Second, "it is asked", func() bool { return asked() == 1 })
			})
		})
	}
}

// TestRefusedCommandsAreBounded has a dongle that refuses everything for want of a buffer.
func TestRefusedCommandsAreBounded(t *testing.T) {
	for name, status := range map[string]uint8{"no buffer": 0x14, "refused": 0x15, "no buffer for ZDP": 0xA6} {
		t.Run(name, func(t *testing.T) {
			withRadio(t, nil, func(w *world, radio *script) {
				radio.answers[message.IEEEAddrRequest{}.Type()] = func(done func(message.Status, error)) {
					st := message.Status{Request: message.IEEEAddrRequest{}.Type(), Status: status}
					done(st, &message.StatusError{Status: st})
				}
				w.service.HandleConnected(zigate.Info{Firmware: "3.23", NetworkUp: true})
				w.service.HandleBlockRequest(&message.ImageBlockRequest{Addr: 0x1234, Endpoint: 1}, nil)
				time.Sleep(10 * time.Second)
				radio.mu.Lock()
				defer radio.mu.Unlock()
				if n := radio.sent[(message.IEEEAddrRequest{}).Type()]; n != 3 {
					t.Errorf("sent %d times, want 3", n)
				}
			})
		})
	}
}

// TestFlashTroubleHoldsNothingUp has another image wait that cannot begin: the download under way
// is not held for it.
func TestFlashTroubleHoldsNothingUp(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb), plugConfig()}}, func(w *world) {
		w.policy.Slice = time.Minute
		w.restart()
		upgraded(w, 200_000)
		w.within(time.Minute, "the download runs", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
		w.service.HandleMessage(message.PDMEvent{Event: recordTooLarge, Record: 7}, 0)
		w.met(plug)
		url, _ := w.image(0x100B, 0x0112, 11, 5_000)
		w.add(plug, url)
		w.queue(otasvc.UpgradeRequest{Device: ref(plug)})
		if u := w.ended(time.Hour, bulb); u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
		if names := w.sink.names(bulb); slices.Contains(names, otasvc.EventDownloadPaused) {
			t.Errorf("held for an image that may not begin: %v", names)
		}
		w.service.HandleMessage(message.PDMEvent{Event: message.PDMSaved, Record: 7}, 0)
		if u := w.ended(time.Hour, plug); u.State != upgrade.Succeeded {
			t.Errorf("ended %+v", u)
		}
	})
}

// TestNetworkFormedAnew has a dongle that is erased and gets another network while it stays connected: the
// devices are not in that one.
func TestNetworkFormedAnew(t *testing.T) {
	inWorld(t, sim.Config{Devices: []sim.DeviceConfig{bulbConfig(bulb)}}, func(w *world) {
		upgraded(w, 100_000)
		w.within(time.Minute, "the download runs", func() bool { return w.stateOf(bulb) == upgrade.Downloading })
		w.service.HandleMessage(message.NetworkState{IEEE: w.sim.IEEE(), PANID: 0x2222, Channel: 15}, 0)
		if u := w.ended(time.Minute, bulb); u.Reason != upgrade.ReasonDongleLost {
			t.Errorf("ended %+v", u)
		}
	})
}

// recordTooLarge is the event of a PDMEvent that says that the flash memory has no room for the largest record.
const recordTooLarge = 3
