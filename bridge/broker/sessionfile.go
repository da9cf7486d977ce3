package broker

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// When something is written. A memory card wears out by what is written to it, so the file is appended to:
// what a client misses is written once, in one go with all that comes within storeDelay, and each line is
// copied about once more when the file is written anew. For a client that is there and reads nothing is
// written at all.
const (
	// storeDelay is how long what is to be stored waits for more. Who publishes for a session at QoS 1 or 2
	// gets the acknowledgement that much later at most, unless the client has acknowledged before.
	storeDelay = 200 * time.Millisecond
	// takenDelay is how long it may take until the file says what clients have acknowledged since. After a
	// kill that comes twice.
	takenDelay = 10 * time.Second
	// retryDelay is how long after a failure nothing is written.
	retryDelay = time.Minute
	// appendAlways is how many bytes are appended in any case before the file is written anew; beyond that it
	// is once it has three times the size that it had then.
	appendAlways = 256 << 10
)

// sessionVersion is the version of the file that this program writes and reads.
const sessionVersion = 1

// record is a line of the file with the sessions. One of its fields is set; the first line has the version.
// Lines hold in their order: a later one changes what earlier ones say.
type record struct {
	Version int            `json:"version,omitempty"`
	Over    string         `json:"over,omitempty"` // the client identifier of a session that has ended
	Session *storedSession `json:"session,omitempty"`
	Message *storedMessage `json:"message,omitempty"`
	Taken   []uint64       `json:"taken,omitempty"` // numbers of messages that no client waits for any more
}

// storedSession is a session in the file. Days are counted from 1970, in UTC.
type storedSession struct {
	ClientID      string               `json:"clientId"`
	Near          bool                 `json:"near,omitempty"` // of a client inside the process
	Protocol      byte                 `json:"protocol"`       // 3, 4 (MQTT 3.1.1) or 5
	Expiry        uint32               `json:"expiry,omitempty"`
	Seen          int64                `json:"seen"`                    // day of the last connection
	Subscriptions []storedSubscription `json:"subscriptions,omitempty"` // by filter
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
	ClientID string `json:"clientId"`
	Number   uint64 `json:"number"`
	ID       uint16 `json:"id"` // packet identifier
	keptMessage
	Retain bool `json:"retain,omitempty"`
}

// storing writes the sessions to the disk, and settles what publishers wait for.
type storing struct {
	sessions  *sessions
	path      string // empty: nothing is written
	serviceID string // the client identifier of the service; empty where none is its own

	file    *os.File  // what is appended to; nil where the file must be written anew first
	whole   int       // its size in bytes when it was written anew
	size    int       // its size now
	failed  string    // the error that was logged last; empty after a success
	retryAt time.Time // nothing is written before
}

// load makes the sessions that the file holds. A line that makes no sense is left out. A file that cannot be
// read to its end, or is of a newer version, is set aside; the error means that it could not be.
func (k *storing) load(now time.Time) error {
	if k.path == "" {
		return nil
	}
	log := k.sessions.log
	k.sessions.store = true
	held, err := readSessionsFile(k.path)
	if err != nil {
		if rename := os.Rename(k.path, k.path+unreadable); rename != nil {
			return fmt.Errorf("embedded MQTT broker: sessions: %w; the file cannot be set aside: %w",
				err, rename)
		}
		log.Error("the embedded MQTT broker's sessions cannot be read and were set aside; what clients that "+
			"are away have missed may be lost", "file", k.path+unreadable, "error", err)
	}
	if held.bad > 0 {
		log.Error("entries of the embedded MQTT broker's sessions make no sense and are left out",
			"file", k.path, "entries", held.bad)
	}
	for id, stored := range held.sessions {
		other := stored.Near && k.serviceID != "" && id != k.serviceID // the service has a new one
		old := stored.Seen > 0 && day(now)-stored.Seen > sessionDays
		if other || old {
			held.end(id)
		}
	}
	k.sessions.restore(held, now)
	return nil
}

// heldSessions is what a file with sessions says in the end.
type heldSessions struct {
	sessions map[string]storedSession
	order    []string // client identifiers, the session that was written first comes first
	messages map[uint64]storedMessage
	bad      int // lines that cannot be read
}

// readSessionsFile reads a file with sessions; no file is no error.
func readSessionsFile(path string) (heldSessions, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return heldSessions{}, nil
	}
	if err != nil {
		return heldSessions{}, err
	}
	defer file.Close() // it was only read
	return readSessions(file)
}

// readSessions reads the lines of a file with sessions. What follows the last newline was not whole when the
// process was killed, and nobody was told that it is on the disk, so it counts for nothing. The error
// is that of the reader, or says that the version is newer than this program.
func readSessions(from io.Reader) (heldSessions, error) {
	held := heldSessions{sessions: map[string]storedSession{}, messages: map[uint64]storedMessage{}}
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return held, nil
		}
		if err != nil {
			return held, err
		}
		var r record
		if json.Unmarshal(line, &r) != nil || !held.follow(r) {
			held.bad++
		}
		if r.Version > sessionVersion {
			return heldSessions{}, fmt.Errorf("it has version %d, this program reads version %d", r.Version,
				sessionVersion)
		}
	}
}

// follow takes the next record, and reports whether it makes sense.
func (f *heldSessions) follow(r record) bool {
	switch {
	case r.Session != nil && r.Session.ClientID != "":
		if _, known := f.sessions[r.Session.ClientID]; !known {
			f.order = append(f.order, r.Session.ClientID)
		}
		f.sessions[r.Session.ClientID] = *r.Session
	case r.Message != nil && r.Message.Number > 0:
		f.messages[r.Message.Number] = *r.Message
	case r.Taken != nil:
		for _, number := range r.Taken {
			delete(f.messages, number)
		}
	case r.Over != "":
		f.end(r.Over)
	default:
		return r.Version > 0
	}
	return true
}

// end takes a session and its messages out.
func (f *heldSessions) end(id string) {
	delete(f.sessions, id)
	f.order = slices.DeleteFunc(f.order, func(other string) bool { return other == id })
	for number, m := range f.messages {
		if m.ClientID == id {
			delete(f.messages, number)
		}
	}
}

// restore makes the sessions that were read.
func (h *sessions) restore(held heldSessions, now time.Time) {
	for _, id := range held.order {
		h.restoreSession(held.sessions[id])
	}
	numbers := make([]uint64, 0, len(held.messages))
	for number := range held.messages {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	for _, number := range numbers {
		h.restoreMessage(held.messages[number], now)
	}
}

// restoreSession makes a session, and the client that mochi has for it.
func (h *sessions) restoreSession(stored storedSession) {
	h.count++
	s := newSession(stored.ClientID)
	s.keep = true
	s.near = stored.Near
	s.stored = true
	s.seen = stored.Seen
	s.since = h.count
	h.byID[s.id] = s
	listener := "tcp"
	if s.near {
		listener = nearID
	}
	client := h.server.NewClient(nil, listener, s.id, false)
	client.Properties.ProtocolVersion = stored.Protocol
	client.Properties.Props.SessionExpiryInterval = stored.Expiry
	client.Properties.Props.SessionExpiryIntervalFlag = stored.Protocol == 5
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
	h.describe(s, client)
}

// restoreMessage puts a message into the queue of its client again, where there still is one that waits.
func (h *sessions) restoreMessage(m storedMessage, now time.Time) {
	h.unwritten.numbers = max(h.unwritten.numbers, m.Number)
	s := h.byID[m.ClientID]
	if s == nil || m.QoS == 0 || m.Topic == "" || !mochi.IsValidFilter(m.Topic, true) {
		return
	}
	qos := min(m.QoS, 2)
	d := &delivery{
		topic: m.Topic, qos: qos, retain: m.Retain, id: m.ID, again: true,
		message: message{payload: m.Payload, qos: qos, created: now.Unix(), expires: m.Expires},
	}
	if d.expired(now) || !s.fits(d.message.cost(d.topic)) {
		return
	}
	h.add(s, d)
	s.waiting = append(s.waiting, d)
}

// run stores and settles until ctx ends.
func (k *storing) run(ctx context.Context) {
	later := time.NewTicker(takenDelay)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-later.C:
		case <-k.sessions.now:
		case <-k.sessions.soon: // usually more follows
			select {
			case <-ctx.Done():
				return
			case <-k.sessions.now:
			case <-time.After(storeDelay):
			}
		}
		k.save(time.Now())
	}
}

// close writes what is to be written for the last time.
func (k *storing) close() {
	k.retryAt = time.Time{}
	k.save(time.Now())
	if k.file != nil {
		_ = k.file.Close() // its content is synced
		k.file = nil
	}
}

// save writes what the file does not say yet, and settles what publishers wait for, also where writing
// failed: a full disk must not stop everything. It logs a failure once; a later save tries again.
func (k *storing) save(now time.Time) {
	h := k.sessions
	whole := k.file == nil || k.size > appendAlways+3*k.whole
	write := h.store && !now.Before(k.retryAt)
	var records []record
	h.mu.Lock()
	owed := h.owed()
	behind := h.unwritten.behind
	h.unwritten.behind = nil
	if write && (h.unsaid(day(now)) || k.failed != "" || whole && k.file != nil) {
		records = h.records(whole, day(now))
	}
	h.unwritten.saying = len(records) > 0
	h.mu.Unlock()

	if len(records) > 0 {
		k.note(k.write(records, whole), now)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unwritten.saying = false
	for _, d := range owed {
		d.settle()
	}
	for _, r := range behind {
		r.settle()
	}
}

// note logs a failure, where it is another one than before.
func (k *storing) note(err error, now time.Time) {
	if err == nil {
		k.failed = ""
		return
	}
	if k.file != nil {
		_ = k.file.Close() // a part of a line may be in it, so it is written anew
		k.file = nil
	}
	k.retryAt = now.Add(retryDelay)
	if err.Error() != k.failed {
		k.failed = err.Error()
		k.sessions.log.Error("the embedded MQTT broker cannot keep its sessions over a restart", "error", err)
	}
}

// write appends records to the file, or writes it anew with them.
func (k *storing) write(records []record, whole bool) error {
	var data bytes.Buffer
	lines := json.NewEncoder(&data)
	for _, r := range records {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	if whole {
		return k.replace(data.Bytes())
	}
	if _, err := k.file.Write(data.Bytes()); err != nil {
		return err
	}
	k.size += data.Len()
	return k.file.Sync()
}

// replace writes the file anew and opens it for what is appended.
func (k *storing) replace(data []byte) error {
	if k.file != nil {
		_ = k.file.Close() // its content is synced
		k.file = nil
	}
	if err := wholefile.Write(k.path, data); err != nil {
		return err
	}
	file, err := os.OpenFile(k.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	k.file = file
	k.whole = len(data)
	k.size = len(data)
	return nil
}

// owed returns the deliveries of which a publisher waits to hear. The lock is held.
func (h *sessions) owed() []*delivery {
	var list []*delivery
	for _, s := range h.byID {
		for _, d := range slices.Concat(s.sent, s.waiting) {
			if d.receipt != nil {
				list = append(list, d)
			}
		}
	}
	return list
}

// unsaid reports whether there is something that the file does not say. The lock is held.
func (h *sessions) unsaid(today int64) bool {
	if len(h.unwritten.over)+len(h.unwritten.taken) > 0 {
		return true
	}
	for _, s := range h.byID {
		if s.stale(today) {
			return true
		}
		for _, d := range slices.Concat(s.sent, s.waiting) {
			if d.durable && !d.stored {
				return true
			}
		}
	}
	return false
}

// records returns what the file does not say yet, or, with whole, all that it is to say, and notes that it
// does. A session is described before its messages, and ends before another one with the same client
// identifier begins. The lock is held.
func (h *sessions) records(whole bool, today int64) []record {
	var list []record
	if whole {
		list = append(list, record{Version: sessionVersion})
	} else {
		for _, id := range h.unwritten.over {
			list = append(list, record{Over: id})
		}
	}
	kept := make([]*session, 0, len(h.byID))
	for _, s := range h.byID {
		if s.keep {
			kept = append(kept, s)
		}
	}
	slices.SortFunc(kept, func(a, b *session) int { return cmp.Compare(a.since, b.since) })
	for _, s := range kept {
		list = append(list, s.records(whole, today)...)
	}
	if !whole && len(h.unwritten.taken) > 0 {
		list = append(list, record{Taken: h.unwritten.taken})
	}
	h.unwritten.over = nil
	h.unwritten.taken = nil
	return list
}

// records returns what the file does not say yet of a session, or all of it.
func (s *session) records(whole bool, today int64) []record {
	var list []record
	if whole || s.stale(today) {
		if s.link != nil {
			s.seen = today
		}
		list = append(list, record{Session: &storedSession{
			ClientID: s.id, Near: s.near, Protocol: s.protocol, Expiry: s.expiry, Seen: s.seen,
			Subscriptions: s.filters,
		}})
		s.changed = false
		s.stored = true
	}
	for _, d := range slices.Concat(s.sent, s.waiting) {
		if !d.durable || d.stored && !whole {
			continue
		}
		d.stored = true
		list = append(list, record{Message: &storedMessage{
			ClientID: s.id, Number: d.number, ID: d.id, Retain: d.retain,
			keptMessage: keptMessage{
				Topic: d.topic, Payload: d.message.payload, QoS: d.qos, Expires: d.message.expires,
			},
		}})
	}
	return list
}
