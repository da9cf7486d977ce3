package otasvc

import (
	"errors"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// errNoReply: the frame was sent, the device said nothing. A sleeping device is silent for as
// long as it sleeps.
var errNoReply = errors.New("no answer")

// replyTimeout is how long the answer of a device may take. A sleeping device's parent keeps a message for
// about 7 s; an acknowledged message is repeated for as long.
const replyTimeout = 8 * time.Second

// ask is a question that waits for a message of a device.
type ask struct {
	deadline time.Time
	// match takes a message that may be the answer and reports whether the question is answered by it.
	match func(message.Message) bool
	done  func(error)
}

// ask sends cmd and calls done, on the owner goroutine, once match has accepted a message, or with an error.
func (s *Service) ask(
	cmd message.Message, timeout time.Duration, match func(message.Message) bool, done func(error),
) {
	if s.ctx.Err() != nil {
		s.inbox.post(func() { done(errStopping) })
		return
	}
	a := &ask{deadline: time.Now().Add(timeout), match: match, done: done}
	s.asks = append(s.asks, a)
	s.send(cmd, func(_ message.Status, err error) {
		// A status that was lost does not mean that the question was: the answer is waited for all the same.
		if err != nil && !errors.Is(err, zigate.ErrNoAnswer) && s.endAsk(a) {
			done(fmt.Errorf("sending %s: %w", cmd.Type().Name(), err))
		}
	})
}

// endAsk takes a question off the list; false if it was answered already.
func (s *Service) endAsk(a *ask) bool {
	for i, other := range s.asks {
		if other == a {
			s.asks = append(s.asks[:i], s.asks[i+1:]...)
			return true
		}
	}
	return false
}

// answered offers a message to the questions, oldest first.
func (s *Service) answered(m message.Message) {
	for _, a := range s.asks {
		if a.match(m) {
			s.endAsk(a)
			a.done(nil)
			return
		}
	}
}

func (s *Service) expireAsks(now time.Time) {
	var late []*ask
	for _, a := range s.asks {
		if now.After(a.deadline) {
			late = append(late, a)
		}
	}
	for _, a := range late {
		if s.endAsk(a) {
			a.done(errNoReply)
		}
	}
}

func (s *Service) dropAsks(err error) {
	asks := s.asks
	s.asks = nil
	for _, a := range asks {
		a.done(err)
	}
}

// readAttributes reads attributes of a device; what they tell is learnt by attribute. done gets nil once each
// has been answered, be it with "unsupported".
func (s *Service) readAttributes(
	d *device, cluster uint16, direction uint8, ids []uint16, timeout time.Duration, done func(error),
) {
	s.readAttributesAt(d, 0, cluster, direction, ids, timeout, done)
}

// readAttributesAt is readAttributes of an endpoint; 0: the one of the OTA client.
func (s *Service) readAttributesAt(
	d *device, endpoint uint8, cluster uint16, direction uint8, ids []uint16, timeout time.Duration,
	done func(error),
) {
	if d.NetworkAddress == nil {
		done(errNoAddress)
		return
	}
	addr := *d.NetworkAddress
	if endpoint == 0 {
		endpoint = max(d.Endpoint, 1)
	}
	open := make(map[uint16]bool, len(ids))
	for _, id := range ids {
		open[id] = true
	}
	cmd := message.ReadAttributes{
		Target: message.Target{
			AddrMode: message.AddrModeShort, Addr: addr, SrcEndpoint: 1, DstEndpoint: endpoint,
		},
		Cluster: cluster, Direction: direction, IDs: ids,
	}
	s.ask(cmd, timeout, func(m message.Message) bool {
		at, ok := m.(message.Attribute)
		if !ok || at.Addr != addr || at.Cluster != cluster {
			return false
		}
		delete(open, at.ID)
		return len(open) == 0
	}, done)
}

var errNoAddress = errors.New("its network address is not known; it has to be heard from first")

// readVersion reads the running file version.
func (s *Service) readVersion(d *device, done func(error)) {
	s.readAttributes(d, message.ClusterOTA, message.DirectionToClient, []uint16{message.AttrOTAFileVersion},
		replyTimeout, done)
}

// findDevice looks for a device on the network by its EUID and calls found with the device, or nil. Each
// search is a broadcast, of which a network bears few, so they stand in line.
func (s *Service) findDevice(euid message.IEEE, found func(*device)) {
	s.searches = append(s.searches, search{euid: euid, found: found})
	s.nextSearch()
}

// search is a device that somebody looks for.
type search struct {
	euid  message.IEEE
	found func(*device)
}

// searchesAtOnce is how many devices are looked for at the same time.
const searchesAtOnce = 3

func (s *Service) nextSearch() {
	for s.searching < searchesAtOnce && len(s.searches) > 0 {
		next := s.searches[0]
		s.searches = s.searches[1:]
		if d := s.devices[next.euid]; d != nil || s.ctx.Err() != nil {
			next.found(d) // met meanwhile
			continue
		}
		s.searching++
		s.search(next.euid, 2, func(d *device) {
			s.searching--
			next.found(d)
			s.nextSearch()
		})
	}
}

// search asks everybody for an address, tries times at most.
func (s *Service) search(euid message.IEEE, tries int, found func(*device)) {
	s.log.Info("looking for a device on the network", "euid", euid)
	cmd := message.NwkAddrRequest{Target: broadcastRxOnWhenIdle, IEEE: euid}
	s.ask(cmd, findTimeout, func(m message.Message) bool {
		r, ok := m.(message.NwkAddrResponse)
		return ok && r.IEEE == euid && r.Status == 0
	}, func(err error) {
		d := s.devices[euid] // it may have been met otherwise meanwhile
		if d == nil && err != nil && tries > 1 && s.dongle.connected && s.ctx.Err() == nil {
			s.search(euid, tries-1, found)
			return
		}
		found(d)
	})
}

// findTimeout is how long one search by broadcast waits.
const findTimeout = 2500 * time.Millisecond
