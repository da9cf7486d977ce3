package registry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// network is a dongle with devices, as a census meets it. Each question gets the answers of its kind in turn, and none
// when there are no more.
type network struct {
	lists   []message.Message
	tables  []message.Message
	calls   [][]message.Message
	failing error // of every question from then on, where it is set
	known   map[uint16]bool
	asked   []string
}

func (n *network) Knows(addr uint16) bool { return n.known[addr] }

func (n *network) Ask(_ context.Context, q registry.Question) ([]message.Message, error) {
	var come []message.Message
	switch m := q.Command.(type) {
	case message.GetDevices:
		n.asked = append(n.asked, "list")
		come = shift(&n.lists)
	case message.ManagementLQIRequest:
		n.asked = append(n.asked, fmt.Sprintf("table from %d", m.StartIndex))
		come = shift(&n.tables)
	case message.MatchDescriptorRequest:
		n.asked = append(n.asked, "call")
		if len(n.calls) > 0 {
			come = n.calls[0]
			n.calls = n.calls[1:]
		}
	case message.IEEEAddrRequest:
		n.asked = append(n.asked, fmt.Sprintf("whose is %d", m.Addr))
		n.known[m.Addr] = true
		come = []message.Message{message.IEEEAddrResponse{Addr: m.Addr, IEEE: bulb}}
	}
	if n.failing != nil {
		return nil, n.failing
	}
	var parts []message.Message
	for _, m := range come {
		part, whole := q.Match(m)
		if part {
			parts = append(parts, m)
		}
		if whole {
			return parts, nil
		}
	}
	return parts, registry.ErrNoReply
}

func shift(list *[]message.Message) []message.Message {
	if len(*list) == 0 {
		return nil
	}
	first := (*list)[0]
	*list = (*list)[1:]
	return []message.Message{first}
}

// table is a part of the table of neighbours.
func table(first, n, all uint8) message.ManagementLQI {
	return message.ManagementLQI{
		Entries: all, StartIndex: first, Neighbours: make([]message.Neighbour, n), HasSource: true,
	}
}

func client(addr uint16) message.Message {
	return message.MatchDescriptor{Addr: addr, Endpoints: []uint8{1}}
}

func TestCensus(t *testing.T) {
	lists := []string{"list", "list", "list"}
	after := func(more ...string) []string { return append(append([]string{}, lists...), more...) }
	fromRouter := table(0, 2, 2)
	fromRouter.Source = 7
	tests := map[string]struct {
		network network
		asked   []string
		listed  bool
		err     error
	}{
		"a list": {network: network{lists: []message.Message{message.DeviceList{}}}, asked: []string{"list"}, listed: true},
		"the second list comes": {
			network: network{lists: []message.Message{message.DeviceAnnounce{}, message.DeviceList{}}},
			asked:   []string{"list", "list"}, listed: true,
		},
		"no list, but the table": {
			network: network{tables: []message.Message{table(0, 2, 5), table(2, 2, 5), table(4, 1, 5)}},
			asked:   after("table from 0", "table from 2", "table from 4"), listed: true,
		},
		"an empty table": {
			network: network{tables: []message.Message{table(0, 0, 5)}}, asked: after("table from 0"), listed: true,
		},
		"another device's table": {
			network: network{tables: []message.Message{fromRouter}}, asked: after("table from 0", "call", "call"),
		},
		"half a table": {
			network: network{tables: []message.Message{table(0, 2, 5)}},
			asked:   after("table from 0", "table from 2", "call", "call"),
		},
		"nobody answers": {asked: after("table from 0", "call", "call")},
		"who answers is asked": {
			network: network{calls: [][]message.Message{
				{client(1), client(2), client(0), client(0xFFFD)},
				nil,
				{client(3), client(1), message.MatchDescriptor{Addr: 4, Status: 0x81}},
			}},
			asked: after("table from 0", "call", "whose is 1", "whose is 2", "call", "call", "whose is 3", "call", "call"),
		},
		"who answers as the air has it": {
			network: network{calls: [][]message.Message{{
				message.DataIndication{
					Cluster: 0x8006, SrcAddrMode: message.AddrModeNetwork, SrcAddr: 9, DstAddrMode: message.AddrModeNetwork,
					Payload: []byte{1, 0, 9, 0, 1, 1},
				},
			}}},
			asked: after("table from 0", "call", "whose is 9", "call", "call"),
		},
		"ever more answer": {
			network: network{calls: [][]message.Message{
				{client(1)}, {client(2)}, {client(3)}, {client(4)}, {client(5)}, {client(6)}, {client(7)},
			}},
			asked: after("table from 0", "call", "whose is 1", "call", "whose is 2", "call", "whose is 3", "call", "whose is 4",
				"call", "whose is 5", "call", "whose is 6"),
		},
		"the dongle is gone": {network: network{failing: errGone}, asked: []string{"list"}, err: errGone},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			n := tc.network
			n.known = map[uint16]bool{}
			listed, err := registry.Census(t.Context(), &n)
			if listed != tc.listed || !errors.Is(err, tc.err) {
				t.Errorf("listed %v, %v", listed, err)
			}
			if diff := cmp.Diff(tc.asked, n.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRoom(t *testing.T) {
	v1 := registry.Room(message.FamilyV1, message.RawModeOff)
	hybrid := registry.Room(message.FamilyV1, message.RawModeHybrid)
	if v1 <= 0 || v1 > 250 || hybrid <= 0 || hybrid > v1/2 {
		t.Errorf("room for %d bytes, %d in hybrid mode", v1, hybrid)
	}
	if n := registry.Room(message.FamilyV2, message.RawModeHybrid); n != 0 {
		t.Errorf("version 2 loses nothing, and has room for %d", n)
	}
}
