package registry

import (
	"context"
	"errors"
	"slices"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Asker is what an interview asks a device through. The interview waits nowhere but in Ask. Whoever owns the
// device takes in what its answers tell, in the same way as what it says of its own accord.
type Asker interface {
	// Ask sends a question and waits for the answer. The messages are all that came of it, also with an
	// error, which is ErrNoReply where the device did not answer.
	Ask(ctx context.Context, q Question) ([]message.Message, error)
	// Send sends a question and does not wait: its answer has no say in the interview.
	Send(q Question)
	// Facts is what is known of the device now, what its answers have told included.
	Facts() Facts
	// Change has the owner change the device, before any later Facts.
	Change(change func(*Device))
}

// Interview asks a device who it is: its node descriptor, its endpoints and on which of them its OTA clients
// are, what it calls itself, what powers it, and what its OTA clients are and run. One question is asked at a
// time. The error says that the device did not answer one that matters, or that ctx is done.
func Interview(ctx context.Context, a Asker) error {
	addr := a.Facts().NetworkAddress
	if addr == nil {
		return ErrNoAddress
	}
	q := interview{ctx: ctx, asker: a, addr: *addr}

	_, nodeErr := ask(ctx, a, askNodeDescriptor(q.addr))
	endpoints, err := q.endpoints(nodeErr == nil)
	if err != nil && nodeErr != nil {
		return err // it does not hear; without the one or the other alone the interview goes on
	}

	var basic uint8
	lost := err // without its endpoints nothing says that it has no OTA client
	if err == nil {
		basic, lost = q.findOTAClients(endpoints)
		if lost != nil && a.Facts().Endpoint == 0 {
			return lost // the OTA client may be on the endpoint that was not heard of
		}
	}

	named := q.readNames(basic)
	if errors.Is(named, ErrNoReply) && a.Facts().ModelID == "" {
		lost = named
	}

	q.askPower()
	q.askBattery(basic)
	if err := ReadIdentity(ctx, a); err != nil {
		return err
	}
	if named == nil {
		readForPeople(ctx, a, basic) // behind the version, of which it is
	}
	return lost
}

// ReadAgain asks a device that was interviewed before what its OTA client is and runs, and what it says of
// that for people where it has not been asked of this version. The error is that of [ReadIdentity].
func ReadAgain(ctx context.Context, a Asker) error {
	if err := ReadIdentity(ctx, a); err != nil {
		return err
	}
	if f := a.Facts(); !f.Build.Asked || !f.Build.isOf(f.CurrentVersion) {
		readForPeople(ctx, a, 0)
	}
	return nil
}

// readForPeople reads what the device says of its software for people, at the endpoint with its Basic
// cluster; 0 stands for that of its OTA client. The texts are long, so they are asked for by themselves:
// devices leave out of an answer what does not fit into one frame. It reads which OTA server the device has,
// too. Nothing depends on any of it.
func readForPeople(ctx context.Context, a Asker, basic uint8) {
	_ = read(ctx, a, attributes{
		endpoint:  basic,
		cluster:   message.ClusterBasic,
		direction: message.DirectionToServer,
		ids:       []uint16{message.AttrDateCode, message.AttrSoftwareBuild},
	})
	_ = read(ctx, a, attributes{
		cluster:   message.ClusterOTA,
		direction: message.DirectionToClient,
		ids:       []uint16{message.AttrOTAServer},
	})
	a.Change(noteBuildAsked)
}

// interview is one under way.
type interview struct {
	ctx   context.Context
	asker Asker
	addr  uint16
}

// endpoints asks for the device's endpoints: again and again where it was heard, once where it may be
// away.
func (q *interview) endpoints(heard bool) ([]uint8, error) {
	question := askActiveEndpoints(q.addr)
	if heard {
		question = repeated(question, q.asker.Facts())
	}
	answer, err := q.asker.Ask(q.ctx, question)
	if err != nil {
		return nil, err
	}
	return answer[0].(message.ActiveEndpoints).Endpoints, nil
}

// greenPower is the endpoint of Zigbee's Green Power, which devices list and that has no OTA client.
const greenPower = 242

// findOTAClients asks the endpoints, one after the other, which of them have the OTA cluster among their
// output clusters. basic is the first that was seen to have the Basic cluster, or 0. The
// error says that one of them was not heard of.
func (q *interview) findOTAClients(endpoints []uint8) (basic uint8, lost error) {
	var clients []uint8
	for _, endpoint := range endpoints {
		if endpoint == greenPower {
			continue
		}
		answer, err := ask(q.ctx, q.asker, askSimpleDescriptor(q.addr, endpoint))
		if err != nil {
			lost = err
			continue
		}
		descriptor := answer[0].(message.SimpleDescriptor)
		if basic == 0 && slices.Contains(descriptor.InClusters, message.ClusterBasic) {
			basic = endpoint
		}
		if slices.Contains(descriptor.OutClusters, message.ClusterOTA) {
			clients = append(clients, endpoint)
		}
	}
	if lost == nil || q.asker.Facts().Endpoint == 0 { // else the main one may be where nothing was heard
		q.asker.Change(func(d *Device) { d.FoundClients(clients) })
	}
	return basic, lost
}

// readNames reads what the device calls itself and what powers it.
func (q *interview) readNames(basic uint8) error {
	err := read(q.ctx, q.asker, attributes{
		endpoint:  basic,
		cluster:   message.ClusterBasic,
		direction: message.DirectionToServer,
		ids:       []uint16{message.AttrManufacturerName, message.AttrModel, attrPowerSource},
	})
	return err
}

// askPower asks a device that did not tell its power source for its power descriptor.
func (q *interview) askPower() {
	if q.asker.Facts().PowerSource != PowerUnknown {
		return
	}
	answer, err := ask(q.ctx, q.asker, askPowerDescriptor(q.addr))
	if err != nil {
		return
	}
	if descriptor := answer[0].(message.PowerDescriptor); descriptor.Status == 0 {
		q.asker.Change(func(d *Device) { d.LearnPower(descriptor) })
	}
}

// askBattery asks a device on batteries for their charge, without waiting for it.
func (q *interview) askBattery(basic uint8) {
	f := q.asker.Facts()
	if !f.Sleepy && f.PowerSource != PowerBattery {
		return
	}
	question, err := askAttributes(f, attributes{
		endpoint:  basic,
		cluster:   clusterPower,
		direction: message.DirectionToServer,
		ids:       []uint16{attrBatteryPercent},
	})
	if err == nil {
		q.asker.Send(question)
	}
}

// ReadIdentity asks a device what its OTA clients are and run, as far as it is known on which endpoints they
// are. Many devices pass over attributes that they do not have, so no answer is no error where the version
// was told, or the device is known not to tell it. What a client beside the main one does not answer it tells
// when it looks for an image.
func ReadIdentity(ctx context.Context, a Asker) error {
	if err := readMainIdentity(ctx, a); err != nil {
		return err
	}
	f := a.Facts()
	for _, endpoint := range f.clientEndpoints()[1:] {
		if err := read(ctx, a, identity(endpoint)); err != nil && !errors.Is(err, ErrNoReply) {
			return err
		}
	}
	return nil
}

// readMainIdentity asks a device what its main OTA client is and runs.
func readMainIdentity(ctx context.Context, a Asker) error {
	err := read(ctx, a, identity(0))
	if !errors.Is(err, ErrNoReply) {
		return err
	}
	if f := a.Facts(); f.VersionFresh || f.Mute {
		return nil
	}
	return err
}

// identity is the attributes that say what the OTA client on an endpoint is and runs. The image type comes
// first: it says whose the others are.
func identity(endpoint uint8) attributes {
	return attributes{
		endpoint:  endpoint,
		cluster:   message.ClusterOTA,
		direction: message.DirectionToClient,
		ids: []uint16{
			message.AttrOTAImageType, message.AttrOTAManufacturer, message.AttrOTAFileVersion,
		},
	}
}

// attributesAtOnce is how many attributes are read at a time. The dongle makes a message of each, and has to
// get all of them through its transmit queue at once.
const attributesAtOnce = 3

// read reads attributes of the device at the address that it has now. The error is that of the first ones
// that were not told.
func read(ctx context.Context, a Asker, what attributes) error {
	var lost error
	for ids := range slices.Chunk(what.ids, attributesAtOnce) {
		some := what
		some.ids = ids
		question, err := askAttributes(a.Facts(), some)
		if err != nil {
			return err
		}
		if _, err := ask(ctx, a, question); err != nil && lost == nil {
			lost = err
		}
	}
	return lost
}

// ask asks a device, again and again for a while.
func ask(ctx context.Context, a Asker, q Question) ([]message.Message, error) {
	return a.Ask(ctx, repeated(q, a.Facts()))
}

// repeated has a device that listens asked again before long where its answer does not come: it was lost. For
// one that sleeps its parent keeps the question until it wakes.
func repeated(q Question, f Facts) Question {
	if !f.Sleepy {
		q.Again = askAgain
	}
	return q
}
