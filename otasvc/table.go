package otasvc

import (
	"cmp"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// target is where a command to a device goes; its network address must be known.
func (d *device) target() message.Target {
	return message.Target{
		AddrMode:    message.AddrModeShort,
		Addr:        *d.NetworkAddress,
		SrcEndpoint: 1,
		DstEndpoint: max(d.Endpoint, 1),
	}
}

// refreshTable puts a new table before the block server.
func (s *Service) refreshTable() {
	if !s.tableDirty {
		return
	}
	s.tableDirty = false
	t := &blockTable{
		byAddr: make(map[uint16]*transfer, len(s.upgrades.active)),
		byNode: make(map[message.IEEE]*transfer, len(s.upgrades.active)),
		known:  make(map[uint16]struct{}, len(s.byAddr)),
	}
	for addr, d := range s.byAddr {
		t.known[addr] = struct{}{}
		if tr := cmp.Or(d.transfer, d.aborting); tr != nil {
			t.byAddr[addr] = tr
		}
	}
	for _, d := range s.upgrades.active {
		if d.transfer != nil {
			t.byNode[d.EUID] = d.transfer
		}
	}
	for addr, st := range s.strays {
		if st.refused {
			t.known[addr] = struct{}{}
		}
	}
	s.blocks.table.Store(t)
}
