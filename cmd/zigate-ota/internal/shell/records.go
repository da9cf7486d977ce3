package shell

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// Records and responses come over MQTT. Each keeps the payload that it was read from, which --json shows as
// it is.

type deviceRecord struct {
	contract.Device
	raw json.RawMessage
}

type infoRecord struct {
	contract.Info
	raw json.RawMessage
}

// other is the device's other image of a type; nil where it has none, or the type is nil.
func (d *deviceRecord) other(imageType *uint16) *contract.OtherImage {
	for i := range d.OtherImages {
		if imageType != nil && d.OtherImages[i].ImageType == *imageType {
			return &d.OtherImages[i]
		}
	}
	return nil
}

// response is an answer to a request. Its OperationRecord is never nil.
type response struct {
	contract.Response
	raw json.RawMessage
}

// decodeResponse reads an answer. It returns false for a payload that is none.
func decodeResponse(payload []byte) (*response, bool) {
	r := &response{raw: payload}
	if json.Unmarshal(payload, &r.Response) != nil {
		return nil, false
	}
	if r.OperationRecord == nil {
		r.OperationRecord = &contract.OperationRecord{}
	}
	return r, true
}

// succeeded reports whether a final answer is a success. An inProgress that was settled as final is a
// success: the upgrade is under way, and the command does not wait for more.
func (r *response) succeeded() bool {
	switch r.Status {
	case contract.StatusSuccess, contract.StatusServiceAvailable, contract.StatusInProgress:
		return true
	default:
		return false
	}
}

// fits reports whether the image of an answer is for the device's manufacturer and type, as far as those
// are known.
func (r *response) fits(d *deviceRecord) bool {
	same := func(a, b *uint16) bool { return a == nil || b == nil || *a == *b }
	return same(r.ManufacturerCode, d.ManufacturerCode) && same(r.ImageType, d.ImageType)
}

// why returns the refusal or failure in words, with the reason or the status as the contract spells it.
func (r *response) why() string {
	word := string(r.Status)
	if r.Reason != "" {
		word = string(r.Reason)
	}
	switch {
	case r.Error == "":
		return word
	case r.Status == contract.StatusFailure && r.Reason == "":
		return r.Error
	default:
		return r.Error + " (" + word + ")"
	}
}

// decode reads a payload. It returns false where the payload cannot be read.
func decode[T any](payload []byte) (T, bool) {
	var v T
	return v, json.Unmarshal(payload, &v) == nil
}

// directory has the devices of the service, by their EUID.
type directory map[contract.EUID]*deviceRecord

// note stores a device's record. An empty payload says that the device is gone.
func (d directory) note(euid contract.EUID, payload []byte) *deviceRecord {
	if len(payload) == 0 {
		delete(d, euid)
		return nil
	}
	r, ok := decode[deviceRecord](payload)
	if !ok || r.EUID == "" {
		return nil
	}
	r.raw = payload
	d[r.EUID] = &r
	return &r
}

// sorted lists the devices: those with a name of their own first, by name, the others by EUID.
func (d directory) sorted() []*deviceRecord {
	list := make([]*deviceRecord, 0, len(d))
	for _, r := range d {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *deviceRecord) int {
		if a.named() != b.named() {
			if a.named() {
				return -1
			}
			return 1
		}
		if n := strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)); n != 0 {
			return n
		}
		return cmp.Compare(a.EUID, b.EUID)
	})
	return list
}

// queue lists the devices whose upgrades have a place in the queue: those that have begun, by name, then the
// others by their positions.
func (d directory) queue() []*deviceRecord {
	list := slices.DeleteFunc(d.sorted(), func(r *deviceRecord) bool {
		return r.Upgrade == nil || r.Upgrade.Queue == nil
	})
	position := func(r *deviceRecord) int {
		if p := r.Upgrade.Queue.Position; p != nil {
			return *p
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b *deviceRecord) int { return cmp.Compare(position(a), position(b)) })
	return list
}

// named reports whether somebody gave the device a name.
func (d *deviceRecord) named() bool { return d.Name != "" && d.Name != string(d.EUID) }

// name returns the device's name, or its EUID where it has none.
func (d directory) name(euid contract.EUID) string {
	if r := d[euid]; r != nil && r.Name != "" {
		return r.Name
	}
	return string(euid)
}

// find looks a device up as people name it: by EUID, network address or name.
func (d directory) find(text string) *deviceRecord {
	if r := d[euidOf(text)]; r != nil {
		return r
	}
	address, err := strconv.ParseUint(text, 0, 16)
	var alike []*deviceRecord
	for _, r := range d {
		switch {
		case r.Name == text, err == nil && r.NetworkAddress != nil && uint64(*r.NetworkAddress) == address:
			return r
		case strings.EqualFold(terminal.Clean(r.Name), text): // the name as it is shown
			alike = append(alike, r)
		}
	}
	if len(alike) == 1 {
		return alike[0]
	}
	return nil
}

// euidOf returns an EUID as topics spell it. It is empty for a text that is no EUID.
func euidOf(text string) contract.EUID {
	digits := strings.NewReplacer(":", "", "-", "").Replace(strings.ToLower(text))
	digits = strings.TrimPrefix(digits, "0x")
	euid := contract.EUID("0x" + digits)
	if !euid.Valid() {
		return ""
	}
	return euid
}

func version(v *uint32) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("0x%08x", *v)
}

// running returns the version that a device runs, with what the device calls it for people.
func (d *deviceRecord) running() string {
	if d.SoftwareBuild == nil {
		return version(d.CurrentVersion)
	}
	return *d.SoftwareBuild + " (" + version(d.CurrentVersion) + ")"
}

// runs returns a version that a device runs, with what the device calls it where its record is about that
// version.
func (d directory) runs(euid contract.EUID, running *uint32) string {
	r := d[euid]
	if r == nil || running == nil || r.CurrentVersion == nil || *r.CurrentVersion != *running {
		return version(running)
	}
	return terminal.Clean(r.running())
}

func hex16(v *uint16) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("0x%04x", *v)
}

// text returns what a pointer points to, or a question mark for nil.
func text[T any](v *T) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprint(*v)
}

// ago returns how long ago a time was, in one unit.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	switch d := max(0, now.Sub(*t)); {
	case d < 2*time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	}
}

// span returns a duration in words.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// size returns a number of bytes in words.
func size(n uint32) string {
	if n < 10_000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.0f kB", float64(n)/1000)
}
