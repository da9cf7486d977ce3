package bridge

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/promises"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Publisher is the way out to the broker. None of its methods blocks.
type Publisher interface {
	// Retain publishes the newest value of a retained topic.
	Retain(topic string, payload []byte)
	// Clear removes a retained topic.
	Clear(topic string)
	// Publish publishes what is not retained, in order.
	Publish(topic string, payload []byte)
	// PublishOwed publishes an answer that was promised, and calls acknowledged, on any goroutine, once the
	// broker has it.
	PublishOwed(topic string, payload []byte, acknowledged func())
}

// Observer counts requests and records, for metrics.
type Observer interface {
	// Command counts the final answer to a request.
	Command(operation, status string)
	// DeviceChanged updates the metrics of a device.
	DeviceChanged(otasvc.DeviceRecord)
	// DeviceGone removes the metrics of a device.
	DeviceGone(message.IEEE)
	// InfoChanged updates the metrics of the service.
	InfoChanged(otasvc.InfoRecord)
}

// Options are what a Bridge is made of.
type Options struct {
	Topics   contract.Topics
	Version  string // the program's version, published in <base>/info
	Service  *otasvc.Service
	Out      Publisher
	Observer Observer
	Logger   *slog.Logger
	// Discovery says how the devices are described to Home Assistant; nil turns discovery off. DongleID is
	// filled in when the dongle is known.
	Discovery *homeassistant.Options
	// Feed gets what is published over MQTT; it may be nil.
	Feed *Feed
	// Promises keeps requests until they have their final answer; nil where nothing is kept.
	Promises *promises.Book
}

// Bridge turns requests from MQTT into calls of the service, and what the service reports into messages. It
// is an otasvc.Sink.
type Bridge struct {
	topics   contract.Topics
	version  string
	service  *otasvc.Service
	out      Publisher
	observer Observer
	log      *slog.Logger
	home     *discovery // nil without discovery
	feed     *Feed      // nil without HTTP
	// others are the devices with other images, as they were told last.
	others   map[message.IEEE]otasvc.DeviceRecord
	promises *promises.Book
	line     line
}

// New makes a Bridge. The service and the MQTT client call it.
func New(o Options) *Bridge {
	b := &Bridge{
		topics:   o.Topics,
		version:  o.Version,
		service:  o.Service,
		out:      o.Out,
		observer: o.Observer,
		log:      o.Logger,
		feed:     o.Feed,
		others:   map[message.IEEE]otasvc.DeviceRecord{},
		promises: o.Promises,
	}
	if o.Discovery != nil {
		b.home = newDiscovery(*o.Discovery, o.Out)
	}
	return b
}

// Run writes down what is promised, until ctx is done. It has to end after everything that gives answers and
// after the connection to the broker.
func (b *Bridge) Run(ctx context.Context) error {
	if b.promises == nil {
		<-ctx.Done()
		return nil
	}
	return b.promises.Run(ctx)
}

var _ otasvc.Sink = (*Bridge)(nil)

// DeviceChanged publishes a device's record and its Home Assistant update state.
func (b *Bridge) DeviceChanged(d otasvc.DeviceRecord) {
	b.home.deviceChanged(d) // before the states that its entities read
	record := newDevice(d)
	payload := contract.Marshal(record)
	b.out.Retain(b.topics.Device(record.EUID), payload)
	b.out.Retain(b.topics.Update(record.EUID), contract.Marshal(homeassistant.Update(d)))
	b.otherImages(d)
	b.feed.device(d, payload)
	b.observer.DeviceChanged(d)
}

// otherImages publishes the Home Assistant update states of a device's other images, and clears those of
// images that it has no more.
func (b *Bridge) otherImages(d otasvc.DeviceRecord) {
	address := euid(d.EUID)
	for _, imageType := range othersGone(b.others[d.EUID], d) {
		b.out.Clear(b.topics.OtherUpdate(address, imageType))
	}
	for _, other := range d.OtherImages {
		state := homeassistant.OtherUpdate(d, other)
		b.out.Retain(b.topics.OtherUpdate(address, other.ImageType), contract.Marshal(state))
	}
	if len(d.OtherImages) > 0 {
		b.others[d.EUID] = d
	} else {
		delete(b.others, d.EUID)
	}
}

// DeviceGone clears the retained topics of a device that has left for good.
func (b *Bridge) DeviceGone(device message.IEEE) {
	b.home.deviceGone(device) // first: entities must not read topics that are empty
	b.out.Clear(b.topics.Device(euid(device)))
	b.out.Clear(b.topics.Update(euid(device)))
	b.otherImages(otasvc.DeviceRecord{EUID: device})
	b.feed.deviceGone(euid(device))
	b.observer.DeviceGone(device)
}

// InfoChanged publishes the service's own record.
func (b *Bridge) InfoChanged(r otasvc.InfoRecord) {
	b.home.infoChanged(r)
	payload := contract.Marshal(newInfo(b.version, r))
	b.out.Retain(b.topics.Info(), payload)
	b.feed.info(payload)
	b.observer.InfoChanged(r)
}

// ImagesChanged publishes the registered images.
func (b *Bridge) ImagesChanged(list []otasvc.RegisteredImage) {
	payload := contract.Marshal(newImages(list))
	b.out.Retain(b.topics.Images(), payload)
	b.feed.images(payload)
}

// Happened publishes an event.
func (b *Bridge) Happened(e otasvc.Event) {
	name := contract.EventName(e.Name)
	event := newEvent(e)
	b.out.Publish(b.topics.Event(name), contract.Marshal(event))
	b.feed.event(name, event)
}

// UpgradeEnded publishes the final answer to a request for an upgrade, which may have come before the
// service restarted, and calls told once the broker has it.
func (b *Bridge) UpgradeEnded(t upgrade.Ticket, a otasvc.Answer, told func()) {
	var asked ticket
	if err := json.Unmarshal(t, &asked); err != nil {
		b.log.Error("the final answer of an upgrade cannot be given: its stored request cannot be read",
			"err", err)
		told() // it would not be better another time
		return
	}
	b.answerOwed(asker{
		name:        asked.Operation,
		response:    operations[asked.Operation].Response,
		transaction: asked.Transaction,
		id:          asked.ID,
	}, a, func() {
		if b.promises != nil { // it is there still where the state could not be written at first
			b.promises.Drop(asked.Promise)
		}
		told()
	})
}
