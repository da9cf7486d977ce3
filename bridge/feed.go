package bridge

import (
	"bytes"
	"container/list"
	"fmt"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
)

// FeedKind says what an entry of a Feed is.
type FeedKind string

// Every kind of entry. What an entry's payload holds is what MQTT carries, key for key.
const (
	FeedInfo       FeedKind = "info"       // as on <base>/info
	FeedImages     FeedKind = "images"     // as on <base>/images
	FeedDevice     FeedKind = "device"     // as on <base>/device/<euid>
	FeedDeviceGone FeedKind = "deviceGone" // {"euid":…}; the device's retained topics were cleared
	FeedEvent      FeedKind = "event"      // as on <base>/event/<name>, and "name"
	// FeedFiles says that files were added to the image folder or removed; its payload is {"time":…}.
	FeedFiles FeedKind = "files"
	// FeedResponse is what would be published on <base>/response/<operation>, and "id". Only requests made
	// with Bridge.Ask have one.
	FeedResponse FeedKind = "response"
)

// FeedEntry is one entry of a Feed. Its payload must not be changed.
type FeedEntry struct {
	// Seq counts entries from 1. An entry that takes the place of an older one has a new number.
	Seq  uint64
	Kind FeedKind
	// Key is a device's EUID as in payloads, an event's name, the id of a request; empty for the others.
	Key     string
	Payload []byte // a JSON object
	// Device is the record that the payload was made from; nil for other kinds than FeedDevice.
	Device *otasvc.DeviceRecord
	// Status and Final are those of a response.
	Status contract.Status
	Final  bool
}

// Limits of what a Feed remembers besides the current records.
const (
	feedEvents    = 1000
	feedResponses = 256
	feedGone      = 256
)

// Feed remembers what was published over MQTT, for readers over HTTP: the newest value of each record, the
// last events, the last answers. A reader keeps the number of the last entry that it knows and asks for
// what came since: records that changed meanwhile, with their newest value only, and events, in order. So a
// reader that is slow, or was away, costs nothing. A nil Feed remembers nothing. Its methods may be called
// from any goroutine and do not block.
type Feed struct {
	mu      sync.Mutex
	seq     uint64
	entries *list.List               // of *FeedEntry, by Seq
	current map[string]*list.Element // by kind and key, where a newer entry takes an older one's place
	// limited has the elements of entries of each kind that is limited in number, the oldest first.
	limited map[FeedKind]*list.List
	// forgotten is the highest number of an entry that was dropped because there were too many.
	forgotten uint64
	changed   chan struct{} // closed and replaced with each entry
}

// NewFeed makes a Feed that knows nothing yet.
func NewFeed() *Feed {
	return &Feed{
		entries: list.New(), current: map[string]*list.Element{}, changed: make(chan struct{}),
		limited: map[FeedKind]*list.List{
			FeedEvent: list.New(), FeedResponse: list.New(), FeedDeviceGone: list.New(),
		},
	}
}

// limitOf returns how many entries of a kind are kept; 0 means all.
func limitOf(kind FeedKind) int {
	switch kind {
	case FeedEvent:
		return feedEvents
	case FeedResponse:
		return feedResponses
	case FeedDeviceGone:
		return feedGone
	default:
		return 0
	}
}

// place names what an entry tells of: a newer entry takes the place of an older one with the same name. It is
// empty for an entry that stands for itself.
func (e *FeedEntry) place() string {
	switch e.Kind {
	case FeedEvent:
		return ""
	case FeedDevice, FeedDeviceGone:
		return "device " + e.Key
	default:
		return string(e.Kind) + " " + e.Key
	}
}

// add appends an entry, which takes the place of an older one of the same thing. It ignores a record that
// has not changed.
func (f *Feed) add(e FeedEntry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	place := e.place()
	if old := f.current[place]; old != nil {
		before := old.Value.(*FeedEntry)
		if before.Kind == e.Kind && bytes.Equal(before.Payload, e.Payload) {
			return
		}
		f.drop(old)
	}
	f.seq++
	e.Seq = f.seq
	element := f.entries.PushBack(&e)
	if place != "" {
		f.current[place] = element
	}
	if line := f.limited[e.Kind]; line != nil {
		line.PushBack(element)
		if line.Len() > limitOf(e.Kind) {
			oldest := line.Front().Value.(*list.Element)
			f.forgotten = max(f.forgotten, oldest.Value.(*FeedEntry).Seq)
			f.drop(oldest)
		}
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// drop takes an entry out.
func (f *Feed) drop(element *list.Element) {
	e := element.Value.(*FeedEntry)
	f.entries.Remove(element)
	if place := e.place(); f.current[place] == element {
		delete(f.current, place)
	}
	line := f.limited[e.Kind]
	if line == nil {
		return
	}
	for at := line.Front(); at != nil; at = at.Next() { // as a rule it is the first
		if at.Value == element {
			line.Remove(at)
			return
		}
	}
}

// Since returns the entries after a number, in order, and the number to ask with next. It is complete unless
// something was forgotten that came after that number: then the reader has to begin anew, with All.
func (f *Feed) Since(seq uint64) (entries []FeedEntry, next uint64, complete bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq < f.forgotten || seq > f.seq {
		return nil, f.seq, false
	}
	element := f.entries.Back()
	for element != nil && element.Value.(*FeedEntry).Seq > seq {
		element = element.Prev()
	}
	if element == nil {
		element = f.entries.Front()
	} else {
		element = element.Next()
	}
	for ; element != nil; element = element.Next() {
		entries = append(entries, *element.Value.(*FeedEntry))
	}
	return entries, f.seq, true
}

// All returns the newest value of each record and the events that are remembered, in the order of their
// numbers, and the number to ask Since with.
func (f *Feed) All() (entries []FeedEntry, next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for element := f.entries.Front(); element != nil; element = element.Next() {
		e := element.Value.(*FeedEntry)
		if e.Kind != FeedResponse && e.Kind != FeedDeviceGone && e.Kind != FeedFiles {
			entries = append(entries, *e)
		}
	}
	return entries, f.seq
}

// Get returns the newest entry of a kind and key, which must not be those of an event.
func (f *Feed) Get(kind FeedKind, key string) (FeedEntry, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	element := f.current[(&FeedEntry{Kind: kind, Key: key}).place()]
	if element == nil || element.Value.(*FeedEntry).Kind != kind {
		return FeedEntry{}, false
	}
	return *element.Value.(*FeedEntry), true
}

// Changed returns a channel that is closed when there is an entry that Since has not been able to return yet.
// Ask for it before Since, so that nothing is missed in between.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// FilesChanged notes that files were added to the image folder, or removed.
func (f *Feed) FilesChanged(at time.Time) {
	if f != nil {
		f.add(FeedEntry{
			Kind: FeedFiles, Payload: fmt.Appendf(nil, `{"time":%q}`, at.UTC().Format(time.RFC3339Nano)),
		})
	}
}

func (f *Feed) info(payload []byte) {
	if f != nil {
		f.add(FeedEntry{Kind: FeedInfo, Payload: payload})
	}
}

func (f *Feed) images(payload []byte) {
	if f != nil {
		f.add(FeedEntry{Kind: FeedImages, Payload: payload})
	}
}

func (f *Feed) device(d otasvc.DeviceRecord, payload []byte) {
	if f != nil {
		f.add(FeedEntry{Kind: FeedDevice, Key: d.EUID.String(), Payload: payload, Device: &d})
	}
}

func (f *Feed) deviceGone(device contract.EUID) {
	if f == nil {
		return
	}
	gone := contract.DeviceGone{EUID: device}
	f.add(FeedEntry{Kind: FeedDeviceGone, Key: string(device), Payload: contract.Marshal(gone)})
}

func (f *Feed) event(name contract.EventName, e contract.Event) {
	if f == nil {
		return
	}
	named := contract.NamedEvent{Name: name, Event: e}
	f.add(FeedEntry{Kind: FeedEvent, Key: string(name), Payload: contract.Marshal(named)})
}

func (f *Feed) response(id string, r contract.Response) {
	if f == nil {
		return
	}
	identified := contract.IdentifiedResponse{ID: id, Response: r}
	f.add(FeedEntry{
		Kind:    FeedResponse,
		Key:     id,
		Payload: contract.Marshal(identified),
		Status:  r.Status,
		Final:   r.Status.Final(),
	})
}
