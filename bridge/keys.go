package bridge

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// reader reads the value of a key into where it belongs. The error says what is allowed there.
type reader func(raw json.RawMessage, key contract.Key) error

// number reads a number.
func number[T uint8 | uint16 | uint32](into *T) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		n, err := parseNumber(raw, key.Least, key.Most)
		if err == nil {
			*into = T(n)
		}
		return err
	}
}

// knownNumber reads a number that stays nil where the key is absent.
func knownNumber[T uint16 | uint32](into **T) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		n, err := parseNumber(raw, key.Least, key.Most)
		if err == nil {
			v := T(n)
			*into = &v
		}
		return err
	}
}

// boolean reads true or false.
func boolean(into *bool) reader {
	return func(raw json.RawMessage, _ contract.Key) error {
		switch string(raw) {
		case "true", "false":
			*into = string(raw) == "true"
			return nil
		}
		return errors.New("must be true or false")
	}
}

// digest reads a digest in hexadecimal digits, as lower-case ones.
func digest(into *string) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		s, err := parseText(raw, key.Most, key.Most)
		if err == nil {
			_, err = hex.DecodeString(s)
		}
		if err != nil {
			return fmt.Errorf("must be %d hexadecimal digits", key.Most)
		}
		*into = strings.ToLower(s)
		return nil
	}
}

// deviceRef reads how a request names a device.
func deviceRef(into *registry.Ref) reader {
	return func(raw json.RawMessage, _ contract.Key) error {
		ref, err := parseDeviceRef(raw)
		*into = ref
		return err
	}
}

// choice is the device of a request that need not name one, or may mean all.
type choice struct {
	ref   registry.Ref // where all is false
	given bool         // the key is there
	all   bool
}

// read reads the choice; it is a [reader].
func (c *choice) read(raw json.RawMessage, key contract.Key) error {
	if key.Kind == contract.ValueDeviceOrAll && string(raw) == `"all"` {
		c.all = true
		c.given = true
		return nil
	}
	ref, err := parseDeviceRef(raw)
	c.ref = ref
	c.given = err == nil
	return err
}

// imageURL reads where an image is to be had.
func imageURL(into *string) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		s, err := parseText(raw, key.Least, key.Most)
		if err != nil {
			return err
		}
		u, err := url.Parse(s)
		if err != nil || !slices.Contains([]string{"http", "https", "file", "controller"}, u.Scheme) {
			return errors.New("must be an http, https, file or controller URL")
		}
		if u.Scheme != "file" && u.Host == "" {
			return fmt.Errorf("must name a host: %s://…", u.Scheme)
		}
		*into = s
		return nil
	}
}

// text reads a string.
func text(into *string) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		s, err := parseText(raw, key.Least, key.Most)
		*into = s
		return err
	}
}

// start reads when an upgrade may begin: at a time, or in the window.
func start(at *time.Time, window *bool) reader {
	return func(raw json.RawMessage, _ contract.Key) error {
		word, moment, err := parseMoment(raw, "now", "window")
		*window = word == "window"
		*at = moment
		return err
	}
}

// installation reads when a device is to install what it has downloaded.
func installation(into *upgrade.Install, at *time.Time) reader {
	return func(raw json.RawMessage, _ contract.Key) error {
		word, moment, err := parseMoment(raw, "now", "hold")
		switch {
		case err != nil || word == "now":
		case word == "hold":
			*into = upgrade.InstallHold
		default:
			*into = upgrade.InstallAt
			*at = moment
		}
		return err
	}
}

// seconds reads a length of time in whole seconds.
func seconds(into *time.Duration) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		n, err := parseNumber(raw, key.Least, key.Most)
		*into = time.Duration(n) * time.Second
		return err
	}
}

// milliseconds reads a length of time in whole milliseconds.
func milliseconds(into *time.Duration) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		n, err := parseNumber(raw, key.Least, key.Most)
		*into = time.Duration(n) * time.Millisecond
		return err
	}
}

// setting is a key that sets something, or takes it back with null. The zero value changes nothing.
type setting[T any] struct {
	given bool
	value *T // nil takes back what was set
}

// reader reads the key; value reads what it sets.
func (s *setting[T]) reader(value func(*T) reader) reader {
	return func(raw json.RawMessage, key contract.Key) error {
		s.given = true
		s.value = nil
		if string(raw) == "null" {
			return nil
		}
		var v T
		if err := value(&v)(raw, key); err != nil {
			return fmt.Errorf("%w, or null", err)
		}
		s.value = &v
		return nil
	}
}

// made puts what is set now into the place of what was set before, where the key was given.
func (s *setting[T]) made(into **T) {
	if s.given {
		*into = s.value
	}
}

// maxName is the length of the longest text that is looked at as a name, in bytes: 64 characters have no
// more.
const maxName = 256

// deviceName reads a name for a device.
func deviceName(into *string) reader {
	return func(raw json.RawMessage, _ contract.Key) error {
		s, err := parseText(raw, 0, maxName)
		if err != nil {
			return err
		}
		if why := registry.ValidName(s); why != "" {
			return errors.New(why)
		}
		*into = s
		return nil
	}
}

// maxReference is the length of the longest text that is looked at as the name of a device, in bytes.
const maxReference = 256

// parseDeviceRef reads how a request names a device.
func parseDeviceRef(raw json.RawMessage) (registry.Ref, error) {
	wrong := errors.New("must be an euid, a network address (0 to 65535) or a name")
	if raw[0] != '"' {
		n, err := parseNumber(raw, 0, 0xFFFF)
		if err != nil {
			return registry.Ref{}, wrong
		}
		return registry.RefAddr(uint16(n)), nil
	}
	s, err := parseText(raw, 1, maxReference)
	if err != nil {
		return registry.Ref{}, wrong
	}
	return registry.ParseRef(s), nil
}

// maxMoment is the length of the longest text that is looked at as a time, in bytes.
const maxMoment = 64

// parseMoment reads one of two words, or a time.
func parseMoment(raw json.RawMessage, one, other string) (word string, at time.Time, err error) {
	s, err := parseText(raw, 1, maxMoment)
	if err == nil && (s == one || s == other) {
		return s, time.Time{}, nil
	}
	if err == nil {
		at, err = time.Parse(time.RFC3339, s)
	}
	if err != nil {
		err = fmt.Errorf("must be %q, %q or an RFC 3339 time such as \"2026-11-21T02:00:00Z\"", one, other)
	}
	return "", at, err
}

// parseNumber reads a JSON integer, or a string that holds one, decimal or hexadecimal with 0x.
func parseNumber(raw json.RawMessage, least, most uint64) (uint64, error) {
	wrong := fmt.Errorf("must be a whole number from %d to %d", least, most)
	s := string(raw)
	base := 10
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &s); err != nil {
			return 0, wrong
		}
		if rest, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
			s = rest
			base = 16
		}
	}
	if s == "-0" {
		s = "0"
	}
	n, err := strconv.ParseUint(s, base, 64)
	if err != nil || n < least || n > most {
		return 0, wrong
	}
	return n, nil
}

// parseText reads a string of a length in bytes.
func parseText(raw json.RawMessage, least, most uint64) (string, error) {
	var s string
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil && uint64(len(s)) >= least && uint64(len(s)) <= most {
		return s, nil
	}
	return "", fmt.Errorf("must be a string of %d to %d bytes", least, most)
}
