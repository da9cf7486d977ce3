package sim

import (
	"encoding/binary"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Commands of the OTA upgrade cluster.
const (
	otaImageNotify        byte = 0x00
	otaQueryNextImage     byte = 0x01
	otaQueryNextImageRsp  byte = 0x02
	otaBlockRequest       byte = 0x03
	otaPageRequest        byte = 0x04
	otaBlockResponse      byte = 0x05
	otaUpgradeEnd         byte = 0x06
	otaUpgradeEndResponse byte = 0x07
	otaQuerySpecific      byte = 0x08
	otaQuerySpecificRsp   byte = 0x09
)

// The frame control of the server's answers: cluster command to the client, without default response.
const otaAnswerControl = zclClusterFrame | zclToClientBit | zclNoDefaultResponse

// automaticUpgradeDelay is what the server tells a device that has finished: install in so many seconds.
const automaticUpgradeDelay = 5

// otaServer is the RAM of the OTA server that is built into the firmware. It has one image header and
// nothing about any device.
type otaServer struct {
	slot                     message.LoadImage
	currentTime, upgradeTime uint32
	// leftovers is what a block request without a node address shows in its place: memory that
	// other messages use.
	leftovers uint64
	page      *otaRequest // the last page request
	pageTick  timer
}

// otaRequest is what an answer needs to know of the request.
type otaRequest struct {
	addr           uint16
	endpoint       uint8 // of the device
	serverEndpoint uint8 // of the dongle, as the device sees it
	sequence       uint8
	lqi            uint8
	noResponse     bool
	manufacturer   uint16
	imageType      uint16
	version        uint32
}

// loadImage is 0x0500: the only two checks are those of the firmware.
func (d *Dongle) loadImage(m message.LoadImage) uint8 {
	if m.FileIdentifier != message.FileIdentifier || m.HeaderLength > message.MaxHeaderLength {
		return message.StatusIncorrectParameter
	}
	d.server.slot = m
	d.server.upgradeTime = message.UpgradeTimeWait
	d.server.currentTime = d.clock()
	return message.StatusOK
}

func (s *otaServer) fits(r otaRequest) bool {
	return s.slot.ManufacturerCode == r.manufacturer && s.slot.ImageType == r.imageType
}

func (s *otaServer) fitsVersion(r otaRequest) bool {
	return s.fits(r) && s.slot.FileVersion == r.version
}

// hearOTA handles a command of a client. Whatever is told to the host is told before the server acts on it.
func (d *Dongle) hearOTA(r otaRequest, command byte, payload []byte, tell bool) {
	f := fields{b: payload, tolerant: d.traits.truncatedRequests}
	switch command {
	case otaQueryNextImage:
		d.hearQuery(r, f)
	case otaBlockRequest:
		d.hearBlockRequest(r, f, tell)
	case otaPageRequest:
		d.hearPageRequest(r, f, tell)
	case otaUpgradeEnd:
		d.hearUpgradeEnd(r, f, tell)
	case otaQuerySpecific:
		d.hearQuerySpecific(r, f)
	default:
		d.defaultResponse(r, command, zclSoftwareFailure)
	}
}

// malformed is the firmware's answer to a request that it cannot read: three of its layers complain.
func (d *Dongle) malformed(r otaRequest, command byte) {
	d.defaultResponse(r, command, zclMalformed)
	d.defaultResponse(r, command, zclMalformed)
	d.defaultResponse(r, command, zclSoftwareFailure)
}

func (d *Dongle) hearQuery(r otaRequest, f fields) {
	const hasHardwareVersion = 1 << 0
	control := f.u8()
	r.manufacturer = f.u16()
	r.imageType = f.u16()
	r.version = f.u32()
	var hardware uint16
	if control&hasHardwareVersion != 0 {
		hardware = f.u16()
	}
	if f.malformed {
		d.malformed(r, otaQueryNextImage)
		return
	}
	if d.traits.v2 {
		d.server.leftovers = uint64(r.imageType)<<48 | uint64(hardware)<<32 | uint64(r.version)
	} else {
		d.server.leftovers = uint64(r.version)<<32 | uint64(hardware)<<16 | uint64(r.imageType)
	}
	slot := d.server.slot
	if !d.server.fits(r) || d.traits.queryChecksVersion && r.version >= slot.FileVersion {
		d.stats.QueriesRefused++
		d.answer(r, otaQueryNextImageRsp, []byte{message.OTANoImageAvailable})
		return
	}
	d.stats.QueriesAnswered++
	d.answer(r, otaQueryNextImageRsp, d.offer(slot))
}

func (d *Dongle) offer(slot message.LoadImage) []byte {
	b := append(make([]byte, 0, 13), message.OTASuccess)
	b = appendImage(b, slot.ManufacturerCode, slot.ImageType, slot.FileVersion)
	return binary.LittleEndian.AppendUint32(b, slot.TotalSize)
}

func appendImage(b []byte, manufacturer, imageType uint16, version uint32) []byte {
	b = binary.LittleEndian.AppendUint16(b, manufacturer)
	b = binary.LittleEndian.AppendUint16(b, imageType)
	return binary.LittleEndian.AppendUint32(b, version)
}

func (d *Dongle) hearQuerySpecific(r otaRequest, f fields) {
	const deviceSpecific = 1 << 1
	node := f.u64()
	r.manufacturer = f.u16()
	r.imageType = f.u16()
	r.version = f.u32()
	stack := f.u16()
	if f.malformed {
		d.malformed(r, otaQuerySpecific)
		return
	}
	d.server.leftovers = node
	slot := d.server.slot
	if d.server.fitsVersion(r) && slot.StackVersion == stack && slot.FieldControl&deviceSpecific != 0 &&
		uint64(slot.Destination) == node {
		d.answer(r, otaQuerySpecificRsp, d.offer(slot))
		return
	}
	d.answer(r, otaQuerySpecificRsp, []byte{message.OTANoImageAvailable})
}

func (d *Dongle) hearBlockRequest(r otaRequest, f fields, tell bool) {
	m := message.ImageBlockRequest{
		Sequence:          r.sequence,
		Endpoint:          r.endpoint,
		Cluster:           clusterOTA,
		AddrMode:          message.AddrModeNetwork,
		Addr:              r.addr,
		BlockRequestDelay: message.NoBlockRequestDelay,
	}
	m.FieldControl = f.u8()
	r.manufacturer = f.u16()
	r.imageType = f.u16()
	r.version = f.u32()
	m.ManufacturerCode = r.manufacturer
	m.ImageType = r.imageType
	m.FileVersion = r.version
	m.Offset = f.u32()
	m.MaxDataSize = f.u8()
	node := d.server.leftovers
	if m.FieldControl&message.BlockHasNodeAddress != 0 {
		node = f.u64()
	}
	if m.FieldControl&message.BlockHasDelay != 0 {
		m.BlockRequestDelay = f.u16()
	}
	if f.malformed {
		d.malformed(r, otaBlockRequest)
		return
	}
	d.server.leftovers = node
	m.NodeAddress = message.IEEE(node)
	d.stats.BlocksAsked++
	if tell {
		d.send(m, r.lqi)
	}
	if !d.server.fitsVersion(r) {
		d.defaultResponse(r, otaBlockRequest, message.OTANoImageAvailable)
	}
}

// pageTickInterval is how often firmware with the Green Power timer looks at the page request
// that it has stored.
const pageTickInterval = time.Millisecond

// hearPageRequest reports a page request as the block request that firmware takes it for: the fields lie
// elsewhere in its memory.
func (d *Dongle) hearPageRequest(r otaRequest, f fields, tell bool) {
	if !d.traits.pageRequests {
		d.defaultResponse(r, otaPageRequest, zclUnsupportedCmd)
		return
	}
	control := f.u8()
	r.manufacturer = f.u16()
	r.imageType = f.u16()
	r.version = f.u32()
	offset := f.u32()
	f.u8() // the largest data size has no place in the other record
	pageSize := f.u16()
	spacing := f.u16()
	node := d.server.leftovers
	if control&message.BlockHasNodeAddress != 0 {
		node = f.u64()
	}
	if f.malformed {
		d.malformed(r, otaPageRequest)
		return
	}
	d.server.leftovers = node
	m := message.ImageBlockRequest{
		Sequence:          r.sequence,
		Endpoint:          r.endpoint,
		Cluster:           clusterOTA,
		AddrMode:          message.AddrModeNetwork,
		Addr:              r.addr,
		NodeAddress:       message.IEEE(node),
		Offset:            offset,
		FileVersion:       r.version,
		ImageType:         pageSize,
		ManufacturerCode:  spacing,
		BlockRequestDelay: r.imageType,
		MaxDataSize:       uint8(r.manufacturer >> 8),
		FieldControl:      uint8(r.manufacturer),
	}
	if d.traits.v2 {
		m.MaxDataSize, m.FieldControl = m.FieldControl, m.MaxDataSize
	}
	d.stats.BlocksAsked++
	if tell {
		d.send(m, r.lqi)
	}
	if d.traits.pageTick {
		d.server.page = &r
		if d.server.pageTick.place == 0 {
			d.server.pageTick.fire = d.tickPage
			d.schedule.set(&d.server.pageTick, d.now.Add(pageTickInterval))
		}
	}
}

// tickPage refuses the stored page request again and again while the slot does not fit.
func (d *Dongle) tickPage() {
	page := d.server.page
	if page == nil || !d.up {
		return
	}
	if !d.server.fitsVersion(*page) {
		d.defaultResponse(*page, otaPageRequest, message.OTANoImageAvailable)
	}
	d.schedule.set(&d.server.pageTick, d.now.Add(pageTickInterval))
}

func (d *Dongle) hearUpgradeEnd(r otaRequest, f fields, tell bool) {
	status := f.u8()
	r.manufacturer = f.u16()
	r.imageType = f.u16()
	r.version = f.u32()
	if f.malformed {
		d.malformed(r, otaUpgradeEnd)
		return
	}
	if d.traits.v2 {
		d.server.leftovers = uint64(r.manufacturer)<<48 | uint64(r.imageType)<<32 | uint64(r.version)
	} else {
		d.server.leftovers = uint64(r.version)<<32 | uint64(r.imageType)<<16 | uint64(r.manufacturer)
	}
	if tell {
		d.server.currentTime = 0
		d.server.upgradeTime = automaticUpgradeDelay
		d.send(message.UpgradeEndRequest{
			Sequence:         r.sequence,
			Endpoint:         r.endpoint,
			Cluster:          clusterOTA,
			AddrMode:         message.AddrModeNetwork,
			Addr:             r.addr,
			FileVersion:      r.version,
			ImageType:        r.imageType,
			ManufacturerCode: r.manufacturer,
			Status:           status,
		}, r.lqi)
	}
	if status != message.OTASuccess {
		if !r.noResponse {
			d.defaultResponse(r, otaUpgradeEnd, zclSuccess)
		}
		return
	}
	if d.server.fitsVersion(r) {
		b := appendImage(make([]byte, 0, 16), r.manufacturer, r.imageType, r.version)
		b = binary.LittleEndian.AppendUint32(b, d.server.currentTime)
		b = binary.LittleEndian.AppendUint32(b, d.server.upgradeTime)
		d.answer(r, otaUpgradeEndResponse, b)
	}
}

// answer sends what the server itself has to say. The ZCL library cannot send from an endpoint that it does
// not have, even though it heard the request there.
func (d *Dongle) answer(r otaRequest, command byte, payload []byte) {
	if r.serverEndpoint > d.traits.maxZCLEndpt {
		return
	}
	d.noDefaultResponse = true
	d.reply(r, append([]byte{otaAnswerControl, r.sequence, command}, payload...))
}

func (d *Dongle) defaultResponse(r otaRequest, command, status byte) {
	d.stats.DefaultResponses[DefaultResponse{Command: command, Status: status}]++
	control := zclGlobalFrame | zclToClientBit | zclNoDefaultResponse
	d.reply(r, []byte{control, r.sequence, zclDefaultResponse, command, status})
}

func (d *Dongle) reply(r otaRequest, zcl []byte) {
	d.transmit(message.AddrModeNetwork, r.addr, AirFrame{
		Profile:             profileHA,
		Cluster:             clusterOTA,
		SourceEndpoint:      r.serverEndpoint,
		DestinationEndpoint: r.endpoint,
		Payload:             zcl,
	})
}
