package sim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// What follows a frame that was queued: which messages, in which form.
func TestDeliveryReports(t *testing.T) {
	off := lampConfig()
	off.IEEE, off.Addr = lamp+1, 0x0001
	asleep := lampConfig()
	asleep.IEEE, asleep.Addr, asleep.Sleepy, asleep.PollInterval = lamp+2, 0x0002, true, time.Hour
	polls := asleep
	polls.IEEE, polls.Addr, polls.PollInterval = lamp+3, 0x0003, 5*time.Second
	far := lampConfig()
	far.IEEE, far.Addr, far.Relays = lamp+4, 0x0004, 5

	confirm := func(kind message.MsgType, status uint8, addr uint16) message.Confirm {
		return message.Confirm{
			Kind: kind, Status: status, SrcEndpoint: 1, DstEndpoint: 1, DstAddrMode: message.AddrModeNetwork, Addr: addr,
			APSSequence: 1, HasBuffers: true,
		}
	}
	ack := func(addr uint16) message.APSAck {
		return message.APSAck{Addr: addr, DstEndpoint: 1, Cluster: message.ClusterOTA, HasAPSSequence: true, APSSequence: 1}
	}
	const ok, failed = message.TypeConfirm, message.TypeConfirmFailed
	tests := []struct {
		name     string
		firmware sim.Firmware
		addr     uint16
		noAck    bool
		size     int
		faults   sim.Faults
		want     []message.Message
	}{
		{name: "acknowledged", addr: lampAddr, want: messages(confirm(ok, 0, lampAddr), ack(lampAddr))},
		{name: "without acknowledgement", addr: lampAddr, noAck: true, want: messages(confirm(ok, 0, lampAddr))},
		{
			name: "3.1c", firmware: sim.V131C, addr: lampAddr,
			want: messages(message.APSAck{Addr: lampAddr, DstEndpoint: 1, Cluster: message.ClusterOTA}),
		},
		{name: "3.1d", firmware: sim.V131D, addr: lampAddr, want: messages(ack(lampAddr))},
		{name: "v2", firmware: sim.V2324, addr: lampAddr, want: messages(confirm(ok, 0, lampAddr), ack(lampAddr))},
		{name: "unknown device", addr: 0x7777, want: messages(confirm(failed, 0xD0, 0x7777))},
		{
			name: "unknown device, 3.1d", firmware: sim.V131D, addr: 0x7777, want: messages(message.Confirm{
				Kind: failed, Status: 0xD0, SrcEndpoint: 1, DstEndpoint: 1, DstAddrMode: 2, Addr: 0x7777, APSSequence: 1,
			}),
		},
		{
			name: "unknown device, v2", firmware: sim.V2324, addr: 0x7777, want: messages(
				confirm(failed, 0xD0, 0x7777),
				message.RouteDiscovery{Status: 0xD0, HasDestination: true, Destination: 0x7777},
			),
		},
		{name: "switched off", addr: 0x0001, want: messages(confirm(failed, 0xE9, 0x0001))},
		{name: "asleep", addr: 0x0002, want: messages(confirm(failed, 0xF0, 0x0002))},
		{name: "asleep, but polls", addr: 0x0003, want: messages(confirm(ok, 0, 0x0003), ack(0x0003))},
		{
			name: "lost", addr: lampAddr, faults: sim.Faults{LoseAir: 1},
			want: messages(confirm(ok, 0, lampAddr), confirm(failed, 0xA7, lampAddr)),
		},
		{
			name: "lost, without acknowledgement", addr: lampAddr, noAck: true, faults: sim.Faults{LoseAir: 1},
			want: messages(confirm(ok, 0, lampAddr)),
		},
		{
			name: "acknowledgement lost", addr: lampAddr, faults: sim.Faults{LoseAck: 1},
			want: messages(confirm(ok, 0, lampAddr), confirm(failed, 0xA7, lampAddr)),
		},
		{name: "too long for the route", addr: 0x0004, size: 54, want: messages(confirm(failed, 0xE5, 0x0004))},
		{name: "fits the route", addr: 0x0004, size: 53, want: messages(confirm(ok, 0, 0x0004), ack(0x0004))},
		{
			name: "fragments", firmware: sim.V2324, addr: lampAddr, size: 66,
			want: messages(confirm(ok, 0, lampAddr), confirm(failed, 0xA7, lampAddr)),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{
					Firmware: test.firmware, Speed: 1, Faults: test.faults,
					Devices: []sim.DeviceConfig{lampConfig(), off, asleep, polls, far},
				}, nil)
				defer l.stop()
				l.dongle.Device(off.IEEE).PowerOff()
				time.Sleep(3 * time.Second)
				synctest.Wait()
				l.take()
				m := message.ImageBlockResponse{Target: target(test.addr), Data: make([]byte, test.size)}
				if test.noAck {
					m.AddrMode = message.AddrModeNetworkNoAck
				}
				l.send(m)
				time.Sleep(30 * time.Second)
				synctest.Wait()
				var got []message.Message
				for _, m := range l.take() {
					switch m := m.Message.(type) {
					case message.Status:
						if m.Status != 0 {
							t.Errorf("%+v", m)
						}
					case message.Confirm:
						m.NPDUUsed, m.APDUUsed = 0, 0
						got = append(got, m)
					default:
						got = append(got, m)
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
				if test.faults.LoseAck > 0 && l.dongle.Device(lamp).Snapshot().BlocksDropped != 1 {
					t.Error("the device heard the same frame more than once")
				}
			})
		})
	}
}

// The stack has few places for frames under way; one too many is refused and reported.
func TestBuffersRunOut(t *testing.T) {
	limits := map[sim.Firmware]struct{ acked, all int }{
		sim.V131C: {3, 5}, sim.V131D: {3, 5}, sim.V131E: {7, 9}, sim.V1323: {7, 9}, sim.V2324: {8, 10},
	}
	for firmware, limit := range limits {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, sim.Config{Firmware: firmware, Speed: 1, Devices: []sim.DeviceConfig{lampConfig()}}, nil)
				defer l.stop()
				count := func(mode message.AddrMode) (accepted int, codes []uint8) {
					for range 12 {
						m := notify(0x7777)
						m.AddrMode = mode
						l.send(m)
					}
					synctest.Wait()
					got := l.take()
					for _, s := range of[message.Status](got) {
						switch s.Status {
						case message.StatusOK:
							accepted++
						case message.StatusTransmitFailed:
						default:
							t.Errorf("%+v", s)
						}
					}
					for _, e := range of[message.ExtendedStatus](got) {
						codes = append(codes, e.Code)
					}
					return accepted, codes
				}
				accepted, codes := count(message.AddrModeNetwork)
				if accepted != limit.acked || len(codes) != 12-accepted || codes[0] != 0x83 {
					t.Errorf("%d with acknowledgement accepted, extended status %x", accepted, codes)
				}
				accepted, codes = count(message.AddrModeNetworkNoAck)
				if accepted != limit.all-limit.acked || len(codes) != 12-accepted || codes[0] != 0x82 {
					t.Errorf("%d more without acknowledgement accepted, extended status %x", accepted, codes)
				}
				time.Sleep(time.Minute)
				l.take()
				if accepted, _ := count(message.AddrModeNetwork); accepted != limit.acked {
					t.Errorf("%d accepted after a pause: places are not given back", accepted)
				}
			})
		})
	}
}
