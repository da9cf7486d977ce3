package registry

import (
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The Power Configuration cluster and its BatteryPercentageRemaining, in half percents, 255 if unknown (ZCL
// 3.3).
const (
	clusterPower       uint16 = 0x0001
	attrBatteryPercent uint16 = 0x0021
	batteryFull               = 200
)

// attrPowerSource is the PowerSource of the Basic cluster (ZCL 3.2).
const attrPowerSource uint16 = 0x0007

// The values that stand for "not known" in the attributes of the OTA cluster.
const (
	unknown16 = 0xFFFF
	unknown32 = 0xFFFFFFFF
)

// Learn takes in what an attribute tells of the device, read or reported. Where it tells the running file
// version of an OTA client, that client is returned and true. The device must have been [Device.Seen] just
// now.
func (d *Device) Learn(at message.Attribute) (c Client, told bool) {
	if at.Cluster == message.ClusterOTA && at.ID == message.AttrOTAFileVersion {
		learnMute(d, at)
	}
	if at.Status != 0 {
		return Client{}, false
	}
	switch at.Cluster {
	case message.ClusterBasic:
		d.learnBasic(at)
	case clusterPower:
		if v, ok := at.Uint(); ok && at.ID == attrBatteryPercent && v <= batteryFull {
			d.setBattery(uint8(v / 2))
		}
	case message.ClusterOTA:
		return d.learnOTA(at)
	}
	return Client{}, false
}

// learnMute takes in whether the OTA client on an endpoint of a device tells its version when it is asked for
// it.
func learnMute(d *Device, at message.Attribute) {
	if client := clientOn(d, at.Endpoint); client >= 0 {
		changeClient(d, client, func(c *Client) { c.Mute = at.Status != 0 })
	}
}

func (d *Device) learnBasic(at message.Attribute) {
	switch at.ID {
	case message.AttrManufacturerName:
		d.setText(&d.facts.ManufacturerName, at.Text())
	case message.AttrModel:
		d.setText(&d.facts.ModelID, at.Text())
	case attrPowerSource:
		if v, ok := at.Uint(); ok {
			d.setPowerSource(powerSource(v))
		}
	}
}

func (d *Device) learnOTA(at message.Attribute) (c Client, told bool) {
	v, ok := at.Uint()
	if !ok {
		return Client{}, false
	}
	if at.ID == message.AttrOTAImageType {
		if v != unknown16 {
			learnType(d, at.Endpoint, uint16(v))
		}
		return Client{}, false
	}

	client := clientOn(d, at.Endpoint)
	if client < 0 {
		return Client{}, false // nobody knows whose it is before the endpoint has told its image type
	}
	switch at.ID {
	case message.AttrOTAFileVersion:
		if v == unknown32 { // said by devices that have never been upgraded
			return Client{}, false
		}
		changeClient(d, client, func(c *Client) { c.setVersion(uint32(v)) })
		return d.Clients()[client], true
	case message.AttrOTAManufacturer:
		if v != unknown16 {
			code := uint16(v)
			changeClient(d, client, func(c *Client) { c.ManufacturerCode = &code })
		}
	}
	return Client{}, false
}

// learnType takes in the image type that was read at an endpoint of a device: what else is read there is that
// client's.
func learnType(d *Device, endpoint uint8, imageType uint16) {
	place(d, Telling{Endpoint: endpoint, ImageType: imageType, How: Read})
	if d.named == nil {
		d.named = map[uint8]uint16{}
	}
	d.named[endpoint] = imageType
}

// LearnPower takes in a power descriptor. It knows the charge in steps of a third, so it does not replace one
// that the device has told more exactly.
func (d *Device) LearnPower(m message.PowerDescriptor) {
	switch source := m.Source(); {
	case source&message.PowerMains != 0:
		d.setPowerSource(PowerMains)
	case source != 0:
		d.setPowerSource(PowerBattery)
		if d.facts.Battery == nil {
			d.setBattery(m.Level())
		}
	}
}

func (d *Device) setPowerSource(source PowerSource) {
	if source != PowerUnknown && d.facts.PowerSource != source {
		d.facts.PowerSource = source
		d.changed()
	}
}

// setBattery notes the charge in percent. It is not told to others.
func (d *Device) setBattery(percent uint8) {
	if set(&d.facts.Battery, percent) {
		*d.kept++
	}
}

// powerSource reads the Basic cluster's PowerSource, whose highest bit tells of a second one.
func powerSource(v uint64) PowerSource {
	switch v & 0x7F {
	case 1, 2, 5, 6: // single and three phase, and emergency supplies
		return PowerMains
	case 3:
		return PowerBattery
	case 4:
		return PowerDC
	}
	return PowerUnknown
}
