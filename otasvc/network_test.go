package otasvc

import "testing"

// Networks are compared as values. A dongle that does not tell its address or its PAN has the network that was
// known before, and that stays known; only another number makes it another network.
func TestNetworkIsCompared(t *testing.T) {
	known := network{Coordinator: 0x00158d0000000001, PANID: 0x1a62}
	tests := map[string]struct {
		told     network
		replaces bool
		after    network
	}{
		"the same":            {told: known, after: known},
		"nothing told":        {after: known},
		"only the PAN":        {told: network{PANID: 0x1a62}, after: known},
		"only the address":    {told: network{Coordinator: 0x00158d0000000001}, after: known},
		"another PAN":         {told: network{PANID: 0x2b73}, replaces: true, after: network{PANID: 0x2b73}},
		"another coordinator": {told: network{Coordinator: 7}, replaces: true, after: network{Coordinator: 7}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if replaces := tc.told.replaces(known); replaces != tc.replaces {
				t.Errorf("it is another network: %v", replaces)
			}
			if after := tc.told.after(known); after != tc.after {
				t.Errorf("known afterwards: %+v", after)
			}
		})
	}
}

// The state is written anew only where the dongle has told something new of its network.
func TestNetworkIsKept(t *testing.T) {
	g := dongle{}
	g.keepNetwork(network{PANID: 0x1a62})
	revision := g.revision
	g.keepNetwork(network{PANID: 0x1a62})
	if revision == 0 || g.revision != revision || g.network != (network{PANID: 0x1a62}) {
		t.Errorf("revision %d after %d, network %+v", g.revision, revision, g.network)
	}
}
