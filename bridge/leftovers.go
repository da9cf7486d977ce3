package bridge

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// leftoversDelay is how long after the broker has told of what it kept it is decided what of it is left over.
// By then the service has published what it knows from its state, and what the dongle lists.
const leftoversDelay = time.Minute

// RetainedValues is the way to the broker for Leftovers.
type RetainedValues interface {
	// Value is what is retained, or about to be; false where nothing ever was.
	Value(topic string) ([]byte, bool)
	Retain(topic string, payload []byte)
	Clear(topic string)
}

// Leftovers clears what an earlier life of the service had retained at the broker and nobody would clear
// otherwise: devices that were forgotten while the broker was away, or with the state file, and components of
// discovery documents that this version has no more. It never touches another service's topics.
type Leftovers struct {
	topics contract.Topics
	prefix string // of discovery; empty without it
	out    RetainedValues
	found  chan struct{}

	mu   sync.Mutex
	kept map[string][]byte // by topic
}

// NewLeftovers makes a task that is fed by Handle. prefix is that of Home Assistant's
// discovery, empty without it.
func NewLeftovers(topics contract.Topics, prefix string, out RetainedValues) *Leftovers {
	return &Leftovers{
		topics: topics, prefix: prefix, out: out, found: make(chan struct{}, 1), kept: map[string][]byte{},
	}
}

// LeftoverSubscriptions are those whose messages Handle has to be fed with.
func LeftoverSubscriptions(
	topics contract.Topics, prefix string, handle mqttclient.MessageHandler,
) []mqttclient.Subscription {
	all := []mqttclient.Subscription{
		{Filter: topics.Devices(), Handler: handle, Optional: true, KeptOnly: true},
	}
	if prefix != "" {
		all = append(all, mqttclient.Subscription{
			Filter: homeassistant.Topics(prefix), Handler: handle, Optional: true, KeptOnly: true,
		})
	}
	return all
}

// Handle takes a message that the broker had kept; what was published just now is our own, and not looked at.
func (l *Leftovers) Handle(topic string, payload []byte, retained, _ bool) {
	ofDevice := strings.HasPrefix(topic, string(l.topics)+"/")
	if !retained || len(payload) == 0 || ofDevice && !l.topics.IsOfDevice(topic) || !ofDevice &&
		!l.ours(payload) {
		return
	}
	l.mu.Lock()
	l.kept[topic] = payload
	l.mu.Unlock()
	select {
	case l.found <- struct{}{}:
	default:
	}
}

// Run clears until ctx is done.
func (l *Leftovers) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.found:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(leftoversDelay):
		}
		l.clear()
	}
}

func (l *Leftovers) clear() {
	l.mu.Lock()
	kept := l.kept
	l.kept = map[string][]byte{}
	l.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(kept)) {
		value, known := l.out.Value(topic)
		switch {
		case l.topics.IsOfDevice(topic):
			if !known {
				l.out.Clear(topic)
			}
		case !known && l.gone(topic, kept[topic]):
			l.out.Clear(topic)
		case known && len(value) > 0:
			document := homeassistant.Document{Topic: topic, Payload: value}
			if next, changed := homeassistant.Retire(kept[topic], document); changed {
				l.out.Retain(topic, next.Payload)
			}
		}
	}
}

// ours reports whether a discovery document is of this service: its entities are available
// while this service is.
func (l *Leftovers) ours(document []byte) bool {
	var d struct {
		Availability []struct {
			Topic string `json:"topic"`
		} `json:"availability"`
	}
	if json.Unmarshal(document, &d) != nil {
		return false
	}
	for _, a := range d.Availability {
		if a.Topic == l.topics.Status() {
			return true
		}
	}
	return false
}

// gone reports whether a document that nobody published in this life is of a device, or of a dongle, that is
// there no more. A dongle that has not been connected yet is not gone.
func (l *Leftovers) gone(topic string, document []byte) bool {
	if !homeassistant.IsDongle(document) {
		return true
	}
	value, _ := l.out.Value(l.topics.Info())
	var info contract.Info
	if json.Unmarshal(value, &info) != nil || info.Dongle.EUID == nil {
		return false
	}
	dongle, err := message.ParseIEEE(string(*info.Dongle.EUID))
	return err == nil && homeassistant.Topic(l.prefix, dongle) != topic
}
