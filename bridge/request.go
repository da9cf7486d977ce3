package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// request is a decoded request. Which fields are set depends on the keys that were there.
type request struct {
	id               string // see asker
	transaction      json.RawMessage
	device           registry.Ref
	hasDevice        bool
	all              bool
	url              string
	manufacturerCode *uint16
	imageType        *uint16
	imageVersion     *uint32
	driverTypeID     string
	driverVersion    uint32
	sha256, sha512   string
	upgrade          bool
	allowDowngrade   bool
	force            bool
	at               time.Time
	window           bool
	install          upgrade.Install
	installAt        time.Time
	seconds          time.Duration
	name             string

	// These are keys of requests for a single frame.
	payloadType, queryJitter uint8
	currentTime              uint32
	upgradeTime, requestTime *uint32
	blockRequestDelay        uint16
}

// decode reads the payload of a request for an operation into r. The error names each key that is wrong and
// what is allowed; what could be read nevertheless, the transaction above all, is in r.
func decode(payload []byte, o contract.Operation, r *request) error {
	if len(payload) > contract.MaxRequest {
		// The cut may go through a character.
		members, _ := object(bytes.ToValidUTF8(payload[:contract.MaxRequest], nil))
		takeTransaction(members, r)
		return fmt.Errorf("the payload has %d bytes; at most %d are allowed",
			len(payload), contract.MaxRequest)
	}
	if len(bytes.TrimSpace(payload)) == 0 {
		if len(o.Required) > 0 {
			return fmt.Errorf("the payload is empty; it must be a JSON object with %s",
				strings.Join(namesOf(o.Required), ", "))
		}
		return nil
	}
	members, err := object(payload)
	if err != nil {
		takeTransaction(members, r)
		return fmt.Errorf("the payload must be one JSON object: %w", err)
	}

	var wrong []string
	for _, m := range members {
		if err := m.read(o, r); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	for _, name := range namesOf(o.Required) {
		if !slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			wrong = append(wrong, name+": is required")
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

func namesOf(keys []contract.Key) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.Name
	}
	return names
}

// member is one key of a request, with its value as it was sent.
type member struct {
	name  string
	value json.RawMessage
}

// read reads the member into a request for an operation. The error names the key and what is allowed there.
func (m member) read(o contract.Operation, r *request) error {
	if m.name == contract.KeyTransaction {
		if err := transaction(m.value, r); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return nil
	}
	for _, key := range o.Keys() {
		if key.Name != m.name {
			continue
		}
		if err := readers[key.Name](m.value, key, r); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return nil
	}
	allowed := append(namesOf(o.Keys()), contract.KeyTransaction)
	slices.Sort(allowed)
	return fmt.Errorf("unknown key %q; allowed are %s", m.name, strings.Join(allowed, ", "))
}

// takeTransaction reads the transaction of a request that is refused for another reason.
func takeTransaction(members []member, r *request) {
	for _, m := range members {
		if m.name == contract.KeyTransaction {
			_ = transaction(m.value, r) // the request is refused already
		}
	}
}

// object reads a JSON object with its members in order. A key that comes twice is an error, because nobody
// can tell which value is meant. With an error, object returns the members before it, and with the one that it
// is in as much as a refusal can tell of it.
func object(payload []byte) ([]member, error) {
	if !utf8.Valid(payload) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	t, err := dec.Token()
	if err != nil {
		return nil, syntax(err)
	}

	if t != json.Delim('{') {
		return nil, errors.New("it is no object")
	}
	var members []member
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return members, syntax(err)
		}
		m := member{name: t.(string)} // the decoder lets nothing else stand here
		begins := dec.InputOffset()
		if err := dec.Decode(&m.value); err != nil {
			m.value = beginning(payload[begins:])
			return append(members, m), syntax(err)
		}
		if slices.ContainsFunc(members, func(o member) bool { return o.name == m.name }) {
			return members, fmt.Errorf("key %q is there twice", m.name)
		}
		members = append(members, m)
		if len(members) > 64 {
			return members, errors.New("it has more than 64 keys")
		}
	}

	if _, err := dec.Token(); err != nil {
		return members, syntax(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return members, errors.New("something follows the object")
	}
	return members, nil
}

// syntax rewords a decoder's error for people who do not know Go.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

// beginning returns the beginning of a string whose end is missing, as a string of its own, where it is longer
// than any transaction may be; else nil. rest is what follows the key.
func beginning(rest []byte) json.RawMessage {
	text := bytes.TrimLeft(rest, ": \t\r\n")
	if len(text) == 0 || text[0] != '"' {
		return nil
	}
	const escaped = 6 // bytes that a byte of the value takes at most: \u0000
	text = text[:min(len(text), 1+escaped*(contract.MaxTransaction+1))]

	// The cut may go through an escape, or between the two of a surrogate pair.
	for end := len(text); end > max(0, len(text)-2*escaped); end-- {
		whole := append(bytes.Clone(text[:end]), '"')
		var value string
		if json.Unmarshal(whole, &value) == nil && len(value) > contract.MaxTransaction {
			return whole
		}
	}
	return nil
}

// transaction reads the value that is to come back in the responses. Of one that is too long the beginning
// does, so that whoever asked can tell whose refusal it is.
func transaction(raw json.RawMessage, r *request) error {
	const longest = contract.MaxTransaction
	wrong := fmt.Errorf("must be a string or a number of at most %d bytes", longest)
	var text string
	switch {
	case len(raw) == 0:
		return wrong
	case raw[0] == '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return wrong
		}
		if len(text) > longest {
			r.transaction = contract.Marshal(strings.ToValidUTF8(text[:longest], "")) // not half a character
			return wrong
		}
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		if len(raw) > longest {
			r.transaction = bytes.TrimRight(raw[:longest], "eE+-.") // so that it is a number still
			return wrong
		}
	default:
		return wrong
	}
	r.transaction = raw
	return nil
}
