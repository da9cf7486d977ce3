package otasvc

import (
	"errors"
	"sync/atomic"
)

// health is what others may ask at any moment, from any goroutine.
type health struct {
	dongle atomic.Pointer[string] // why upgrades cannot be done; nil: they can
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
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.store.failed != "" {
		return errors.New("the state cannot be written: " + s.store.failed)
	}
	return nil
}

// noteHealth keeps what DongleHealth tells up to date.
func (s *Service) noteHealth() {
	why, ok := s.dongle.usable()
	if ok {
		s.health.dongle.Store(nil)
		return
	}
	s.health.dongle.Store(&why)
}
