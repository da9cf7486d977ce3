package sim_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// frameBytes are whole frames without confirms, as they come over the line.
func typesOf(list []received) []message.MsgType {
	var types []message.MsgType
	for _, m := range list {
		types = append(types, m.Type())
	}
	return types
}

func TestStatusForms(t *testing.T) {
	tests := map[sim.Firmware]struct {
		block, read, raw message.Status
	}{
		sim.V131C: {
			block: message.Status{Request: message.ImageBlockResponse{}.Type(), Form: message.StatusFormShort},
			read:  message.Status{Request: message.ReadAttributes{}.Type(), Sequence: 1, Form: message.StatusFormShort},
			raw:   message.Status{Request: message.TypeRawAPS, Sequence: 3, Form: message.StatusFormShort},
		},
		sim.V131D: {
			block: message.Status{Request: message.ImageBlockResponse{}.Type(), Form: message.StatusFormAPS},
			read: message.Status{
				Request: message.ReadAttributes{}.Type(), Sequence: 1, RequestSent: 1, APSSequence: 2, Form: message.StatusFormAPS,
			},
			raw: message.Status{Request: message.TypeRawAPS, Sequence: 3, Form: message.StatusFormAPS},
		},
		sim.V131E: {
			block: message.Status{Request: message.ImageBlockResponse{}.Type(), Form: message.StatusFormBuffers},
			read: message.Status{
				Request: message.ReadAttributes{}.Type(), Sequence: 1, RequestSent: 1, APSSequence: 2, Form: message.StatusFormBuffers,
			},
			raw: message.Status{
				Request: message.TypeRawAPS, Sequence: 3, RequestSent: 1, APSSequence: 3, Form: message.StatusFormBuffers,
			},
		},
		sim.V2324: {
			block: message.Status{Request: message.ImageBlockResponse{}.Type(), APSSequence: 1, Form: message.StatusFormBuffers},
			read: message.Status{
				Request: message.ReadAttributes{}.Type(), Sequence: 1, RequestSent: 1, APSSequence: 2, Form: message.StatusFormBuffers,
			},
			raw: message.Status{
				Request: message.TypeRawAPS, Sequence: 3, RequestSent: 1, APSSequence: 3, Form: message.StatusFormBuffers,
			},
		},
	}
	tests[sim.V1323] = tests[sim.V131E]
	for firmware, want := range tests {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
				defer l.stop()
				for _, command := range []struct {
					send message.Message
					want message.Status
				}{
					{message.ImageBlockResponse{Target: target(lampAddr), Data: []byte{1}}, want.block},
					{message.ReadAttributes{Target: target(lampAddr), IDs: []uint16{5}}, want.read},
					{message.RawAPS{AddrMode: 2, Addr: lampAddr, SrcEndpoint: 1, DstEndpoint: 1, Data: []byte{1, 2, 3}}, want.raw},
				} {
					l.take()
					l.send(command.send)
					synctest.Wait()
					got := of[message.Status](l.take())
					for i := range got { // how many buffers are in use is another matter
						got[i].NPDUUsed, got[i].APDUUsed = 0, 0
					}
					if diff := cmp.Diff([]message.Status{command.want}, got); diff != "" {
						t.Errorf("%s:\n%s", command.send.Type(), diff)
					}
				}
			})
		})
	}
}

func TestStatusValues(t *testing.T) {
	bad := loadImage(image(newVersion, size))
	bad.FileIdentifier++
	long := loadImage(image(newVersion, size))
	long.HeaderLength = 70
	longest := long
	longest.HeaderLength = 69
	from := func(endpoint uint8) message.Target {
		to := target(lampAddr)
		to.SrcEndpoint = endpoint
		return to
	}
	with := func(mode message.AddrMode, addr uint16) message.Target {
		to := target(addr)
		to.AddrMode = mode
		return to
	}
	data := func(n int) message.ImageBlockResponse {
		return message.ImageBlockResponse{Target: target(lampAddr), Data: make([]byte, n)}
	}
	always := func(status uint8) func(sim.Firmware) uint8 { return func(sim.Firmware) uint8 { return status } }
	byFamily := func(v1, v2 uint8) func(sim.Firmware) uint8 {
		return func(f sim.Firmware) uint8 {
			if f.V2() {
				return v2
			}
			return v1
		}
	}
	tests := []struct {
		name string
		send message.Message
		want func(sim.Firmware) uint8
	}{
		{"load image", loadImage(image(newVersion, size)), always(0)},
		{"load image, wrong identifier", bad, always(1)},
		{"load image, header too long", long, always(1)},
		{"load image, longest header", longest, always(0)},
		{"block of 64", data(64), always(0)},
		{"block that is no radio frame", data(70), byFamily(0x15, 0)},
		{"block as large as a v1 buffer", data(83), byFamily(0x15, 0)},
		{"block larger than a v1 buffer", data(84), byFamily(0x14, 0)},
		{"block larger than a v2 buffer", data(184), always(0x14)},
		{"notify of an unknown type", message.ImageNotify{Target: target(lampAddr), PayloadType: 4}, always(3)},
		{"source endpoint 2", message.ImageNotify{Target: from(2)}, always(5)},
		{"source endpoint 3", message.WaitForData{Target: from(3), Status: 0x97}, func(f sim.Firmware) uint8 {
			if f == sim.V131E || f == sim.V1323 {
				return 0
			}
			return 5
		}},
		{"other commands, source endpoint 2", message.ReadAttributes{Target: from(2)}, always(6)},
		{"address mode none", message.ImageNotify{Target: with(5, lampAddr)}, always(0)},
		{"address mode without acknowledgement", message.ImageNotify{Target: with(7, lampAddr)}, always(0)},
		{"address mode of 64 bits", message.ImageNotify{Target: with(3, lampAddr)}, always(0x15)},
		{"address mode that does not exist", message.ImageNotify{Target: with(9, lampAddr)}, always(0x15)},
		{"broadcast class of v1", message.ImageNotify{Target: with(4, 0x0100)}, always(0)}, // class 0 to v2
		{"broadcast class of v2", message.ImageNotify{Target: with(4, 0x0001)}, always(0)},
		{"broadcast address as class", message.ImageNotify{Target: with(4, 0xFFFD)}, always(0x15)},
		{"raw data", message.RawAPS{AddrMode: 2, Addr: lampAddr, Data: make([]byte, 60)}, always(0)},
		{"raw data, too long", message.RawAPS{AddrMode: 2, Addr: lampAddr, Data: make([]byte, 101)}, byFamily(0x14, 0)},
		{"raw data, much too long", message.RawAPS{AddrMode: 2, Addr: lampAddr, Data: make([]byte, 201)}, always(0x14)},
		{"raw data, broadcast mode", message.RawAPS{AddrMode: 4, Addr: 0xFFFD, Data: []byte{1, 2, 3}}, always(0)},
		{"unknown command", message.Opaque{Kind: 0x0ABC}, always(2)},
		{"input and output commands", message.Opaque{Kind: 0x0806, Payload: []byte{1}}, always(0)},
	}
	for _, firmware := range sim.Firmwares() {
		for _, test := range tests {
			t.Run(firmware.String()+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					l.send(test.send)
					synctest.Wait()
					got := of[message.Status](l.take())
					if len(got) != 1 || got[0].Status != test.want(firmware) || got[0].Request != test.send.Type() {
						t.Errorf("%+v, want status %#x", got, test.want(firmware))
					}
				})
			})
		}
	}
}

// A refused header leaves the one before in place.
func TestRefusedHeaderKeepsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.send(loadImage(image(newVersion, size)))
		bad := loadImage(image(newVersion+1, size))
		bad.HeaderLength = 70
		l.send(bad)
		synctest.Wait()
		l.transmit(query(oldVersion))
		want := frames(answer(0x02, uint8(0), identity(newVersion), uint32(size)))
		if diff := cmp.Diff(want, l.air.fromDongle()); diff != "" {
			t.Error(diff)
		}
	})
}

// What a host's OTA command becomes on the air.
func TestCommandsOnAir(t *testing.T) {
	to := target(lampAddr)
	tests := []struct {
		name string
		send message.Message
		want []byte
	}{
		{
			"block",
			message.ImageBlockResponse{
				Target: to, Sequence: 0x2C, Offset: 63, FileVersion: newVersion, ImageType: imageType,
				ManufacturerCode: manufacturer, Data: []byte{0xAA, 0xBB},
			},
			answer(0x05, uint8(0), identity(newVersion), uint32(63), uint8(2), uint8(0xAA), uint8(0xBB)),
		},
		{"abort", message.ImageBlockResponse{Target: to, Sequence: 0x2C, Status: 0x95, Data: []byte{1}}, answer(0x05, uint8(0x95))},
		{
			"wait as a block: fields from the wrong memory",
			message.ImageBlockResponse{Target: to, Sequence: 0x2C, Status: 0x97, Offset: 63, FileVersion: newVersion},
			answer(0x05, uint8(0x97), uint32(0x04001F40), uint32(63), uint16(newVersion>>16)),
		},
		{
			"wait",
			message.WaitForData{Target: to, Sequence: 0x2C, Status: 0x97, CurrentTime: 1, RequestTime: 11, BlockRequestDelay: 250},
			answer(0x05, uint8(0x97), uint32(1), uint32(11), uint16(250)),
		},
		{"wait with another status", message.WaitForData{Target: to, Sequence: 0x2C, Status: 0x95}, answer(0x05, uint8(0x95))},
		{
			"upgrade end response",
			message.UpgradeEndResponse{
				Target: to, Sequence: 0x2C, UpgradeTime: 10, CurrentTime: 3, FileVersion: newVersion, ImageType: imageType,
				ManufacturerCode: manufacturer,
			},
			answer(0x07, identity(newVersion), uint32(3), uint32(10)),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
				defer l.stop()
				l.send(test.send)
				synctest.Wait()
				if diff := cmp.Diff(frames(test.want), l.air.fromDongle()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestNotifyOnAir(t *testing.T) {
	full := message.ImageNotify{
		Target: target(lampAddr), FileVersion: newVersion, ImageType: imageType, ManufacturerCode: manufacturer, QueryJitter: 100,
	}
	for kind, want := range [][]byte{
		{0x00, 100},
		{0x01, 100, 0x7C, 0x11},
		{0x02, 100, 0x7C, 0x11, 0x01, 0x11},
		{0x03, 100, 0x7C, 0x11, 0x01, 0x11, 0x30, 0x66, 0x01, 0x20},
	} {
		t.Run(fmt.Sprint("type ", kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := lampConfig()
				cfg.SilentToNotify = true
				l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, nil)
				defer l.stop()
				full.PayloadType = uint8(kind)
				l.send(full)
				synctest.Wait()
				got := l.air.fromDongle()
				if len(got) != 1 || got[0][0] != 0x09 || got[0][2] != 0x00 || !bytes.Equal(got[0][3:], want) {
					t.Errorf("%x, want %x", got, want)
				}
				// Any answer of the OTA server sets a bit in all later frames.
				l.send(message.WaitForData{Target: target(lampAddr), Status: 0x97})
				l.send(full)
				synctest.Wait()
				if got := l.air.fromDongle(); len(got) != 2 || got[1][0] != 0x19 {
					t.Errorf("%x, want frame control 19", got)
				}
			})
		})
	}
}

// Firmware takes one byte of the address as the class of a broadcast: which one depends on the byte
// order of the chip.
func TestBroadcastClass(t *testing.T) {
	sleeper := lampConfig()
	sleeper.IEEE, sleeper.Addr, sleeper.Sleepy = lamp+1, 0x4F34, true
	for _, test := range []struct {
		firmware sim.Firmware
		addr     uint16
		want     uint16 // the radio's broadcast address
	}{
		{sim.V1323, 0x0100, 0xFFFD},
		{sim.V1323, 0x0000, 0xFFFF},
		{sim.V1323, 0x0001, 0xFFFF},
		{sim.V1323, 0x0200, 0xFFFC},
		{sim.V2324, 0x0001, 0xFFFD},
		{sim.V2324, 0x0100, 0xFFFF},
		{sim.V2324, 0x0002, 0xFFFC},
	} {
		t.Run(fmt.Sprintf("%s/%#04x", test.firmware, test.addr), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Firmware: test.firmware, Devices: []sim.DeviceConfig{lampConfig(), sleeper}}, nil)
				defer l.stop()
				command := notify(test.addr)
				command.AddrMode = message.AddrModeBroadcast
				l.send(command)
				synctest.Wait()
				l.air.mu.Lock()
				defer l.air.mu.Unlock()
				if f := l.air.frames[0]; !f.Broadcast || f.Addr != test.want {
					t.Errorf("%+v, want address %#04x", f, test.want)
				}
			})
		})
	}
}

// A short command is completed by what an earlier one left in the buffer.
func TestShortCommandUsesOldBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		l.send(message.ImageNotify{Target: target(lampAddr), PayloadType: 3, FileVersion: newVersion, ImageType: imageType, ManufacturerCode: manufacturer, QueryJitter: 77})
		synctest.Wait()
		l.air.fromDongle()
		// The public command table's form: status, version, jitter.
		short := []byte{2, 0x90, 0x21, 1, 1, 0x00, 0, 0, 0, 0, 50}
		l.raw(message.AppendFrame(nil, message.TypeImageNotify, short))
		synctest.Wait()
		if got := l.air.fromDongle(); len(got) == 0 || !bytes.Equal(got[0][3:], []byte{0, 77}) {
			t.Errorf("%x, want the jitter of the command before", got)
		}
	})
}

// Some answers follow the status at once, others come from a queue, and a second END asks again.
func TestLocalAnswers(t *testing.T) {
	versions := map[sim.Firmware]message.Version{
		sim.V131C: {Major: 3, Minor: 0x031C}, sim.V131D: {Major: 3, Minor: 0x031D}, sim.V131E: {Major: 3, Minor: 0x031E},
		sim.V1323: {Major: 4, Minor: 0x0323}, sim.V2324: {Major: 5, Minor: 0x0324},
	}
	for _, firmware := range sim.Firmwares() {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Firmware: firmware, Channel: 20, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
				defer l.stop()
				l.raw(append(message.AppendFrame(nil, message.TypeGetVersion, nil), 0x03))
				for _, m := range []message.Message{
					message.SetTime{Seconds: 1000}, message.GetTime{}, message.GetNetworkState{}, message.GetPermitJoin{},
					message.PermitJoin{Addr: 0xFFFC, Seconds: 60}, message.GetPermitJoin{}, message.GetDevices{},
				} {
					time.Sleep(time.Second)
					l.send(m)
				}
				synctest.Wait()
				got := l.take()
				want := []message.MsgType{
					0x8000, 0x8010, 0x8000, 0x8010, 0x8000, 0x8000, 0x8017, 0x8000, 0x8009, 0x8000, 0x8014, 0x8000,
					0x8000, 0x8014, 0x8000, 0x8015,
				}
				if diff := cmp.Diff(want, typesOf(got)); diff != "" {
					t.Fatal(diff)
				}
				for i, want := range map[int]message.Message{
					1: versions[firmware],
					6: message.Time{Seconds: 1001},
					8: message.NetworkState{
						IEEE: l.dongle.IEEE(), PANID: 0x1A62, ExtendedPANID: uint64(l.dongle.IEEE()), Channel: 20,
					},
					10: message.PermitJoinState{},
					13: message.PermitJoinState{Enabled: 1},
				} {
					if diff := cmp.Diff(want, got[i].Message); diff != "" {
						t.Errorf("%s:\n%s", want.Type(), diff)
					}
				}
				list := of[message.DeviceList](got)
				if len(list) != 1 || len(list[0].Devices) != 1 || list[0].Devices[0].IEEE != lamp {
					t.Errorf("%+v", list)
				}
			})
		})
	}
}

func TestHostStorageAnswersGetNoStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{}, nil)
		defer l.stop()
		l.raw(message.AppendFrame(nil, 0x8200, []byte{0}))
		l.raw([]byte{0x01, 0x02, 0x10, 0x03}) // broken
		synctest.Wait()
		if got := l.take(); len(got) > 0 {
			t.Errorf("%v", typesOf(got))
		}
	})
}

// A dongle that refuses every block does everything else, until it is reset or without power.
func TestRefusesEveryBlock(t *testing.T) {
	block := message.ImageBlockResponse{Target: target(lampAddr), Data: make([]byte, 50)}
	tests := map[string]struct {
		faults sim.Faults
		now    uint8             // from now on
		then   func(*sim.Dongle) // nil: nothing
		before uint8
		after  uint8
	}{
		"from the start":                {faults: sim.Faults{RefuseBlocks: 0x15}, before: 0x15, after: 0x15},
		"from now on":                   {now: 0x14, before: 0x14, after: 0x14},
		"until a reset":                 {faults: sim.Faults{RefuseBlocks: 0x14}, then: (*sim.Dongle).Reset, before: 0x14},
		"until a reset, though lasting": {faults: sim.Faults{RefuseBlocks: 0x14, RefusalOutlastsReset: true}, then: (*sim.Dongle).Reset, before: 0x14, after: 0x14},
		"until it is without power":     {faults: sim.Faults{RefuseBlocks: 0x14, RefusalOutlastsReset: true}, then: (*sim.Dongle).PowerCycle, before: 0x14},
	}
	for name, tt := range tests {
		for _, firmware := range sim.Firmwares() {
			t.Run(name+"/"+firmware.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Faults: tt.faults, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					if tt.now != 0 {
						l.dongle.RefuseBlocks(tt.now)
						synctest.Wait()
					}
					statuses := func() (list []uint8) {
						l.take()
						l.send(block)
						l.send(notify(lampAddr))
						synctest.Wait()
						for _, s := range of[message.Status](l.take()) {
							list = append(list, s.Status)
							full := s.APDUUsed >= 14 && s.NPDUUsed >= 14
							if wanted := list[0] == 0x14 && s.Form == message.StatusFormBuffers; full != wanted {
								t.Errorf("tells full buffers: %t", full)
							}
						}
						return list
					}
					if got := statuses(); !slices.Equal(got, []uint8{tt.before, 0}) {
						t.Errorf("statuses %v", got)
					}
					if tt.then != nil {
						tt.then(l.dongle)
					}
					time.Sleep(time.Second)
					l.dialAgain()
					if got := statuses(); !slices.Equal(got, []uint8{tt.after, 0}) {
						t.Errorf("statuses then: %v", got)
					}
				})
			})
		}
	}
}
