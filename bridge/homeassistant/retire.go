package homeassistant

import (
	"encoding/json"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// IsDongle reports whether a document of this program, as it is retained at the broker, is that of a dongle
// and not of a device behind one.
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

// Retire is next with a removal for each component that the document published before it had and next has
// not: its platform alone. Without that Home Assistant keeps the entity, however often it reads documents
// that do not mention it. previous is the payload of that document as it is retained at the broker, of this
// or an earlier version of the program.
//
// There is nothing to retire (false, and next as it is) when no component has gone, or when previous is no
// document. A component that previous itself removed is not removed again.
//
// The answer takes next's place for one publication at least; it may as well stay the retained document,
// since removing what is not there does nothing. Home Assistant can miss parts of a document that follows
// another of the same device at once, so next is best published at the next occasion, such as the next
// start of the service.
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
