package registry

import (
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
	// ManufacturerCode and ImageType are those of the device's main OTA client: read as its attributes or
	// seen in a request. The node descriptor's manufacturer code is often another, so it is no substitute.
	// They are nil while not known. HardwareVersion, NoHardwareVersion, Endpoint and CurrentVersion are that
	// client's, too.
	ManufacturerCode *uint16 `json:"manufacturerCode,omitempty"`
	ImageType        *uint16 `json:"imageType,omitempty"`
	// HardwareVersion is told by a Query Next Image request alone. It is nil while none was seen that had
	// one.
	HardwareVersion *uint16 `json:"hardwareVersion,omitempty"`
	// NoHardwareVersion says that a Query Next Image request was seen that had none, so that the device
	// reports none.
	NoHardwareVersion bool `json:"noHardwareVersion,omitempty"`
	// Endpoint is the device's endpoint with the main OTA client; 0 means that it is not known.
	Endpoint uint8 `json:"endpoint,omitempty"`
	// Sleepy devices switch their receiver off while idle, and hear only when they wake.
	Sleepy bool `json:"sleepy,omitempty"`
	// PowerSource is what powers the device.
	PowerSource PowerSource `json:"powerSource,omitempty"`
	// Battery is the charge in percent, 0 to 100. It is nil while not known.
	Battery *uint8 `json:"battery,omitempty"`
	// CurrentVersion is the running file version. It is nil while not known.
	CurrentVersion *uint32 `json:"currentVersion,omitempty"`
	// LastSeen is when the device was last heard. It is zero where that never happened.
	LastSeen time.Time `json:"lastSeen,omitzero"`
	// Interviewed devices have answered a whole interview once.
	Interviewed bool `json:"interviewed,omitempty"`
	// DeafEndpoint is the dongle's endpoint at which the device looks for images in vain; 0 means that there
	// is none.
	DeafEndpoint uint8 `json:"deafEndpoint,omitempty"`
	// MindsRefusal says that the device ended a download because the dongle refused a block, although its
	// kind does not mind.
	MindsRefusal bool `json:"mindsRefusal,omitempty"`
	// Invalid lists the images (SHA-256, lower-case hex) that the device called invalid. They are not offered
	// again unless a person forces it.
	Invalid []string `json:"invalid,omitempty"`
	// MainPast is what is remembered of the main OTA client.
	MainPast ClientPast `json:"otaClient,omitzero"`
	// Others are the device's OTA clients besides the main one, in the order in which they were met.
	Others []Client `json:"otherClients,omitempty"`

	// Settings is what a person has set for the device.
	Settings needs.Settings `json:"settings,omitzero"`

	// Heard is what is found out anew after a start.
	Heard Heard `json:"-"`
}

// Heard is what a device has shown since the service started. It is not kept.
type Heard struct {
	// LQI is the link quality of the last message, 0 to 255. It is nil while not known.
	LQI *uint8
	// VersionFresh says that the device itself has told CurrentVersion since the start; else it is the state
	// file's.
	VersionFresh bool
	// Mute devices do not tell their version when they are asked for it, only when they look for an image
	// themselves.
	Mute bool
}

// Name is what people call the device: the name that was given to it, else its EUID.
func (f *Facts) Name() string {
	if f.GivenName != "" {
		return f.GivenName
	}
	return f.EUID.String()
}

// Catalogued is what images in the folder and in indexes are matched with. It is false while the device has
// not told manufacturer code and image type of its OTA client.
func (f *Facts) Catalogued() (library.Device, bool) {
	if f.ManufacturerCode == nil || f.ImageType == nil {
		return library.Device{}, false
	}
	return library.Device{
		ManufacturerCode: *f.ManufacturerCode,
		ImageType:        *f.ImageType,
		HardwareVersion:  f.HardwareVersion,
		HardwareHeard:    f.NoHardwareVersion || f.HardwareVersion != nil,
		CurrentVersion:   f.CurrentVersion,
		ModelID:          f.ModelID,
		ManufacturerName: f.ManufacturerName,
		EUI64:            uint64(f.EUID),
	}, true
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
