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

// otaServer is the OTA server that is built into the firmware. It has one image header, the slot, and nothing
// about any device. What it does about a command of a device comes out as a value: it sends nothing itself.
type otaServer struct {
	traits *traits
	stats  *Stats

	// All of this is in RAM.
	slot                     message.LoadImage
	currentTime, upgradeTime uint32 // of the Upgrade End Response that the server sends itself, in seconds
	// leftovers is what a block request without a node address shows in its place: memory that
	// other messages use.
	leftovers uint64
	page      *otaRequest // the last page request, where the firmware works on one
}

// powerUp is the state after the start.
func (s *otaServer) powerUp() {
	*s = otaServer{traits: s.traits, stats: s.stats}
}

// otaRequest is what an answer needs to know of the request.
type otaRequest struct {
	addr           uint16 // network address of the device
	endpoint       uint8  // of the device
	serverEndpoint uint8  // of the dongle, as the device sees it
	sequence       uint8
	lqi            uint8
	noResponse     bool // the device wants no default response for a success
	shown          bool // the raw mode lets the host have messages about it
	manufacturer   uint16
	imageType      uint16
	version        uint32
}

// readImage reads the fields that name an image.
func (r *otaRequest) readImage(f *fields) {
	r.manufacturer = f.u16()
	r.imageType = f.u16()
	r.version = f.u32()
}

// otaReaction is what the server does about a command of a device: tell the host first, then send the
// answers.
type otaReaction struct {
	request    otaRequest // with the image that it names
	tell       message.Message
	answers    []otaAnswer
	storesPage bool
}

// otaAnswer is a frame to the device: an answer of the cluster, or a default response.
type otaAnswer struct {
	command byte
	payload []byte // of an answer of the cluster
	refusal byte   // the status of a default response, if there is no payload
}

// load is 0x0500: the only two checks are those of the firmware. clock is the dongle's time in seconds.
func (s *otaServer) load(m message.LoadImage, clock uint32) (status uint8) {
	if m.FileIdentifier != message.FileIdentifier || m.HeaderLength > message.MaxHeaderLength {
		return message.StatusIncorrectParameter
	}
	s.slot = m
	s.upgradeTime = message.UpgradeTimeWait
	s.currentTime = clock
	return message.StatusOK
}

func (s *otaServer) fits(r otaRequest) bool {
	return s.slot.ManufacturerCode == r.manufacturer && s.slot.ImageType == r.imageType
}

func (s *otaServer) fitsVersion(r otaRequest) bool {
	return s.fits(r) && s.slot.FileVersion == r.version
}

// hear handles a command of a client.
func (s *otaServer) hear(r otaRequest, command byte, payload []byte) otaReaction {
	f := &fields{b: payload, tolerant: s.traits.truncatedRequests}
	reaction := otaReaction{request: r}
	switch command {
	case otaQueryNextImage:
		s.hearQuery(&reaction, f)
	case otaBlockRequest:
		s.hearBlockRequest(&reaction, f)
	case otaPageRequest:
		s.hearPageRequest(&reaction, f)
	case otaUpgradeEnd:
		s.hearUpgradeEnd(&reaction, f)
	case otaQuerySpecific:
		s.hearQuerySpecific(&reaction, f)
	default:
		reaction.refuse(command, zclSoftwareFailure)
	}
	return reaction
}

func (a *otaReaction) answer(command byte, payload []byte) {
	a.answers = append(a.answers, otaAnswer{command: command, payload: payload})
}

// refuse answers with a default response. Its status may be a success.
func (a *otaReaction) refuse(command, status byte) {
	a.answers = append(a.answers, otaAnswer{command: command, refusal: status})
}

// malformed is the firmware's answer to a request that it cannot read: three of its layers complain.
func (a *otaReaction) malformed(command byte) {
	a.refuse(command, zclMalformed)
	a.refuse(command, zclMalformed)
	a.refuse(command, zclSoftwareFailure)
}

func (s *otaServer) hearQuery(a *otaReaction, f *fields) {
	const hasHardwareVersion = 1 << 0
	r := &a.request
	control := f.u8()
	r.readImage(f)
	var hardware uint16
	if control&hasHardwareVersion != 0 {
		hardware = f.u16()
	}
	if f.malformed {
		a.malformed(otaQueryNextImage)
		return
	}
	if s.traits.v2 {
		s.leftovers = uint64(r.imageType)<<48 | uint64(hardware)<<32 | uint64(r.version)
	} else {
		s.leftovers = uint64(r.version)<<32 | uint64(hardware)<<16 | uint64(r.imageType)
	}
	if !s.fits(*r) || s.traits.queryChecksVersion && r.version >= s.slot.FileVersion {
		s.stats.QueriesRefused++
		a.answer(otaQueryNextImageRsp, []byte{message.OTANoImageAvailable})
		return
	}
	s.stats.QueriesAnswered++
	a.answer(otaQueryNextImageRsp, s.offer())
}

// offer is the image in the slot, as the answers to queries tell it.
func (s *otaServer) offer() []byte {
	b := append(make([]byte, 0, 13), message.OTASuccess)
	b = appendImage(b, s.slot.ManufacturerCode, s.slot.ImageType, s.slot.FileVersion)
	return binary.LittleEndian.AppendUint32(b, s.slot.TotalSize)
}

func appendImage(b []byte, manufacturer, imageType uint16, version uint32) []byte {
	b = binary.LittleEndian.AppendUint16(b, manufacturer)
	b = binary.LittleEndian.AppendUint16(b, imageType)
	return binary.LittleEndian.AppendUint32(b, version)
}

func (s *otaServer) hearQuerySpecific(a *otaReaction, f *fields) {
	const deviceSpecific = 1 << 1
	node := f.u64()
	a.request.readImage(f)
	stack := f.u16()
	if f.malformed {
		a.malformed(otaQuerySpecific)
		return
	}
	s.leftovers = node
	if s.fitsVersion(a.request) && s.slot.StackVersion == stack &&
		s.slot.FieldControl&deviceSpecific != 0 && uint64(s.slot.Destination) == node {
		a.answer(otaQuerySpecificRsp, s.offer())
		return
	}
	a.answer(otaQuerySpecificRsp, []byte{message.OTANoImageAvailable})
}

// nodeAddress reads the node address of a block or page request; without one the firmware takes whatever is
// in its memory there.
func (s *otaServer) nodeAddress(control byte, f *fields) uint64 {
	if control&message.BlockHasNodeAddress != 0 {
		return f.u64()
	}
	return s.leftovers
}

func (s *otaServer) hearBlockRequest(a *otaReaction, f *fields) {
	r := &a.request
	control := f.u8()
	r.readImage(f)
	m := message.ImageBlockRequest{
		Sequence:          r.sequence,
		Endpoint:          r.endpoint,
		Cluster:           clusterOTA,
		AddrMode:          message.AddrModeNetwork,
		Addr:              r.addr,
		FieldControl:      control,
		ManufacturerCode:  r.manufacturer,
		ImageType:         r.imageType,
		FileVersion:       r.version,
		Offset:            f.u32(),
		MaxDataSize:       f.u8(),
		BlockRequestDelay: message.NoBlockRequestDelay,
	}
	node := s.nodeAddress(control, f)
	if control&message.BlockHasDelay != 0 {
		m.BlockRequestDelay = f.u16()
	}
	if f.malformed {
		a.malformed(otaBlockRequest)
		return
	}
	s.leftovers = node
	m.NodeAddress = message.IEEE(node)
	s.stats.BlocksAsked++
	a.tell = m
	if !s.fitsVersion(*r) {
		a.refuse(otaBlockRequest, message.OTANoImageAvailable)
	}
}

// pageTickInterval is how often firmware with the Green Power timer looks at the page request
// that it has stored.
const pageTickInterval = time.Millisecond

// hearPageRequest reports a page request as the block request that firmware takes it for: the fields lie
// elsewhere in its memory.
func (s *otaServer) hearPageRequest(a *otaReaction, f *fields) {
	if !s.traits.pageRequests {
		a.refuse(otaPageRequest, zclUnsupportedCmd)
		return
	}
	r := &a.request
	control := f.u8()
	r.readImage(f)
	offset := f.u32()
	f.u8() // the largest data size has no place in the other record
	pageSize := f.u16()
	spacing := f.u16()
	node := s.nodeAddress(control, f)
	if f.malformed {
		a.malformed(otaPageRequest)
		return
	}
	s.leftovers = node
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
	if s.traits.v2 {
		m.MaxDataSize = uint8(r.manufacturer)
		m.FieldControl = uint8(r.manufacturer >> 8)
	}
	s.stats.BlocksAsked++
	a.tell = m
	if s.traits.pageTick {
		stored := *r
		s.page = &stored
		a.storesPage = true
	}
}

// refusesPage tells whether the stored page request is to be refused: it is, at every tick, while the slot
// does not fit.
func (s *otaServer) refusesPage() (page otaRequest, refuse bool) {
	if s.page == nil {
		return otaRequest{}, false
	}
	return *s.page, !s.fitsVersion(*s.page)
}

func (s *otaServer) hearUpgradeEnd(a *otaReaction, f *fields) {
	r := &a.request
	status := f.u8()
	r.readImage(f)
	if f.malformed {
		a.malformed(otaUpgradeEnd)
		return
	}
	if s.traits.v2 {
		s.leftovers = uint64(r.manufacturer)<<48 | uint64(r.imageType)<<32 | uint64(r.version)
	} else {
		s.leftovers = uint64(r.version)<<32 | uint64(r.imageType)<<16 | uint64(r.manufacturer)
	}
	if r.shown {
		s.currentTime = 0
		s.upgradeTime = automaticUpgradeDelay
	}
	a.tell = message.UpgradeEndRequest{
		Sequence:         r.sequence,
		Endpoint:         r.endpoint,
		Cluster:          clusterOTA,
		AddrMode:         message.AddrModeNetwork,
		Addr:             r.addr,
		FileVersion:      r.version,
		ImageType:        r.imageType,
		ManufacturerCode: r.manufacturer,
		Status:           status,
	}
	if status != message.OTASuccess {
		if !r.noResponse {
			a.refuse(otaUpgradeEnd, zclSuccess)
		}
		return
	}
	if s.fitsVersion(*r) {
		b := appendImage(make([]byte, 0, 16), r.manufacturer, r.imageType, r.version)
		b = binary.LittleEndian.AppendUint32(b, s.currentTime)
		b = binary.LittleEndian.AppendUint32(b, s.upgradeTime)
		a.answer(otaUpgradeEndResponse, b)
	}
}
