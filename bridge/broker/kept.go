package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// How long after a change the retained messages are written to the disk. Those of the service change every
// second during a download, and the service publishes them all when it starts, so writing them can wait; that
// spares a memory card. Messages of other clients and cleared topics must not be lost, so they are written
// soon; but while they go on, as readings of sensors do, no more often than each keepBetween.
const (
	keepSoon    = time.Second
	keepBetween = time.Minute
	keepLater   = 5 * time.Minute
)

// keptVersion is the version of the file that this program writes and reads: an object with the version and
// the messages, by topic.
const keptVersion = 1

// unreadable is added to the name of a file that was set aside.
const unreadable = ".unreadable"

// keptMessage is a retained message in the file.
type keptMessage struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"` // base64
	QoS     byte   `json:"qos"`
	// Expires is when the message expires, as Unix time in seconds (MQTT 5). It is 0 for a message that does
	// not.
	Expires int64 `json:"expires,omitempty"`
}

// keeper keeps the retained messages over a restart.
type keeper struct {
	retained *retained
	path     string
	log      *slog.Logger
	soon     chan struct{} // has a value when a change is to be written within keepSoon
	changed  atomic.Bool   // there are changes that are not written
	failed   string        // the error that was logged last; empty after a success
}

func newKeeper(path string, retained *retained, log *slog.Logger) *keeper {
	k := &keeper{retained: retained, path: path, log: log, soon: make(chan struct{}, 1)}
	retained.changed = k.note
	return k
}

// note takes note of a change, which is to be written within keepSoon where soon is set.
func (k *keeper) note(soon bool) {
	k.changed.Store(true)
	if soon {
		wake(k.soon)
	}
}

// load reads the retained messages from the file. A file that cannot be read is set aside, and the broker
// starts without its messages. The error means that the file could not be set aside.
func (k *keeper) load(now time.Time) error {
	messages, err := readKept(k.path)
	if err != nil {
		if rename := os.Rename(k.path, k.path+unreadable); rename != nil {
			return fmt.Errorf("embedded MQTT broker: retained messages: %w; the file cannot be set aside: %w",
				err, rename)
		}
		k.log.Error("the embedded MQTT broker's retained messages cannot be read and were set aside; "+
			"what other clients had retained is lost", "file", k.path+unreadable, "error", err)
		return nil
	}

	for _, m := range messages {
		if m.Expires > 0 && m.Expires <= now.Unix() {
			continue
		}
		if m.Topic != "" && mochi.IsValidFilter(m.Topic, true) {
			k.retained.put(m.Topic, message{
				payload: m.Payload, qos: min(m.QoS, 2), created: now.Unix(), expires: m.Expires,
			})
		}
	}
	return nil
}

// readKept reads the file with the retained messages, one after the other: as a whole they would take three
// times their size in memory. No file is no error.
func readKept(path string) ([]keptMessage, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close() // it was only read
	from := json.NewDecoder(bufio.NewReader(file))
	var version int
	var messages []keptMessage
	_, err = from.Token() // {
	for err == nil && from.More() {
		var key json.Token
		if key, err = from.Token(); err != nil {
			break
		}
		switch key {
		case "version":
			err = from.Decode(&version)
		case "messages":
			messages, err = decodeMessages(from)
		default:
			err = fmt.Errorf("it has the key %v", key)
		}
	}
	if err != nil {
		return nil, err
	}
	if version != keptVersion {
		return nil, fmt.Errorf("it has version %d, this program reads version %d", version, keptVersion)
	}
	_, err = from.Token() // }
	return messages, err
}

// decodeMessages decodes a list of messages.
func decodeMessages(from *json.Decoder) ([]keptMessage, error) {
	var messages []keptMessage
	if _, err := from.Token(); err != nil { // [
		return nil, err
	}
	for from.More() {
		var m keptMessage
		if err := from.Decode(&m); err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	_, err := from.Token() // ]
	return messages, err
}

// run writes changes to the disk until ctx ends.
func (k *keeper) run(ctx context.Context) {
	later := time.NewTicker(keepLater)
	defer later.Stop()
	var written time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-later.C:
		case <-k.soon: // usually more changes follow
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(keepSoon, keepBetween-time.Since(written))):
			}
		}
		if k.save() {
			written = time.Now()
		}
	}
}

// save writes the messages where they have changed, and reports whether it tried to. It logs a failure once;
// the next save tries again.
func (k *keeper) save() bool {
	if !k.changed.Swap(false) {
		return false
	}
	err := k.write()
	if err == nil {
		k.failed = ""
		return true
	}
	k.changed.Store(true)
	if err.Error() != k.failed {
		k.failed = err.Error()
		k.log.Error("the embedded MQTT broker cannot keep its retained messages over a restart", "error", err)
	}
	return true
}

// write replaces the file with the messages as they are now. They are encoded one by one: as a whole they
// would take three times their size in memory.
func (k *keeper) write() error {
	kept := k.retained.all(time.Now())
	var data bytes.Buffer
	fmt.Fprintf(&data, `{"version":%d,"messages":[`, keptVersion)
	lines := json.NewEncoder(&data)
	for i, topic := range slices.Sorted(maps.Keys(kept)) {
		if i > 0 {
			data.WriteByte(',')
		}
		m := kept[topic]
		err := lines.Encode(keptMessage{Topic: topic, Payload: m.payload, QoS: m.qos, Expires: m.expires})
		if err != nil {
			return err
		}
	}
	data.WriteString("]}\n")
	return wholefile.Write(k.path, data.Bytes())
}
