package contract_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// payloads are the types that are payloads by themselves or objects within one, each with its name in
// openapi.json and the heading of its table in docs/mqtt.md; where one of them is empty, it has none.
var payloads = []struct {
	value   any
	schema  string
	heading string
}{
	{contract.Info{}, "Info", "The service"},
	{contract.Dongle{}, "Dongle", "The dongle"},
	{contract.Slot{}, "Slot", "The slot"},
	{contract.UpgradeCounts{}, "Upgrades", "The numbers of upgrades"},
	{contract.Images{}, "RegisteredImages", "The images"},
	{contract.RegisteredImage{}, "RegisteredImage", "A registered image"},
	{contract.Report{}, "Report", "The report on a file"},
	{contract.Check{}, "Check", "A check"},
	{contract.Device{}, "Device", "A device"},
	{contract.OtherImage{}, "OtherImage", "Another image of a device"},
	{contract.Settings{}, "Settings", "The settings of a device"},
	{contract.Offer{}, "Offer", "The image for a device"},
	{contract.Upgrade{}, "Upgrade", "An upgrade"},
	{contract.Place{}, "Place", "The place in the queue"},
	{contract.PastUpgrade{}, "PastUpgrade", "An upgrade that has ended"},
	{contract.UpdateState{}, "", "The state for Home Assistant"},
	{contract.Event{}, "", "An event"},
	{contract.NamedEvent{}, "Event", ""},
	{contract.Response{}, "", "A response"},
	{contract.IdentifiedResponse{}, "Response", ""},
	{contract.CheckResult{}, "", "A result of a check"},
	{contract.UpgradeResult{}, "", "A result of an upgrade"},
	{contract.Frame{}, "", "A frame"},
	{contract.DeviceGone{}, "DeviceGone", ""},
}

// vocabulary is a closed set of words that the values of a type are taken from.
type vocabulary struct {
	schema  string     // in openapi.json; where it is empty the words stand at each property
	heading string     // of its table in docs/mqtt.md
	phrase  string     // what the tables of payloads say of a value
	lists   [][]string // all words, and parts of them that a property may be limited to
}

var vocabularies = map[reflect.Type]vocabulary{
	reflect.TypeFor[contract.State](): {
		"State", "States", "[state](#states)",
		[][]string{texts(contract.States()), texts(contract.EndStates())},
	},
	reflect.TypeFor[contract.Reason](): {
		"Reason", "Reasons", "[reason](#reasons)", [][]string{texts(contract.Reasons())},
	},
	reflect.TypeFor[contract.Wait](): {
		"Wait", "What an upgrade waits for", "[word](#what-an-upgrade-waits-for)",
		[][]string{texts(contract.Waits())},
	},
	reflect.TypeFor[contract.Status](): {
		"Status", "Statuses", "[status](#statuses)", [][]string{texts(contract.Statuses())},
	},
	reflect.TypeFor[contract.Source](): {
		"Source", "Sources", "[source](#sources)", [][]string{texts(contract.Sources())},
	},
	reflect.TypeFor[contract.CheckStatus](): {
		"", "Outcomes of a check", "[outcome](#outcomes-of-a-check)",
		[][]string{texts(contract.CheckStatuses())},
	},
	reflect.TypeFor[contract.EventName](): {
		"", "Events", "[event](#events)", [][]string{texts(contract.EventNames())},
	},
}

func texts[T ~string](words []T) []string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = string(word)
	}
	return list
}

// member is one key of a payload, as its struct's field says.
type member struct {
	key    string
	absent bool         // the key may be absent
	null   bool         // the value may be null
	value  reflect.Type // without pointers
}

var (
	rawType     = reflect.TypeFor[json.RawMessage]()
	timeType    = reflect.TypeFor[time.Time]()
	euidType    = reflect.TypeFor[contract.EUID]()
	sha256Type  = reflect.TypeFor[contract.SHA256]()
	percentType = reflect.TypeFor[contract.Percent]()
	resultsType = reflect.TypeFor[contract.Results]()
)

// membersOf lists the keys of a payload in the order in which they are written.
func membersOf(t reflect.Type) []member {
	var all []member
	for field := range slices.Values(reflect.VisibleFields(t)) {
		if len(field.Index) > 1 {
			continue // it comes with the struct that is embedded
		}
		if field.Anonymous {
			embedded := field.Type
			optional := embedded.Kind() == reflect.Pointer
			if optional {
				embedded = embedded.Elem()
			}
			for _, m := range membersOf(embedded) {
				m.absent = m.absent || optional
				all = append(all, m)
			}
			continue
		}

		key, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		m := member{key: key, value: field.Type, absent: options == "omitempty" || options == "omitzero"}
		switch {
		case strings.HasPrefix(field.Type.Name(), "Optional["):
			inner, _ := field.Type.FieldByName("Value")
			m.value = inner.Type.Elem()
			m.null = true
		case field.Type.Kind() == reflect.Pointer:
			m.value = field.Type.Elem()
			m.null = !m.absent // a nil pointer is left out then
		}
		all = append(all, m)
	}
	return all
}

// doctored is an event with a key that is described nowhere.
type doctored struct {
	contract.NamedEvent
	Undescribed *uint8 `json:"undescribed,omitempty"`
}

// TestMembers holds the reading of the types against what encoding/json makes of them: the checks that are
// built on it are worth no more than it.
func TestMembers(t *testing.T) {
	for _, p := range payloads {
		typ := reflect.TypeOf(p.value)
		var always []string
		for _, m := range membersOf(typ) {
			if m.key == "" {
				t.Errorf("%v has a field without a key", typ)
			}
			if !m.absent {
				always = append(always, m.key)
			}
		}
		if got := keysOf(t, contract.Marshal(p.value)); !slices.Equal(got, always) {
			t.Errorf("%v without any value has the keys %q, read were %q", typ, got, always)
		}
	}
	keys := []string{}
	for _, m := range membersOf(reflect.TypeFor[doctored]()) {
		keys = append(keys, m.key)
	}
	for _, key := range []string{"name", "time", "undescribed"} {
		if !slices.Contains(keys, key) {
			t.Errorf("of an event with one key more %s was not read, but %q", key, keys)
		}
	}
}

// keysOf reads the keys of a JSON object in their order.
func keysOf(t *testing.T, object []byte) []string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, fmt.Sprint(key))
	}
	return keys
}
