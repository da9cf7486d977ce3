package homeassistant

import (
	"encoding/json"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// IsDongle reports whether a document of this program, given by its payload, is that of a dongle. Else it is
// that of a device.
func IsDongle(payload []byte) bool {
	var d struct {
		Components map[string]any `json:"components"`
	}
	if json.Unmarshal(payload, &d) != nil {
		return false
	}
	_, is := d.Components[componentConnection]
	return is
}

// Outline returns what Retire and IsDongle look at in the payload of a document, which is a tenth of it. A
// payload that is no document comes back as it is.
func Outline(payload []byte) []byte {
	var d struct {
		Components map[string]map[string]json.RawMessage `json:"components"`
	}
	if json.Unmarshal(payload, &d) != nil {
		return payload
	}
	for name, c := range d.Components {
		outlined := make(map[string]json.RawMessage)
		if platform, has := c["platform"]; has {
			outlined["platform"] = platform
		}
		if len(c) > 1 { // more than a removal
			outlined["more"] = json.RawMessage("true")
		}
		d.Components[name] = outlined
	}
	return contract.Marshal(d)
}

// Retire returns next with a removal for each component that the document before it had and next does not
// have. A removal is a component with its platform alone. Without it Home Assistant keeps the entity, also
// when newer documents do not mention it. previous is the payload of the document before, as it is retained
// at the broker; this or an earlier version of the program wrote it.
//
// Retire returns next unchanged, and false, when no component has gone or previous is no document. It does
// not remove again what previous itself removed.
//
// Publish the returned document in the place of next at least once. It may stay the retained document, since
// removing what is not there has no effect. Home Assistant can miss parts of a document that follows another
// of the same device immediately, so publish next later, such as at the next start of the service.
func Retire(previous []byte, next Document) (Document, bool) {
	var before struct {
		Components map[string]map[string]any `json:"components"`
	}
	var after document
	if json.Unmarshal(previous, &before) != nil || json.Unmarshal(next.Payload, &after) != nil {
		return next, false
	}
	gone := make(map[string]component)
	for name, c := range before.Components {
		platform, ok := c["platform"].(string)
		if _, stays := after.Components[name]; !stays && ok && len(c) > 1 {
			gone[name] = component{Platform: platform}
		}
	}
	if len(gone) == 0 {
		return next, false
	}
	for name, c := range after.Components {
		gone[name] = c
	}
	after.Components = gone
	return Document{Topic: next.Topic, Payload: contract.Marshal(after)}, true
}
