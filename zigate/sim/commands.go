package sim

import (
	"errors"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// commandTable is what the firmware does with each command of the host. A command without a row is answered
// with the status "unhandled". A new command is a row here, which says what is done and takes the type from
// the message:
//
//   - question and queuedQuestion answer with a message, made of what the chip knows;
//   - setting changes something in the chip;
//   - otaCommand, zclCommand and zdpCommand send a frame to a device, made of the command's fields;
//   - withFields does anything else.
//
// What devices answer is in node.go, and what the firmware makes of their answers in hear.go and zdp.go.
var commandTable = []command{
	// The dongle itself.
	question[message.GetVersion](version),
	question[message.GetTime](timeOfDay),
	question[message.GetDevices](neighbours),
	queuedQuestion[message.GetNetworkState](networkState),
	queuedQuestion[message.GetPermitJoin](permitJoinState),
	setting(setTime),
	setting(setRawMode),
	setting(setHeartbeat),
	accepted[message.SetLogLevel](),
	accepted[message.SetFlowControl](),
	accepted[message.SetChannelMask](),
	accepted[message.SetDeviceType](),
	withFields(reset),
	withFields(erasePersistentData),
	withFields(startNetwork),
	withFields(permitJoin),

	// The OTA server.
	withFields(loadImage),
	withFields(sendBlock),
	otaCommand(waitForData),
	otaCommand(upgradeEndResponse),
	withFields(sendNotify),

	// Frames to devices.
	withFields(sendRaw),
	zclCommand(readAttributes),
	zclCommand(onOff),
	withFields(bind),
	zdpCommand(nwkAddrRequest),
	zdpCommand(ieeeAddrRequest),
	zdpCommand(nodeDescriptorRequest),
	zdpCommand(powerDescriptorRequest),
	zdpCommand(activeEndpointsRequest),
	zdpCommand(simpleDescriptorRequest),
	zdpCommand(matchDescriptorRequest),
	zdpCommand(leaveRequest),
	withFields(managementLQI),
}

// commands finds a row of the table.
var commands = func() map[message.MsgType]command {
	byType := map[message.MsgType]command{}
	for _, row := range commandTable {
		byType[row.typ] = row
	}
	return byType
}()

// outcome is what a command comes to: what its 0x8000 says, and what the firmware does right behind it.
type outcome struct {
	status   uint8
	sequence uint8 // of the request that was sent to a device
	sent     uint8 // RequestSentZCL or RequestSentZDP, if there was one
	answer   message.Message
	then     func()
}

func done(status uint8) outcome { return outcome{status: status} }

// command runs one type of command. The fields are read from the whole receive buffer, not only from the
// bytes that came with this frame: what a short command leaves out is what an earlier one left behind.
type command struct {
	typ message.MsgType
	run func(c *chip, buffer []byte) outcome
}

// withFields runs a command with its fields.
func withFields[M message.Message](run func(*chip, M) outcome) command {
	var zero M
	t := zero.Type()
	return command{typ: t, run: func(c *chip, buffer []byte) outcome {
		m, err := message.ParseCommand(t, buffer)
		if errors.Is(err, message.ErrShort) { // a count that leads out of the receive buffer
			return done(message.StatusIncorrectParameter)
		}
		fields, ok := m.(M)
		if !ok {
			return done(message.StatusUnhandled)
		}
		return run(c, fields)
	}}
}

// question is a command that the firmware answers itself, right behind the status.
func question[M message.Message](answer func(*chip) message.Message) command {
	return withFields(func(c *chip, _ M) outcome { return outcome{answer: answer(c)} })
}

// queuedQuestion is a question whose answer comes from the event queue, like what the radio brings, and says
// how things are then.
func queuedQuestion[M message.Message](answer func(*chip) message.Message) command {
	return withFields(func(c *chip, _ M) outcome {
		return outcome{then: func() {
			c.power.after(0, func() { c.sender.send(answer(c), 0) })
		}}
	})
}

// setting is a command that changes something in the chip and cannot fail.
func setting[M message.Message](set func(*chip, M)) command {
	return withFields(func(c *chip, m M) outcome {
		set(c, m)
		return outcome{}
	})
}

// accepted is a command that has no effect in the simulation.
func accepted[M message.Message]() command {
	return withFields(func(*chip, M) outcome { return outcome{} })
}

// execute runs the command that the receiver holds, and answers it.
func (c *chip) execute() {
	frame := &c.receiver.frames
	t := frame.Type()
	c.stats.Received[t]++
	if c.cfg.OnFrame != nil {
		c.cfg.OnFrame(message.ToDongle, message.Frame{Type: t, Payload: frame.Payload()})
	}
	if t.IsStorageAnswer() { // gets no status
		return
	}

	o := done(message.StatusUnhandled)
	if command, ok := commands[t]; ok {
		o = command.run(c, frame.Buffer())
	} else if t.IsIO() {
		o = outcome{}
	}
	if o.status != message.StatusOK {
		c.stats.Refused[Refusal{Type: t, Status: o.status}]++
	}

	c.sender.send(c.statusOf(t, o), 0)
	if o.answer != nil {
		c.sender.send(o.answer, 0)
	}
	if o.then != nil {
		o.then()
	}
}

// statusOf is the 0x8000 of a command.
func (c *chip) statusOf(t message.MsgType, o outcome) message.Status {
	s := message.Status{
		Status:      o.status,
		Request:     t,
		Sequence:    o.sequence,
		RequestSent: o.sent,
		Form:        c.traits.statusForm,
		NPDUUsed:    c.radio.buffersInUse(),
		APDUUsed:    c.radio.buffersInUse(),
	}
	if o.sent != message.RequestSentNone {
		s.APSSequence = c.radio.apsCounter
	}
	if c.traits.statusAPS {
		s.APSSequence = c.radio.apsCounter
		switch t {
		case message.TypeGetVersion, message.TypeGetDevices, message.TypeGetTime:
			s.APSSequence = 0
		}
	}
	return s
}

func version(c *chip) message.Message {
	return message.Version{Major: c.traits.major, Minor: c.traits.minor}
}

func timeOfDay(c *chip) message.Message {
	return message.Time{Seconds: c.clock.reading(c.timeline.now)}
}

func neighbours(c *chip) message.Message {
	return c.devices.neighbours(c.traits.neighbours)
}

func networkState(c *chip) message.Message {
	if !c.coordinator.formed {
		return message.NetworkState{Addr: 0xFFFF, IEEE: c.cfg.IEEE}
	}
	return message.NetworkState{
		IEEE: c.cfg.IEEE, PANID: c.cfg.PANID, ExtendedPANID: uint64(c.cfg.IEEE), Channel: c.cfg.Channel,
	}
}

func permitJoinState(c *chip) message.Message {
	if c.coordinator.permitsJoin(c.timeline.now) {
		return message.PermitJoinState{Enabled: 1}
	}
	return message.PermitJoinState{}
}

func setTime(c *chip, m message.SetTime) {
	c.clock = clock{setAt: c.timeline.now, seconds: m.Seconds}
}

func setHeartbeat(c *chip, m message.SetHeartbeat) {
	c.heartbeat = m.Enable != 0
}

func setRawMode(c *chip, m message.SetRawMode) {
	mode := m.Mode
	if mode != message.RawModeOff && !c.traits.hybrid {
		mode = message.RawModeRaw
	}
	changed := mode != c.raw.mode
	c.raw.mode = mode
	if changed && c.traits.selfTraffic {
		const rawModeRecord = 0x8001
		saved := message.PDMEvent{Event: message.PDMSaved, Record: rawModeRecord}
		c.power.after(0, func() { c.sender.send(saved, 0) })
	}
}

func reset(c *chip, _ message.Reset) outcome {
	return outcome{then: c.restartSoon}
}

func erasePersistentData(c *chip, _ message.ErasePersistentData) outcome {
	return outcome{then: func() {
		c.erase()
		c.restartSoon()
	}}
}

func startNetwork(c *chip, _ message.StartNetwork) outcome {
	if c.coordinator.formed {
		answer := message.NetworkJoined{Status: message.NetworkAlreadyUp}
		c.power.after(0, func() { c.sender.send(answer, 0) })
		return outcome{}
	}
	c.coordinator.formed = true
	c.power.after(c.timeline.pace.wait(bootTime), func() { c.reportJoined(message.NetworkFormed) })
	return outcome{}
}

// permitJoin is also a request to the other routers.
func permitJoin(c *chip, m message.PermitJoin) outcome {
	c.coordinator.permit(c.timeline.now, m.Seconds)
	if !c.coordinator.formed {
		return done(zdpInvalidRequest)
	}
	return outcome{sent: message.RequestSentZDP, sequence: c.zdp.nextSequence()}
}
