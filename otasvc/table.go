package otasvc

import (
	"cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// target is where a command to a device goes; its network address must be known.
func (d *device) target() message.Target {
	return message.Target{
		AddrMode:    message.AddrModeNetwork,
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
	t := blocks.Table{
		ByAddr: make(map[uint16]*blocks.Transfer, len(s.upgrades.active)),
		ByNode: make(map[message.IEEE]*blocks.Transfer, len(s.upgrades.active)),
		Known:  make(map[uint16]struct{}, len(s.byAddr)),
	}
	for addr, d := range s.byAddr {
		t.Known[addr] = struct{}{}
		if tr := cmp.Or(d.transfer, d.aborting); tr != nil {
			t.ByAddr[addr] = tr
		}
	}
	for _, d := range s.upgrades.active {
		if d.transfer != nil {
			t.ByNode[d.EUID] = d.transfer
		}
	}
	for addr, st := range s.strays {
		if st.refused {
			t.Known[addr] = struct{}{}
		}
	}
	s.blocks.SetTable(t)
}
