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

// reader reads the value of a key into a request. The error says what is allowed there.
type reader func(raw json.RawMessage, key contract.Key, r *request) error

// readers has a reader for each key of the contract, by its name, which means the same in all operations.
var readers = map[string]reader{
	"deviceId":          readDevice,
	"url":               readURL,
	"mfgId":             knownNumber(func(r *request) **uint16 { return &r.manufacturerCode }),
	"imageTypeId":       knownNumber(func(r *request) **uint16 { return &r.imageType }),
	"imageVersion":      knownNumber(func(r *request) **uint32 { return &r.imageVersion }),
	"driverTypeId":      readDriverType,
	"version":           number(func(r *request) *uint32 { return &r.driverVersion }),
	"sha256":            digest(func(r *request) *string { return &r.sha256 }),
	"sha512":            digest(func(r *request) *string { return &r.sha512 }),
	"upgrade":           boolean(func(r *request) *bool { return &r.upgrade }),
	"allowDowngrade":    boolean(func(r *request) *bool { return &r.allowDowngrade }),
	"force":             boolean(func(r *request) *bool { return &r.force }),
	"when":              readStart,
	"apply":             readInstall,
	"seconds":           readSeconds,
	"name":              readName,
	"payloadType":       number(func(r *request) *uint8 { return &r.payloadType }),
	"queryJitter":       number(func(r *request) *uint8 { return &r.queryJitter }),
	"upgradeTime":       knownNumber(func(r *request) **uint32 { return &r.upgradeTime }),
	"currentTime":       number(func(r *request) *uint32 { return &r.currentTime }),
	"requestTime":       knownNumber(func(r *request) **uint32 { return &r.requestTime }),
	"blockRequestDelay": number(func(r *request) *uint16 { return &r.blockRequestDelay }),
}

// number reads a number into a field.
func number[T uint8 | uint16 | uint32](field func(*request) *T) reader {
	return func(raw json.RawMessage, key contract.Key, r *request) error {
		n, err := parseNumber(raw, key.Least, key.Most)
		if err == nil {
			*field(r) = T(n)
		}
		return err
	}
}

// knownNumber reads a number into a field that is nil where the key is absent.
func knownNumber[T uint16 | uint32](field func(*request) **T) reader {
	return func(raw json.RawMessage, key contract.Key, r *request) error {
		n, err := parseNumber(raw, key.Least, key.Most)
		if err == nil {
			v := T(n)
			*field(r) = &v
		}
		return err
	}
}

// boolean reads true or false into a field.
func boolean(field func(*request) *bool) reader {
	return func(raw json.RawMessage, _ contract.Key, r *request) error {
		switch string(raw) {
		case "true", "false":
			*field(r) = string(raw) == "true"
			return nil
		}
		return errors.New("must be true or false")
	}
}

// digest reads a digest in hexadecimal digits into a field, as lower-case ones.
func digest(field func(*request) *string) reader {
	return func(raw json.RawMessage, key contract.Key, r *request) error {
		s, err := parseText(raw, key.Most, key.Most)
		if err == nil {
			_, err = hex.DecodeString(s)
		}
		if err != nil {
			return fmt.Errorf("must be %d hexadecimal digits", key.Most)
		}
		*field(r) = strings.ToLower(s)
		return nil
	}
}

// readDevice reads how a request names a device.
func readDevice(raw json.RawMessage, key contract.Key, r *request) error {
	if key.Kind == contract.ValueDeviceOrAll && string(raw) == `"all"` {
		r.all = true
		r.hasDevice = true
		return nil
	}
	ref, err := parseDeviceRef(raw)
	r.device = ref
	r.hasDevice = err == nil
	return err
}

func readURL(raw json.RawMessage, key contract.Key, r *request) error {
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
	r.url = s
	return nil
}

func readDriverType(raw json.RawMessage, key contract.Key, r *request) error {
	s, err := parseText(raw, key.Least, key.Most)
	r.driverTypeID = s
	return err
}

// readStart reads when an upgrade may begin.
func readStart(raw json.RawMessage, _ contract.Key, r *request) error {
	word, at, err := parseMoment(raw, "now", "window")
	r.window = word == "window"
	r.at = at
	return err
}

// readInstall reads when a device is to install what it has downloaded.
func readInstall(raw json.RawMessage, _ contract.Key, r *request) error {
	word, at, err := parseMoment(raw, "now", "hold")
	switch {
	case err != nil || word == "now":
	case word == "hold":
		r.install = upgrade.InstallHold
	default:
		r.install = upgrade.InstallAt
		r.installAt = at
	}
	return err
}

func readSeconds(raw json.RawMessage, key contract.Key, r *request) error {
	n, err := parseNumber(raw, key.Least, key.Most)
	r.seconds = time.Duration(n) * time.Second
	return err
}

// maxName is the length of the longest text that is looked at as a name, in bytes: 64 characters have no
// more.
const maxName = 256

func readName(raw json.RawMessage, _ contract.Key, r *request) error {
	s, err := parseText(raw, 0, maxName)
	if err != nil {
		return err
	}
	if why := registry.ValidName(s); why != "" {
		return errors.New(why)
	}
	r.name = s
	return nil
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
