package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The OTA commands of the host. Nothing in them is compared with a request or with the loaded header.

// otaCommand sends an answer of the OTA server, which build makes of the command.
func otaCommand[M message.Message](build func(*chip, M) (message.Target, []byte)) command {
	return withFields(func(c *chip, m M) outcome {
		to, zcl := build(c, m)
		c.zcl.noDefaultResponse = true
		return done(c.sendOTA(to, zcl))
	})
}

// sendOTA puts a ZCL frame of the OTA cluster on air for a command of the host.
func (c *chip) sendOTA(to message.Target, zcl []byte) (status uint8) {
	if !c.zcl.validSource(to.SrcEndpoint) {
		return message.StatusEndpointRange
	}
	if len(zcl) > c.traits.apdu || chance(c.air.random, c.cfg.Faults.Refuse) {
		return message.StatusNoBuffer
	}
	return c.radio.transmit(to.AddrMode, to.Addr, AirFrame{
		Profile:             profileHA,
		Cluster:             clusterOTA,
		SourceEndpoint:      to.SrcEndpoint,
		DestinationEndpoint: to.DstEndpoint,
		Payload:             zcl,
	})
}

// loadImage is 0x0500.
func loadImage(c *chip, m message.LoadImage) outcome {
	return done(c.server.load(m, c.clock.reading(c.timeline.now)))
}

// sendBlock is 0x0502.
func sendBlock(c *chip, m message.ImageBlockResponse) outcome {
	c.zcl.noDefaultResponse = true
	if c.radio.blockRefusal != message.StatusOK {
		return done(c.radio.blockRefusal)
	}
	status := c.sendOTA(m.Target, blockResponse(m, c.traits.v2))
	if status == message.StatusOK {
		c.stats.BlocksAnswered++
		if c.receiver.damaged {
			c.stats.DamagedBlocks = append(c.stats.DamagedBlocks, DamagedBlock{
				Offset: m.Offset, Size: len(m.Data),
			})
		}
	}
	return done(status)
}

// blockResponse is the Image Block Response for 0x0502.
func blockResponse(m message.ImageBlockResponse, v2 bool) []byte {
	b := append(make([]byte, 0, 17+len(m.Data)), otaAnswerControl, m.Sequence, otaBlockResponse, m.Status)
	switch m.Status {
	case message.OTASuccess:
		b = appendImage(b, m.ManufacturerCode, m.ImageType, m.FileVersion)
		b = binary.LittleEndian.AppendUint32(b, m.Offset)
		b = append(append(b, uint8(len(m.Data))), m.Data...)
	case message.OTAWaitForData:
		// The fields share their memory with those of a block: the pointer to the data stands for the current
		// time, the offset for the request time, half of the version for the delay.
		const dataPointer = 0x04001F40
		delay := uint16(m.FileVersion >> 16)
		if v2 {
			delay = uint16(m.FileVersion)
		}
		b = appendWait(b, dataPointer, m.Offset, delay)
	}
	return b
}

// appendWait appends the two times, in seconds, and the block request delay of an Image Block Response that
// tells a device to wait.
func appendWait(b []byte, current, request uint32, delay uint16) []byte {
	b = binary.LittleEndian.AppendUint32(b, current)
	b = binary.LittleEndian.AppendUint32(b, request)
	return binary.LittleEndian.AppendUint16(b, delay)
}

// waitForData makes the Image Block Response for 0x0506.
func waitForData(c *chip, m message.WaitForData) (message.Target, []byte) {
	b := []byte{otaAnswerControl, m.Sequence, otaBlockResponse, m.Status}
	switch m.Status {
	case message.OTAWaitForData:
		b = appendWait(b, m.CurrentTime, m.RequestTime, m.BlockRequestDelay)
	case message.OTASuccess: // a block made of memory that was meant for something else, without data
		random := c.air.random
		b = appendImage(b, uint16(random.Uint32()), uint16(random.Uint32()), random.Uint32())
		b = binary.LittleEndian.AppendUint32(b, m.RequestTime)
		b = append(b, 0)
	}
	return m.Target, b
}

// upgradeEndResponse makes the Upgrade End Response for 0x0504. On air the two times stand the other way
// round.
func upgradeEndResponse(_ *chip, m message.UpgradeEndResponse) (message.Target, []byte) {
	b := []byte{otaAnswerControl, m.Sequence, otaUpgradeEndResponse}
	b = appendImage(b, m.ManufacturerCode, m.ImageType, m.FileVersion)
	b = binary.LittleEndian.AppendUint32(b, m.CurrentTime)
	b = binary.LittleEndian.AppendUint32(b, m.UpgradeTime)
	return m.Target, b
}

// sendNotify is 0x0505.
func sendNotify(c *chip, m message.ImageNotify) outcome {
	const parameterOutOfRange = 0x03
	if m.PayloadType > message.NotifyFileVersion {
		return done(parameterOutOfRange)
	}
	if m.AddrMode != message.AddrModeNetwork && m.AddrMode != message.AddrModeNetworkNoAck {
		c.zcl.noDefaultResponse = true
	}
	sequence := c.air.noise() // a byte that nobody wrote
	return done(c.sendOTA(m.Target, imageNotify(m, sequence, c.zcl.noDefaultResponse)))
}

// imageNotify is the Image Notify for 0x0505.
func imageNotify(m message.ImageNotify, sequence uint8, noDefaultResponse bool) []byte {
	control := zclClusterFrame | zclToClientBit
	if noDefaultResponse {
		control |= zclNoDefaultResponse
	}
	b := []byte{control, sequence, otaImageNotify, m.PayloadType, m.QueryJitter}
	if m.PayloadType >= message.NotifyManufacturer {
		b = binary.LittleEndian.AppendUint16(b, m.ManufacturerCode)
	}
	if m.PayloadType >= message.NotifyImageType {
		b = binary.LittleEndian.AppendUint16(b, m.ImageType)
	}
	if m.PayloadType >= message.NotifyFileVersion {
		b = binary.LittleEndian.AppendUint32(b, m.FileVersion)
	}
	return b
}
