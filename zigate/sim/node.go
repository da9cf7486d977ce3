package sim

import (
	"encoding/binary"
	"slices"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// node is what ZDP tells of a device.
type node struct {
	addr             uint16 // network address
	ieee             message.IEEE
	sleepy           bool
	manufacturerCode uint16
	batteryPercent   *uint8
	endpoints        []endpoint // in the order in which they are listed
}

// endpoint is one application of a node.
type endpoint struct {
	number   uint8
	servers  []uint16 // clusters that it is a server of
	clients  []uint16 // clusters that it is a client of
	unlisted bool     // Match Descriptor does not find it
}

// zdpAnswers is what a node answers to each ZDP request: the functions append what follows the status, whose
// place in the answer is 1. A node answers nothing where they return nil.
var zdpAnswers = map[uint16]func(n node, request *fields, answer []byte) []byte{
	zdpNwkAddr: func(n node, request *fields, answer []byte) []byte {
		if message.IEEE(request.u64()) != n.ieee {
			return nil
		}
		return n.appendAddresses(answer)
	},
	zdpIEEEAddr: func(n node, request *fields, answer []byte) []byte {
		if request.u16() != n.addr {
			return nil
		}
		return n.appendAddresses(answer)
	},
	zdpNodeDescriptor: func(n node, _ *fields, answer []byte) []byte {
		return n.appendNodeDescriptor(n.appendAddr(answer))
	},
	zdpPower: func(n node, _ *fields, answer []byte) []byte {
		return binary.LittleEndian.AppendUint16(n.appendAddr(answer), n.powerDescriptor())
	},
	zdpActive: func(n node, _ *fields, answer []byte) []byte {
		answer = append(n.appendAddr(answer), uint8(len(n.endpoints)))
		for _, e := range n.endpoints {
			answer = append(answer, e.number)
		}
		return answer
	},
	zdpSimple: func(n node, request *fields, answer []byte) []byte {
		request.u16()
		return n.appendSimpleDescriptor(answer, request.u8())
	},
	zdpMatch: func(n node, request *fields, answer []byte) []byte {
		request.u16()
		profile := request.u16()
		servers := request.clusters()
		clients := request.clusters()
		matching := n.matching(profile, servers, clients)
		if len(matching) == 0 {
			return nil
		}
		return append(append(n.appendAddr(answer), uint8(len(matching))), matching...)
	},
	zdpBind: func(_ node, _ *fields, answer []byte) []byte { return answer },
	zdpLeave: func(n node, request *fields, answer []byte) []byte {
		if who := message.IEEE(request.u64()); who != 0 && who != n.ieee {
			return nil
		}
		return answer
	},
	zdpManagementLQI: func(_ node, _ *fields, answer []byte) []byte {
		return append(answer, 0, 0, 0) // no neighbours, none listed, from the first
	},
}

// answerZDP is a node's answer to a request; nil if there is none. Requests about somebody else are not
// answered.
func (n node) answerZDP(cluster uint16, payload []byte) []byte {
	appendAnswer, known := zdpAnswers[cluster]
	if !known {
		return nil
	}
	request := &fields{b: payload}
	sequence := request.u8()
	answer := appendAnswer(n, request, []byte{sequence, zdpSuccess})
	if request.malformed {
		return nil
	}
	return answer
}

func (n node) appendAddr(b []byte) []byte {
	return binary.LittleEndian.AppendUint16(b, n.addr)
}

func (n node) appendAddresses(b []byte) []byte {
	return n.appendAddr(binary.LittleEndian.AppendUint64(b, uint64(n.ieee)))
}

// appendAnnounce appends the fields of a device announce: network address, IEEE address, capability.
func (n node) appendAnnounce(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(n.appendAddr(b), uint64(n.ieee))
	return append(b, n.capability())
}

// capability has the MAC capability flags.
func (n node) capability() uint8 {
	const allocateAddress = 1 << 7
	if n.sleepy {
		return allocateAddress
	}
	return allocateAddress | message.CapabilityRouter | message.CapabilityMains |
		message.CapabilityRxOnWhenIdle
}

func (n node) appendNodeDescriptor(b []byte) []byte {
	const (
		router      = 0x01
		endDevice   = 0x02
		band2400    = 0x40
		bufferSize  = 82
		serverMask  = 0x2C00
		stackFields = 0
	)
	kind := byte(router)
	if n.sleepy {
		kind = endDevice
	}
	b = append(b, kind, band2400, n.capability())
	b = binary.LittleEndian.AppendUint16(b, n.manufacturerCode)
	b = append(b, bufferSize)
	b = binary.LittleEndian.AppendUint16(b, bufferSize)
	b = binary.LittleEndian.AppendUint16(b, serverMask)
	b = binary.LittleEndian.AppendUint16(b, bufferSize)
	return append(b, stackFields)
}

// powerDescriptor has the mode (0: receiver as the node descriptor says), the available and the present
// source, and the level in steps of a third.
func (n node) powerDescriptor() uint16 {
	source := uint16(message.PowerMains)
	level := uint16(0xC)
	if n.sleepy {
		source = uint16(message.PowerDisposable)
	}
	if n.batteryPercent != nil {
		level = uint16(*n.batteryPercent) / 33 * 4
	}
	return level<<12 | source<<8 | source<<4
}

// appendSimpleDescriptor appends the descriptor of an endpoint. For one that is not there it sets the status
// of the answer, and the descriptor is empty.
func (n node) appendSimpleDescriptor(answer []byte, number uint8) []byte {
	const lastEndpoint = 240
	i := slices.IndexFunc(n.endpoints, func(e endpoint) bool { return e.number == number })
	if i < 0 {
		answer[1] = zdpNotActive
		if number == 0 || number > lastEndpoint {
			answer[1] = zdpInvalidEndpoint
		}
		return append(n.appendAddr(answer), 0)
	}
	descriptor := n.endpoints[i].appendDescriptor(nil)
	return append(append(n.appendAddr(answer), uint8(len(descriptor))), descriptor...)
}

// appendDescriptor appends the fields of a simple descriptor. All endpoints are on/off lights of the Home
// Automation profile.
func (e endpoint) appendDescriptor(b []byte) []byte {
	const onOffLight = 0x0100
	const version = 1
	b = append(b, e.number)
	b = binary.LittleEndian.AppendUint16(b, profileHA)
	b = binary.LittleEndian.AppendUint16(b, onOffLight)
	b = append(b, version)
	return appendClusters(appendClusters(b, e.servers), e.clients)
}

// matching are the endpoints that have one of the clusters.
func (n node) matching(profile uint16, servers, clients []uint16) (numbers []byte) {
	if profile != profileHA && profile != profileAny {
		return nil
	}
	for _, e := range n.endpoints {
		if !e.unlisted && (overlap(servers, e.servers) || overlap(clients, e.clients)) {
			numbers = append(numbers, e.number)
		}
	}
	return numbers
}

func overlap(a, b []uint16) bool {
	return slices.ContainsFunc(a, func(x uint16) bool { return slices.Contains(b, x) })
}
