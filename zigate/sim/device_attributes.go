package sim

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Attributes besides those that package message names.
const (
	attrZCLVersion        uint16 = 0x0000
	attrPowerSource       uint16 = 0x0007
	attrBatteryPercentage uint16 = 0x0021
)

// largestReadResponse, in bytes, keeps an answer within one radio frame; records that do not fit are left
// out.
const largestReadResponse = 80

// answerRead answers Read Attributes. OTA attributes are on the client's side, all others on the server's.
func (v *Device) answerRead(f AirFrame, z zclFrame) {
	control := zclGlobalFrame | zclNoDefaultResponse | ^z.control&zclToClientBit
	b := []byte{control, z.sequence, zclReadResponse}
	for ids := z.payload; len(ids) >= 2; ids = ids[2:] {
		id := binary.LittleEndian.Uint16(ids)
		record := binary.LittleEndian.AppendUint16(nil, id)
		if value := v.attribute(f, z.toClient(), id); value != nil {
			record = append(append(record, zclSuccess), value...)
		} else {
			record = append(record, zclUnsupportedAttr)
		}
		if len(b)+len(record) > largestReadResponse {
			break
		}
		b = append(b, record...)
	}
	v.transmitZCL(v.answeringEndpoint(f), f.Cluster, b)
}

// attribute returns type and value as they go on air, or nil for an attribute that the device lacks.
func (v *Device) attribute(f AirFrame, onClient bool, id uint16) []byte {
	switch cluster := f.Cluster; {
	case cluster == clusterOTA && onClient:
		if slices.Contains(v.cfg.UnsupportedAttributes, id) {
			return nil
		}
		return v.clientsAt(f.DestinationEndpoint)[0].attribute(id)
	case cluster == clusterBasic && !onClient:
		return v.basicAttribute(id)
	case cluster == clusterPower && !onClient && id == attrBatteryPercentage && v.cfg.BatteryPercent != nil:
		return []byte{typeUint8, 2 * *v.cfg.BatteryPercent} // in half percent
	}
	return nil
}

// basicAttribute is attribute for the Basic cluster.
func (v *Device) basicAttribute(id uint16) []byte {
	switch id {
	case attrZCLVersion:
		return []byte{typeUint8, 3}
	case message.AttrManufacturerName:
		return text(v.cfg.ManufacturerName)
	case message.AttrModel:
		return text(v.cfg.ModelID)
	case attrPowerSource:
		const mains = 1
		const battery = 3
		if v.cfg.NoPowerSource {
			return nil
		}
		if v.cfg.Sleepy {
			return []byte{typeEnum8, battery}
		}
		return []byte{typeEnum8, mains}
	case message.AttrSoftwareBuild, message.AttrDateCode:
		if v.cfg.NoSoftwareBuild {
			return nil
		}
		return text(v.build(id))
	}
	return nil
}

// build is the software build of what the device runs, or its date code.
func (v *Device) build(id uint16) string {
	if id == message.AttrDateCode {
		return cmp.Or(v.cfg.DateCode, "20240131")
	}
	n := v.client.version
	return cmp.Or(v.cfg.SoftwareBuild, fmt.Sprintf("%d.%d.%d.%d", n>>24, n>>16&0xFF, n>>8&0xFF, n&0xFF))
}

// text is a character string attribute of at most 32 bytes; nil for an empty one.
func text(s string) []byte {
	if s == "" {
		return nil
	}
	s = s[:min(len(s), 32)]
	return append([]byte{typeText, uint8(len(s))}, s...)
}

func number16(n uint16) []byte { return binary.LittleEndian.AppendUint16([]byte{typeUint16}, n) }
func number32(n uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{typeUint32}, n) }

// attribute is Device.attribute for the OTA upgrade cluster.
func (c *otaClient) attribute(id uint16) []byte {
	v := c.device
	switch id {
	case message.AttrOTAServer:
		server := cmp.Or(v.cfg.UpgradeServer, v.dongle.cfg.IEEE)
		return binary.LittleEndian.AppendUint64([]byte{typeIEEEAddr}, uint64(server))
	case message.AttrOTAFileOffset:
		if c.state == Downloading {
			return number32(uint32(len(c.received)))
		}
		return number32(noVersion)
	case message.AttrOTAFileVersion:
		return number32(c.version)
	case message.AttrOTAStackVersion, message.AttrOTADownloadedStack:
		const zigbeePro = 2
		return number16(zigbeePro)
	case message.AttrOTADownloadedVersion:
		switch c.state {
		case Ending, WaitingToUpgrade, CountingDown:
			return number32(c.image.version)
		}
		return number32(noVersion)
	case message.AttrOTAStatus:
		return []byte{typeEnum8, c.state.attribute()}
	case message.AttrOTAManufacturer:
		return number16(c.id.ManufacturerCode)
	case message.AttrOTAImageType:
		return number16(c.id.ImageType)
	case message.AttrOTAMinBlockPeriod:
		return number16(uint16(c.told.minimumPeriod / time.Millisecond))
	}
	return nil
}
