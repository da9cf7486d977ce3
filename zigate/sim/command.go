package sim

import (
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

const dongleEndpoint uint8 = 1

// Raw modes.
const (
	rawOff    uint8 = 0
	rawOnly   uint8 = 1
	rawHybrid uint8 = 2
)

// outcome is what a handler has to say in the 0x8000.
type outcome struct {
	status   uint8
	sequence uint8
	sent     uint8 // RequestSentZCL or RequestSentZDP
	then     func()
}

func done(status uint8) outcome { return outcome{status: status} }

// execute runs the command that the receiver holds. The fields are read from the whole buffer, not only from
// the bytes that came with this frame: what a short command leaves out is what an earlier one left behind.
func (d *Dongle) execute() {
	t := d.receiver.Type()
	d.stats.Received[t]++
	if d.cfg.OnFrame != nil {
		d.cfg.OnFrame(message.ToDongle, message.Frame{Type: t, Payload: d.receiver.Payload()})
	}
	if t.IsStorageAnswer() {
		return
	}
	m, err := message.ParseCommand(t, d.receiver.Buffer())
	var o outcome
	switch {
	case err == nil:
		o = d.handle(m)
	case t.IsIO():
	case errors.Is(err, message.ErrShort): // counts that lead out of the receive buffer
		o = done(message.StatusIncorrectParameter)
	default:
		o = done(message.StatusUnhandled)
	}
	if o.status != message.StatusOK {
		d.stats.Refused[Refusal{Type: t, Status: o.status}]++
	}
	d.sendStatus(t, o)
	if o.then != nil {
		o.then()
	}
}

func (d *Dongle) sendStatus(t message.MsgType, o outcome) {
	s := message.Status{
		Status: o.status, Request: t, Sequence: o.sequence, RequestSent: o.sent, Form: d.traits.statusForm,
		NPDUUsed: d.buffersInUse(), APDUUsed: d.buffersInUse(),
	}
	if o.sent != message.RequestSentNone {
		s.APSSequence = d.apsCounter
	}
	if d.traits.statusAPS {
		s.APSSequence = d.apsCounter
		switch t {
		case message.TypeGetVersion, message.TypeGetDevices, message.TypeGetTime:
			s.APSSequence = 0
		}
	}
	d.send(s, 0)
}

// buffersInUse is what a host is told of the buffers for frames on their way.
func (d *Dongle) buffersInUse() uint8 {
	const v1 = 14
	const v2 = 18
	if d.traits.v2 {
		return uint8(min(d.dataRequests, v2))
	}
	return uint8(min(d.dataRequests, v1))
}

func (d *Dongle) handle(m message.Message) outcome {
	switch m := m.(type) {
	case message.LoadImage:
		return done(d.loadImage(m))
	case message.ImageBlockResponse:
		return done(d.sendBlock(m))
	case message.WaitForData:
		return done(d.sendWait(m))
	case message.UpgradeEndResponse:
		return done(d.sendUpgradeEnd(m))
	case message.ImageNotify:
		return done(d.sendNotify(m))
	case message.RawAPS:
		return d.sendRaw(m)
	case message.ReadAttributes:
		return d.readAttributes(m)
	case message.OnOff:
		return d.zclCommand(m.Target, clusterOnOff, false, zclClusterFrame, m.Command, nil)
	}
	if o, ok := d.handleZDP(m); ok {
		return o
	}
	return d.handleLocal(m)
}

// handleLocal has the commands that stay in the dongle.
func (d *Dongle) handleLocal(m message.Message) outcome {
	answer := func(m message.Message) outcome {
		return outcome{then: func() { d.send(m, 0) }}
	}
	// Some answers come from an event queue, like what the radio brings.
	queued := func(make func() message.Message) outcome {
		return outcome{then: func() { d.after(0, func() { d.send(make(), 0) }) }}
	}
	switch m := m.(type) {
	case message.GetVersion:
		return answer(message.Version{Major: d.traits.major, Minor: d.traits.minor})
	case message.GetTime:
		return answer(message.Time{Seconds: d.clock()})
	case message.GetDevices:
		return answer(d.deviceList())
	case message.GetNetworkState:
		return queued(func() message.Message { return d.networkState() })
	case message.GetPermitJoin:
		return queued(func() message.Message {
			if d.permitsJoin() {
				return message.PermitJoinState{Enabled: 1}
			}
			return message.PermitJoinState{}
		})
	case message.SetTime:
		d.clockAt = d.now
		d.clockSeconds = m.Seconds
	case message.SetRawMode:
		d.setRawMode(uint8(m.Mode))
	case message.SetHeartbeat:
		d.heartbeat = m.Enable != 0
	case message.StartNetwork:
		return done(d.startNetwork())
	case message.Reset:
		return outcome{then: func() { d.after(d.pace.wait(resetDelay), func() { d.restart(true) }) }}
	case message.ErasePersistentData:
		return outcome{then: func() {
			d.erase()
			d.after(d.pace.wait(resetDelay), func() { d.restart(true) })
		}}
	case message.PermitJoin:
		d.permitUntil = d.now.Add(time.Duration(m.Seconds) * time.Second)
		if m.Seconds == 0xFF {
			d.permitUntil = d.now.AddDate(1, 0, 0)
		}
		if !d.network {
			return done(zdpInvalidRequest)
		}
		return outcome{sent: message.RequestSentZDP, sequence: d.nextZDP()}
	}
	return outcome{} // accepted without a visible effect: log level, flow control, channel mask, device type
}

func (d *Dongle) setRawMode(mode uint8) {
	changed := mode != d.rawMode
	d.rawMode = mode
	if changed && d.traits.selfTraffic {
		const rawModeRecord = 0x8001
		d.after(0, func() { d.send(message.PDMEvent{Event: message.PDMSaved, Record: rawModeRecord}, 0) })
	}
}

func (d *Dongle) networkState() message.NetworkState {
	if !d.network {
		return message.NetworkState{Addr: 0xFFFF, IEEE: d.cfg.IEEE}
	}
	return message.NetworkState{
		IEEE: d.cfg.IEEE, PANID: d.cfg.PANID, ExtendedPANID: uint64(d.cfg.IEEE), Channel: d.cfg.Channel,
	}
}

// deviceList has the neighbours: every device that reaches the dongle without a relay, as far
// as the table goes.
func (d *Dongle) deviceList() message.DeviceList {
	var list message.DeviceList
	for _, v := range d.devices {
		if !v.joined || v.cfg.Relays > 0 {
			continue
		}
		if len(list.Devices) == d.traits.neighbours {
			break
		}
		power := uint8(1)
		if v.cfg.Sleepy {
			power = 0
		}
		list.Devices = append(list.Devices, message.ListedDevice{
			Index: uint8(len(list.Devices)), Addr: v.addr, IEEE: v.cfg.IEEE, PowerSource: power, LQI: v.lqi,
		})
	}
	return list
}
