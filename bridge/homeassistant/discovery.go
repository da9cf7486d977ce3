package homeassistant

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Options are what all discovery documents of one service have in common.
type Options struct {
	// Prefix is where Home Assistant looks for documents, "homeassistant" unless it was told otherwise.
	Prefix string
	// Base is the service's base topic, without a slash at either end.
	Base string
	// Version of the program and the address of its project, which Home Assistant shows as the documents'
	// origin. An address that is no http or https URL is left out.
	Version, ProjectURL string
	// DongleID is the ObjectID of the dongle through which the devices are reached. Empty: not known yet, so
	// the devices stand by themselves until it is.
	DongleID string
}

// Document is one retained message of discovery.
type Document struct {
	Topic   string
	Payload []byte // JSON; empty: what the topic told of goes away
}

// ObjectID is the name of a device, or of the dongle, in topics, and its identifier in Home Assistant:
// zigate_ota_ and the 16 digits of the EUID.
func ObjectID(euid message.IEEE) string {
	return "zigate_ota_" + strings.TrimPrefix(euid.String(), "0x")
}

// Topic is where the document of a device, or of the dongle, is.
func Topic(prefix string, euid message.IEEE) string {
	return prefix + "/device/" + ObjectID(euid) + "/config"
}

// Topics is the filter for the documents of all devices, those of other programs included.
func Topics(prefix string) string { return prefix + "/device/+/config" }

// BirthTopic is where Home Assistant says that it has started, with the payload Birth.
func BirthTopic(prefix string) string { return prefix + "/status" }

// Birth is the payload with which Home Assistant says on its BirthTopic that it has started. Then it needs
// every document, and after them the retained states, once more.
const Birth = "online"

// document is the message as Home Assistant prescribes it for the discovery of a whole device.
type document struct {
	Device           device               `json:"device"`
	Origin           origin               `json:"origin"`
	Availability     []availability       `json:"availability"`
	AvailabilityMode string               `json:"availability_mode"`
	Components       map[string]component `json:"components"`
}

// device describes the device. There are no connections on purpose: Home Assistant puts devices with a
// connection in common together, so a device that another Zigbee integration once knew would get that one's
// name, model and entities.
type device struct {
	Identifiers     []string `json:"identifiers"`
	Name            string   `json:"name"`
	Manufacturer    string   `json:"manufacturer,omitempty"`
	Model           string   `json:"model,omitempty"`
	SoftwareVersion string   `json:"sw_version,omitempty"`
	HardwareVersion string   `json:"hw_version,omitempty"`
	SerialNumber    string   `json:"serial_number"`
	ViaDevice       string   `json:"via_device,omitempty"`
}

type origin struct {
	Name       string `json:"name"`
	Version    string `json:"sw_version,omitempty"`
	SupportURL string `json:"support_url,omitempty"`
}

// availability is one thing that has to be "online" for an entity to be of use.
type availability struct {
	Topic         string `json:"topic"`
	ValueTemplate string `json:"value_template,omitempty"`
}

// component is one entity. One that has nothing but a platform takes an entity away.
type component struct {
	Platform            string         `json:"platform"`
	UniqueID            string         `json:"unique_id,omitempty"`
	Name                string         `json:"name,omitempty"`
	DeviceClass         string         `json:"device_class,omitempty"`
	StateClass          string         `json:"state_class,omitempty"`
	EntityCategory      string         `json:"entity_category,omitempty"`
	EnabledByDefault    *bool          `json:"enabled_by_default,omitempty"`
	Icon                string         `json:"icon,omitempty"`
	StateTopic          string         `json:"state_topic,omitempty"`
	ValueTemplate       string         `json:"value_template,omitempty"`
	Options             []string       `json:"options,omitempty"`
	Unit                string         `json:"unit_of_measurement,omitempty"`
	DisplayPrecision    int            `json:"display_precision,omitempty"`
	CommandTopic        string         `json:"command_topic,omitempty"`
	PayloadInstall      string         `json:"payload_install,omitempty"`
	PayloadPress        string         `json:"payload_press,omitempty"`
	JSONAttributesTopic string         `json:"json_attributes_topic,omitempty"`
	Availability        []availability `json:"availability,omitempty"`
	AvailabilityMode    string         `json:"availability_mode,omitempty"`
	// QoS stands at each component: Home Assistant 2025.4 does not pass the document's own on.
	QoS int `json:"qos,omitempty"`
}

const (
	qos             = 1
	availabilityAll = "all" // every topic of the list has to say "online"

	categoryConfig     = "config"
	categoryDiagnostic = "diagnostic"

	platformBinarySensor = "binary_sensor"
	platformButton       = "button"
	platformSensor       = "sensor"
	platformUpdate       = "update"
)

// Device is the document of a device. It changes with the device's name, manufacturer, model, versions and
// with Options, and with nothing else: not with an upgrade's progress.
func Device(o Options, d otasvc.DeviceRecord) Document {
	doc := o.document(device{
		Identifiers:  []string{ObjectID(d.EUID)},
		Name:         label(d.Name),
		Manufacturer: label(d.ManufacturerName),
		Model:        label(d.ModelID),
		SerialNumber: d.EUID.String(),
		ViaDevice:    o.DongleID,
	})
	if doc.Device.Name == "" {
		doc.Device.Name = d.EUID.String()
	}
	if d.CurrentVersion != nil {
		doc.Device.SoftwareVersion = FormatVersion(*d.CurrentVersion)
	}
	if d.HardwareVersion != nil {
		doc.Device.HardwareVersion = fmt.Sprint(*d.HardwareVersion)
	}
	doc.Components = o.deviceComponents(d.EUID)
	return Document{Topic: Topic(o.Prefix, d.EUID), Payload: contract.Marshal(doc)}
}

// Dongle is the document of the dongle. There is none (false) before the dongle has told its EUID. It changes
// with the dongle's EUID and firmware and with Options.
func Dongle(o Options, i otasvc.InfoRecord) (Document, bool) {
	euid := i.Dongle.EUID
	if euid == 0 {
		return Document{}, false
	}
	digits := euid.String()
	doc := o.document(device{
		Identifiers: []string{ObjectID(euid)},
		// The last digits tell the dongles of two services apart.
		Name:            "ZiGate OTA " + digits[len(digits)-4:],
		Manufacturer:    "ZiGate",
		Model:           "ZiGate dongle",
		SoftwareVersion: label(i.Dongle.Firmware),
		SerialNumber:    digits,
	})
	doc.Components = o.dongleComponents(euid)
	return Document{Topic: Topic(o.Prefix, euid), Payload: contract.Marshal(doc)}, true
}

// Gone takes a device, or the dongle, away from Home Assistant with all its entities.
func Gone(o Options, euid message.IEEE) Document {
	return Document{Topic: Topic(o.Prefix, euid)}
}

func (o Options) document(d device) document {
	return document{
		Device:           d,
		Origin:           origin{Name: "zigate-ota", Version: o.Version, SupportURL: httpURL(o.ProjectURL)},
		Availability:     []availability{{Topic: o.topics().Status()}},
		AvailabilityMode: availabilityAll,
	}
}

// topics are those of the service that documents name.
func (o Options) topics() contract.Topics { return contract.Topics(o.Base) }

// maxLabel is the most characters of a text that is shown to people: as many as a device's name may have.
const maxLabel = 64

// label makes a text that came from a device or a person fit to be shown: valid, on one line, not too long.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(truncate(strings.TrimSpace(s), maxLabel))
}
