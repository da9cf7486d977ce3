package sim_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

const sequence = 0x2C

// request is a cluster command of a client, with the given frame control.
func request(control, command byte, fields ...any) []byte {
	b := []byte{control, sequence, command}
	for _, f := range fields {
		switch f := f.(type) {
		case uint8:
			b = append(b, f)
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, f)
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, f)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, f)
		default:
			panic(fmt.Sprintf("field %T", f))
		}
	}
	return b
}

func identity(version uint32) []any {
	return []any{uint16(manufacturer), uint16(imageType), version}
}

func fields(parts ...any) []any {
	var list []any
	for _, p := range parts {
		if many, ok := p.([]any); ok {
			list = append(list, many...)
			continue
		}
		list = append(list, p)
	}
	return list
}

func query(version uint32) []byte {
	return request(0x01, 0x01, fields(uint8(0), identity(version))...)
}

func queryHardware(version uint32, hardware uint16) []byte {
	return request(0x01, 0x01, fields(uint8(1), identity(version), hardware)...)
}

func blockRequest(version, offset uint32) []byte {
	return request(0x01, 0x03, fields(uint8(0), identity(version), offset, uint8(63))...)
}

func pageRequest(version uint32) []byte {
	return request(0x01, 0x04, fields(uint8(0), identity(version), uint32(0), uint8(50), uint16(1024), uint16(200))...)
}

func upgradeEnd(control byte, status uint8, version uint32) []byte {
	return request(control, 0x06, fields(status, identity(version))...)
}

func defaultResponse(command, status byte) []byte {
	return []byte{0x18, sequence, 0x0B, command, status}
}

func answer(command byte, parts ...any) []byte {
	return request(0x19, command, fields(parts...)...)
}

func block(version, offset uint32) message.ImageBlockRequest {
	return message.ImageBlockRequest{
		Sequence: sequence, Endpoint: 1, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: lampAddr,
		Offset: offset, FileVersion: version, ImageType: imageType, ManufacturerCode: manufacturer,
		BlockRequestDelay: message.NoBlockRequestDelay, MaxDataSize: 63,
	}
}

func ended(status uint8, version uint32) message.UpgradeEndRequest {
	return message.UpgradeEndRequest{
		Sequence: sequence, Endpoint: 1, Cluster: message.ClusterOTA, AddrMode: message.AddrModeNetwork, Addr: lampAddr,
		FileVersion: version, ImageType: imageType, ManufacturerCode: manufacturer, Status: status,
	}
}

func messages(list ...message.Message) []message.Message { return list }
func frames(list ...[]byte) [][]byte                     { return list }

const size = 10_000

// TestReaction sends one frame from a device and looks at what the host and the device get, with the header
// of newVersion loaded.
func TestReaction(t *testing.T) {
	offer := answer(0x02, uint8(0), identity(newVersion), uint32(size))
	noImage := answer(0x02, uint8(0x98))
	refusedThrice := func(command byte) [][]byte {
		return frames(defaultResponse(command, 0x80), defaultResponse(command, 0x80), defaultResponse(command, 0xC1))
	}
	garbled := block(newVersion, 0)
	garbled.ImageType, garbled.ManufacturerCode, garbled.BlockRequestDelay = 1024, 200, imageType
	garbled.MaxDataSize, garbled.FieldControl = manufacturer>>8, manufacturer&0xFF
	garbledV2 := garbled
	garbledV2.MaxDataSize, garbledV2.FieldControl = garbled.FieldControl, garbled.MaxDataSize
	cut := block(newVersion, 0)
	cut.MaxDataSize = 0xFF
	cutMore := cut
	cutMore.Offset = 0xFFFFFFFF
	delayed := block(newVersion, 63)
	delayed.FieldControl, delayed.BlockRequestDelay = 2, 250
	located := block(newVersion, 63)
	located.FieldControl, located.NodeAddress = 1, lamp

	type reaction struct {
		host []message.Message
		air  [][]byte
	}
	none := reaction{}
	air := func(b ...[]byte) reaction { return reaction{air: b} }
	tests := []struct {
		name string
		zcl  []byte
		// by is what differs between firmware versions; the rest reacts with want.
		want reaction
		by   map[sim.Firmware]reaction
	}{
		{name: "query, older", zcl: query(oldVersion), want: air(offer)},
		{name: "query with hardware version", zcl: queryHardware(oldVersion, 7), want: air(offer)},
		{
			name: "query, same version", zcl: query(newVersion), want: air(noImage),
			by: map[sim.Firmware]reaction{sim.V131C: air(offer), sim.V2324: air(offer)},
		},
		{
			name: "query, newer", zcl: query(newVersion + 1), want: air(noImage),
			by: map[sim.Firmware]reaction{sim.V131C: air(offer), sim.V2324: air(offer)},
		},
		{
			name: "query, highest version", zcl: query(0xFFFFFFFF), want: air(noImage),
			by: map[sim.Firmware]reaction{sim.V131C: air(offer), sim.V2324: air(offer)},
		},
		{
			name: "query, another type", want: air(noImage),
			zcl: request(0x01, 0x01, uint8(0), uint16(manufacturer), uint16(imageType+1), uint32(oldVersion)),
		},
		{
			name: "query, another manufacturer", want: air(noImage),
			zcl: request(0x01, 0x01, uint8(0), uint16(manufacturer+1), uint16(imageType), uint32(oldVersion)),
		},
		{
			name: "query without version", want: air(noImage), // missing fields are all ones
			zcl: request(0x01, 0x01, uint8(0), uint16(manufacturer), uint16(imageType)),
			by: map[sim.Firmware]reaction{
				sim.V131C: {air: refusedThrice(1)}, sim.V2324: {air: refusedThrice(1)},
			},
		},
		{
			name: "query cut inside a field", want: reaction{air: refusedThrice(1)},
			zcl: request(0x01, 0x01, uint8(0), uint16(manufacturer), uint16(imageType), uint8(0x30)),
		},
		{
			name: "query specific file", want: air(answer(0x09, uint8(0x98))),
			zcl: request(0x01, 0x08, fields(uint64(lamp), identity(newVersion), uint16(2))...),
		},
		{name: "block request", zcl: blockRequest(newVersion, 63), want: reaction{host: messages(block(newVersion, 63))}},
		{
			name: "block request with delay", want: reaction{host: messages(delayed)},
			zcl: request(0x01, 0x03, fields(uint8(2), identity(newVersion), uint32(63), uint8(63), uint16(250))...),
		},
		{
			name: "block request with node address", want: reaction{host: messages(located)},
			zcl: request(0x01, 0x03, fields(uint8(1), identity(newVersion), uint32(63), uint8(63), uint64(lamp))...),
		},
		{
			name: "block request beyond the end", zcl: blockRequest(newVersion, 1<<31),
			want: reaction{host: messages(block(newVersion, 1<<31))},
		},
		{
			name: "block request, another version", zcl: blockRequest(newVersion+1, 0),
			want: reaction{host: messages(block(newVersion+1, 0)), air: frames(defaultResponse(0x03, 0x98))},
		},
		{
			name: "block request without size", want: reaction{host: messages(cut)},
			zcl: request(0x01, 0x03, fields(uint8(0), identity(newVersion), uint32(0))...),
			by: map[sim.Firmware]reaction{
				sim.V131C: {air: refusedThrice(3)}, sim.V2324: {air: refusedThrice(3)},
			},
		},
		{
			name: "block request without offset and size", want: reaction{host: messages(cutMore)},
			zcl: request(0x01, 0x03, fields(uint8(0), identity(newVersion))...),
			by: map[sim.Firmware]reaction{
				sim.V131C: {air: refusedThrice(3)}, sim.V2324: {air: refusedThrice(3)},
			},
		},
		{
			name: "block request cut inside a field", want: reaction{air: refusedThrice(3)},
			zcl: request(0x01, 0x03, fields(uint8(0), identity(newVersion), uint16(0))...),
		},
		{
			name: "block request with surplus bytes", want: reaction{host: messages(block(newVersion, 63))},
			zcl: append(blockRequest(newVersion, 63), 1, 2, 3),
		},
		{
			name: "page request", zcl: pageRequest(newVersion), want: reaction{host: messages(garbled)},
			by: map[sim.Firmware]reaction{
				sim.V131C: air(defaultResponse(0x04, 0x81)),
				sim.V2324: {host: messages(garbledV2)},
			},
		},
		{
			name: "upgrade end", zcl: upgradeEnd(0x01, 0, newVersion),
			want: reaction{
				host: messages(ended(0, newVersion)),
				air:  frames(answer(0x07, identity(newVersion), uint32(0), uint32(5))),
			},
		},
		{
			name: "upgrade end, another version", zcl: upgradeEnd(0x01, 0, newVersion+1),
			want: reaction{host: messages(ended(0, newVersion+1))},
		},
		{
			name: "upgrade end with abort", zcl: upgradeEnd(0x01, 0x95, newVersion),
			want: reaction{host: messages(ended(0x95, newVersion)), air: frames(defaultResponse(0x06, 0))},
		},
		{
			name: "upgrade end with invalid image", zcl: upgradeEnd(0x11, 0x96, newVersion),
			want: reaction{host: messages(ended(0x96, newVersion))}, // it forbids default responses
		},
		{
			name: "unknown command", zcl: request(0x01, 0x55), want: air(defaultResponse(0x55, 0xC1)),
		},
		{
			name: "default response", zcl: []byte{0x10, sequence, 0x0B, 0x00, 0x00},
			want: reaction{host: messages(message.DefaultResponse{
				Sequence: sequence, SrcEndpoint: 1, Cluster: message.ClusterOTA,
			})},
		},
		{name: "no complete header", zcl: []byte{0x01, sequence}, want: none},
	}
	for _, firmware := range sim.Firmwares() {
		for _, test := range tests {
			t.Run(firmware.String()+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					l.send(loadImage(image(newVersion, size)))
					synctest.Wait()
					l.takeTypes()
					l.transmit(test.zcl)
					want, ok := test.by[firmware]
					if !ok {
						want = test.want
					}
					if diff := cmp.Diff(want.host, l.takeTypes()); diff != "" {
						t.Errorf("host gets:\n%s", diff)
					}
					if diff := cmp.Diff(want.air, l.air.fromDongle()); diff != "" {
						t.Errorf("device gets:\n%s", diff)
					}
				})
			})
		}
	}
}

// transmit sends a frame from the lamp on the OTA cluster and waits until all is done that follows at once.
func (l *lab) transmit(zcl []byte) {
	l.transmitTo(1, zcl)
}

func (l *lab) transmitTo(endpoint uint8, zcl []byte) {
	l.dongle.Device(lamp).Transmit(sim.AirFrame{
		Profile: message.ProfileHomeAutomation, Cluster: message.ClusterOTA,
		SourceEndpoint: 1, DestinationEndpoint: endpoint, Payload: zcl,
	})
	synctest.Wait()
}

// The slot answers a Query Specific File Request only for its own destination.
func TestQuerySpecificFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{lampConfig()}}, nil)
		defer l.stop()
		header := loadImage(image(newVersion, size))
		header.FieldControl, header.HeaderLength, header.Destination = 2, 64, lamp
		l.send(header)
		synctest.Wait()
		for node, want := range map[uint64][]byte{
			uint64(lamp):     answer(0x09, uint8(0), identity(newVersion), uint32(size)),
			uint64(lamp) + 1: answer(0x09, uint8(0x98)),
		} {
			l.transmit(request(0x01, 0x08, fields(node, identity(newVersion), uint16(2))...))
			if diff := cmp.Diff(frames(want), l.air.fromDongle()); diff != "" {
				t.Errorf("node %#x:\n%s", node, diff)
			}
		}
	})
}

// A reset ends the tick that works on the stored page request, even when the dongle is up again before the
// tick: a simulation that does not wait boots at once.
func TestResetEndsPageTick(t *testing.T) {
	for _, speed := range []float64{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			cfg := lampConfig()
			cfg.PageRequests = true
			l := newLab(t, sim.Config{Firmware: sim.V2324, Speed: speed, Devices: []sim.DeviceConfig{cfg}}, nil)
			defer l.stop()
			l.send(loadImage(image(newVersion, 2000)))
			l.send(notify(lampAddr))
			time.Sleep(100 * time.Millisecond)
			l.dongle.Device(lamp).PowerOff()
			l.dongle.Reset()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			l.air.fromDongle()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := l.air.fromDongle(); len(got) > 0 {
				t.Errorf("speed %v: %d frames after the reset", speed, len(got))
			}
		})
	}
}

// A page request that does not fit the slot is refused over and over by firmware with the tick,
// and by nobody else.
func TestPageRequestStorm(t *testing.T) {
	for _, firmware := range sim.Firmwares() {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
				defer l.stop()
				l.transmit(pageRequest(newVersion))
				time.Sleep(100*time.Millisecond + time.Microsecond)
				synctest.Wait()
				want := uint64(0)
				if firmware.V2() {
					want = 100
				}
				count := func() uint64 {
					return l.dongle.Stats().DefaultResponses[sim.DefaultResponse{Command: 0x04, Status: 0x98}]
				}
				if n := count(); n != want {
					t.Errorf("%d refusals in 100 ms, want %d", n, want)
				}
				l.send(loadImage(image(newVersion, size)))
				time.Sleep(100 * time.Millisecond)
				if n := count(); n != want {
					t.Errorf("refusals go on with the right header: %d", n)
				}
			})
		})
	}
}

// What a block request shows for a node address that it does not have are the leftovers of other messages.
func TestNodeAddressLeftovers(t *testing.T) {
	tests := []struct {
		name   string
		before []byte
		v1, v2 message.IEEE
	}{
		{name: "nothing", before: nil, v1: 0, v2: 0},
		{name: "query", before: query(oldVersion), v1: 0x2001563000001101, v2: 0x1101000020015630},
		{name: "query with hardware version", before: queryHardware(oldVersion, 7), v1: 0x2001563000071101, v2: 0x1101000720015630},
		{name: "upgrade end", before: upgradeEnd(0x01, 0x95, newVersion), v1: 0x200166301101117C, v2: 0x117C110120016630},
		{
			name:   "block request of another",
			before: request(0x01, 0x03, fields(uint8(1), identity(newVersion), uint32(0), uint8(63), uint64(0x0102030405060708))...),
			v1:     0x0102030405060708, v2: 0x0102030405060708,
		},
		{
			name:   "query specific file",
			before: request(0x01, 0x08, fields(uint64(0x0102030405060708), identity(newVersion), uint16(2))...),
			v1:     0x0102030405060708, v2: 0x0102030405060708,
		},
	}
	for _, firmware := range sim.Firmwares() {
		for _, test := range tests {
			t.Run(firmware.String()+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					if test.before != nil {
						l.transmit(test.before)
					}
					l.take()
					l.transmit(blockRequest(newVersion, 0))
					want := test.v1
					if firmware.V2() {
						want = test.v2
					}
					requests := of[message.ImageBlockRequest](l.take())
					if len(requests) != 1 || requests[0].NodeAddress != want {
						t.Errorf("%+v, want node address %s", requests, want)
					}
				})
			})
		}
	}
}

// Endpoints that stand for endpoint 1 hear requests; what the server says on its own goes out only from those
// that the ZCL library has.
func TestServerEndpoints(t *testing.T) {
	heard := map[sim.Firmware][]uint8{
		sim.V131C: {1, 8, 10, 21, 110},
		sim.V131D: {1, 8, 10, 11, 21, 110},
		sim.V131E: {1, 3, 8, 10, 11, 21, 110},
		sim.V1323: {1, 3, 8, 10, 11, 21, 110},
		sim.V2324: {1, 3, 8, 10, 11, 21, 34, 35, 38, 39, 40, 41, 110},
	}
	answers := map[sim.Firmware][]uint8{
		sim.V131C: {1}, sim.V131D: {1}, sim.V131E: {1, 3}, sim.V1323: {1, 3}, sim.V2324: {1},
	}
	for _, firmware := range sim.Firmwares() {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
				defer l.stop()
				var hears, says, refuses []uint8
				for endpoint := range uint8(240) {
					l.take()
					l.air.fromDongle()
					l.transmitTo(endpoint, query(oldVersion))
					if len(l.air.fromDongle()) > 0 {
						says = append(says, endpoint)
					}
					l.transmitTo(endpoint, blockRequest(newVersion, 0))
					if len(of[message.ImageBlockRequest](l.take())) > 0 {
						hears = append(hears, endpoint)
					}
					if len(l.air.fromDongle()) > 0 { // the default response
						refuses = append(refuses, endpoint)
					}
				}
				if diff := cmp.Diff(heard[firmware], hears); diff != "" {
					t.Errorf("block requests are heard on:\n%s", diff)
				}
				if diff := cmp.Diff(answers[firmware], says); diff != "" {
					t.Errorf("queries are answered on:\n%s", diff)
				}
				if diff := cmp.Diff(heard[firmware], refuses); diff != "" {
					t.Errorf("default responses come from:\n%s", diff)
				}
			})
		})
	}
}

// TestFilters has frames that never reach the OTA server, and those that just do.
func TestFilters(t *testing.T) {
	request := blockRequest(newVersion, 63)
	fromServer := append([]byte{0x09}, request[1:]...)
	tests := []struct {
		name     string
		profile  uint16
		endpoint uint8
		zcl      []byte
		want     []message.Message
	}{
		{"home automation", 0x0104, 1, request, messages(block(newVersion, 63))},
		{"any profile", 0xFFFF, 1, request, messages(block(newVersion, 63))},
		{"another profile", 0xC05E, 1, request, nil},
		{"no endpoint of the dongle", 0x0104, 2, request, nil},
		{"from a server", 0x0104, 1, fromServer, messages(shown(fromServer))},
	}
	for _, firmware := range sim.Firmwares() {
		for _, test := range tests {
			t.Run(firmware.String()+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, sim.Config{Firmware: firmware, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
					defer l.stop()
					l.send(loadImage(image(newVersion, size)))
					synctest.Wait()
					l.take()
					l.dongle.Device(lamp).Transmit(sim.AirFrame{
						Profile: test.profile, Cluster: message.ClusterOTA, SourceEndpoint: 1, DestinationEndpoint: test.endpoint, Payload: test.zcl,
					})
					synctest.Wait()
					if diff := cmp.Diff(test.want, l.takeTypes()); diff != "" {
						t.Errorf("host gets:\n%s", diff)
					}
					if got := l.air.fromDongle(); len(got) != 0 {
						t.Errorf("device gets %x", got)
					}
				})
			})
		}
	}
}
