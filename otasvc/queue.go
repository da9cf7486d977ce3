package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

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
			State:        u.State(),
			ImageVersion: u.Image().ImageVersion,
			QueuedAt:     u.QueuedAt(),
			DueAt:        u.DueAt(),
			Canary:       u.Canary(),
			Paused:       u.Stage().PausedByPerson(),
		})
	}
	return list
}
