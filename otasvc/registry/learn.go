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
// version, that is returned and true.
func (d *Device) Learn(at message.Attribute) (version uint32, told bool) {
	if at.Cluster == message.ClusterOTA && at.ID == message.AttrOTAFileVersion {
		d.facts.Heard.Mute = at.Status != 0
	}
	if at.Status != 0 {
		return 0, false
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
	return 0, false
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

func (d *Device) learnOTA(at message.Attribute) (version uint32, told bool) {
	v, ok := at.Uint()
	if !ok {
		return 0, false
	}
	switch at.ID {
	case message.AttrOTAFileVersion:
		if v == unknown32 { // said by devices that have never been upgraded
			return 0, false
		}
		d.SetVersion(uint32(v))
		return uint32(v), true
	case message.AttrOTAManufacturer:
		if v != unknown16 {
			d.setManufacturerCode(uint16(v))
		} else if d.facts.ManufacturerCode == nil {
			d.facts.ManufacturerUnsure = true
			takeUnsure(d)
		}
	case message.AttrOTAImageType:
		if v != unknown16 {
			d.setImageType(uint16(v))
			takeUnsure(d)
		}
	}
	return 0, false
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

// takeUnsure takes a manufacturer code of 0xFFFF for what it says, if the device has an image type besides:
// an OTA client without one has never been set up.
func takeUnsure(d *Device) {
	f := &d.facts
	if f.ManufacturerUnsure && f.ImageType != nil && set(&f.ManufacturerCode, unknown16) {
		d.changed()
	}
}

// LearnQuery takes in what a device tells of itself when it asks for an image.
func (d *Device) LearnQuery(q message.QueryNextImage) {
	d.SetIdentity(q.ManufacturerCode, q.ImageType)
	if q.HasHardwareVersion {
		d.SetHardwareVersion(q.HardwareVersion)
	} else {
		d.SetNoHardwareVersion()
	}
	d.SetVersion(q.FileVersion)
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
