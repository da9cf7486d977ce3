package message

// Clusters of ZDP answers and announcements, and the profile of ZDP.
const (
	profileZDP                 uint16 = 0x0000
	zdpDeviceAnnounce          uint16 = 0x0013
	zdpNwkAddrResponse         uint16 = 0x8000
	zdpIEEEAddrResponse        uint16 = 0x8001
	zdpNodeDescriptor          uint16 = 0x8002
	zdpPowerDescriptor         uint16 = 0x8003
	zdpSimpleDescriptor        uint16 = 0x8004
	zdpActiveEndpoints         uint16 = 0x8005
	zdpMatchDescriptor         uint16 = 0x8006
	zdpBindResponse            uint16 = 0x8021
	zdpUnbindResponse          uint16 = 0x8022
	zdpManagementLQIResponse   uint16 = 0x8031
	zdpManagementLeaveResponse uint16 = 0x8034
)

// Commands that every ZCL cluster has.
const (
	zclReadResponse          uint8 = 0x01
	zclWriteResponse         uint8 = 0x04
	zclReportingSetResponse  uint8 = 0x07
	zclReportingReadResponse uint8 = 0x09
	zclReport                uint8 = 0x0A
	zclDefaultResponse       uint8 = 0x0B
)

// maxIndicatedMessages is how many attributes are read from a frame, which has room for fewer.
const maxIndicatedMessages = 64

// Messages returns what the firmware would have made from the frame in RawModeOff, where it is one that the
// firmware decodes: ZDP answers and announcements, and attributes that were read or reported. In RawModeRaw
// the dongle shows such frames as data indications only. It returns nil for every other frame, and for one
// that is cut short. The messages of the OTA cluster have parsers of their own: ParseQueryNextImage,
// ParseImageBlockRequest, ParseUpgradeEndRequest.
func (m DataIndication) Messages() []Message {
	if m.SrcAddrMode != AddrModeNetwork {
		return nil // the decoded messages have a field for a network address only
	}
	if m.Profile == profileZDP && m.DstEndpoint == 0 {
		c := codec{parsing: true, little: true, b: m.Payload}
		if zdp := c.zdp(m.Cluster); zdp != nil && !c.short {
			return []Message{zdp}
		}
		return nil
	}
	return m.zcl()
}

// zcl decodes commands that every cluster has.
func (m DataIndication) zcl() []Message {
	b := m.Payload
	if len(b) < zclHeaderSize || b[0]&(zclFrameTypeMask|zclManufacturerSpecific) != 0 {
		return nil
	}
	c := codec{parsing: true, little: true, b: b[zclHeaderSize:]}
	at := Attribute{Sequence: b[1], Addr: m.SrcAddr, Endpoint: m.SrcEndpoint, Cluster: m.Cluster}
	switch b[2] {
	case zclReadResponse:
		at.Kind = TypeReadAttribute
		return c.attributes(at)
	case zclReport:
		at.Kind = TypeReportAttribute
		return c.attributes(at)
	case zclDefaultResponse:
		d := DefaultResponse{Sequence: b[1], SrcEndpoint: m.SrcEndpoint, Cluster: m.Cluster}
		c.u8(&d.Command)
		c.u8(&d.Status)
		if !c.short {
			return []Message{d}
		}
	}
	return nil
}

// attributes reads the attributes of a frame up to the first that cannot be read. common has the fields
// that are the same in all of them.
func (c *codec) attributes(common Attribute) []Message {
	var list []Message
	for c.left() > 0 && len(list) < maxIndicatedMessages {
		at := common
		at.DataType = dataUnknown
		c.u16(&at.ID)
		if at.Kind == TypeReadAttribute {
			c.u8(&at.Status)
		}
		if at.Status == 0 {
			c.u8(&at.DataType)
			at.Data = c.value(at.DataType)
		}
		if c.short {
			break
		}
		list = append(list, at)
	}
	return list
}

// zdp reads an answer or an announcement, by its cluster. The fields and their order differ from those in
// the dongle's messages.
func (c *codec) zdp(cluster uint16) Message {
	var sequence uint8
	c.u8(&sequence)
	if cluster == zdpDeviceAnnounce {
		var m DeviceAnnounce
		c.u16(&m.Addr)
		c.ieee(&m.IEEE)
		c.u8(&m.Capability)
		return m
	}
	if cluster < zdpNwkAddrResponse || cluster > zdpMatchDescriptor {
		return nil
	}

	var status uint8
	c.u8(&status)
	if cluster == zdpNwkAddrResponse || cluster == zdpIEEEAddrResponse {
		m := NwkAddrResponse{Sequence: sequence, Status: status}
		c.ieee(&m.IEEE)
		c.u16(&m.Addr)
		if cluster == zdpIEEEAddrResponse {
			return IEEEAddrResponse(m)
		}
		return m
	}

	var addr uint16
	c.u16(&addr)
	switch cluster {
	case zdpPowerDescriptor:
		return c.zdpPowerDescriptor(PowerDescriptor{Sequence: sequence, Status: status})
	case zdpNodeDescriptor:
		return c.zdpNodeDescriptor(NodeDescriptor{Sequence: sequence, Status: status, Addr: addr})
	case zdpSimpleDescriptor:
		return c.zdpSimpleDescriptor(SimpleDescriptor{Sequence: sequence, Status: status, Addr: addr})
	}
	m := MatchDescriptor{Sequence: sequence, Status: status, Addr: addr}
	if status == 0 {
		c.countedBytes(&m.Endpoints)
	}
	if cluster == zdpActiveEndpoints {
		return ActiveEndpoints(m)
	}
	return m
}

func (c *codec) zdpPowerDescriptor(m PowerDescriptor) Message {
	if m.Status == 0 {
		c.u16(&m.BitFields)
	}
	return m
}

func (c *codec) zdpNodeDescriptor(m NodeDescriptor) Message {
	if m.Status != 0 {
		return m
	}
	c.u16(&m.BitFields)
	c.u8(&m.MACFlags)
	c.u16(&m.ManufacturerCode)
	c.u8(&m.MaxBuffer)
	c.u16(&m.MaxRx)
	c.u16(&m.ServerMask)
	c.u16(&m.MaxTx)
	c.u8(&m.DescriptorCapability)
	return m
}

func (c *codec) zdpSimpleDescriptor(m SimpleDescriptor) Message {
	if m.Status != 0 {
		return m
	}
	c.u8(&m.Length)
	c.u8(&m.Endpoint)
	c.u16(&m.Profile)
	c.u16(&m.DeviceID)
	c.u8(&m.VersionBits)
	c.countedU16s(&m.InClusters)
	c.countedU16s(&m.OutClusters)
	return m
}
