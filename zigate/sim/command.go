package sim

import (
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
)

const dongleEndpoint uint8 = 1

// Raw modes.
const (
	rawOff    uint8 = 0
	rawOnly   uint8 = 1
	rawHybrid uint8 = 2
)

// The range of I/O commands, which no firmware calls unknown.
const (
	firstIOCommand zigate.MsgType = 0x0800
	lastIOCommand  zigate.MsgType = 0x0A00
)

// Answers of a host that keeps the dongle's storage: they get no status.
const (
	firstStorageAnswer zigate.MsgType = 0x8200
	lastStorageAnswer  zigate.MsgType = 0x8300
)

// outcome is what a handler has to say in the 0x8000.
type outcome struct {
	status   uint8
	sequence uint8
	sent     uint8 // RequestSentZCL or RequestSentZDP
	then     func()
}

func done(status uint8) outcome { return outcome{status: status} }

// execute runs the command that the receiver holds. The fields are read from the whole buffer, not only from the bytes
// that came with this frame: what a short command leaves out is what an earlier one left behind.
func (d *Dongle) execute() {
	t := d.receiver.Type()
	d.stats.Received[t]++
	if d.cfg.OnFrame != nil {
		d.cfg.OnFrame(zigate.ToDongle, zigate.Frame{Type: t, Payload: d.receiver.Payload()})
	}
	if t >= firstStorageAnswer && t <= lastStorageAnswer {
		return
	}
	m, err := zigate.ParseCommand(t, d.receiver.Buffer())
	var o outcome
	switch {
	case err == nil:
		o = d.handle(m)
	case t == zigate.TypeBind:
		o = d.bind(d.receiver.Buffer())
	case t >= firstIOCommand && t <= lastIOCommand:
	case errors.Is(err, zigate.ErrShort): // counts that lead out of the receive buffer
		o = done(zigate.StatusIncorrectParameter)
	default:
		o = done(zigate.StatusUnhandled)
	}
	if o.status != zigate.StatusOK {
		d.stats.Refused[Refusal{Type: t, Status: o.status}]++
	}
	d.sendStatus(t, o)
	if o.then != nil {
		o.then()
	}
}

func (d *Dongle) sendStatus(t zigate.MsgType, o outcome) {
	s := zigate.Status{
		Status: o.status, Request: t, Sequence: o.sequence, RequestSent: o.sent, Form: d.traits.statusForm,
		NPDUUsed: d.buffersInUse(), APDUUsed: d.buffersInUse(),
	}
	if o.sent != zigate.RequestSentNone {
		s.APSSequence = d.apsCounter
	}
	if d.traits.statusAPS {
		s.APSSequence = d.apsCounter
		switch t {
		case zigate.TypeGetVersion, zigate.TypeGetDevices, zigate.TypeGetTime:
			s.APSSequence = 0
		}
	}
	d.send(s, 0)
}

// buffersInUse is what a host is told of the buffers for frames on their way.
func (d *Dongle) buffersInUse() uint8 {
	const v1, v2 = 14, 18
	if d.traits.v2 {
		return uint8(min(d.dataRequests, v2))
	}
	return uint8(min(d.dataRequests, v1))
}

func (d *Dongle) handle(m zigate.Message) outcome {
	switch m := m.(type) {
	case zigate.LoadImage:
		return done(d.loadImage(m))
	case zigate.BlockSend:
		return done(d.sendBlock(m))
	case zigate.WaitForData:
		return done(d.sendWait(m))
	case zigate.UpgradeEndResponse:
		return done(d.sendUpgradeEnd(m))
	case zigate.ImageNotify:
		return done(d.sendNotify(m))
	case zigate.RawAPS:
		return d.sendRaw(m)
	case zigate.ReadAttributes:
		return d.readAttributes(m)
	case zigate.OnOff:
		return d.zclCommand(m.Target, clusterOnOff, false, zclClusterFrame, m.Command, nil)
	}
	if o, ok := d.handleZDP(m); ok {
		return o
	}
	return d.handleLocal(m)
}

// handleLocal has the commands that stay in the dongle.
func (d *Dongle) handleLocal(m zigate.Message) outcome {
	answer := func(m zigate.Message) outcome {
		return outcome{then: func() { d.send(m, 0) }}
	}
	// Some answers come from an event queue, like what the radio brings.
	queued := func(make func() zigate.Message) outcome {
		return outcome{then: func() { d.after(0, func() { d.send(make(), 0) }) }}
	}
	switch m := m.(type) {
	case zigate.GetVersion:
		return answer(zigate.Version{Major: d.traits.major, Minor: d.traits.minor})
	case zigate.GetTime:
		return answer(zigate.Time{Seconds: d.clock()})
	case zigate.GetDevices:
		return answer(d.deviceList())
	case zigate.GetNetworkState:
		return queued(func() zigate.Message { return d.networkState() })
	case zigate.GetPermitJoin:
		return queued(func() zigate.Message {
			if d.permitsJoin() {
				return zigate.PermitJoinState{Enabled: 1}
			}
			return zigate.PermitJoinState{}
		})
	case zigate.SetTime:
		d.clockAt, d.clockSeconds = d.now, m.Seconds
	case zigate.SetRawMode:
		d.setRawMode(uint8(m.Mode))
	case zigate.SetHeartbeat:
		d.heartbeat = m.Enable != 0
	case zigate.StartNetwork:
		return done(d.startNetwork())
	case zigate.Reset:
		return outcome{then: func() { d.after(d.pace.wait(resetDelay), func() { d.restart(true) }) }}
	case zigate.ErasePersistentData:
		return outcome{then: func() {
			d.erase()
			d.after(d.pace.wait(resetDelay), func() { d.restart(true) })
		}}
	case zigate.PermitJoin:
		d.permitUntil = d.now.Add(time.Duration(m.Seconds) * time.Second)
		if m.Seconds == 0xFF {
			d.permitUntil = d.now.AddDate(1, 0, 0)
		}
		if !d.network {
			return done(zdpInvalidRequest)
		}
		return outcome{sent: zigate.RequestSentZDP, sequence: d.nextZDP()}
	}
	return outcome{} // accepted without a visible effect: log level, flow control, channel mask, device type
}

func (d *Dongle) setRawMode(mode uint8) {
	changed := mode != d.rawMode
	d.rawMode = mode
	if changed && d.traits.selfTraffic {
		const rawModeRecord = 0x8001
		d.after(0, func() { d.send(zigate.PDMEvent{Event: zigate.PDMSaved, Record: rawModeRecord}, 0) })
	}
}

func (d *Dongle) networkState() zigate.NetworkState {
	if !d.network {
		return zigate.NetworkState{Addr: 0xFFFF, IEEE: d.cfg.IEEE}
	}
	return zigate.NetworkState{
		IEEE: d.cfg.IEEE, PANID: d.cfg.PANID, ExtendedPANID: uint64(d.cfg.IEEE), Channel: d.cfg.Channel,
	}
}

// deviceList has the neighbours: every device that reaches the dongle without a relay, as far as the table goes.
func (d *Dongle) deviceList() zigate.DeviceList {
	var list zigate.DeviceList
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
		list.Devices = append(list.Devices, zigate.ListedDevice{
			Index: uint8(len(list.Devices)), Addr: v.addr, IEEE: v.cfg.IEEE, PowerSource: power, LQI: v.lqi,
		})
	}
	return list
}
