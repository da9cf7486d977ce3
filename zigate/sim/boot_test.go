package sim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestBootMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		if time.Sleep(time.Second); len(l.take()) > 0 {
			t.Error("a dongle that runs already says something")
		}
		restarted := []message.Message{
			message.PDMLoaded{},
			message.NetworkJoined{Status: message.NetworkFormed, HasAddress: true, IEEE: l.dongle.IEEE(), Channel: 15},
			message.RestartNotice{Kind: message.TypeRestart, Status: 1},
		}
		expect := func(what string, want []message.Message) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if diff := cmp.Diff(want, l.takeTypes()); diff != "" {
				t.Errorf("%s:\n%s", what, diff)
			}
		}
		l.dongle.Reset()
		expect("reset", restarted)
		l.send(message.Reset{})
		expect("reset by command", restarted)
		l.dongle.SilentReset()
		expect("silent reset", nil)
		l.send(message.StartNetwork{})
		expect("start of a network that is up", []message.Message{message.NetworkJoined{Status: message.NetworkAlreadyUp}})
		l.send(message.ErasePersistentData{})
		expect("erase", []message.Message{
			message.PDMLoaded{}, message.RestartNotice{Kind: message.TypeFactoryNewRestart},
		})
		l.send(message.GetNetworkState{})
		expect("network state", []message.Message{message.NetworkState{Addr: 0xFFFF, IEEE: l.dongle.IEEE()}})
		l.send(message.ActiveEndpointsRequest{Addr: lampAddr})
		synctest.Wait()
		if got := of[message.Status](l.take()); len(got) != 1 || got[0].Status != 0xC2 {
			t.Errorf("request without network: %+v", got)
		}
		l.send(notify(lampAddr))
		synctest.Wait()
		if got := of[message.Status](l.take()); len(got) != 1 || got[0].Status != 0x15 {
			t.Errorf("notify without network: %+v", got)
		}
		l.send(message.StartNetwork{})
		expect("start", restarted[1:2])

		device := l.dongle.Device(lamp)
		device.Announce()
		expect("a device that may not join", nil)
		l.send(message.PermitJoin{Addr: 0xFFFC, Seconds: 60})
		device.Announce()
		announce := message.DeviceAnnounce{Addr: lampAddr, IEEE: lamp, Capability: 0x8E}
		joined := announce
		joined.HasRejoin = true
		expect("a device joins", []message.Message{joined, announce})
		device.ChangeAddress(0x1234)
		announce.Addr, joined.Addr, joined.Rejoin = 0x1234, 0x1234, 1
		expect("a device changes its address", []message.Message{joined, announce})
		device.Leave()
		expect("a device leaves", []message.Message{message.Leave{IEEE: lamp}})
	})
}

// A reset empties the slot, the clock and the receiver; the raw mode stays.
func TestResetLosesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.send(loadImage(image(newVersion, size)))
		l.send(message.SetTime{Seconds: 1_000_000})
		l.send(message.SetRawMode{Mode: message.RawModeHybrid})
		l.dongle.Reset()
		synctest.Wait()
		l.take()
		l.air.fromDongle()
		l.raw([]byte{0x03}) // nothing to repeat: command 0
		l.send(message.GetTime{})
		synctest.Wait()
		got := l.take()
		if s := of[message.Status](got); len(s) == 0 || s[0].Request != 0 || s[0].Status != message.StatusUnhandled {
			t.Errorf("%+v", s)
		}
		if now := of[message.Time](got); len(now) != 1 || now[0].Seconds != 0 {
			t.Errorf("%+v", now)
		}
		l.transmit(query(oldVersion))
		if n := len(of[message.DataIndication](l.take())); n != 1 {
			t.Errorf("%d raw frames in hybrid mode", n)
		}
		want := frames(defaultResponse(0x01, 0), answer(0x02, uint8(0x98)))
		if diff := cmp.Diff(want, l.air.fromDongle()); diff != "" {
			t.Error(diff)
		}
	})
}

// A ZiGate+ talks without being asked.
func TestOwnTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Firmware: sim.V2324, Speed: 1, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		time.Sleep(10 * time.Minute)
		got := l.take()
		if n := len(of[message.ManagementLQI](got)); n < 8 || n > 10 {
			t.Errorf("%d answers to own requests", n)
		}
		if n := len(of[message.Heartbeat](got)); n > 0 {
			t.Errorf("%d heartbeats", n)
		}
		time.Sleep(time.Second)
		l.send(message.SetHeartbeat{Enable: 1})
		time.Sleep(10 * time.Minute)
		if n := len(of[message.Heartbeat](l.take())); n != 10 {
			t.Errorf("%d heartbeats", n)
		}
	})
}

func TestFactoryNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{FactoryNew: true, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.dongle.Reset()
		synctest.Wait()
		want := []message.Message{message.PDMLoaded{}, message.RestartNotice{Kind: message.TypeFactoryNewRestart}}
		if diff := cmp.Diff(want, l.takeTypes()); diff != "" {
			t.Error(diff)
		}
		l.dongle.Device(lamp).Query()
		synctest.Wait()
		if l.dongle.Device(lamp).Snapshot().Joined || l.dongle.Stats().QueriesRefused > 0 {
			t.Error("a device is in a network that does not exist")
		}
	})
}
