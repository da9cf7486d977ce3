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
	case message.AttrSoftwareBuild:
		learnBuild(d, &d.facts.Build.Software, at.Text())
	case message.AttrDateCode:
		learnBuild(d, &d.facts.Build.DateCode, at.Text())
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
		tellVersion(d, client, uint32(v))
		return d.Clients()[client], true
	case message.AttrOTAManufacturer:
		if v != unknown16 {
			code := uint16(v)
			changeClient(d, client, func(c *Client) {
				c.ManufacturerCode = &code
				c.ManufacturerUnsure = false
			})
		} else {
			changeClient(d, client, func(c *Client) {
				c.ManufacturerUnsure = c.ManufacturerUnsure || c.ManufacturerCode == nil
				c.takeUnsure()
			})
		}
	}
	return Client{}, false
}

// learnType takes in the image type that was read at an endpoint of a device: what else is read there is that
// client's.
func learnType(d *Device, endpoint uint8, imageType uint16) {
	at := place(d, Telling{Endpoint: endpoint, ImageType: imageType, How: Read})
	changeClient(d, at, (*Client).takeUnsure)
	if d.named == nil {
		d.named = map[uint8]uint16{}
	}
	d.named[endpoint] = imageType
}

// learnBuild notes a text about the software that runs. What was told of another file version is forgotten.
func learnBuild(d *Device, field *string, text string) {
	if text == "" {
		return
	}
	build := &d.facts.Build
	if !build.isOf(d.facts.CurrentVersion) {
		build.Software = ""
		build.DateCode = ""
		d.changed()
	}
	if d.facts.CurrentVersion != nil && set(&build.Of, *d.facts.CurrentVersion) {
		d.changed()
	}
	d.setText(field, text)
}

// noServer is the UpgradeServerID of a client that has found no server yet (ZCL, OTA upgrade cluster).
const noServer message.IEEE = 1<<64 - 1

// LearnServer takes in which OTA server a device has as its own; own is the dongle's address, or 0 where
// that is not known. It reports whether that is another server, and news.
func LearnServer(d *Device, at message.Attribute, own message.IEEE) (other bool) {
	v, ok := at.Uint()
	if !ok || at.Cluster != message.ClusterOTA || at.ID != message.AttrOTAServer || own == 0 {
		return false
	}
	server := message.IEEE(v)
	if server == own || server == noServer {
		server = 0
	}
	if d.facts.OtherServer == server {
		return false
	}
	d.facts.OtherServer = server
	d.changed()
	return server != 0
}

// takeUnsure takes a manufacturer code of 0xFFFF for what it says, if the client has an image type besides:
// one without has never been set up.
func (c *Client) takeUnsure() {
	if c.ManufacturerUnsure && c.ImageType != nil {
		code := uint16(unknown16)
		c.ManufacturerCode = &code
	}
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
