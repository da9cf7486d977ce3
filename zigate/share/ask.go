package share

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// ask is what the answers to a command are told by. It does not change once the command was submitted.
type ask struct {
	owner    int
	typ      message.MsgType
	addr     uint16 // network address of the device
	hasAddr  bool   // addr is known
	raw      bool   // the command is raw APS data, which the next three describe
	zdp      bool   // it is a ZDP frame, else a ZCL frame
	cluster  uint16
	sequence uint8    // that the client has put into its frame
	mode     *modeAsk // of a command that sets the raw mode, else nil
}

// newAsk reads a command of a client.
func newAsk(owner int, t message.MsgType, payload []byte) *ask {
	a := &ask{owner: owner, typ: t}
	m, err := message.ParseCommand(t, payload)
	if err == nil {
		a.read(m)
	} else if len(payload) >= 3 && t.IsZCL() {
		a.setAddr(message.AddrMode(payload[0]), uint16(payload[1])<<8|uint16(payload[2]))
	}
	return a
}

// read takes the device's address from a command, and of raw data what is in its frame.
func (a *ask) read(m message.Message) {
	switch m := m.(type) {
	case message.RawAPS:
		a.raw = true
		a.zdp = m.Profile == profileZDP && m.DstEndpoint == 0
		a.cluster = m.Cluster
		a.setAddr(m.AddrMode, m.Addr)
		if a.zdp {
			if len(m.Data) > 0 {
				a.sequence = m.Data[0]
			}
		} else if h, ok := parseZCL(m.Data); ok {
			a.sequence = h.sequence
		}
	case message.ReadAttributes:
		a.setAddr(m.AddrMode, m.Addr)
	case message.OnOff:
		a.setAddr(m.AddrMode, m.Addr)
	case message.NwkAddrRequest:
		a.setAddr(message.AddrModeNetwork, m.Target)
	case message.IEEEAddrRequest:
		a.setAddr(message.AddrModeNetwork, m.Target)
	case message.NodeDescriptorRequest:
		a.setAddr(message.AddrModeNetwork, m.Addr)
	case message.PowerDescriptorRequest:
		a.setAddr(message.AddrModeNetwork, m.Addr)
	case message.ActiveEndpointsRequest:
		a.setAddr(message.AddrModeNetwork, m.Addr)
	case message.SimpleDescriptorRequest:
		a.setAddr(message.AddrModeNetwork, m.Addr)
	case message.MatchDescriptorRequest:
		a.setAddr(message.AddrModeNetwork, m.Target)
	case message.ImageBlockResponse:
		a.setAddr(m.AddrMode, m.Addr)
	case message.WaitForData:
		a.setAddr(m.AddrMode, m.Addr)
	case message.UpgradeEndResponse:
		a.setAddr(m.AddrMode, m.Addr)
	case message.ImageNotify:
		a.setAddr(m.AddrMode, m.Addr)
	}
}

// setAddr keeps a network address; other kinds of addresses leave it unknown.
func (a *ask) setAddr(mode message.AddrMode, addr uint16) {
	if mode == message.AddrModeNetwork || mode == message.AddrModeNetworkNoAck {
		a.addr = addr
		a.hasAddr = addr < firstBroadcastAddr
	}
}

const firstBroadcastAddr = 0xFFF8

const zdpBind uint16 = 0x0021
