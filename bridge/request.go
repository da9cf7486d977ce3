package bridge

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zigate-ota/zigate-ota/otasvc"
)

// maxPayload is the largest request, in bytes.
const maxPayload = 64 << 10

// maxTransaction is the longest transaction, in bytes of JSON.
const maxTransaction = 128

// request is a decoded request. Which fields are set depends on the keys that were there.
type request struct {
	id               string // see asker
	transaction      json.RawMessage
	device           otasvc.DeviceRef
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
	install          otasvc.Install
	installAt        time.Time
	seconds          time.Duration
	name             string

	// Frames by hand.
	payloadType, queryJitter uint8
	currentTime              uint32
	upgradeTime, requestTime *uint32
	blockRequestDelay        uint16
}

// key says how the value of a key is read into a request. The error is what is allowed there.
type key func(json.RawMessage, *request) error

// The keys that requests have. Each name means the same in all operations but deviceId, which
// may be "all" in some.
var (
	keyDevice = key(func(raw json.RawMessage, r *request) error {
		ref, err := deviceRef(raw)
		r.device = ref
		r.hasDevice = err == nil
		return err
	})
	keyDeviceOrAll = key(func(raw json.RawMessage, r *request) error {
		if string(raw) == `"all"` {
			r.all = true
			r.hasDevice = true
			return nil
		}
		return keyDevice(raw, r)
	})
	keyURL = key(func(raw json.RawMessage, r *request) error {
		s, err := text(raw, 1, 2048)
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
	})
	keyManufacturerCode = key(func(raw json.RawMessage, r *request) error {
		return into(raw, 0xFFFF, &r.manufacturerCode)
	})
	keyImageType = key(func(raw json.RawMessage, r *request) error {
		return into(raw, 0xFFFF, &r.imageType)
	})
	keyImageVersion = key(func(raw json.RawMessage, r *request) error {
		return into(raw, 0xFFFFFFFF, &r.imageVersion)
	})
	keyDriverType = key(func(raw json.RawMessage, r *request) (err error) {
		r.driverTypeID, err = text(raw, 0, 255)
		return err
	})
	keyDriverVersion = key(func(raw json.RawMessage, r *request) error {
		return integer(raw, 0, 0xFFFFFFFF, &r.driverVersion)
	})
	keySHA256 = key(func(raw json.RawMessage, r *request) (err error) {
		r.sha256, err = digest(raw, 32)
		return err
	})
	keySHA512 = key(func(raw json.RawMessage, r *request) (err error) {
		r.sha512, err = digest(raw, 64)
		return err
	})
	keyUpgrade        = key(func(raw json.RawMessage, r *request) error { return boolean(raw, &r.upgrade) })
	keyAllowDowngrade = key(func(raw json.RawMessage, r *request) error {
		return boolean(raw, &r.allowDowngrade)
	})
	keyForce = key(func(raw json.RawMessage, r *request) error { return boolean(raw, &r.force) })
	keyWhen  = key(func(raw json.RawMessage, r *request) error {
		s, err := text(raw, 1, 64)
		if err == nil {
			switch s {
			case "now":
				return nil
			case "window":
				r.window = true
				return nil
			}
			r.at, err = time.Parse(time.RFC3339, s)
		}
		if err != nil {
			return errors.New(`must be "now", "window" or an RFC 3339 time such as "2026-11-21T02:00:00Z"`)
		}
		return nil
	})
	keyApply = key(func(raw json.RawMessage, r *request) error {
		s, err := text(raw, 1, 64)
		if err == nil {
			switch s {
			case "now":
				return nil
			case "hold":
				r.install = otasvc.InstallHold
				return nil
			}
			r.installAt, err = time.Parse(time.RFC3339, s)
			r.install = otasvc.InstallAt
		}
		if err != nil {
			return errors.New(`must be "now", "hold" or an RFC 3339 time such as "2026-11-21T02:00:00Z"`)
		}
		return nil
	})
	keySeconds = key(func(raw json.RawMessage, r *request) error {
		n, err := number(raw, 1, 86400)
		r.seconds = time.Duration(n) * time.Second
		return err
	})
	keyName = key(func(raw json.RawMessage, r *request) error {
		s, err := text(raw, 0, 256)
		if err != nil {
			return err
		}
		if why := otasvc.ValidName(s); why != "" {
			return errors.New(why)
		}
		r.name = s
		return nil
	})
	keyPayloadType = key(func(raw json.RawMessage, r *request) error {
		return integer(raw, 0, 3, &r.payloadType)
	})
	keyQueryJitter = key(func(raw json.RawMessage, r *request) error {
		return integer(raw, 1, 100, &r.queryJitter)
	})
	keyUpgradeTime = key(func(raw json.RawMessage, r *request) error {
		return into(raw, 0xFFFFFFFF, &r.upgradeTime)
	})
	keyCurrentTime = key(func(raw json.RawMessage, r *request) error {
		return integer(raw, 0, 0xFFFFFFFF, &r.currentTime)
	})
	keyRequestTime = key(func(raw json.RawMessage, r *request) error {
		return into(raw, 0xFFFFFFFF, &r.requestTime)
	})
	keyBlockRequestDelay = key(func(raw json.RawMessage, r *request) error {
		return integer(raw, 0, 0xFFFF, &r.blockRequestDelay)
	})
)

// decode reads the payload of a request into r. The error names each key that is wrong and what is allowed;
// what could be read nevertheless, the transaction above all, is in r.
func decode(payload []byte, keys map[string]key, required []string, r *request) error {
	if len(payload) > maxPayload {
		// The cut may go through a character.
		members, _ := object(bytes.ToValidUTF8(payload[:maxPayload], nil))
		takeTransaction(members, r)
		return fmt.Errorf("the payload has %d bytes; at most %d are allowed", len(payload), maxPayload)
	}
	if len(bytes.TrimSpace(payload)) == 0 {
		if len(required) > 0 {
			return fmt.Errorf("the payload is empty; it must be a JSON object with %s",
				strings.Join(required, ", "))
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
		if m.name == "transaction" {
			if err := transaction(m.value, r); err != nil {
				wrong = append(wrong, "transaction: "+err.Error())
			}
			continue
		}
		read, ok := keys[m.name]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("unknown key %q; allowed are %s", m.name, keyNames(keys)))
			continue
		}
		if err := read(m.value, r); err != nil {
			wrong = append(wrong, m.name+": "+err.Error())
		}
	}
	for _, name := range required {
		if !slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			wrong = append(wrong, name+": is required")
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

func keyNames(keys map[string]key) string {
	names := []string{"transaction"}
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

type member struct {
	name  string
	value json.RawMessage
}

// takeTransaction reads the transaction of a request that is of no use otherwise.
func takeTransaction(members []member, r *request) {
	for _, m := range members {
		if m.name == "transaction" {
			_ = transaction(m.value, r) // it has an error already
		}
	}
}

// object reads a JSON object with its members in order. A key that comes twice is an error: which one is
// meant? With an error come the members before it.
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
		return nil, errors.New("it is something else")
	}
	var members []member
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return members, syntax(err)
		}
		m := member{name: t.(string)} // the decoder lets nothing else stand here
		if err := dec.Decode(&m.value); err != nil {
			return members, syntax(err)
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

// syntax puts a decoder's error for people who do not know Go.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

func transaction(raw json.RawMessage, r *request) error {
	if len(raw) > maxTransaction || (raw[0] != '"' && raw[0] != '-' && (raw[0] < '0' || raw[0] > '9')) {
		return fmt.Errorf("must be a string or a number of at most %d bytes", maxTransaction)
	}
	r.transaction = raw
	return nil
}

// deviceRef reads how a request names a device.
func deviceRef(raw json.RawMessage) (otasvc.DeviceRef, error) {
	const allowed = "must be an euid, a network address (0 to 65535) or a name"
	if raw[0] != '"' {
		n, err := number(raw, 0, 0xFFFF)
		if err != nil {
			return otasvc.DeviceRef{}, errors.New(allowed)
		}
		return otasvc.RefAddr(uint16(n)), nil
	}
	s, err := text(raw, 1, 256)
	if err != nil {
		return otasvc.DeviceRef{}, errors.New(allowed)
	}
	return otasvc.ParseDeviceRef(s), nil
}

// number reads a JSON integer, or a string that holds one, decimal or hexadecimal with 0x.
func number(raw json.RawMessage, lowest, highest uint64) (uint64, error) {
	wrong := fmt.Errorf("must be a whole number from %d to %d", lowest, highest)
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
	if err != nil || n < lowest || n > highest {
		return 0, wrong
	}
	return n, nil
}

// integer reads a number into a field.
func integer[T uint8 | uint16 | uint32](raw json.RawMessage, lowest, highest T, field *T) error {
	n, err := number(raw, uint64(lowest), uint64(highest))
	if err == nil {
		*field = T(n)
	}
	return err
}

// into reads a number from 0 into a field that is nil where the key is absent.
func into[T uint16 | uint32](raw json.RawMessage, highest uint64, field **T) error {
	n, err := number(raw, 0, highest)
	if err != nil {
		return err
	}
	v := T(n)
	*field = &v
	return nil
}

// text reads a string of a length in bytes.
func text(raw json.RawMessage, shortest, longest int) (string, error) {
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil || len(s) < shortest || len(s) > longest {
		return "", fmt.Errorf("must be a string of %d to %d bytes", shortest, longest)
	}
	return s, nil
}

// digest reads a digest of n bytes in hex.
func digest(raw json.RawMessage, n int) (string, error) {
	s, err := text(raw, 0, 2*n)
	if err == nil {
		if b, err := hex.DecodeString(s); err == nil && len(b) == n {
			return strings.ToLower(s), nil
		}
	}
	return "", fmt.Errorf("must be %d hexadecimal digits", 2*n)
}

func boolean(raw json.RawMessage, field *bool) error {
	switch string(raw) {
	case "true", "false":
		*field = string(raw) == "true"
		return nil
	}
	return errors.New("must be true or false")
}
