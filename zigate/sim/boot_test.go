package sim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestBootMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Speed: 1, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		if time.Sleep(time.Second); len(l.take()) > 0 {
			t.Error("a dongle that runs already says something")
		}
		restarted := []zigate.Message{
			zigate.PDMLoaded{},
			zigate.NetworkJoined{Status: zigate.NetworkFormed, HasAddress: true, IEEE: l.dongle.IEEE(), Channel: 15},
			zigate.RestartNotice{Kind: zigate.TypeRestart, Status: 1},
		}
		expect := func(what string, want []zigate.Message) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if diff := cmp.Diff(want, l.takeTypes()); diff != "" {
				t.Errorf("%s:\n%s", what, diff)
			}
		}
		l.dongle.Reset()
		expect("reset", restarted)
		l.send(zigate.Reset{})
		expect("reset by command", restarted)
		l.dongle.SilentReset()
		expect("silent reset", nil)
		l.send(zigate.StartNetwork{})
		expect("start of a network that is up", []zigate.Message{zigate.NetworkJoined{Status: zigate.NetworkAlreadyUp}})
		l.send(zigate.ErasePersistentData{})
		expect("erase", []zigate.Message{
			zigate.PDMLoaded{}, zigate.RestartNotice{Kind: zigate.TypeFactoryNewRestart},
		})
		l.send(zigate.GetNetworkState{})
		expect("network state", []zigate.Message{zigate.NetworkState{Addr: 0xFFFF, IEEE: l.dongle.IEEE()}})
		l.send(zigate.ActiveEndpointsRequest{Addr: lampAddr})
		synctest.Wait()
		if got := of[zigate.Status](l.take()); len(got) != 1 || got[0].Status != 0xC2 {
			t.Errorf("request without network: %+v", got)
		}
		l.send(notify(lampAddr))
		synctest.Wait()
		if got := of[zigate.Status](l.take()); len(got) != 1 || got[0].Status != 0x15 {
			t.Errorf("notify without network: %+v", got)
		}
		l.send(zigate.StartNetwork{})
		expect("start", restarted[1:2])

		device := l.dongle.Device(lamp)
		device.Announce()
		expect("a device that may not join", nil)
		l.send(zigate.PermitJoin{Addr: 0xFFFC, Seconds: 60})
		device.Announce()
		announce := zigate.DeviceAnnounce{Addr: lampAddr, IEEE: lamp, Capability: 0x8E}
		joined := announce
		joined.HasRejoin = true
		expect("a device joins", []zigate.Message{joined, announce})
		device.ChangeAddress(0x1234)
		announce.Addr, joined.Addr, joined.Rejoin = 0x1234, 0x1234, 1
		expect("a device changes its address", []zigate.Message{joined, announce})
		device.Leave()
		expect("a device leaves", []zigate.Message{zigate.Leave{IEEE: lamp}})
	})
}

// A reset empties the slot, the clock and the receiver; the raw mode stays.
func TestResetLosesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.send(loadImage(image(newVersion, size)))
		l.send(zigate.SetTime{Seconds: 1_000_000})
		l.send(zigate.SetRawMode{Mode: zigate.RawModeHybrid})
		l.dongle.Reset()
		synctest.Wait()
		l.take()
		l.air.fromDongle()
		l.raw([]byte{0x03}) // nothing to repeat: command 0
		l.send(zigate.GetTime{})
		synctest.Wait()
		got := l.take()
		if s := of[zigate.Status](got); len(s) == 0 || s[0].Request != 0 || s[0].Status != zigate.StatusUnhandled {
			t.Errorf("%+v", s)
		}
		if now := of[zigate.Time](got); len(now) != 1 || now[0].Seconds != 0 {
			t.Errorf("%+v", now)
		}
		l.transmit(query(oldVersion))
		if n := len(of[zigate.DataIndication](l.take())); n != 1 {
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
		l := newLab(t, sim.Config{Firmware: sim.V2_324, Speed: 1, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		time.Sleep(10 * time.Minute)
		got := l.take()
		opaque := of[zigate.Opaque](got)
		if n := len(opaque); n < 8 || n > 10 || opaque[0].Kind != zigate.TypeManagementLQI {
			t.Errorf("%d answers to own requests", n)
		}
		if n := len(of[zigate.Heartbeat](got)); n > 0 {
			t.Errorf("%d heartbeats", n)
		}
		time.Sleep(time.Second)
		l.send(zigate.SetHeartbeat{Enable: 1})
		time.Sleep(10 * time.Minute)
		if n := len(of[zigate.Heartbeat](l.take())); n != 10 {
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
		want := []zigate.Message{zigate.PDMLoaded{}, zigate.RestartNotice{Kind: zigate.TypeFactoryNewRestart}}
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
