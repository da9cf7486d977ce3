package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// When the retained messages are written to the disk. Those of the service itself change every second while
// something downloads, and it publishes them all when it starts: they can wait, which spares a memory card.
// What somebody else has retained, or what was cleared, nobody would say again.
const (
	keepSoon  = time.Second
	keepLater = 5 * time.Minute
)

// keptVersion is the version of the file that this program writes and reads.
const keptVersion = 1

// keptFile is what the retained messages are on the disk.
type keptFile struct {
	Version  int           `json:"version"`
	Messages []keptMessage `json:"messages"` // by topic
}

type keptMessage struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"` // base64
	QoS     byte   `json:"qos"`
	// Expires is Unix time in seconds, where its publisher gave it an end (MQTT 5).
	Expires int64 `json:"expires,omitempty"`
}

// keeper keeps the retained messages over a restart.
type keeper struct {
	mochi.HookBase
	retained *retained
	path     string
	log      *slog.Logger
	soon     chan struct{}
	changed  atomic.Bool
	failed   string // the last error, told once
}

func newKeeper(path string, retained *retained, log *slog.Logger) *keeper {
	return &keeper{retained: retained, path: path, log: log, soon: make(chan struct{}, 1)}
}

func (*keeper) ID() string { return "kept" }

func (*keeper) Provides(b byte) bool { return b == mochi.OnRetainMessage }

// OnRetainMessage is called after a retained message was set or, where it is empty, cleared.
func (k *keeper) OnRetainMessage(client *mochi.Client, packet packets.Packet, _ int64) {
	k.changed.Store(true)
	if client.Net.Listener == nearID && len(packet.Payload) > 0 {
		return
	}
	select {
	case k.soon <- struct{}{}:
	default:
	}
}

// load takes in what was kept. A file that cannot be understood is set aside; without its messages the
// broker works, too.
func (k *keeper) load(now time.Time) error {
	data, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var file keptFile
	if err == nil {
		if err = json.Unmarshal(data, &file); err == nil && file.Version != keptVersion {
			err = fmt.Errorf("it has version %d, this program reads version %d", file.Version, keptVersion)
		}
	}
	if err != nil {
		aside := k.path + ".unreadable"
		if rename := os.Rename(k.path, aside); rename != nil {
			return fmt.Errorf("embedded MQTT broker: retained messages: %w; and it cannot be set aside: %w",
				err, rename)
		}
		k.log.Error("the embedded MQTT broker's retained messages cannot be read and were set aside; "+
			"what other clients had retained is lost", "file", aside, "error", err)
		return nil
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

// run writes until ctx ends.
func (k *keeper) run(ctx context.Context) {
	later := time.NewTicker(keepLater)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-later.C:
		case <-k.soon: // more may follow
			select {
			case <-ctx.Done():
				return
			case <-time.After(keepSoon):
			}
		}
		k.save()
	}
}

// save writes what has changed. A failure is told once and tried again at the next occasion.
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

// write replaces the file such that a power cut leaves the old or the new one, whole.
func (k *keeper) write() (err error) {
	file := keptFile{Version: keptVersion, Messages: []keptMessage{}}
	for topic, m := range k.retained.all(time.Now()) {
		file.Messages = append(file.Messages, keptMessage{
			Topic: topic, Payload: m.payload, QoS: m.qos, Expires: m.expires,
		})
	}
	slices.SortFunc(file.Messages, func(a, b keptMessage) int { return strings.Compare(a.Topic, b.Topic) })
	data, err := json.Marshal(file)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(k.path), filepath.Base(k.path)+".*") // only the user may read it
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), k.path)
}
