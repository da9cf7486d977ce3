package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// storeDelay is how long what is to be stored waits for more. Who publishes at QoS 1 for a session gets the
// acknowledgement that much later at most, unless the client has acknowledged before: a client that is there
// and reads costs no write at all.
const storeDelay = 200 * time.Millisecond

// sessionVersion is the version of the file that this program writes and reads.
const sessionVersion = 1

// sessionFile is the content of the file with the sessions.
type sessionFile struct {
	Version  int             `json:"version"`
	Sessions []storedSession `json:"sessions"` // the one that was left first comes first
}

// storedSession is a session in the file.
type storedSession struct {
	ClientID      string               `json:"clientId"`
	Near          bool                 `json:"near,omitempty"` // of a client inside the process
	Protocol      byte                 `json:"protocol"`       // 3, 4 (MQTT 3.1.1) or 5
	Expiry        uint32               `json:"expiry,omitempty"`
	Subscriptions []storedSubscription `json:"subscriptions,omitempty"` // by filter
	Messages      []storedMessage      `json:"messages,omitempty"`      // in order
}

// storedSubscription is a subscription in the file.
type storedSubscription struct {
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos"`
	Identifier        int    `json:"identifier,omitempty"`
	NoLocal           bool   `json:"noLocal,omitempty"`
	RetainAsPublished bool   `json:"retainAsPublished,omitempty"`
}

// storedMessage is a message in the file that its client has not acknowledged.
type storedMessage struct {
	keptMessage
	Retain bool `json:"retain,omitempty"`
}

// storing writes the sessions to the disk, and settles what publishers wait for.
type storing struct {
	sessions *sessions
	path     string // empty: nothing is written
	failed   string // the error that was logged last; empty after a success
}

// load makes the sessions that the file holds. A file that cannot be read is set aside, and the broker starts
// without its sessions; a session that makes no sense is left out. The error means that the file could not be
// set aside.
func (k *storing) load(now time.Time) error {
	if k.path == "" {
		return nil
	}
	h := k.sessions
	h.store = true
	var file sessionFile
	err := readOrSetAside(k.path, &file, &file.Version, sessionVersion)
	if errors.Is(err, errSetAside) {
		h.log.Error("the embedded MQTT broker's sessions cannot be read and were set aside; what clients "+
			"that are away have missed is lost", "file", k.path+unreadable, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("embedded MQTT broker: sessions: %w", err)
	}
	for _, stored := range file.Sessions {
		if stored.ClientID == "" || h.byID[stored.ClientID] != nil {
			h.log.Error("a session of the embedded MQTT broker makes no sense and is left out: it has no "+
				"client identifier, or that of another one", "clientId", stored.ClientID)
			continue
		}
		h.restore(stored, now)
	}
	return nil
}

// restore makes a session from the file.
func (h *sessions) restore(stored storedSession, now time.Time) {
	h.count++
	s := &session{
		id: stored.ClientID, keep: true, near: stored.Near, since: h.count,
		protocol: stored.Protocol, expiry: stored.Expiry,
	}
	h.byID[s.id] = s
	listener := "tcp"
	if s.near {
		listener = nearID
	}
	client := h.server.NewClient(nil, listener, s.id, false)
	client.Properties.ProtocolVersion = s.protocol
	client.Properties.Props.SessionExpiryInterval = s.expiry
	client.Properties.Props.SessionExpiryIntervalFlag = s.protocol == 5
	client.Stop(packets.ErrServerShuttingDown)
	h.server.Clients.Add(client)
	for _, sub := range stored.Subscriptions {
		if !mochi.IsValidFilter(sub.Filter, false) || sub.QoS > 2 {
			continue
		}
		filter := packets.Subscription{
			Filter: sub.Filter, Qos: sub.QoS, Identifier: sub.Identifier, NoLocal: sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished, RetainHandling: retainedNever,
		}
		h.server.Topics.Subscribe(s.id, filter)
		client.State.Subscriptions.Add(sub.Filter, filter)
	}
	for _, m := range stored.Messages {
		d := &delivery{
			topic: m.Topic, qos: min(m.QoS, 2), retain: m.Retain, durable: true, stored: true,
			message: message{payload: m.Payload, qos: min(m.QoS, 2), created: now.Unix(), expires: m.Expires},
			size:    len(m.Topic) + len(m.Payload) + deliveryCost,
		}
		if d.qos == 0 || d.expired(now) || !mochi.IsValidFilter(d.topic, true) || !s.fits(d.size) {
			continue
		}
		s.waiting = append(s.waiting, d)
		s.bytes += d.size
		if !s.near {
			h.bytes += d.size
		}
	}
}

// run stores and settles until ctx ends.
func (k *storing) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.sessions.soon: // usually more follows
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(storeDelay):
		}
		k.save()
	}
}

// save writes the sessions where something is not on the disk, and settles what publishers wait for, also
// where writing failed: a full disk must not stop everything. It logs a failure once; the next save tries
// again.
func (k *storing) save() {
	h := k.sessions
	h.mu.Lock()
	settle := h.slow
	h.slow = nil
	var file *sessionFile
	if h.store && (h.stale || h.unsaved > 0) {
		var durable []*delivery
		file, durable = h.snapshot()
		settle = append(settle, durable...)
		h.stale = false
	}
	h.mu.Unlock()

	var err error
	if file != nil {
		err = k.write(file)
	}
	h.mu.Lock()
	for _, d := range settle {
		if d.durable && !d.ended && !d.stored && err == nil {
			d.stored = true
			h.unsaved--
		}
		d.settle()
	}
	if err != nil {
		h.stale = true
	}
	h.mu.Unlock()
	switch {
	case file == nil:
	case err == nil:
		k.failed = ""
	case err.Error() != k.failed:
		k.failed = err.Error()
		h.log.Error("the embedded MQTT broker cannot keep its sessions over a restart", "error", err)
	}
}

// write replaces the file.
func (k *storing) write(file *sessionFile) error {
	data, err := encodeList(file.Version, "sessions", file.Sessions, func(s storedSession) int {
		size := 128 * len(s.Subscriptions)
		for _, m := range s.Messages {
			size += len(m.Payload) + 128
		}
		return size
	})
	if err != nil {
		return err
	}
	return wholefile.Write(k.path, data)
}

// snapshot returns the sessions as they are now, and their messages that are not on the disk. The lock is
// held.
func (h *sessions) snapshot() (*sessionFile, []*delivery) {
	file := &sessionFile{Version: sessionVersion, Sessions: []storedSession{}}
	var durable []*delivery
	kept := make([]*session, 0, len(h.byID))
	for _, s := range h.byID {
		if s.keep {
			kept = append(kept, s)
		}
	}
	slices.SortFunc(kept, func(a, b *session) int { return cmp.Compare(a.since, b.since) })
	for _, s := range kept {
		stored := storedSession{ClientID: s.id, Near: s.near, Protocol: s.protocol, Expiry: s.expiry}
		if client, ok := h.server.Clients.Get(s.id); ok {
			stored.Subscriptions = storedSubscriptions(client)
		}
		for _, d := range slices.Concat(s.sent, s.waiting) {
			if d.qos == 0 || d.released {
				continue
			}
			stored.Messages = append(stored.Messages, storedMessage{
				keptMessage: keptMessage{
					Topic: d.topic, Payload: d.message.payload, QoS: d.qos, Expires: d.message.expires,
				},
				Retain: d.retain,
			})
			if d.durable && !d.stored {
				durable = append(durable, d)
			}
		}
		file.Sessions = append(file.Sessions, stored)
	}
	return file, durable
}

// storedSubscriptions returns the subscriptions of a client by filter.
func storedSubscriptions(client *mochi.Client) []storedSubscription {
	var list []storedSubscription
	for _, sub := range client.State.Subscriptions.GetAll() {
		list = append(list, storedSubscription{
			Filter: sub.Filter, QoS: sub.Qos, Identifier: sub.Identifier, NoLocal: sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished,
		})
	}
	slices.SortFunc(list, func(a, b storedSubscription) int { return strings.Compare(a.Filter, b.Filter) })
	return list
}
