package share

import (
	"github.com/zigate-ota/zigate-ota/zigate"
)

// ask is a command as far as its answers depend on it. It is not changed once it was submitted.
type ask struct {
	owner    int
	typ      zigate.MsgType
	addr     uint16 // of the device, if known
	hasAddr  bool
	raw      bool // raw APS data, with:
	zdp      bool
	cluster  uint16
	sequence uint8    // that the client has put into its frame
	mode     *modeAsk // of a raw mode
}

// newAsk reads what a command's answers will be told by.
func newAsk(owner int, t zigate.MsgType, payload []byte) *ask {
	a := &ask{owner: owner, typ: t}
	m, err := zigate.ParseCommand(t, payload)
	if err == nil {
		a.read(m)
	} else if len(payload) >= 3 && t >= firstZCLCommand && t <= lastZCLCommand {
		a.setAddr(zigate.AddrMode(payload[0]), uint16(payload[1])<<8|uint16(payload[2]))
	}
	return a
}

func (a *ask) read(m zigate.Message) {
	switch m := m.(type) {
	case zigate.RawAPS:
		a.raw, a.zdp, a.cluster = true, m.Profile == profileZDP && m.DstEndpoint == 0, m.Cluster
		a.setAddr(m.AddrMode, m.Addr)
		if a.zdp {
			if len(m.Data) > 0 {
				a.sequence = m.Data[0]
			}
		} else if h, ok := parseZCL(m.Data); ok {
			a.sequence = h.sequence
		}
	case zigate.ReadAttributes:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.OnOff:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.NwkAddrRequest:
		a.setAddr(zigate.AddrModeShort, m.Target)
	case zigate.IEEEAddrRequest:
		a.setAddr(zigate.AddrModeShort, m.Target)
	case zigate.NodeDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.PowerDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.ActiveEndpointsRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.SimpleDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Addr)
	case zigate.MatchDescriptorRequest:
		a.setAddr(zigate.AddrModeShort, m.Target)
	case zigate.BlockSend:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.WaitForData:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.UpgradeEndResponse:
		a.setAddr(m.AddrMode, m.Addr)
	case zigate.ImageNotify:
		a.setAddr(m.AddrMode, m.Addr)
	}
}

func (a *ask) setAddr(mode zigate.AddrMode, addr uint16) {
	if mode == zigate.AddrModeShort || mode == zigate.AddrModeShortNoAck {
		a.addr, a.hasAddr = addr, addr < firstBroadcastAddr
	}
}

const firstBroadcastAddr = 0xFFF8

const zdpBind uint16 = 0x0021
