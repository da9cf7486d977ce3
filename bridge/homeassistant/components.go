package homeassistant

import (
	"fmt"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// componentConnection is the component that only the document of a dongle has.
const componentConnection = "connection"

// stateIdle is the value of the state sensor of a device before its first upgrade.
const stateIdle = "idle"

// Home Assistant evaluates the templates on the retained records of the MQTT contract. For a number that a
// record does not have they return None, which Home Assistant shows as unknown.
const (
	templateState     = "{{ value_json.upgrade.state if value_json.upgrade else '" + stateIdle + "' }}"
	templateProgress  = "{{ value_json.upgrade.progress if value_json.upgrade else None }}"
	templateSpeed     = "{{ value_json.upgrade.bytesPerSecond if value_json.upgrade else 0 }}"
	templateRemaining = "{{ value_json.upgrade.remainingSeconds if value_json.upgrade else None }}"

	// templateAttributes leaves out what changes by itself: each change is a row in Home Assistant's
	// database.
	templateAttributes = "{{ dict(value_json.items() | rejectattr(0, 'in', ['lqi', 'lastSeen']), " +
		"upgrade=dict(value_json.upgrade.items() | rejectattr(0, 'eq', 'queue')) " +
		"if value_json.upgrade else none) | tojson }}"

	templateDongleOnline = "{{ 'online' if value_json.dongle.connected else 'offline' }}"
	templateConnected    = "{{ 'ON' if value_json.dongle.connected else 'OFF' }}"
	templateFirmware     = "{{ value_json.dongle.firmware }}"
	templateQueued       = "{{ value_json.upgrades.queued }}"
	templateActive       = "{{ value_json.upgrades.active }}"
)

// otherComponent is the component of one of a device's other images.
func otherComponent(imageType uint16) string { return fmt.Sprintf("update_%d", imageType) }

// otherUpdate returns the update entity of one of a device's other images.
func (o Options) otherUpdate(address contract.EUID, imageType uint16) component {
	payload := fmt.Sprintf(`{"deviceId":"%s","imageTypeId":%d}`, address, imageType)
	return o.needsDongle(component{
		Platform:         platformUpdate,
		Name:             "Firmware " + formatType(imageType),
		DeviceClass:      "firmware",
		EntityCategory:   categoryConfig,
		StateTopic:       o.topics().OtherUpdate(address, imageType),
		CommandTopic:     o.topics().Request("upgrade"),
		PayloadInstall:   payload,
		DisplayPrecision: 1,
	})
}

// deviceComponents returns the entities of a device with some other images.
func (o Options) deviceComponents(euid message.IEEE, others []otasvc.OtherImage) map[string]component {
	address := contract.EUID(euid.String())
	record := o.topics().Device(address)
	payload := `{"deviceId":"` + string(address) + `"}`
	button := func(operation, name, icon string) component {
		return o.needsDongle(component{
			Platform: platformButton, Name: name, EntityCategory: categoryConfig, Icon: icon,
			CommandTopic: o.topics().Request(operation), PayloadPress: payload,
		})
	}

	no := false
	components := map[string]component{
		"update": o.needsDongle(component{
			Platform:               platformUpdate,
			Name:                   "Firmware",
			DeviceClass:            "firmware",
			EntityCategory:         categoryConfig,
			StateTopic:             o.topics().Update(address),
			CommandTopic:           o.topics().Request("upgrade"),
			PayloadInstall:         payload,
			JSONAttributesTopic:    record,
			JSONAttributesTemplate: templateAttributes,
			DisplayPrecision:       1, // a percent of an image can take minutes
		}),
		"cancel": button("cancel", "Cancel upgrade", "mdi:cancel"),
		"pause":  button("pause", "Pause upgrade", "mdi:pause"),
		"resume": button("resume", "Resume upgrade", "mdi:play"),
		"state": {
			Platform:       platformSensor,
			Name:           "Upgrade state",
			DeviceClass:    "enum",
			EntityCategory: categoryDiagnostic,
			Icon:           "mdi:state-machine",
			StateTopic:     record,
			ValueTemplate:  templateState,
			Options:        states(),
		},
		"progress": {
			Platform: platformSensor, Name: "Upgrade progress", EntityCategory: categoryDiagnostic,
			Icon: "mdi:progress-download", StateTopic: record, ValueTemplate: templateProgress, Unit: "%",
		},
		// The speed is disabled until a user enables it: it helps to find what slows a network down.
		"speed": {
			Platform:         platformSensor,
			Name:             "Upgrade speed",
			DeviceClass:      "data_rate",
			EntityCategory:   categoryDiagnostic,
			EnabledByDefault: &no,
			Icon:             "mdi:speedometer",
			StateTopic:       record,
			ValueTemplate:    templateSpeed,
			Unit:             "B/s",
		},
		"remaining": {
			Platform:       platformSensor,
			Name:           "Upgrade remaining time",
			DeviceClass:    "duration",
			EntityCategory: categoryDiagnostic,
			StateTopic:     record,
			ValueTemplate:  templateRemaining,
			Unit:           "s",
		},
	}
	for _, other := range others {
		components[otherComponent(other.ImageType)] = o.otherUpdate(address, other.ImageType)
	}
	return identified(euid, components)
}

// dongleComponents returns the entities of the dongle, which stands for the service too.
func (o Options) dongleComponents(euid message.IEEE) map[string]component {
	sensor := func(name, icon, template, stateClass string) component {
		return component{
			Platform:       platformSensor,
			Name:           name,
			EntityCategory: categoryDiagnostic,
			StateClass:     stateClass,
			Icon:           icon,
			StateTopic:     o.topics().Info(),
			ValueTemplate:  template,
		}
	}
	return identified(euid, map[string]component{
		componentConnection: {
			Platform: platformBinarySensor, Name: "Connection", DeviceClass: "connectivity",
			EntityCategory: categoryDiagnostic, StateTopic: o.topics().Info(),
			ValueTemplate: templateConnected,
		},
		"firmware": sensor("Firmware version", "mdi:chip", templateFirmware, ""),
		// A state class makes them numbers, which can be compared and drawn.
		"queued": sensor("Queued upgrades", "mdi:tray-full", templateQueued, "measurement"),
		"active": sensor("Running upgrades", "mdi:progress-download", templateActive, "measurement"),
		"check": o.needsDongle(component{
			Platform: platformButton, Name: "Check all devices", EntityCategory: categoryConfig,
			Icon: "mdi:cloud-search-outline", CommandTopic: o.topics().Request("check"), PayloadPress: "{}",
		}),
	})
}

// needsDongle makes an entity available only while the service runs and the dongle is connected.
func (o Options) needsDongle(c component) component {
	c.Availability = []availability{
		{Topic: o.topics().Status()}, {Topic: o.topics().Info(), ValueTemplate: templateDongleOnline},
	}
	c.AvailabilityMode = availabilityAll
	return c
}

// identified sets the unique identifier and the quality of service of all components.
func identified(euid message.IEEE, components map[string]component) map[string]component {
	for name, c := range components {
		c.UniqueID = ObjectID(euid) + "_" + name
		c.QoS = qos
		components[name] = c
	}
	return components
}

// states returns all values of the state sensor. Home Assistant ignores any other value.
func states() []string {
	list := []string{stateIdle}
	for _, s := range contract.States() {
		list = append(list, string(s))
	}
	return list
}
