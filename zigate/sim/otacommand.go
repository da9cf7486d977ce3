package sim

import (
	"encoding/binary"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The OTA commands of the host. Nothing in them is compared with a request or with the loaded header.

// sendOTA puts a ZCL frame of the OTA server on air for one of the host's commands.
func (d *Dongle) sendOTA(to message.Target, zcl []byte) uint8 {
	if !d.validSource(to.SrcEndpoint) {
		return message.StatusEndpointRange
	}
	if len(zcl) > d.traits.apdu || chance(d.airRandom, d.cfg.Faults.Refuse) {
		return message.StatusNoBuffer
	}
	return d.transmit(to.AddrMode, to.Addr, AirFrame{
		Profile:             profileHA,
		Cluster:             clusterOTA,
		SourceEndpoint:      to.SrcEndpoint,
		DestinationEndpoint: to.DstEndpoint,
		Payload:             zcl,
	})
}

// sendBlock is 0x0502.
func (d *Dongle) sendBlock(m message.ImageBlockResponse) uint8 {
	d.noDefaultResponse = true
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
		if d.traits.v2 {
			delay = uint16(m.FileVersion)
		}
		b = appendWait(b, dataPointer, m.Offset, delay)
	}
	status := d.sendOTA(m.Target, b)
	if status == message.StatusOK {
		d.stats.BlocksAnswered++
		if d.damaged {
			d.stats.DamagedBlocks = append(d.stats.DamagedBlocks, DamagedBlock{
				Offset: m.Offset, Size: len(m.Data),
			})
		}
	}
	return status
}

func appendWait(b []byte, current, request uint32, delay uint16) []byte {
	b = binary.LittleEndian.AppendUint32(b, current)
	b = binary.LittleEndian.AppendUint32(b, request)
	return binary.LittleEndian.AppendUint16(b, delay)
}

// sendWait is 0x0506.
func (d *Dongle) sendWait(m message.WaitForData) uint8 {
	d.noDefaultResponse = true
	b := []byte{otaAnswerControl, m.Sequence, otaBlockResponse, m.Status}
	switch m.Status {
	case message.OTAWaitForData:
		b = appendWait(b, m.CurrentTime, m.RequestTime, m.BlockRequestDelay)
	case message.OTASuccess: // a block made of memory that was meant for something else, without data
		b = appendImage(b, uint16(d.airRandom.Uint32()), uint16(d.airRandom.Uint32()), d.airRandom.Uint32())
		b = binary.LittleEndian.AppendUint32(b, m.RequestTime)
		b = append(b, 0)
	}
	return d.sendOTA(m.Target, b)
}

// sendUpgradeEnd is 0x0504. On air the two times stand the other way round.
func (d *Dongle) sendUpgradeEnd(m message.UpgradeEndResponse) uint8 {
	d.noDefaultResponse = true
	b := []byte{otaAnswerControl, m.Sequence, otaUpgradeEndResponse}
	b = appendImage(b, m.ManufacturerCode, m.ImageType, m.FileVersion)
	b = binary.LittleEndian.AppendUint32(b, m.CurrentTime)
	b = binary.LittleEndian.AppendUint32(b, m.UpgradeTime)
	return d.sendOTA(m.Target, b)
}

// sendNotify is 0x0505. Its sequence number is a byte that nobody wrote.
func (d *Dongle) sendNotify(m message.ImageNotify) uint8 {
	if m.PayloadType > message.NotifyFileVersion {
		return 0x03 // parameter out of range
	}
	if m.AddrMode != message.AddrModeNetwork && m.AddrMode != message.AddrModeNetworkNoAck {
		d.noDefaultResponse = true
	}
	control := zclClusterFrame | zclToClientBit
	if d.noDefaultResponse {
		control |= zclNoDefaultResponse
	}
	b := []byte{control, d.noise(), otaImageNotify, m.PayloadType, m.QueryJitter}
	if m.PayloadType >= message.NotifyManufacturer {
		b = binary.LittleEndian.AppendUint16(b, m.ManufacturerCode)
	}
	if m.PayloadType >= message.NotifyImageType {
		b = binary.LittleEndian.AppendUint16(b, m.ImageType)
	}
	if m.PayloadType >= message.NotifyFileVersion {
		b = binary.LittleEndian.AppendUint32(b, m.FileVersion)
	}
	return d.sendOTA(m.Target, b)
}
