package broker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"github.com/zigate-ota/zigate-ota/otasvc/wholefile"
)

// How long after a change the retained messages are written to the disk. Those of the service change every
// second during a download, and the service publishes them all when it starts, so writing them can wait; that
// spares a memory card. Messages of other clients and cleared topics must not be lost, so they are written
// soon.
const (
	keepSoon  = time.Second
	keepLater = 5 * time.Minute
)

// keptVersion is the version of the file that this program writes and reads.
const keptVersion = 1

// unreadable is added to the name of a file that was set aside.
const unreadable = ".unreadable"

// errSetAside says that a file could not be read and has another name now.
var errSetAside = errors.New("set aside")

// readOrSetAside reads a file into a struct with a field for its version. No file is no error. A file that
// cannot be read, or is of another version, is set aside; the error is then errSetAside and says why.
func readOrSetAside(path string, into any, version *int, wanted int) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err == nil && *version != wanted {
		err = fmt.Errorf("it has version %d, this program reads version %d", *version, wanted)
	}
	if err == nil {
		return nil
	}
	if rename := os.Rename(path, path+unreadable); rename != nil {
		return fmt.Errorf("%w; and it cannot be set aside: %w", err, rename)
	}
	return fmt.Errorf("%w: %w", errSetAside, err)
}

// keptFile is the content of the file with the retained messages.
type keptFile struct {
	Version  int           `json:"version"`
	Messages []keptMessage `json:"messages"` // by topic
}

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
	if !soon {
		return
	}
	select {
	case k.soon <- struct{}{}:
	default:
	}
}

// load reads the retained messages from the file. A file that cannot be read is set aside, and the broker
// starts without its messages. The error means that the file could not be set aside.
func (k *keeper) load(now time.Time) error {
	var file keptFile
	err := readOrSetAside(k.path, &file, &file.Version, keptVersion)
	if errors.Is(err, errSetAside) {
		k.log.Error("the embedded MQTT broker's retained messages cannot be read and were set aside; "+
			"what other clients had retained is lost", "file", k.path+unreadable, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("embedded MQTT broker: retained messages: %w", err)
	}

	for _, m := range file.Messages {
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

// run writes changes to the disk until ctx ends.
func (k *keeper) run(ctx context.Context) {
	later := time.NewTicker(keepLater)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-later.C:
		case <-k.soon: // usually more changes follow
			select {
			case <-ctx.Done():
				return
			case <-time.After(keepSoon):
			}
		}
		k.save()
	}
}

// save writes the messages where they have changed. It logs a failure once; the next save tries again.
func (k *keeper) save() {
	if !k.changed.Swap(false) {
		return
	}
	err := k.write()
	if err == nil {
		k.failed = ""
		return
	}
	k.changed.Store(true)
	if err.Error() != k.failed {
		k.failed = err.Error()
		k.log.Error("the embedded MQTT broker cannot keep its retained messages over a restart", "error", err)
	}
}

// write replaces the file with the messages as they are now.
func (k *keeper) write() error {
	file := keptFile{Version: keptVersion, Messages: []keptMessage{}}
	for topic, m := range k.retained.all(time.Now()) {
		file.Messages = append(file.Messages, keptMessage{
			Topic: topic, Payload: m.payload, QoS: m.qos, Expires: m.expires,
		})
	}
	slices.SortFunc(file.Messages, func(a, b keptMessage) int { return strings.Compare(a.Topic, b.Topic) })
	data, err := encodeList(file.Version, "messages", file.Messages, func(m keptMessage) int {
		return len(m.Payload)
	})
	if err != nil {
		return err
	}
	return wholefile.Write(k.path, data)
}

// encodeList returns a JSON object with a version and one list. size returns about how many bytes of payload
// an element has. Encoding the list as a whole would take three times its size in memory, and the encoder
// would keep a part of it.
func encodeList[T any](version int, name string, list []T, size func(T) int) ([]byte, error) {
	total := 64
	for _, element := range list {
		total += base64.StdEncoding.EncodedLen(size(element)) + 256
	}
	data := make([]byte, 0, total)
	data = fmt.Appendf(data, `{"version":%d,%q:[`, version, name)
	for i, element := range list {
		if i > 0 {
			data = append(data, ',')
		}
		one, err := json.Marshal(element)
		if err != nil {
			return nil, err
		}
		data = append(data, one...)
	}
	return append(data, "]}"...), nil
}
