package sim_test

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func shown(zcl []byte) message.DataIndication {
	return message.DataIndication{
		Profile: message.ProfileHomeAutomation, Cluster: message.ClusterOTA, SrcEndpoint: 1, DstEndpoint: 1,
		SrcAddrMode: message.AddrModeNetwork, SrcAddr: lampAddr, DstAddrMode: message.AddrModeNetwork, Payload: zcl,
	}
}

func TestRawModes(t *testing.T) {
	offer := answer(0x02, uint8(0), identity(newVersion), uint32(size))
	silent := queryHardware(oldVersion, 7)
	silent[0] = 0x11 // default response disabled
	tests := []struct {
		name string
		mode message.RawMode
		zcl  []byte
		host []message.Message
		air  [][]byte
	}{
		{"off, query", 0, query(oldVersion), nil, frames(offer)},
		{"raw, query", 1, query(oldVersion), messages(shown(query(oldVersion))), frames(offer)},
		{"hybrid, query", 2, query(oldVersion), messages(shown(query(oldVersion))), frames(defaultResponse(0x01, 0), offer)},
		{"hybrid, query that forbids default responses", 2, silent, messages(shown(silent)), frames(offer)},
		{"raw, block request", 1, blockRequest(newVersion, 63), messages(shown(blockRequest(newVersion, 63))), nil},
		{
			"raw, block request that does not fit", 1, blockRequest(oldVersion, 63),
			messages(shown(blockRequest(oldVersion, 63))), frames(defaultResponse(0x03, 0x98)),
		},
		{
			"hybrid, block request", 2, blockRequest(newVersion, 63),
			messages(shown(blockRequest(newVersion, 63)), block(newVersion, 63)), frames(defaultResponse(0x03, 0)),
		},
		{
			"raw, upgrade end", 1, upgradeEnd(0x01, 0, newVersion), messages(shown(upgradeEnd(0x01, 0, newVersion))),
			frames(answer(0x07, identity(newVersion), uint32(0), uint32(0xFFFFFFFF))),
		},
		{
			"hybrid, upgrade end", 2, upgradeEnd(0x11, 0, newVersion),
			messages(shown(upgradeEnd(0x11, 0, newVersion)), ended(0, newVersion)),
			frames(answer(0x07, identity(newVersion), uint32(0), uint32(5))),
		},
		{"off, a frame that nobody wants", 0, []byte{0x18, 1, 0x01, 4, 0, 0x86}, messages(shown([]byte{0x18, 1, 0x01, 4, 0, 0x86})), nil},
	}
	for _, firmware := range sim.Firmwares() {
		for _, test := range tests {
			if firmware == sim.V131C && test.mode == message.RawModeHybrid {
				continue // it has none
			}
			t.Run(firmware.String()+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					l.send(loadImage(image(newVersion, size)))
					l.send(message.SetRawMode{Mode: test.mode})
					synctest.Wait()
					l.take()
					l.transmit(test.zcl)
					if diff := cmp.Diff(test.host, l.takeTypes()); diff != "" {
						t.Errorf("host gets:\n%s", diff)
					}
					if diff := cmp.Diff(test.air, l.air.fromDongle()); diff != "" {
						t.Errorf("device gets:\n%s", diff)
					}
				})
			})
		}
	}
}

// Firmware up to 3.1c keeps the raw mode as a truth value: told to be hybrid, it is raw, and shows no messages.
func TestFirmwareWithoutHybrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Firmware: sim.V131C, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.send(loadImage(image(newVersion, size)))
		l.send(message.SetRawMode{Mode: message.RawModeHybrid})
		synctest.Wait()
		l.take()
		l.transmit(blockRequest(newVersion, 63))
		if diff := cmp.Diff(messages(shown(blockRequest(newVersion, 63))), l.takeTypes()); diff != "" {
			t.Errorf("host gets:\n%s", diff)
		}
		if answers := l.air.fromDongle(); len(answers) > 0 {
			t.Errorf("device gets %v", answers)
		}
	})
}

// Raw mode shows a repeated frame once; the server reacts to both.
func TestRawModeSuppressesRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.send(message.SetRawMode{Mode: message.RawModeRaw})
		synctest.Wait()
		l.take()
		l.transmit(query(oldVersion))
		l.transmit(query(oldVersion))
		if n := len(l.takeTypes()); n != 1 {
			t.Errorf("%d messages", n)
		}
		if n := len(l.air.fromDongle()); n != 2 {
			t.Errorf("%d answers", n)
		}
	})
}

// What a device's announcement looks like to the host in each raw mode.
func TestRawModesAndZDP(t *testing.T) {
	const raw, decoded = message.TypeDataIndication, message.TypeDeviceAnnounce
	tests := map[sim.Firmware][3][]message.MsgType{
		sim.V131C: {{decoded}, {decoded}, {decoded}},
		sim.V131D: {{decoded}, {decoded}, {raw, decoded}},
		sim.V131E: {{decoded}, {raw}, {raw, decoded}},
		sim.V1323: {{decoded}, {raw, decoded}, {raw, decoded}},
		sim.V2324: {{decoded}, {raw, decoded}, {raw, decoded}},
	}
	for firmware, modes := range tests {
		for mode, want := range modes {
			t.Run(firmware.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					l.send(message.SetRawMode{Mode: message.RawMode(mode)})
					synctest.Wait()
					l.take()
					l.dongle.Device(lamp).Announce()
					synctest.Wait()
					var got []message.MsgType
					for _, m := range l.takeTypes() {
						got = append(got, m.Type())
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("mode %d:\n%s", mode, diff)
					}
					// 3.1e answers even ZDP.
					if mode == 2 && firmware == sim.V131E && l.dongle.Device(lamp).Snapshot().Joined {
						answers := len(l.air.fromDongle())
						if answers > 1 {
							t.Errorf("%d answers to ZDP", answers)
						}
					} else if n := len(l.air.fromDongle()); n > 0 {
						t.Errorf("%d answers to ZDP", n)
					}
				})
			})
		}
	}
}
