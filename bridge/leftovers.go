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

// leftoversDelay is the time between the broker's retained messages and the decision which of them are left
// over. By then the service has published what it knows from its state, and what the dongle lists.
const leftoversDelay = time.Minute

// RetainedValues is the way to the broker for Leftovers.
type RetainedValues interface {
	// Value returns the value that is retained or about to be; false where there never was one.
	Value(topic string) ([]byte, bool)
	// Retain publishes the newest value of a retained topic.
	Retain(topic string, payload []byte)
	// Clear removes a retained topic.
	Clear(topic string)
}

// Leftovers clears what an earlier run of the service had retained at the broker and nobody would clear
// otherwise: devices that were forgotten while the broker was away, or with the state file, and components
// of discovery documents that this version has no more. It never touches another service's topics.
type Leftovers struct {
	topics contract.Topics
	prefix string // of Home Assistant's discovery; empty while that is off
	out    RetainedValues
	found  chan struct{}

	mu   sync.Mutex
	kept map[string][]byte // by topic: of discovery documents the outline, of records nothing
}

// NewLeftovers makes a task that gets messages through Handle. prefix is that of Home Assistant's
// discovery, empty while that is off.
func NewLeftovers(topics contract.Topics, prefix string, out RetainedValues) *Leftovers {
	return &Leftovers{
		topics: topics, prefix: prefix, out: out, found: make(chan struct{}, 1), kept: map[string][]byte{},
	}
}

// LeftoverSubscriptions returns the subscriptions whose messages have to go to Handle.
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

// Handle takes a message that the broker had kept. It ignores what was published just now: that is the
// service's own.
func (l *Leftovers) Handle(topic string, payload []byte, retained, _ bool) {
	if !retained || len(payload) == 0 {
		return
	}
	ours := l.topics.IsOfDevice(topic)
	if !strings.HasPrefix(topic, string(l.topics)+"/") {
		ours = l.isOurs(payload)
	}
	if !ours {
		return
	}

	var outline []byte // what a thousand devices retain would take megabytes
	if !l.topics.IsOfDevice(topic) {
		outline = homeassistant.Outline(payload)
	}
	l.mu.Lock()
	l.kept[topic] = outline
	l.mu.Unlock()
	select {
	case l.found <- struct{}{}:
	default:
	}
}

// Run waits for messages that the broker had kept and clears those that are left over, until ctx is done.
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

// isOurs reports whether a discovery document is of this service: its entities are available while this
// service is.
func (l *Leftovers) isOurs(document []byte) bool {
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

// gone reports whether a document that was not published since the start is of a device, or of a dongle,
// that is there no more. A dongle that has not been connected yet is not gone.
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
