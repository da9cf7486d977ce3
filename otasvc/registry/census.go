package registry

import (
	"context"
	"errors"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// How devices are counted.
const (
	// listTimeout is how long the dongle's list may take. It follows the command's status at once, so a list
	// that has not come by then came damaged, or not at all.
	listTimeout = 2500 * time.Millisecond
	// listTries is how often the dongle is asked for its list.
	listTries = 3
	// callTimeout is how long the answers to a call may take.
	callTimeout = 3 * time.Second
	// callsAtMost is how often devices are called at most, and callsInVain after how many calls in a row that
	// nobody new has answered it is left at that.
	callsAtMost = 6
	callsInVain = 2
)

// Caller is what a census asks through. It waits nowhere but in Ask. Whoever owns the devices takes in what
// the answers tell, in the same way as what is said unasked.
type Caller interface {
	// Ask is that of [Asker].
	Ask(ctx context.Context, q Question) ([]message.Message, error)
	// Knows reports whether it is known whose a network address is.
	Knows(addr uint16) bool
}

// Census finds out which devices are there. The dongle lists its neighbours, and is asked again where the
// list does not come: one that comes together with other messages may be damaged on the way. A list that is
// too long for the dongle's transmit queue never comes whole. Then every device that listens and has an OTA
// client is called, and those whose address is not known are asked for their EUID, one after the other.
//
// listed says that the dongle has told its list. The error says that asking was not possible, or that ctx is
// done.
func Census(ctx context.Context, c Caller) (listed bool, err error) {
	for range listTries {
		_, err := c.Ask(ctx, askDevices())
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, ErrNoReply) {
			return false, err
		}
	}

	if listEntries(ctx, c) == nil {
		return true, nil
	}

	vain := 0
	for range callsAtMost {
		found, err := callClients(ctx, c)
		if err != nil {
			return false, err
		}
		if found {
			vain = 0
			continue
		}
		if vain++; vain == callsInVain {
			break
		}
	}
	return false, nil
}

// listEntries asks the dongle for its neighbours, a few at a time.
func listEntries(ctx context.Context, c Caller) error {
	for next := 0; next <= 0xFF; {
		answer, err := c.Ask(ctx, askEntries(uint8(next)))
		if err != nil {
			return err
		}
		table := answer[0].(message.ManagementLQI)
		next += len(table.Neighbours)
		if len(table.Neighbours) == 0 || next >= int(table.Entries) {
			break
		}
	}
	return nil
}

// callClients calls the OTA clients, and asks those for their EUID whose address is not known. It reports
// whether there were any.
func callClients(ctx context.Context, c Caller) (found bool, err error) {
	answers, err := c.Ask(ctx, askClients())
	if err != nil && !errors.Is(err, ErrNoReply) {
		return false, err
	}
	for _, answer := range answers {
		addr, _ := clientAt(answer)
		if !isDevice(addr) || c.Knows(addr) {
			continue
		}
		found = true
		_, err := c.Ask(ctx, askEUID(addr))
		if err != nil && !errors.Is(err, ErrNoReply) {
			return false, err
		}
	}
	return found, nil
}

// askDevices asks the dongle for its list of neighbours.
func askDevices() Question {
	return Question{
		Command: message.GetDevices{},
		Timeout: listTimeout,
		Size:    alone,
		Match:   matching(func(message.DeviceList) bool { return true }),
	}
}

// askEntries asks the dongle for entries of its own table of neighbours, from one on.
func askEntries(first uint8) Question {
	return Question{
		Command: message.ManagementLQIRequest{Target: CoordinatorAddr, StartIndex: first},
		Timeout: 3 * askAgain,
		Again:   askAgain,
		Size:    sizeOf(entriesBytes),
		Match: matching(func(m message.ManagementLQI) bool {
			return m.HasSource && m.Source == CoordinatorAddr && m.StartIndex == first
		}),
	}
}

// askClients asks all devices that listen whether they have an OTA client. Nobody knows how many answer, so
// the answer is never whole.
func askClients() Question {
	return Question{
		Command: message.MatchDescriptorRequest{
			Target:      broadcastRxOnWhenIdle,
			Profile:     message.ProfileHomeAutomation,
			OutClusters: []uint16{message.ClusterOTA},
		},
		Timeout: callTimeout,
		Size:    alone,
		Match: func(m message.Message) (part, whole bool) {
			_, part = clientAt(m)
			return part, false
		},
	}
}

// clientAt is the network address of the device whose answer to a call a message is. A dongle in the hybrid
// mode shows it as it came from the air first, and one of the two messages may be lost.
func clientAt(m message.Message) (addr uint16, ok bool) {
	switch m := m.(type) {
	case message.MatchDescriptor:
		return m.Addr, m.Status == 0
	case message.DataIndication:
		for _, decoded := range m.Messages() {
			if answer, is := decoded.(message.MatchDescriptor); is {
				return answer.Addr, answer.Status == 0
			}
		}
	}
	return 0, false
}

// askEUID asks a network address whose it is.
func askEUID(addr uint16) Question {
	return Question{
		Command: message.IEEEAddrRequest{Target: addr, Addr: addr},
		To:      addr,
		Timeout: 3 * askAgain,
		Again:   askAgain,
		Size:    sizeOf(addressBytes),
		Match: matching(func(m message.IEEEAddrResponse) bool {
			return m.Addr == addr
		}),
	}
}
