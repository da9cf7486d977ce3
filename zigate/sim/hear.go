package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// rawMode is what the host has asked to see of the devices' frames as they came.
type rawMode struct {
	mode    message.RawMode // a reset keeps it
	lastSum int             // of the last ZCL frame that mode 1 has shown, see isNew
}

// noSum is no sum of a sequence number and an address.
const noSum = -1

// powerUp is the state after the start.
func (r *rawMode) powerUp() {
	r.lastSum = noSum
}

// isNew tells whether mode 1 shows a ZCL frame. It recognises repeats by the sum of sequence number and
// address.
func (r *rawMode) isNew(sequence uint8, addr uint16) bool {
	sum := int(sequence) + int(addr)
	if sum == r.lastSum {
		return false
	}
	r.lastSum = sum
	return true
}

// hear is a radio frame from a device that has arrived at the dongle, with its link quality. Everything is
// judged by the network layer's source address, like in a stack.
func (c *chip) hear(f AirFrame, lqi uint8) {
	if !c.power.up || !c.coordinator.formed {
		return
	}
	if c.raw.mode == message.RawModeHybrid {
		c.showRaw(f, lqi)
		if !f.isZDP() || c.traits.hybridAnswersZDP {
			c.answerHybrid(f)
		}
	}
	switch {
	case f.isZDP():
		c.hearZDP(f, lqi)
	case f.Profile != profileHA && f.Profile != profileAny:
	case f.DestinationEndpoint == dongleEndpoint || contains(c.traits.aliases, f.DestinationEndpoint):
		c.hearZCL(f, lqi)
	}
}

// hearZDP handles a frame for the dongle's ZDP endpoint 0.
func (c *chip) hearZDP(f AirFrame, lqi uint8) {
	if c.raw.mode == message.RawModeRaw && c.traits.rawHidesZDP {
		c.showRaw(f, lqi)
		if f.Cluster != zdpDeviceAnnounce || c.traits.rawHidesAnnounce {
			return
		}
	}
	m, known := zdpMessage(f)
	switch {
	case !known:
		c.showUnwanted(f, lqi)
	case m != nil:
		c.sender.send(m, lqi)
	}
}

// hearZCL handles a frame for endpoint 1.
func (c *chip) hearZCL(f AirFrame, lqi uint8) {
	z, ok := parseZCL(f.Payload)
	if !ok {
		return
	}
	shown := c.raw.mode != message.RawModeRaw
	if !shown && c.raw.isNew(z.sequence, f.Addr) {
		c.showRaw(f, lqi)
	}
	switch {
	case z.clusterSpecific() && f.Cluster == clusterOTA && !z.toClient():
		c.hearOTA(otaRequest{
			addr: f.Addr, endpoint: f.SourceEndpoint, serverEndpoint: f.DestinationEndpoint,
			sequence: z.sequence, lqi: lqi, noResponse: z.defaultResponseOff(), shown: shown,
		}, z)
		return
	case !shown:
		return
	case z.clusterSpecific(), !hasInstance(f.Cluster, z.toClient()):
		c.showUnwanted(f, lqi)
		return
	}
	messages, known := zclMessages(f, z)
	if !known {
		c.showUnwanted(f, lqi)
	}
	for _, m := range messages {
		c.sender.send(m, lqi)
	}
}

// hasInstance tells whether endpoint 1 has an instance for frames of this direction: it is client of the
// usual clusters, and server of few.
func hasInstance(cluster uint16, toClient bool) bool {
	if toClient {
		return cluster != clusterOTA
	}
	switch cluster {
	case clusterOTA, clusterBasic, clusterIdentify:
		return true
	}
	return false
}

// showUnwanted shows a frame that no handler wants; in the other raw modes it was shown already.
func (c *chip) showUnwanted(f AirFrame, lqi uint8) {
	if c.raw.mode == message.RawModeOff {
		c.showRaw(f, lqi)
	}
}

func (c *chip) showRaw(f AirFrame, lqi uint8) {
	c.sender.send(message.DataIndication{
		Profile:     f.Profile,
		Cluster:     f.Cluster,
		SrcEndpoint: f.SourceEndpoint,
		DstEndpoint: f.DestinationEndpoint,
		SrcAddrMode: message.AddrModeNetwork,
		SrcAddr:     f.Addr,
		DstAddrMode: message.AddrModeNetwork,
		Payload:     f.Payload,
	}, lqi)
}

// answerHybrid sends the default response that hybrid mode has for every frame that does not forbid it. ZDP
// frames are taken for ZCL.
func (c *chip) answerHybrid(f AirFrame) {
	if len(f.Payload) < 3 || f.Payload[0]&zclNoDefaultResponse != 0 {
		return
	}
	control := zclGlobalFrame | zclNoDefaultResponse | ^f.Payload[0]&zclToClientBit
	if f.Cluster == clusterOTA {
		c.stats.DefaultResponses[DefaultResponse{Command: f.Payload[2], Status: zclSuccess}]++
	}
	c.radio.transmit(message.AddrModeNetwork, f.Addr, AirFrame{
		Profile: f.Profile, Cluster: f.Cluster,
		SourceEndpoint: f.DestinationEndpoint, DestinationEndpoint: f.SourceEndpoint,
		Payload: []byte{control, f.Payload[1], zclDefaultResponse, f.Payload[2], zclSuccess},
	})
}

// hearOTA has the OTA server handle a command of a client, and carries out what the server wants. Whatever is
// told to the host is told before the server answers.
func (c *chip) hearOTA(r otaRequest, z zclFrame) {
	reaction := c.server.hear(r, z.command, z.payload)
	if reaction.tell != nil && r.shown {
		c.sender.send(reaction.tell, r.lqi)
	}
	for _, a := range reaction.answers {
		c.answerOTA(reaction.request, a)
	}
	if reaction.storesPage && !c.pageTick.isSet() {
		c.timeline.set(&c.pageTick, pageTickInterval)
	}
}

// tickPage has the OTA server look at its stored page request again.
func (c *chip) tickPage() {
	if !c.power.up {
		return
	}
	if page, refuse := c.server.refusesPage(); refuse {
		c.answerOTA(page, otaAnswer{command: otaPageRequest, refusal: message.OTANoImageAvailable})
	}
	c.timeline.set(&c.pageTick, pageTickInterval)
}

// answerOTA sends a frame of the OTA server. The ZCL library cannot send answers of the cluster from an
// endpoint that it does not have, even though it heard the request there.
func (c *chip) answerOTA(r otaRequest, a otaAnswer) {
	var zcl []byte
	switch {
	case a.payload == nil:
		c.stats.DefaultResponses[DefaultResponse{Command: a.command, Status: a.refusal}]++
		control := zclGlobalFrame | zclToClientBit | zclNoDefaultResponse
		zcl = []byte{control, r.sequence, zclDefaultResponse, a.command, a.refusal}
	case r.serverEndpoint > c.traits.maxZCLEndpt:
		return
	default:
		c.zcl.noDefaultResponse = true
		zcl = append([]byte{otaAnswerControl, r.sequence, a.command}, a.payload...)
	}
	c.radio.transmit(message.AddrModeNetwork, r.addr, AirFrame{
		Profile:             profileHA,
		Cluster:             clusterOTA,
		SourceEndpoint:      r.serverEndpoint,
		DestinationEndpoint: r.endpoint,
		Payload:             zcl,
	})
}

// zclMessages is what the firmware makes of a ZCL frame for a cluster that it has an instance of: one message
// for each attribute of a read response or a report. known is false for frames that no handler wants.
func zclMessages(f AirFrame, z zclFrame) (messages []message.Message, known bool) {
	switch z.command {
	case zclReadResponse:
		return attributeMessages(f, z, message.TypeReadAttribute, true), true
	case zclReportAttributes:
		return attributeMessages(f, z, message.TypeReportAttribute, false), true
	case zclDefaultResponse:
		if len(z.payload) < 2 {
			return nil, true
		}
		return []message.Message{message.DefaultResponse{
			Sequence: z.sequence, SrcEndpoint: f.SourceEndpoint, Cluster: f.Cluster,
			Command: z.payload[0], Status: z.payload[1],
		}}, true
	}
	return nil, false
}

// attributeMessages reads the records of a read response (with a status each) or of a report (without).
func attributeMessages(
	f AirFrame, z zclFrame, kind message.MsgType, withStatus bool,
) (messages []message.Message) {
	b := z.payload
	for len(b) >= 3 {
		m := message.Attribute{
			Kind: kind, Sequence: z.sequence, Addr: f.Addr, Endpoint: f.SourceEndpoint, Cluster: f.Cluster,
			ID: binary.LittleEndian.Uint16(b),
		}
		b = b[2:]
		if withStatus {
			m.Status = b[0]
			b = b[1:]
		}
		if m.Status != zclSuccess {
			m.DataType = 0xFF
			messages = append(messages, m)
			continue
		}
		value, rest, ok := takeValue(b)
		if !ok {
			break
		}
		m.DataType = b[0]
		m.Data = value
		b = rest
		messages = append(messages, m)
	}
	return messages
}
