package otasvc

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// health is what others may ask at any moment, from any goroutine.
type health struct {
	dongle atomic.Pointer[string]    // why upgrades cannot be done; nil: they can
	turn   atomic.Pointer[time.Time] // when the owner last went its round; nil: not yet
}

// ownerPatience is how long the owner may be at one thing. It goes its round every second, and takes part in
// nothing that waits for a network; reading images from a slow disk may hold it up for a while.
const ownerPatience = 30 * time.Second

// Alive is nil, or why only a restart can help: the goroutine that owns devices and upgrades does not come
// round any more. Before Run it is nil.
func (s *Service) Alive() error {
	last := s.health.turn.Load()
	if last == nil {
		return nil
	}
	if silent := time.Since(*last); silent > ownerPatience {
		return fmt.Errorf("nothing was done about devices and upgrades for %v", silent.Round(time.Second))
	}
	return nil
}

// DongleHealth is nil, or why upgrades cannot be done now.
func (s *Service) DongleHealth() error {
	if why := s.health.dongle.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

// StoreHealth is nil, or why the state cannot be written.
func (s *Service) StoreHealth() error {
	if s.store == nil {
		return nil
	}
	return s.store.health()
}

// noteHealth keeps what DongleHealth tells up to date.
func (s *Service) noteHealth() {
	why, ok := s.dongle.usable()
	if ok || s.dongle.connected && s.dongle.watchOnly {
		s.health.dongle.Store(nil)
		return
	}
	s.health.dongle.Store(&why)
}
