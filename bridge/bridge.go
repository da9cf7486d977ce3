package bridge

import (
	"encoding/json"
	"log/slog"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/otasvc"
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
}

// Observer counts what passes, for metrics.
type Observer interface {
	// Command counts the final answer to a request.
	Command(operation, status string)
	// DeviceChanged and DeviceGone keep the series of a device.
	DeviceChanged(otasvc.DeviceRecord)
	DeviceGone(message.IEEE)
	// InfoChanged keeps the counts of the service.
	InfoChanged(otasvc.InfoRecord)
}

// Options are what a Bridge is made of.
type Options struct {
	Topics   Topics
	Version  string // of the program, told in <base>/info
	Service  *otasvc.Service
	Out      Publisher
	Observer Observer
	Logger   *slog.Logger
	// Discovery is how Home Assistant is told of the devices; nil: not at all. DongleID is filled in.
	Discovery *homeassistant.Options
	// Feed is told what MQTT is told; nil: there is none.
	Feed *Feed
}

// Bridge turns requests from MQTT into calls of the service, and what the service tells into messages. It
// is an otasvc.Sink.
type Bridge struct {
	topics   Topics
	version  string
	service  *otasvc.Service
	out      Publisher
	observer Observer
	log      *slog.Logger
	home     *discovery // nil: none
	feed     *Feed      // nil: none
}

// New makes a Bridge; it needs no running.
func New(o Options) *Bridge {
	b := &Bridge{
		topics:   o.Topics,
		version:  o.Version,
		service:  o.Service,
		out:      o.Out,
		observer: o.Observer,
		log:      o.Logger,
		feed:     o.Feed,
	}
	if o.Discovery != nil {
		b.home = newDiscovery(*o.Discovery, o.Out)
	}
	return b
}

var _ otasvc.Sink = (*Bridge)(nil)

// DeviceChanged publishes a device's record and its Home Assistant update state.
func (b *Bridge) DeviceChanged(d otasvc.DeviceRecord) {
	b.home.deviceChanged(d) // before the states that its entities read
	payload := marshal(newDevicePayload(d))
	b.out.Retain(b.topics.Device(d.EUID), payload)
	b.out.Retain(b.topics.Update(d.EUID), marshal(homeassistant.Update(d)))
	b.feed.device(d, payload)
	b.observer.DeviceChanged(d)
}

// DeviceGone clears the retained topics of a device that has left for good.
func (b *Bridge) DeviceGone(euid message.IEEE) {
	b.home.deviceGone(euid) // first: entities must not read topics that are empty
	b.out.Clear(b.topics.Device(euid))
	b.out.Clear(b.topics.Update(euid))
	b.feed.deviceGone(euid)
	b.observer.DeviceGone(euid)
}

// InfoChanged publishes the service's own record.
func (b *Bridge) InfoChanged(r otasvc.InfoRecord) {
	b.home.infoChanged(r)
	payload := marshal(newInfoPayload(b.version, r))
	b.out.Retain(b.topics.Info(), payload)
	b.feed.info(payload)
	b.observer.InfoChanged(r)
}

// ImagesChanged publishes the registered images.
func (b *Bridge) ImagesChanged(list []otasvc.RegisteredImage) {
	payload := marshal(newImagesPayload(list))
	b.out.Retain(b.topics.Images(), payload)
	b.feed.images(payload)
}

// Happened publishes an event.
func (b *Bridge) Happened(e otasvc.Event) {
	payload := marshal(newEventPayload(e))
	b.out.Publish(b.topics.Event(e.Name), payload)
	b.feed.event(e.Name, payload)
}

// UpgradeEnded publishes the final answer to a request for an upgrade, which an earlier life of the
// service may have taken.
func (b *Bridge) UpgradeEnded(t otasvc.Ticket, a otasvc.Answer) {
	var asked ticket
	if err := json.Unmarshal(t, &asked); err != nil {
		b.log.Error("the final answer of an upgrade cannot be given: its request is not known any more",
			"err", err)
		return
	}
	b.answer(asker{
		name:        asked.Operation,
		response:    operations[asked.Operation].response,
		transaction: asked.Transaction,
		id:          asked.ID,
	}, a)
}
