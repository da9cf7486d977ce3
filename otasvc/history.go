package otasvc

import (
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// historyLength is how many ended upgrades of a device are kept.
const historyLength = 10

// PastUpgrade is an upgrade that has ended, as the device's history keeps it in the state file.
type PastUpgrade struct {
	State           State     `json:"state"`
	Reason          Reason    `json:"reason,omitempty"`
	ImageVersion    uint32    `json:"imageVersion"`
	OldImageVersion *uint32   `json:"oldImageVersion,omitempty"` // nil: it was not known
	QueuedAt        time.Time `json:"queuedAt"`
	// StartedAt is the time of the first block of the last attempt; it is zero where there was none.
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt"`
	Attempts  int       `json:"attempts"`
	Size      uint32    `json:"size"`  // bytes of the whole image
	Bytes     uint32    `json:"bytes"` // bytes of the image that the device had in the end
	// BytesPerSecond is the rate of the last attempt, without the installation; it is 0
	// where it is not known.
	BytesPerSecond int `json:"bytesPerSecond"`
}

// remember puts an upgrade that has ended into its device's history, the newest first.
func (d *device) remember(u *upgrade) {
	past := PastUpgrade{
		State:           u.State,
		Reason:          u.Reason,
		ImageVersion:    u.ImageVersion,
		OldImageVersion: u.OldVersion,
		QueuedAt:        u.QueuedAt,
		StartedAt:       u.StartedAt,
		EndedAt:         u.EndedAt,
		Attempts:        u.Attempt,
		Size:            u.Size,
		Bytes:           u.Offset,
		BytesPerSecond:  u.rate(u.EndedAt),
	}
	d.History = slices.Insert(d.History, 0, past)
	d.History = d.History[:min(len(d.History), historyLength)]
}

// QueuedUpgrade is an upgrade that waits, at its place.
type QueuedUpgrade struct {
	EUID         message.IEEE
	State        State
	ImageVersion uint32
	QueuedAt     time.Time
	DueAt        time.Time    // zero: as soon as possible
	Canary       message.IEEE // goes first with the same image; 0: none
	Paused       bool         // a person holds it
}

// Queue tells which upgrades wait, in the order in which they are to have their turn as things are now;
// those that wait for a time come last. then is called on the owner goroutine and must not block; after a
// stop it is not called.
func (s *Service) Queue(then func([]QueuedUpgrade)) {
	s.inbox.Post(func() { then(s.queue(s.now())) })
}

func (s *Service) queue(now time.Time) []QueuedUpgrade {
	list := []QueuedUpgrade{}
	for _, euid := range slot.Queue(s.slot.view(now), now) {
		u := s.home.get(euid).Upgrade
		list = append(list, QueuedUpgrade{
			EUID:         euid,
			State:        u.State,
			ImageVersion: u.ImageVersion,
			QueuedAt:     u.QueuedAt,
			DueAt:        u.DueAt,
			Canary:       u.Canary,
			Paused:       u.Held,
		})
	}
	return list
}
