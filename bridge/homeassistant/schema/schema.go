// Package schema is what Home Assistant accepts of what this program publishes for it, for tests: whatever
// any test sees on its way to Home Assistant is held against it. It knows nothing of how messages are made.
//
// It was written down by hand from the source of its releases 2025.4.4 and 2026.11.0 (repository
// home-assistant/core, folder homeassistant/components/mqtt; where the two differ, the stricter):
//
//	document, device, origin, availability   schemas.py (DEVICE_DISCOVERY_SCHEMA and what it is made of)
//	keys of every entity                     config.py (MQTT_BASE_SCHEMA, MQTT_RO_SCHEMA), schemas.py (MQTT_ENTITY_COMMON_SCHEMA)
//	keys of one platform                     update.py, button.py, sensor.py, binary_sensor.py (PLATFORM_SCHEMA_MODERN)
//	update state                             update.py (MQTT_JSON_UPDATE_SCHEMA)
//	topics                                   discovery.py (TOPIC_MATCHER), util.py (valid_subscribe_topic, valid_publish_topic)
//	device classes and their units           components/{update,button,sensor,binary_sensor}
//	texts, URLs, icons                       helpers/config_validation.py (string, url, configuration_url, icon)
//
// The same in words is in its documentation: www.home-assistant.io/integrations/mqtt (discovery of devices,
// availability), and the pages update.mqtt, button.mqtt, sensor.mqtt and binary_sensor.mqtt beside it.
//
// Home Assistant itself ignores unknown keys of a component; here they are mistakes, since such a key does
// nothing. Abbreviated keys are left out: this program does not write them. In the update state the rules of
// this project's MQTT contract come on top: which keys are always there, and how versions are written.
package schema

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rule says what is wrong with a value, "" for nothing.
type rule func(v any) string

// keys are the keys that an object may have. Those in required it must have.
type keys struct {
	allowed  map[string]rule
	required []string
}

func (k keys) check(where string, v any) []string {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{where + ": not an object"}
	}
	var bad []string
	for name, value := range m {
		r, ok := k.allowed[name]
		if !ok {
			bad = append(bad, where+": unknown key "+name)
		} else if problem := r(value); problem != "" {
			bad = append(bad, where+"."+name+": "+problem)
		}
	}
	for _, name := range k.required {
		if _, ok := m[name]; !ok {
			bad = append(bad, where+": no "+name)
		}
	}
	return bad
}

func text(v any) string {
	s, ok := v.(string)
	switch {
	case !ok:
		return fmt.Sprintf("%v is no string", v)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Sprintf("%q has control characters", s)
	}
	return ""
}

// lines is a text that may have line ends and whatever else.
func lines(v any) string {
	if _, ok := v.(string); !ok {
		return fmt.Sprintf("%v is no string", v)
	}
	return ""
}

// filled is a text that says something. Home Assistant takes an empty one too, but shows nothing then.
func filled(v any) string {
	if s, ok := v.(string); ok && strings.TrimSpace(s) == "" {
		return "is empty"
	}
	return text(v)
}

func version(v any) string {
	if s, ok := v.(string); !ok || !versionPattern.MatchString(s) {
		return fmt.Sprintf("%v is no version", v)
	}
	return ""
}

func boolean(v any) string {
	if _, ok := v.(bool); !ok {
		return fmt.Sprintf("%v is no boolean", v)
	}
	return ""
}

func whole(low, high float64) rule {
	return func(v any) string {
		n, ok := v.(float64)
		if !ok || n != float64(int(n)) || n < low || n > high {
			return fmt.Sprintf("%v is no whole number from %v to %v", v, low, high)
		}
		return ""
	}
}

func oneOf(values ...string) rule {
	return func(v any) string {
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			return fmt.Sprintf("%v is none of %v", v, values)
		}
		return ""
	}
}

func listOf(r rule) rule {
	return func(v any) string {
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return fmt.Sprintf("%v is no list with something in it", v)
		}
		for _, item := range list {
			if problem := r(item); problem != "" {
				return problem
			}
		}
		return ""
	}
}

func webAddress(v any) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprintf("%v is no string", v)
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		strings.ContainsAny(s, " \t\r\n") {
		return fmt.Sprintf("%q is no http or https URL", s)
	}
	if strings.ContainsAny(u.Host, "[]") != (strings.HasPrefix(u.Host, "[") &&
		strings.Contains(u.Host, "]")) {
		return fmt.Sprintf("%q has stray brackets", s)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n > 65535 {
			return fmt.Sprintf("%q has no valid port", s)
		}
	}
	return ""
}

func icon(v any) string {
	if s, _ := v.(string); !regexp.MustCompile(`^mdi:[a-z0-9-]+$`).MatchString(s) {
		return fmt.Sprintf("%v is no icon", v)
	}
	return ""
}

// topic holds for publishing and subscribing: wildcards would be allowed for the latter, but none are wanted.
func topic(v any) string {
	s, ok := v.(string)
	if !ok || s == "" || len(s) > 65535 || strings.ContainsAny(s, "+#\x00") || strings.HasPrefix(s, "/") ||
		strings.HasSuffix(s, "/") {
		return fmt.Sprintf("%v is no topic", v)
	}
	return text(s)
}

// template: only that the braces close. What templates yield is tested elsewhere.
func template(v any) string {
	s, _ := v.(string)
	if !strings.HasPrefix(s, "{{ ") || !strings.HasSuffix(s, " }}") || strings.Count(s, "{{") != 1 ||
		strings.Count(s, "}}") != 1 {
		return fmt.Sprintf("%v is no template", v)
	}
	return ""
}

func object(k keys) rule {
	return func(v any) string { return strings.Join(k.check("", v), "; ") }
}

var (
	identifier     = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	versionPattern = regexp.MustCompile(`^0x[0-9a-f]{8}$`)
	ownDocument    = regexp.MustCompile(`^.+/device/zigate_ota_[0-9a-f]{16}/config$`)
	updateState    = regexp.MustCompile(`^.+/device/0x[0-9a-f]{16}/update$`)

	availabilitySchema = keys{
		allowed: map[string]rule{
			"topic": topic, "payload_available": filled, "payload_not_available": filled,
			"value_template": template,
		},
		required: []string{"topic"},
	}

	deviceSchema = keys{
		allowed: map[string]rule{
			"identifiers": listOf(filled), "connections": listOf(listOf(filled)), "manufacturer": filled,
			"model": filled, "model_id": filled, "name": filled, "hw_version": filled,
			"serial_number": filled, "sw_version": filled, "via_device": filled, "suggested_area": filled,
			"configuration_url": webAddress,
		},
		// Without a name Home Assistant shows its own for the integration.
		required: []string{"identifiers", "name"},
	}

	originSchema = keys{
		allowed:  map[string]rule{"name": filled, "sw_version": filled, "support_url": webAddress},
		required: []string{"name"},
	}

	documentSchema = keys{
		allowed: map[string]rule{
			"device": object(deviceSchema), "origin": object(originSchema),
			"availability": listOf(object(availabilitySchema)),
			// See below.
			"availability_mode": oneOf("all", "any", "latest"), "components": func(any) string { return "" },
			"state_topic": topic, "command_topic": topic, "qos": whole(0, 2), "encoding": text,
		},
		required: []string{"device", "origin", "components"},
	}

	// commonKeys are those of every entity. What this package must give each (unique_id and the
	// like) is in required.
	commonKeys = map[string]rule{
		"platform": oneOf("update", "button", "sensor", "binary_sensor"), "unique_id": filled, "name": filled,
		"icon": icon, "entity_category": oneOf("config", "diagnostic"), "enabled_by_default": boolean,
		"json_attributes_topic": topic, "json_attributes_template": template, "entity_picture": webAddress,
		"availability":      listOf(object(availabilitySchema)),
		"availability_mode": oneOf("all", "any", "latest"), "qos": whole(0, 2), "encoding": text,
	}
	commonRequired = []string{"platform", "unique_id", "name", "entity_category", "qos"}

	// platformKeys are those that an entity of one platform may have besides. A sensor cannot be of
	// the category config.
	platformKeys = map[string]keys{
		"update": {
			allowed: map[string]rule{
				"state_topic": topic, "value_template": template, "command_topic": topic,
				"device_class": oneOf("firmware"), "display_precision": whole(0, 9),
				"latest_version_template": template, "latest_version_topic": topic, "payload_install": filled,
				"release_summary": text, "release_url": webAddress, "retain": boolean, "title": filled,
			},
			required: []string{"state_topic"},
		},
		"button": {
			allowed: map[string]rule{
				"command_topic": topic, "command_template": template,
				"device_class": oneOf("identify", "restart", "update"), "payload_press": filled,
				"retain": boolean,
			},
			required: []string{"command_topic"},
		},
		"sensor": {
			allowed: map[string]rule{
				"state_topic": topic, "value_template": template,
				"device_class": oneOf("enum", "data_rate", "duration"),
				"state_class":  oneOf("measurement", "total", "total_increasing"), "options": listOf(filled),
				"unit_of_measurement": filled, "suggested_display_precision": whole(0, 9),
				"expire_after": whole(0, 1e9), "force_update": boolean,
				"entity_category": oneOf("diagnostic"),
			},
			required: []string{"state_topic"},
		},
		"binary_sensor": {
			allowed: map[string]rule{
				"state_topic": topic, "value_template": template, "device_class": oneOf("connectivity"),
				"payload_on": filled, "payload_off": filled, "off_delay": whole(0, 1e9),
				"expire_after": whole(0, 1e9), "force_update": boolean,
				"entity_category": oneOf("diagnostic"),
			},
			required: []string{"state_topic"},
		},
	}

	// classUnits are the units that go with a device class of a sensor.
	classUnits = map[string][]string{
		"enum": {""},
		"data_rate": {
			"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "B/s", "kB/s", "MB/s", "GB/s", "KiB/s", "MiB/s", "GiB/s",
		},
		"duration": {"d", "h", "min", "s", "ms"},
	}

	updateSchema = keys{required: []string{
		"in_progress", "update_percentage", "release_summary",
	}, allowed: map[string]rule{
		"installed_version": version, "latest_version": version, "title": filled, "release_summary": lines,
		"release_url": webAddress, "entity_picture": webAddress, "in_progress": boolean,
		"update_percentage": func(v any) string {
			if n, ok := v.(float64); v != nil && (!ok || n < 0 || n > 100) {
				return fmt.Sprintf("%v is neither null nor a number from 0 to 100", v)
			}
			return ""
		},
	}}
)

// Topic says what Home Assistant dislikes in the topic of a document.
func Topic(prefix, name string) []string {
	rest, ok := strings.CutPrefix(name, prefix+"/device/")
	id, ok2 := strings.CutSuffix(rest, "/config")
	if !ok || !ok2 || !identifier.MatchString(id) {
		return []string{name + " is no topic of device discovery"}
	}
	return nil
}

// Document says what Home Assistant dislikes in a document.
func Document(payload []byte) []string {
	var doc map[string]any
	if err := json.Unmarshal(payload, &doc); err != nil {
		return []string{err.Error()}
	}
	bad := documentSchema.check("document", doc)
	components, ok := doc["components"].(map[string]any)
	if !ok || len(components) == 0 {
		return append(bad, "document.components: no components")
	}
	seen := make(map[string]bool)
	for name, c := range components {
		if !identifier.MatchString(name) {
			bad = append(bad, name+": no name of a component")
		}
		m, _ := c.(map[string]any)
		if len(m) == 1 { // a removal
			if problem := commonKeys["platform"](m["platform"]); problem != "" {
				bad = append(bad, name+": "+problem)
			}
			continue
		}
		bad = append(bad, checkComponent(name, m)...)
		id := fmt.Sprint(m["platform"], m["unique_id"])
		if seen[id] {
			bad = append(bad, name+": its unique_id is not unique")
		}
		seen[id] = true
	}
	return bad
}

func checkComponent(name string, m map[string]any) []string {
	platform, _ := m["platform"].(string)
	own := platformKeys[platform]
	k := keys{allowed: make(map[string]rule), required: slices.Concat(commonRequired, own.required)}
	for key, r := range commonKeys {
		k.allowed[key] = r
	}
	for key, r := range own.allowed {
		k.allowed[key] = r
	}
	bad := k.check(name, m)
	if platform != "sensor" {
		return bad
	}
	class, _ := m["device_class"].(string)
	unit, _ := m["unit_of_measurement"].(string)
	if units, ok := classUnits[class]; ok && !slices.Contains(units, unit) {
		bad = append(bad, fmt.Sprintf("%s: unit %q does not go with device class %s", name, unit, class))
	}
	if _, has := m["options"]; has && (class != "enum" || unit != "" || m["state_class"] != nil) {
		bad = append(bad, name+": options are for the device class enum, without unit and state class")
	}
	return bad
}

// Update says what Home Assistant dislikes in an update state.
func Update(payload []byte) []string {
	var v any
	if err := json.Unmarshal(payload, &v); err != nil {
		return []string{err.Error()}
	}
	bad := updateSchema.check("update", v)
	o, _ := v.(map[string]any)
	if s, _ := o["release_summary"].(string); len([]rune(s)) > 255 {
		bad = append(bad, "update.release_summary: over 255 characters")
	}
	if o["update_percentage"] != nil && o["in_progress"] != true {
		bad = append(bad, "update.update_percentage: though nothing is in progress")
	}
	return bad
}

// Message says what Home Assistant dislikes in any message, by its topic: discovery documents of this program
// below whatever prefix, and update states below whatever base topic. All others, and empty ones, which clear
// a topic, please it.
func Message(topic string, payload []byte) []string {
	var bad []string
	switch {
	case len(payload) == 0:
	case ownDocument.MatchString(topic):
		bad = Document(payload)
	case updateState.MatchString(topic):
		bad = Update(payload)
	}
	for i := range bad {
		bad[i] = fmt.Sprintf("%s: %s in %s", topic, bad[i], payload)
	}
	return bad
}
