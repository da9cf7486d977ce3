// Package schema is what Home Assistant accepts of what this program publishes for it, for tests: whatever
// any test sees on its way to Home Assistant is held against it. It knows nothing of how messages are made.
//
// It was written down by hand from the source of its releases 2025.4.4 and 2026.11.0 (repository
// home-assistant/core, folder homeassistant/components/mqtt; where the two differ, the stricter):
//
//	document, device,          schemas.py (DEVICE_DISCOVERY_SCHEMA and what it is made of)
//	origin, availability
//	keys of every entity       config.py (MQTT_BASE_SCHEMA, MQTT_RO_SCHEMA),
//	                           schemas.py (MQTT_ENTITY_COMMON_SCHEMA)
//	keys of one platform       update.py, button.py, sensor.py, binary_sensor.py (PLATFORM_SCHEMA_MODERN)
//	update state               update.py (MQTT_JSON_UPDATE_SCHEMA)
//	topics                     discovery.py (TOPIC_MATCHER), util.py (valid_subscribe_topic,
//	                           valid_publish_topic)
//	device classes, units      components/{update,button,sensor,binary_sensor}
//	texts, URLs, icons         helpers/config_validation.py (string, url, configuration_url, icon)
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

// rule is what a value has to be. The rules are data, in tables below; of what they say, all holds.
type rule struct {
	// fits reports whether the value is what it should be; otherwise the complaint says that it is not.
	fits func(v any) bool
	not  string

	words []string // the value is one of these
	items *rule    // it is a list, with something in it, and this holds for each item
	keys  *keys    // it is an object
}

// keys are the keys that an object may have.
type keys struct {
	allowed  map[string]rule
	required []string
	// more is allowed besides: what every entity may have. Where both name a key, the rule in allowed counts.
	more map[string]rule
	// whole says what is wrong with the object as a whole, "" for nothing.
	whole func(m map[string]any) string
}

// check says what is wrong with a value, which is called where.
func (r rule) check(where string, v any) []string {
	var bad []string
	complain := func(where, format string, args ...any) {
		bad = append(bad, where+": "+fmt.Sprintf(format, args...))
	}
	if r.fits != nil && !r.fits(v) {
		complain(where, "%v is %s", v, r.not)
	}
	if word, ok := v.(string); r.words != nil && (!ok || !slices.Contains(r.words, word)) {
		complain(where, "%v is none of %v", v, r.words)
	}
	if r.items != nil {
		list, _ := v.([]any)
		if len(list) == 0 {
			complain(where, "%v is no list with something in it", v)
		}
		for _, item := range list {
			bad = append(bad, r.items.check(where, item)...)
		}
	}
	if r.keys == nil {
		return bad
	}
	m, ok := v.(map[string]any)
	if !ok {
		return append(bad, where+": not an object")
	}
	for name, value := range m {
		key, known := r.keys.allowed[name]
		if !known {
			key, known = r.keys.more[name]
		}
		if !known {
			complain(where, "unknown key %s", name)
		}
		bad = append(bad, key.check(where+"."+name, value)...)
	}
	for _, name := range r.keys.required {
		if _, has := m[name]; !has {
			complain(where, "no %s", name)
		}
	}
	if r.keys.whole != nil {
		if problem := r.keys.whole(m); problem != "" {
			complain(where, "%s", problem)
		}
	}
	return bad
}

// What a value can be.
var (
	text = rule{not: "no string without control characters", fits: func(v any) bool {
		s, ok := v.(string)
		return ok && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
	}}
	// filled is a text that says something. Home Assistant takes an empty one too, but shows nothing then.
	filled = rule{not: "no string that says something", fits: func(v any) bool {
		s, ok := v.(string)
		return ok && strings.TrimSpace(s) != "" && text.fits(v)
	}}
	// summary may have line ends and whatever else.
	summary = rule{not: "no string of 255 characters at most", fits: func(v any) bool {
		s, ok := v.(string)
		return ok && len([]rune(s)) <= 255
	}}
	version = rule{not: "no version", fits: func(v any) bool {
		s, ok := v.(string)
		return ok && regexp.MustCompile(`^0x[0-9a-f]{8}$`).MatchString(s)
	}}
	boolean = rule{not: "no boolean", fits: func(v any) bool {
		_, ok := v.(bool)
		return ok
	}}
	percentage = rule{not: "neither null nor a number from 0 to 100", fits: func(v any) bool {
		n, ok := v.(float64)
		return v == nil || ok && n >= 0 && n <= 100
	}}
	natural = rule{not: "no whole number from 0 to 1000000000", fits: func(v any) bool {
		n, ok := v.(float64)
		return ok && n == float64(int(n)) && n >= 0 && n <= 1e9
	}}
	digit = rule{not: "no whole number from 0 to 9", fits: func(v any) bool {
		n, ok := v.(float64)
		return ok && natural.fits(v) && n <= 9
	}}
	qualityOfService = rule{not: "no whole number from 0 to 2", fits: func(v any) bool {
		n, ok := v.(float64)
		return ok && natural.fits(v) && n <= 2
	}}
	webAddress = rule{not: "no http or https URL with a good host and port", fits: func(v any) bool {
		s, ok := v.(string)
		u, err := url.Parse(s)
		if !ok || err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
			return false
		}
		port, err := strconv.Atoi(u.Port())
		goodPort := u.Port() == "" || err == nil && port <= 65535
		inBrackets := strings.HasPrefix(u.Host, "[") && strings.Contains(u.Host, "]")
		goodHost := !strings.ContainsAny(s, " \t\r\n") && strings.ContainsAny(u.Host, "[]") == inBrackets
		return goodHost && goodPort
	}}
	icon = rule{not: "no icon", fits: func(v any) bool {
		s, _ := v.(string)
		return regexp.MustCompile(`^mdi:[a-z0-9-]+$`).MatchString(s)
	}}
	// topic holds for publishing and subscribing. The latter may have wildcards, but none are wanted here.
	topic = rule{not: "no topic", fits: func(v any) bool {
		s, ok := v.(string)
		return ok && s != "" && len(s) <= 65535 && !strings.ContainsAny(s, "+#\x00") &&
			!strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/") && text.fits(v)
	}}
	// template has braces that close. What templates yield is tested elsewhere.
	template = rule{not: "no template", fits: func(v any) bool {
		s, _ := v.(string)
		return strings.HasPrefix(s, "{{ ") && strings.HasSuffix(s, " }}") && strings.Count(s, "{{") == 1 &&
			strings.Count(s, "}}") == 1
	}}
	texts        = rule{items: &filled}
	listsOfTexts = rule{items: &texts}
	category     = rule{words: []string{"config", "diagnostic"}}
	anyValue     = rule{}
)

var (
	identifier  = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	ownDocument = regexp.MustCompile(`^.+/device/zigate_ota_[0-9a-f]{16}/config$`)
	updateState = regexp.MustCompile(`^.+/device/0x[0-9a-f]{16}/update(/\d{1,5})?$`)

	// DocumentTopic is the topic of a document, below the prefix of discovery.
	DocumentTopic = regexp.MustCompile(`^/device/[a-zA-Z0-9_-]+/config$`)
)

// Objects in a document.
var (
	availability = rule{items: &rule{keys: &keys{
		allowed: map[string]rule{
			"topic": topic, "payload_available": filled, "payload_not_available": filled,
			"value_template": template,
		},
		required: []string{"topic"},
	}}}
	availabilityMode = rule{words: []string{"all", "any", "latest"}}

	device = rule{keys: &keys{
		allowed: map[string]rule{
			"identifiers": texts, "connections": listsOfTexts, "manufacturer": filled, "model": filled,
			"model_id": filled, "name": filled, "hw_version": filled, "serial_number": filled,
			"sw_version": filled, "via_device": filled, "suggested_area": filled,
			"configuration_url": webAddress,
		},
		required: []string{"identifiers", "name"}, // without a name Home Assistant shows the integration's
	}}
	origin = rule{keys: &keys{
		allowed:  map[string]rule{"name": filled, "sw_version": filled, "support_url": webAddress},
		required: []string{"name"},
	}}
	document = rule{keys: &keys{
		allowed: map[string]rule{
			"device": device, "origin": origin, "availability": availability,
			"availability_mode": availabilityMode, "state_topic": topic, "command_topic": topic,
			"qos": qualityOfService, "encoding": text,
			"components": anyValue, // see entities
		},
		required: []string{"device", "origin", "components"},
	}}
)

// entityKeys are those of every entity.
var entityKeys = map[string]rule{
	"platform":        {words: []string{"update", "button", "sensor", "binary_sensor"}},
	"unique_id":       filled,
	"name":            filled,
	"icon":            icon,
	"entity_category": category, "enabled_by_default": boolean, "json_attributes_topic": topic,
	"json_attributes_template": template, "entity_picture": webAddress, "availability": availability,
	"availability_mode": availabilityMode, "qos": qualityOfService, "encoding": text,
}

// entities are the rules for an entity of each platform.
var entities = map[string]rule{
	"update": {keys: &keys{more: entityKeys,
		allowed: map[string]rule{
			"state_topic": topic, "value_template": template, "command_topic": topic,
			"device_class": {words: []string{"firmware"}}, "display_precision": digit,
			"latest_version_template": template, "latest_version_topic": topic, "payload_install": filled,
			"release_summary": text, "release_url": webAddress, "retain": boolean, "title": filled,
		},
		required: []string{"platform", "unique_id", "name", "entity_category", "qos", "state_topic"},
	}},
	"button": {keys: &keys{more: entityKeys,
		allowed: map[string]rule{
			"command_topic": topic, "command_template": template,
			"device_class":  {words: []string{"identify", "restart", "update"}},
			"payload_press": filled, "retain": boolean,
		},
		required: []string{"platform", "unique_id", "name", "entity_category", "qos", "command_topic"},
	}},
	"sensor": {keys: &keys{more: entityKeys, whole: sensorProblem,
		allowed: map[string]rule{
			"state_topic": topic, "value_template": template,
			"device_class": {words: []string{"enum", "data_rate", "duration"}},
			"state_class":  {words: []string{"measurement", "total", "total_increasing"}},
			"options":      texts, "unit_of_measurement": filled, "suggested_display_precision": digit,
			"expire_after": natural, "force_update": boolean,
			"entity_category": {words: []string{"diagnostic"}}, // a sensor cannot be of the category config
		},
		required: []string{"platform", "unique_id", "name", "entity_category", "qos", "state_topic"},
	}},
	"binary_sensor": {keys: &keys{more: entityKeys,
		allowed: map[string]rule{
			"state_topic": topic, "value_template": template,
			"device_class": {words: []string{"connectivity"}}, "payload_on": filled, "payload_off": filled,
			"off_delay": natural, "expire_after": natural, "force_update": boolean,
			"entity_category": {words: []string{"diagnostic"}},
		},
		required: []string{"platform", "unique_id", "name", "entity_category", "qos", "state_topic"},
	}},
}

// classUnits are the units that go with a device class of a sensor.
var classUnits = map[string][]string{
	"enum": {""},
	"data_rate": {
		"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "B/s", "kB/s", "MB/s", "GB/s", "KiB/s", "MiB/s", "GiB/s",
	},
	"duration": {"d", "h", "min", "s", "ms"},
}

// sensorProblem holds a sensor's device class against its unit and its options.
var sensorProblem = func(m map[string]any) string {
	class, _ := m["device_class"].(string)
	unit, _ := m["unit_of_measurement"].(string)
	if units, ok := classUnits[class]; ok && !slices.Contains(units, unit) {
		return fmt.Sprintf("unit %q does not go with device class %s", unit, class)
	}
	if _, has := m["options"]; has && (class != "enum" || unit != "" || m["state_class"] != nil) {
		return "options are for the device class enum, without unit and state class"
	}
	return ""
}

// update is the update state.
var update = rule{keys: &keys{
	allowed: map[string]rule{
		"installed_version": version, "latest_version": version, "title": filled, "release_summary": summary,
		"release_url": webAddress, "entity_picture": webAddress, "in_progress": boolean,
		"update_percentage": percentage,
	},
	required: []string{"in_progress", "update_percentage", "release_summary"},
	whole: func(m map[string]any) string {
		if m["update_percentage"] != nil && m["in_progress"] != true {
			return "update_percentage, though nothing is in progress"
		}
		return ""
	},
}}

// Document says what Home Assistant dislikes in a document.
func Document(payload []byte) []string {
	var doc map[string]any
	if err := json.Unmarshal(payload, &doc); err != nil {
		return []string{err.Error()}
	}
	bad := document.check("document", doc)
	components, _ := doc["components"].(map[string]any)
	if len(components) == 0 {
		return append(bad, "document.components: no components")
	}
	seen := make(map[string]bool)
	for name, c := range components {
		if !identifier.MatchString(name) {
			bad = append(bad, name+": no name of a component")
		}
		m, _ := c.(map[string]any)
		platform, _ := m["platform"].(string)
		bad = append(bad, entityKeys["platform"].check(name, platform)...)
		if len(m) == 1 { // a removal
			continue
		}
		bad = append(bad, entities[platform].check(name, c)...)
		id := fmt.Sprint(platform, m["unique_id"])
		if seen[id] {
			bad = append(bad, name+": its unique_id is not unique")
		}
		seen[id] = true
	}
	return bad
}

// Update says what Home Assistant dislikes in an update state.
func Update(payload []byte) []string {
	var v any
	if err := json.Unmarshal(payload, &v); err != nil {
		return []string{err.Error()}
	}
	return update.check("update", v)
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
