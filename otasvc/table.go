package otasvc

import (
	"cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// tableInputs are the revisions of what the block server's table is made of.
type tableInputs struct{ addresses, strangers, rights uint64 }

// refreshTable puts a new table before the block server where what it is made of has changed.
func (s *Service) refreshTable() {
	inputs := tableInputs{
		addresses: s.home.registry.Addresses(),
		strangers: s.strangers.Revision(),
		rights:    s.upgrades.rights,
	}
	if inputs == s.inTable {
		return
	}
	s.inTable = inputs
	t := blocks.Table{
		ByAddr: make(map[uint16]*blocks.Transfer, len(s.upgrades.active)),
		ByNode: make(map[message.IEEE]*blocks.Transfer, len(s.upgrades.active)),
		Known:  make(map[uint16]struct{}, s.home.registry.Len()),
	}
	for addr, known := range s.home.registry.ByAddr() {
		t.Known[addr] = struct{}{}
		d := s.home.of(known)
		if tr := cmp.Or(d.transfer, d.aborting); tr != nil {
			t.ByAddr[addr] = tr
		}
	}
	for addr := range s.strangers.Refused() {
		t.Known[addr] = struct{}{}
	}
	for _, d := range s.upgrades.active {
		if d.transfer != nil {
			t.ByNode[d.EUID()] = d.transfer
		}
	}
	s.blocks.SetTable(t)
}
