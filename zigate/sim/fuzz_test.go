package sim

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func fuzzDongle(firmware uint8) *Dongle {
	percent := uint8(50)
	d := New(Config{
		Firmware: Firmwares()[int(firmware)%len(Firmwares())], Speed: 1,
		Devices: []DeviceConfig{{
			IEEE: 1, Addr: 1, ManufacturerCode: 0x117C, ImageType: 0x1101, ModelID: "model", BatteryPercent: &percent,
			Stack: Stack(int(firmware) / len(Firmwares()) % len(stackTable)),
		}},
	})
	d.timeline.now = time.Unix(1_000_000_000, 0)
	return d
}

// settle lets the first events happen.
func (d *Dongle) settle() {
	for range 200 {
		next, pending := d.timeline.schedule.next()
		if !pending {
			return
		}
		d.timeline.now = next
		d.timeline.fireNext()
	}
}

// Whatever comes over the line, the dongle goes on.
func FuzzLine(f *testing.F) {
	f.Add(uint8(0), []byte{3, 3, 1, 3})
	for _, m := range []message.Message{
		message.LoadImage{FileIdentifier: message.FileIdentifier, ManufacturerCode: 0x117C, ImageType: 0x1101, FileVersion: 2},
		message.ImageNotify{Target: message.Target{AddrMode: 2, Addr: 1, SrcEndpoint: 1, DstEndpoint: 1}},
		message.ImageBlockResponse{Target: message.Target{AddrMode: 2, Addr: 1, SrcEndpoint: 1, DstEndpoint: 1}, Data: []byte{1}},
		message.ReadAttributes{Target: message.Target{AddrMode: 2, Addr: 1, SrcEndpoint: 1, DstEndpoint: 1}, IDs: []uint16{4, 5}},
		message.MatchDescriptorRequest{Target: 0xFFFD, Profile: 0x0104, OutClusters: []uint16{0x19}},
		message.RawAPS{AddrMode: 2, Addr: 1, SrcEndpoint: 1, DstEndpoint: 1, Cluster: 0x19, Data: []byte{0x19, 1, 5, 0}},
		message.Opaque{Kind: message.TypeBind, Payload: []byte{0, 0, 0, 0, 0, 0, 0, 1}},
		message.Reset{},
	} {
		for firmware := range uint8(5) {
			f.Add(firmware, message.AppendFrame(nil, m.Type(), message.AppendPayload(nil, m)))
		}
	}
	f.Fuzz(func(_ *testing.T, firmware uint8, in []byte) {
		d := fuzzDongle(firmware)
		d.chip.receiver.receive(in)
		d.settle()
	})
}

// Whatever comes over the air, dongle and device go on.
func FuzzAir(f *testing.F) {
	for firmware := range uint8(5 * len(stackTable)) { // and each stack
		for mode := range uint8(3) {
			f.Add(firmware, mode, clusterOTA, profileHA, uint8(1), []byte{0x01, 1, 1, 1, 0x7C, 0x11, 1, 0x11, 1, 0, 0, 0, 5, 0})
			f.Add(firmware, mode, clusterOTA, profileHA, uint8(1), []byte{0x19, 1, 5, 0x97, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0})
			f.Add(firmware, mode, clusterBasic, profileHA, uint8(1), []byte{0x18, 1, 1, 4, 0, 0, 0x42, 2, 'a', 'b'})
			f.Add(firmware, mode, zdpSimple|zdpResponse, profileZDP, uint8(0), []byte{1, 0, 1, 0, 8, 1, 4, 1, 0, 1, 1, 0, 0})
			f.Add(firmware, mode, zdpMatch, profileZDP, uint8(0), []byte{1, 1, 0, 4, 1, 0, 1, 0x19, 0})
		}
	}
	f.Fuzz(func(_ *testing.T, firmware, mode uint8, cluster, profile uint16, endpoint uint8, payload []byte) {
		d := fuzzDongle(firmware)
		d.chip.raw.mode = message.RawMode(mode % 3)
		v := d.devices.all[0]
		frame := AirFrame{
			Addr: v.addr, Profile: profile, Cluster: cluster, SourceEndpoint: 1, DestinationEndpoint: endpoint, Payload: payload,
		}
		d.chip.hear(frame, v.lqi)
		v.hear(frame)
		d.settle()
		d.chip.server.slot = message.LoadImage{ManufacturerCode: 0x117C, ImageType: 0x1101, FileVersion: 9, TotalSize: 100}
		v.client.query(true)
		for range 5 {
			d.settle()
			v.hear(frame)
			d.chip.hear(frame, v.lqi)
		}
	})
}
