package registry

import (
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// PowerSource is what powers a device, as far as it makes a difference to upgrades. The strings stand in the
// state file.
type PowerSource string

// Every power source that is told apart.
const (
	PowerUnknown PowerSource = ""
	PowerMains   PowerSource = "mains"
	PowerBattery PowerSource = "battery"
	PowerDC      PowerSource = "dc"
)

// Facts is what is known of a device at one moment. It is a value: what its pointers and slices refer to
// never changes, so it may be handed to other goroutines. Its JSON form is that of the state file.
type Facts struct {
	// EUID is the device's IEEE address. It never changes.
	EUID message.IEEE `json:"euid"`
	// NetworkAddress is the device's 16-bit address. It is nil where it is not known: the network has given
	// it to another device since, and this one has not been heard from.
	NetworkAddress *uint16 `json:"networkAddress,omitempty"`
	// GivenName is what a person calls the device. It is empty where no name was given.
	GivenName string `json:"name,omitempty"`
	// ManufacturerName and ModelID are the Basic cluster's attributes 0x0004 and 0x0005. They are empty while
	// not known.
	ManufacturerName string `json:"manufacturerName,omitempty"`
	ModelID          string `json:"modelId,omitempty"`
	// Build is what the device says of its software for people.
	Build
	// OtherServer is the OTA server that the device has as its own, where that is not the dongle: it may look
	// for images there. It is 0 where the device has none yet, or was not heard to tell.
	OtherServer message.IEEE `json:"otherServer,omitempty"`
	// Client is the device's main OTA client.
	Client
	// QueriedAt is when the device last asked for an image, and so said who it is. It is zero where it has
	// not since it has another version.
	QueriedAt time.Time `json:"queriedAt,omitzero"`
	// AsksByItself says that a Query Next Image request was seen that nobody had asked for.
	AsksByItself bool `json:"asksByItself,omitempty"`
	// Sleepy devices switch their receiver off while idle, and hear only when they wake.
	Sleepy bool `json:"sleepy,omitempty"`
	// PowerSource is what powers the device.
	PowerSource PowerSource `json:"powerSource,omitempty"`
	// Battery is the charge in percent, 0 to 100. It is nil while not known.
	Battery *uint8 `json:"battery,omitempty"`
	// LastSeen is when the device was last heard. It is zero where that never happened.
	LastSeen time.Time `json:"lastSeen,omitzero"`
	// Interviewed devices have answered a whole interview once.
	Interviewed bool `json:"interviewed,omitempty"`
	// Outdated devices have another version than when they answered it, so that what they told of themselves
	// may not hold any more.
	Outdated bool `json:"outdated,omitempty"`
	// DeafEndpoint is the dongle's endpoint at which the device looks for images in vain; 0 means that there
	// is none.
	DeafEndpoint uint8 `json:"deafEndpoint,omitempty"`
	// MindsRefusal says that the device ended a download because the dongle refused a block, although its
	// kind does not mind.
	MindsRefusal bool `json:"mindsRefusal,omitempty"`
	// Invalid lists the images (SHA-256, lower-case hex) that the device called invalid. They are not offered
	// again unless a person forces it.
	Invalid []string `json:"invalid,omitempty"`
	// ClientEndpoints are the endpoints with an OTA client, from 1 on, where there are several. They may be
	// those of the same client.
	ClientEndpoints []uint8 `json:"clientEndpoints,omitempty"`
	// Others are the device's OTA clients besides the main one, in the order in which they were met.
	Others []Client `json:"otherClients,omitempty"`

	// Settings is what a person has set for the device.
	Settings needs.Settings `json:"settings,omitzero"`

	// Heard is what is found out anew after a start.
	Heard Heard `json:"-"`
}

// Build is what a device says of its software for people: attributes 0x4000 and 0x0006 of the Basic cluster.
type Build struct {
	// Software is the software build, and DateCode mostly a date, in a form that its maker has chosen. They
	// are empty where the device does not tell them.
	Software string `json:"softwareBuild,omitempty"`
	DateCode string `json:"dateCode,omitempty"`
	// Of is the running file version when they were told. It is nil where that was not known.
	Of *uint32 `json:"buildOf,omitempty"`
	// Asked says that the device was asked for them once, whatever it answered.
	Asked bool `json:"buildAsked,omitempty"`
}

// isOf reports whether the build is that of a file version, as far as both are known.
func (b *Build) isOf(version *uint32) bool { return b.Of == nil || version == nil || *b.Of == *version }

// Running is what the device says for people of the software that it runs. What it said of another file
// version is left out.
func (f *Facts) Running() Build {
	if !f.Build.isOf(f.CurrentVersion) {
		return Build{Asked: f.Build.Asked}
	}
	return f.Build
}

// AsksElsewhere says that the device has another OTA server as its own, and what to do; it is empty where
// that is not so.
func (f *Facts) AsksElsewhere() string {
	if f.OtherServer == 0 {
		return ""
	}
	return fmt.Sprintf("the device has %s as its OTA server, not this dongle, and may look for images there "+
		"alone; switch that server off, reset the device to its factory state and let it join again",
		f.OtherServer)
}

// Heard is what a device has shown since the service started. It is not kept.
type Heard struct {
	// LQI is the link quality of the last message, 0 to 255. It is nil while not known.
	LQI *uint8
}

// Name is what people call the device: the name that was given to it, else its EUID.
func (f *Facts) Name() string {
	if f.GivenName != "" {
		return f.GivenName
	}
	return f.EUID.String()
}

// Catalogued is what images in the folder and in indexes are matched with. It is false while the device has
// not told manufacturer code and image type of its OTA client: they are 0 then.
func (f *Facts) Catalogued() (library.Device, bool) {
	d := library.Device{
		HardwareVersion:  f.HardwareVersion,
		HardwareHeard:    f.NoHardwareVersion || f.HardwareVersion != nil,
		CurrentVersion:   f.CurrentVersion,
		ModelID:          f.ModelID,
		ManufacturerName: f.ManufacturerName,
		EUI64:            uint64(f.EUID),
	}
	if f.ManufacturerCode == nil || f.ImageType == nil {
		return d, false
	}
	d.ManufacturerCode = *f.ManufacturerCode
	d.ImageType = *f.ImageType
	return d, true
}

// target is where a command goes that is for an endpoint of the device; endpoint 0 stands for the one with
// the OTA client, which is taken for endpoint 1 while it is not known: most devices have it there.
func (f *Facts) target(endpoint uint8) (message.Target, error) {
	if f.NetworkAddress == nil {
		return message.Target{}, ErrNoAddress
	}
	if endpoint == 0 {
		endpoint = max(f.Endpoint, 1)
	}
	return message.Target{
		AddrMode:    message.AddrModeNetwork,
		Addr:        *f.NetworkAddress,
		SrcEndpoint: message.OTAEndpoint,
		DstEndpoint: endpoint,
	}, nil
}
