package share_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func wire(m message.Message) []byte {
	return message.AppendFrame(nil, m.Type(), message.AppendPayload(nil, m))
}

func burst(messages ...message.Message) (b []byte) {
	for _, m := range messages {
		b = append(b, wire(m)...)
	}
	return b
}

func asks(who int, messages ...message.Message) step { return step{who: who, send: burst(messages...)} }

func says(who int, b ...byte) step { return step{who: who, send: b} }

func bare(who int, t message.MsgType, payload ...byte) step {
	return step{who: who, send: message.AppendFrame(nil, t, payload)}
}

func does(act func(*sim.Dongle)) step { return step{act: act} }

func device(d *sim.Dongle, addr uint16) *sim.Device {
	for _, v := range d.Devices() {
		if v.Snapshot().Addr == addr {
			return v
		}
	}
	panic("no such device")
}

// transmits is a ZCL frame from a device.
func transmits(addr, cluster uint16, zcl ...byte) step {
	return does(func(d *sim.Dongle) {
		device(d, addr).Transmit(sim.AirFrame{
			Profile: message.ProfileHomeAutomation, Cluster: cluster, SourceEndpoint: 1, DestinationEndpoint: 1, Payload: zcl,
		})
	})
}

func to(addr uint16) message.Target {
	return message.Target{AddrMode: message.AddrModeNetwork, Addr: addr, SrcEndpoint: 1, DstEndpoint: 1}
}

func reads(addr uint16, ids ...uint16) message.ReadAttributes {
	return message.ReadAttributes{Target: to(addr), Cluster: message.ClusterBasic, IDs: ids}
}

func raw(addr uint16, cluster uint16, data ...byte) message.RawAPS {
	return message.RawAPS{
		AddrMode: message.AddrModeNetwork, Addr: addr, SrcEndpoint: 1, DstEndpoint: 1, Cluster: cluster,
		Profile: message.ProfileHomeAutomation, Security: 2, Radius: 30, Data: data,
	}
}

var (
	getVersion = message.GetVersion{}
	getState   = message.GetNetworkState{}
	getDevices = message.GetDevices{}
	getPermit  = message.GetPermitJoin{}
)

// scripts are the conversations, but for the choice of the raw mode at the beginning.
func scripts() map[string][]step {
	changed := func(b []byte, at int, to byte) []byte { b = slices.Clone(b); b[at] = to; return b }
	permit := message.PermitJoin{Addr: 0xFFFC, Seconds: 30}
	all := map[string][]step{
		"version":                {asks(1, getVersion)},
		"network state":          {asks(1, getState)},
		"permit join":            {asks(1, getPermit), asks(1, permit), asks(1, getPermit)},
		"devices":                {asks(1, getDevices)},
		"clock":                  {asks(1, message.SetTime{Seconds: 1000}), asks(1, message.SetTime{Seconds: 7})},
		"start of a network":     {asks(1, message.StartNetwork{})},
		"channel, type, flow":    {asks(1, message.SetChannelMask{Mask: 0x0800}), asks(1, message.SetDeviceType{}), asks(1, message.SetFlowControl{}), asks(1, message.SetLogLevel{Level: 3})},
		"both ask in turn":       {asks(1, getVersion), asks(2, getVersion), asks(2, getState), asks(1, getState)},
		"node descriptor":        {asks(1, message.NodeDescriptorRequest{Addr: lamp})},
		"power":                  {asks(1, message.PowerDescriptorRequest{Addr: lamp}), asks(2, message.PowerDescriptorRequest{Addr: sensor})},
		"endpoints":              {asks(1, message.ActiveEndpointsRequest{Addr: lamp}), asks(1, message.SimpleDescriptorRequest{Addr: lamp, Endpoint: 1})},
		"no such endpoint":       {asks(1, message.SimpleDescriptorRequest{Addr: lamp, Endpoint: 7})},
		"match":                  {asks(1, message.MatchDescriptorRequest{Target: lamp, Profile: 0x0104, OutClusters: []uint16{0x0019}})},
		"addresses":              {asks(1, message.NwkAddrRequest{Target: 0xFFFD, IEEE: 0x00158d0000000001}), asks(2, message.IEEEAddrRequest{Target: lamp, Addr: lamp})},
		"nobody there":           {asks(1, message.NodeDescriptorRequest{Addr: 0x1111}), asks(2, message.OnOff{Target: to(0x1111), Command: 1})},
		"bind":                   {bare(1, message.TypeBind, 0, 0x15, 0x8d, 0, 0, 0, 0, 1, 1, 0, 6, 3, 0, 0x15, 0x8d, 0, 1, 0xed, 0x33, 0x95, 1)},
		"bind nobody":            {bare(1, message.TypeBind, 0, 0x15, 0x8d, 0, 0, 0, 0, 9, 1, 0, 6, 3, 0, 0x15, 0x8d, 0, 1, 0xed, 0x33, 0x95, 1)},
		"interview by one":       {asks(1, message.NodeDescriptorRequest{Addr: sensor}), asks(1, message.ActiveEndpointsRequest{Addr: sensor}), asks(1, reads(sensor, 4, 5))},
		"interview by both":      {asks(1, message.NodeDescriptorRequest{Addr: sensor}), asks(2, message.NodeDescriptorRequest{Addr: sensor}), asks(2, reads(sensor, 4, 5)), asks(1, reads(sensor, 4, 5))},
		"read attributes":        {asks(1, reads(lamp, 0, 4, 5, 0x4000))},
		"unsupported attribute":  {asks(1, reads(lamp, 0x4242))},
		"read with wrong source": {asks(1, message.ReadAttributes{Target: message.Target{AddrMode: 2, Addr: lamp, SrcEndpoint: 77, DstEndpoint: 1}, IDs: []uint16{4}})},
		"read, bad address mode": {asks(1, message.ReadAttributes{Target: message.Target{AddrMode: 3, Addr: lamp, SrcEndpoint: 1, DstEndpoint: 1}, IDs: []uint16{4}})},
		"switch":                 {asks(1, message.OnOff{Target: to(lamp), Command: 1}), asks(2, message.OnOff{Target: to(lamp)}), asks(1, message.OnOff{Target: to(lamp), Command: 2})},
		"raw read":               {asks(1, raw(lamp, 0, 0x00, 0x77, 0x00, 4, 0, 5, 0))},
		"raw read by both":       {asks(1, raw(lamp, 0, 0x00, 0x77, 0x00, 4, 0)), asks(2, raw(lamp, 0, 0x00, 0x78, 0x00, 5, 0))},
		"raw switch":             {asks(2, raw(lamp, 6, 0x01, 0x11, 0x02))},
		"raw data too long":      {asks(1, raw(lamp, 0, make([]byte, 210)...))},
		"raw data to IEEE":       {asks(1, message.RawAPS{AddrMode: 3, IEEE: 0x00158d0000000001, SrcEndpoint: 1, DstEndpoint: 1, Profile: 0x0104, Data: []byte{0, 9, 0, 4, 0}})},
		"unknown commands":       {bare(1, 0x0099), bare(2, 0x0777, 1, 2, 3), bare(1, 0x0555), bare(2, 0x0850)},
		"storage answers":        {bare(1, 0x8200, 1), asks(1, getVersion), bare(2, 0x8300), asks(2, getVersion)},
		"announce":               {does(func(d *sim.Dongle) { device(d, lamp).Announce() })},
		"leave and return": {
			does(func(d *sim.Dongle) { device(d, lamp).Leave() }), {who: 1, send: wire(permit), wait: time.Second},
			does(func(d *sim.Dongle) { device(d, lamp).Announce() }),
		},
		"another address": {does(func(d *sim.Dongle) { device(d, lamp).ChangeAddress(0x2222) })},
		"battery report":  {does(func(d *sim.Dongle) { device(d, sensor).SetBattery(42) })},
		"report": {
			transmits(lamp, 6, 0x08, 0x21, 0x0A, 0, 0, 0x10, 1), transmits(lamp, 6, 0x18, 0x22, 0x0A, 0, 0, 0x10, 0),
			transmits(sensor, 0x0402, 0x18, 0x23, 0x0A, 0, 0, 0x29, 0x66, 0x08),
		},
		"repeated report":       {transmits(lamp, 6, 0x18, 0x22, 0x0A, 0, 0, 0x10, 0), transmits(lamp, 6, 0x18, 0x22, 0x0A, 0, 0, 0x10, 0)},
		"report of a vendor":    {transmits(sensor, 0xFC00, 0x1C, 0x5F, 0x11, 0x24, 0x0A, 0, 0, 0x21, 1, 2)},
		"several attributes":    {transmits(sensor, 0, 0x18, 0x25, 0x0A, 4, 0, 0x42, 2, 'a', 'b', 5, 0, 0x42, 1, 'c')},
		"command of a remote":   {transmits(sensor, 6, 0x01, 0x26, 0x02), transmits(sensor, 8, 0x11, 0x27, 0x05, 0)},
		"read of the dongle":    {transmits(lamp, 0, 0x00, 0x28, 0x00, 4, 0), transmits(lamp, 0x000A, 0x10, 0x29, 0x00, 0, 0)},
		"strange frames":        {transmits(lamp, 6, 0x18), transmits(lamp, 6), transmits(lamp, 0x0500, 0x09, 0x2A, 0x00, 1, 0, 0, 0, 0, 0)},
		"frames for others":     strangers(),
		"discovery of the lamp": {asks(1, raw(lamp, 0, 0x10, 0x33, 0x0C, 0, 0, 10))},
		"burst":                 {asks(1, getVersion, getState, getPermit, getVersion, getDevices)},
		"burst of both":         {asks(1, getVersion, getState, reads(lamp, 4)), asks(2, getState, getVersion, reads(lamp, 5))},
		"burst to a device": {
			asks(1, message.NodeDescriptorRequest{Addr: lamp}, message.ActiveEndpointsRequest{Addr: lamp}, reads(lamp, 4), message.OnOff{Target: to(lamp), Command: 2}),
		},
		"wrong checksum":          {says(1, changed(wire(getVersion), 8, 0x77)...), asks(1, getVersion)},
		"cut frame":               {says(1, wire(getState)[:5]...), asks(1, getState)},
		"noise":                   {says(1, 'A', 'T', 13, 10, 0xFF, 0x7E), asks(1, getVersion), says(2, bytes.Repeat([]byte{0x55, 0xAA, 0x02}, 300)...), asks(2, getVersion)},
		"lone END at first":       {says(1, 3)},
		"second END":              {says(1, append(wire(getVersion), 3)...)},
		"START END":               {asks(1, message.NodeDescriptorRequest{Addr: lamp}), says(1, 1, 3)},
		"every byte escaped":      {says(1, escaped(wire(getVersion))...)},
		"low bytes not escaped":   {says(1, 1, 0, 0x10, 0, 0, 0x10, 3)},
		"too long":                {bare(1, message.TypeRawAPS, make([]byte, 271)...), asks(1, getVersion)},
		"too short":               {bare(1, message.PermitJoin{}.Type(), 0xFF, 0xFC, 20), asks(1, getPermit)},
		"too short after another": {asks(1, message.NodeDescriptorRequest{Addr: lamp}), bare(1, message.ActiveEndpointsRequest{}.Type(), 0x4f)},
		"surplus payload":         {bare(1, message.NodeDescriptorRequest{}.Type(), 0x4f, 0x4f, 1, 2, 3)},
		"reset":                   {{who: 1, send: wire(message.Reset{}), shared: true}, asks(1, getVersion), asks(2, getState), transmits(lamp, 6, 0x08, 0x21, 0x0A, 0, 0, 0x10, 1)},
		"button":                  {does((*sim.Dongle).Reset), asks(1, getVersion), says(1, 3)},
		"erase":                   {{who: 1, send: wire(message.ErasePersistentData{}), shared: true}, asks(1, getState), asks(2, message.NodeDescriptorRequest{Addr: lamp}), {who: 2, send: wire(message.StartNetwork{}), shared: true}},
		"erase brings mode 0":     {asks(1, getVersion), {who: 1, send: wire(message.ErasePersistentData{}), shared: true}, {who: 1, send: wire(message.StartNetwork{}), shared: true}, does(func(d *sim.Dongle) { device(d, lamp).Announce() })},
		"heartbeat":               {asks(1, message.SetHeartbeat{Enable: 1}), asks(1, message.SetHeartbeat{})},
		"changes of the mode":     {asks(1, message.SetRawMode{Mode: 2}), transmits(lamp, 6, 0x08, 0x31, 0x0A, 0, 0, 0x10, 1), asks(1, message.SetRawMode{}), transmits(lamp, 6, 0x08, 0x32, 0x0A, 0, 0, 0x10, 1), asks(1, message.SetRawMode{Mode: 1}), transmits(lamp, 6, 0x08, 0x33, 0x0A, 0, 0, 0x10, 1)},
	}
	return all
}

// strangers are frames that the firmware's ZCL library does not take.
func strangers() (steps []step) {
	for _, f := range []sim.AirFrame{
		{Profile: 0xC05E, Cluster: 6, SourceEndpoint: 1, DestinationEndpoint: 1},
		{Profile: 0x0104, Cluster: 6, SourceEndpoint: 1, DestinationEndpoint: 77},
		{Profile: 0x0104, Cluster: 6, SourceEndpoint: 1, DestinationEndpoint: 11},
		{Profile: 0xFFFF, Cluster: 6, SourceEndpoint: 1, DestinationEndpoint: 1},
		{Profile: 0, Cluster: 0x0006, SourceEndpoint: 0, DestinationEndpoint: 0},
		{Profile: 0, Cluster: 0x8038, SourceEndpoint: 0, DestinationEndpoint: 0},
	} {
		f.Payload = []byte{0x18, byte(0x40 + len(steps)), 0x0A, 0, 0, 0x10, 1}
		steps = append(steps, does(func(d *sim.Dongle) { device(d, lamp).Transmit(f) }))
	}
	return steps
}

func escaped(frame []byte) []byte {
	var d message.Decoder
	f, _, _ := d.Feed(frame)
	out := []byte{1}
	sum := byte(f.Type>>8) ^ byte(f.Type)
	for _, b := range []byte{byte(f.Type >> 8), byte(f.Type), 0, 0, sum} {
		out = append(out, 2, b^0x10)
	}
	return append(out, 3)
}

// Every conversation sounds the same to a client with a Hub between it and the dongle, in every raw mode,
// also when the other client sees another. Firmware without a hybrid mode cannot show two of them at a time.
func TestConversations(t *testing.T) {
	all := scripts()
	if len(all) < 40 {
		t.Fatalf("%d conversations", len(all))
	}
	for _, firmware := range sim.Firmwares() {
		modes := [][2]message.RawMode{{1, 2}, {0, 1}, {0, 0}, {1, 1}, {2, 2}, {2, 0}}
		switch firmware {
		case sim.V1323:
		case sim.V131C:
			modes = [][2]message.RawMode{{0, 0}, {1, 1}, {1, 2}}
		default:
			modes = modes[:2] // each mode once
		}
		for _, mode := range modes {
			t.Run(fmt.Sprintf("%s/modes %d and %d", firmware, mode[0], mode[1]), func(t *testing.T) {
				for name, script := range all {
					if firmware == sim.V131C && name == "changes of the mode" {
						continue
					}
					t.Run(name, func(t *testing.T) {
						choice := []step{asks(1, message.SetRawMode{Mode: mode[0]}), asks(2, message.SetRawMode{Mode: mode[1]})}
						compare(t, firmware, append(choice, script...))
					})
				}
			})
		}
	}
}
