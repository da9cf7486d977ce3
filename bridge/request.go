package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
)

// decode reads the payload of a request for an operation, each key with its reader. The error names each key
// that is wrong and what is allowed. The transaction is returned where it could be read, with an error, too.
func decode(
	payload []byte, o contract.Operation, keys map[string]reader,
) (transaction json.RawMessage, err error) {
	if len(payload) > contract.MaxRequest {
		// The cut may go through a character.
		members, _ := object(bytes.ToValidUTF8(payload[:contract.MaxRequest], nil))
		return transactionAmong(members), fmt.Errorf("the payload has %d bytes; at most %d are allowed",
			len(payload), contract.MaxRequest)
	}
	if len(bytes.TrimSpace(payload)) == 0 {
		if len(o.Required) > 0 {
			return nil, fmt.Errorf("the payload is empty; it must be a JSON object with %s",
				strings.Join(namesOf(o.Required), ", "))
		}
		return nil, nil
	}
	members, err := object(payload)
	if err != nil {
		return transactionAmong(members), fmt.Errorf("the payload must be one JSON object: %w", err)
	}

	var wrong []string
	for _, m := range members {
		if err := m.read(o, keys); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	for _, name := range namesOf(o.Required) {
		if !slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			wrong = append(wrong, name+": is required")
		}
	}
	if len(wrong) > 0 {
		return transactionAmong(members), errors.New(strings.Join(wrong, "; "))
	}
	return transactionAmong(members), nil
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

// read reads the member with the reader of its key. The error names the key and what is allowed there.
func (m member) read(o contract.Operation, keys map[string]reader) error {
	if m.name == contract.KeyTransaction {
		if _, err := readTransaction(m.value); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return nil
	}
	for _, key := range o.Keys() {
		if key.Name != m.name {
			continue
		}
		if err := keys[key.Name](m.value, key); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return nil
	}
	allowed := append(namesOf(o.Keys()), contract.KeyTransaction)
	slices.Sort(allowed)
	return fmt.Errorf("unknown key %q; allowed are %s", m.name, strings.Join(allowed, ", "))
}

// transactionAmong is what comes back of the transaction of a request; nil where it has none, or one of which
// nothing can.
func transactionAmong(members []member) json.RawMessage {
	for _, m := range members {
		if m.name == contract.KeyTransaction {
			echo, _ := readTransaction(m.value) // the request is refused for it already
			return echo
		}
	}
	return nil
}

// object reads a JSON object with its members in order. A key that comes twice is an error, because nobody
// can tell which value is meant. With an error, object returns the members before it, and with the one that
// it is in as much as a refusal can tell of it.
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

// beginning returns the beginning of a string whose end is missing, as a string of its own, where it is
// longer than any transaction may be; else nil. rest is what follows the key.
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

// readTransaction reads the value that is to come back in the responses. Of one that is too long it returns
// the beginning with the error, so that whoever asked can tell whose refusal it is.
func readTransaction(raw json.RawMessage) (json.RawMessage, error) {
	const longest = contract.MaxTransaction
	wrong := fmt.Errorf("must be a string or a number of at most %d bytes", longest)
	if len(raw) == 0 {
		return nil, wrong
	}
	var text string
	switch isNumber := raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'; {
	case isNumber && len(raw) > longest:
		return bytes.TrimRight(raw[:longest], "eE+-."), wrong // so that it is a number still
	case isNumber:
		return raw, nil
	case raw[0] != '"' || json.Unmarshal(raw, &text) != nil:
		return nil, wrong
	case len(text) > longest:
		return contract.Marshal(strings.ToValidUTF8(text[:longest], "")), wrong // not half a character
	default:
		return raw, nil
	}
}
