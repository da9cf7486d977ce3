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
	// Prefix is the first part of Home Assistant's discovery topics, which is "homeassistant" unless the user
	// has configured another one there.
	Prefix string
	// Base is the service's base topic, without a slash at either end.
	Base string
	// Version of the program and the address of its project, which Home Assistant shows as the documents'
	// origin. An address that is no http or https URL is left out.
	Version, ProjectURL string
	// DongleID is the ObjectID of the dongle through which the devices are reached. While it is empty, the
	// documents of devices do not name a dongle.
	DongleID string
}

// Document is one retained message of discovery.
type Document struct {
	Topic   string
	Payload []byte // JSON; an empty one removes the device of this topic
}

// ObjectID returns the name of a device, or of the dongle, in topics, which is its identifier in Home
// Assistant too: zigate_ota_ and the 16 hex digits of the EUID.
func ObjectID(euid message.IEEE) string {
	return "zigate_ota_" + strings.TrimPrefix(euid.String(), "0x")
}

// Topic returns the topic of the document of a device, or of the dongle.
func Topic(prefix string, euid message.IEEE) string {
	return prefix + "/device/" + ObjectID(euid) + "/config"
}

// Topics returns the topic filter for the documents of all devices, including those of other programs.
func Topics(prefix string) string { return prefix + "/device/+/config" }

// BirthTopic returns the topic on which Home Assistant publishes Birth when it has started.
func BirthTopic(prefix string) string { return prefix + "/status" }

// Birth is the payload on BirthTopic that says that Home Assistant has started. It then needs every document
// again, and after them the retained states.
const Birth = "online"

// document is the payload that Home Assistant prescribes for the discovery of a whole device.
type document struct {
	Device           device               `json:"device"`
	Origin           origin               `json:"origin"`
	Availability     []availability       `json:"availability"`
	AvailabilityMode string               `json:"availability_mode"`
	Components       map[string]component `json:"components"`
}

// device describes the device. It has no connections on purpose: Home Assistant merges devices that have a
// connection in common, so a device that another Zigbee integration once knew would get the name, model and
// entities from there.
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

// origin describes the program that publishes the document.
type origin struct {
	Name       string `json:"name"`
	Version    string `json:"sw_version,omitempty"`
	SupportURL string `json:"support_url,omitempty"`
}

// availability is a topic whose value has to be "online" for an entity to be available.
type availability struct {
	Topic         string `json:"topic"`
	ValueTemplate string `json:"value_template,omitempty"`
}

// component is one entity. A component with nothing but a platform removes the entity.
type component struct {
	Platform               string         `json:"platform"`
	UniqueID               string         `json:"unique_id,omitempty"`
	Name                   string         `json:"name,omitempty"`
	DeviceClass            string         `json:"device_class,omitempty"`
	StateClass             string         `json:"state_class,omitempty"`
	EntityCategory         string         `json:"entity_category,omitempty"`
	EnabledByDefault       *bool          `json:"enabled_by_default,omitempty"`
	Icon                   string         `json:"icon,omitempty"`
	StateTopic             string         `json:"state_topic,omitempty"`
	ValueTemplate          string         `json:"value_template,omitempty"`
	Options                []string       `json:"options,omitempty"`
	Unit                   string         `json:"unit_of_measurement,omitempty"`
	DisplayPrecision       int            `json:"display_precision,omitempty"`
	CommandTopic           string         `json:"command_topic,omitempty"`
	PayloadInstall         string         `json:"payload_install,omitempty"`
	PayloadPress           string         `json:"payload_press,omitempty"`
	JSONAttributesTopic    string         `json:"json_attributes_topic,omitempty"`
	JSONAttributesTemplate string         `json:"json_attributes_template,omitempty"`
	Availability           []availability `json:"availability,omitempty"`
	AvailabilityMode       string         `json:"availability_mode,omitempty"`
	// QoS is needed in each component: Home Assistant 2025.4 ignores that of the document.
	QoS int `json:"qos,omitempty"`
}

const (
	qos             = 1
	availabilityAll = "all" // every topic of the list has to be "online"

	categoryConfig     = "config"
	categoryDiagnostic = "diagnostic"

	platformBinarySensor = "binary_sensor"
	platformButton       = "button"
	platformSensor       = "sensor"
	platformUpdate       = "update"
)

// Device returns the document of a device. It depends on the device's name, manufacturer, model, versions and
// the types of its other images and on Options alone, so the progress of an upgrade does not change it. gone
// are image types that it had before: their entities are removed.
func Device(o Options, d otasvc.DeviceRecord, gone ...uint16) Document {
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
		doc.Device.SoftwareVersion = runningVersion(d.ForPeople.SoftwareBuild, *d.CurrentVersion)
	}
	if d.HardwareVersion != nil {
		doc.Device.HardwareVersion = fmt.Sprint(*d.HardwareVersion)
	}
	doc.Components = o.deviceComponents(d.EUID, d.OtherImages)
	for _, imageType := range gone {
		doc.Components[otherComponent(imageType)] = component{Platform: platformUpdate}
	}
	return Document{Topic: Topic(o.Prefix, d.EUID), Payload: contract.Marshal(doc)}
}

// runningVersion returns what a device runs for people: what it calls that itself, and the file version.
func runningVersion(build string, version uint32) string {
	if build = label(build); build != "" {
		return build + " (" + formatVersion(version) + ")"
	}
	return formatVersion(version)
}

// Dongle returns the document of the dongle. It returns false while the EUID of the dongle is not known. The
// document depends on the dongle's EUID and firmware and on Options.
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

// Gone returns the document that removes a device, or the dongle, from Home Assistant with all its entities.
func Gone(o Options, euid message.IEEE) Document {
	return Document{Topic: Topic(o.Prefix, euid)}
}

// document returns a document without components.
func (o Options) document(d device) document {
	return document{
		Device:           d,
		Origin:           origin{Name: "zigate-ota", Version: o.Version, SupportURL: httpURL(o.ProjectURL)},
		Availability:     []availability{{Topic: o.topics().Status()}},
		AvailabilityMode: availabilityAll,
	}
}

// topics returns the topics of the service.
func (o Options) topics() contract.Topics { return contract.Topics(o.Base) }

// maxLabel is the largest number of characters of a text that people see, which is that of a device's name.
const maxLabel = 64

// label returns a text from a device or a person in a form that can be shown: valid UTF-8, on one line, at
// most maxLabel characters.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(truncate(strings.TrimSpace(s), maxLabel))
}
