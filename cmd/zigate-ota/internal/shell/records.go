package shell

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// The records as MQTT has them: of each only what is shown. Pointers are nil where the service
// does not know a value.

type deviceRecord struct {
	EUID             string         `json:"euid"`
	NetworkAddress   *uint16        `json:"networkAddress"`
	Name             string         `json:"name"`
	ManufacturerName *string        `json:"manufacturerName"`
	ModelID          *string        `json:"modelId"`
	ManufacturerCode *uint16        `json:"mfgId"`
	ImageType        *uint16        `json:"imageTypeId"`
	HardwareVersion  *uint16        `json:"hardwareVersion"`
	Endpoint         *uint8         `json:"endpoint"`
	Sleepy           bool           `json:"sleepy"`
	CurrentVersion   *uint32        `json:"currentFileVersion"`
	LQI              *uint8         `json:"lqi"`
	LastSeen         *time.Time     `json:"lastSeen"`
	UpdateAvailable  bool           `json:"updateAvailable"`
	Image            *offerRecord   `json:"image"`
	Upgrade          *upgradeRecord `json:"upgrade"`

	raw json.RawMessage
}

type offerRecord struct {
	ImageVersion uint32  `json:"imageVersion"`
	Size         *uint32 `json:"size"`
	SHA256       *string `json:"sha256"`
	URL          *string `json:"url"`
	Source       string  `json:"source"`
	DriverTypeID string  `json:"driverTypeId"`
	ReleaseNotes *string `json:"releaseNotes"`
}

type upgradeRecord struct {
	State            string     `json:"state"`
	ImageVersion     uint32     `json:"imageVersion"`
	OldImageVersion  *uint32    `json:"oldImageVersion"`
	Offset           uint32     `json:"offset"`
	Size             uint32     `json:"size"`
	Progress         float64    `json:"progress"`
	BytesPerSecond   int        `json:"bytesPerSecond"`
	RemainingSeconds *int       `json:"remainingSeconds"`
	QueuedAt         time.Time  `json:"queuedAt"`
	StartedAt        *time.Time `json:"startedAt"`
	Attempt          int        `json:"attempt"`
	Reason           *string    `json:"reason"`
}

// The states of an upgrade that commands decide on.
const (
	stateDownloaded = "downloaded"
	stateSucceeded  = "succeeded"
	stateFailed     = "failed"
	stateCancelled  = "cancelled"
)

// over reports whether the upgrade has ended.
func (u *upgradeRecord) over() bool {
	return u.State == stateSucceeded || u.State == stateFailed || u.State == stateCancelled
}

type imagesRecord struct {
	Images []imageRecord `json:"images"`
}

type imageRecord struct {
	DriverTypeID     string    `json:"driverTypeId"`
	DriverVersion    uint32    `json:"driverVersion"`
	ManufacturerCode uint16    `json:"mfgId"`
	ImageType        uint16    `json:"imageTypeId"`
	ImageVersion     uint32    `json:"imageVersion"`
	Size             uint32    `json:"size"`
	SHA256           string    `json:"sha256"`
	URL              string    `json:"url"`
	Title            string    `json:"title"`
	Devices          []string  `json:"devices"`
	AddedAt          time.Time `json:"addedAt"`
	Report           *struct {
		Checks []struct {
			Status string `json:"status"`
		} `json:"checks"`
	} `json:"report"`
}

type infoRecord struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	Dongle    struct {
		Connected bool    `json:"connected"`
		Port      *string `json:"port"`
		Firmware  *string `json:"firmware"`
		EUID      *string `json:"euid"`
		PANID     *uint16 `json:"panId"`
		Channel   *uint8  `json:"channel"`
		Error     *string `json:"error"`
	} `json:"dongle"`
	Slot *struct {
		ManufacturerCode uint16 `json:"mfgId"`
		ImageType        uint16 `json:"imageTypeId"`
		ImageVersion     uint32 `json:"imageVersion"`
	} `json:"slot"`
	Devices  int `json:"devices"`
	Images   int `json:"images"`
	Upgrades struct {
		Queued int `json:"queued"`
		Active int `json:"active"`
	} `json:"upgrades"`

	raw json.RawMessage
}

// response is an answer to a request.
type response struct {
	Operation        string          `json:"operation"`
	Status           string          `json:"status"`
	Transaction      json.RawMessage `json:"transaction"`
	EUID             *string         `json:"euid"`
	ManufacturerCode *uint16         `json:"mfgId"`
	ImageType        *uint16         `json:"imageTypeId"`
	ImageVersion     *uint32         `json:"imageVersion"`
	OldImageVersion  *uint32         `json:"oldImageVersion"`
	UpdateAvailable  *bool           `json:"updateAvailable"`
	Reason           string          `json:"reason"`
	Error            string          `json:"error"`
	Results          []struct {
		EUID            string  `json:"euid"`
		Status          string  `json:"status"`          // of a check
		UpdateAvailable bool    `json:"updateAvailable"` // of a check
		State           string  `json:"state"`           // of an upgrade
		Reason          *string `json:"reason"`          // of an upgrade
	} `json:"results"`

	raw json.RawMessage
}

// The statuses that commands decide on.
const (
	statusInProgress = "inProgress"
	statusSuccess    = "success"
	statusAvailable  = "serviceAvailable"
	statusFailure    = "failure"
)

// succeeded reports whether a final answer is a success. inProgress is one where it was settled as final:
// what was asked for is under way, and no more was to be waited for.
func (r *response) succeeded() bool {
	return r.Status == statusSuccess || r.Status == statusAvailable || r.Status == statusInProgress
}

// fits reports whether the image of an answer is of the device's kind, as far as that is known.
func (r *response) fits(d *deviceRecord) bool {
	same := func(a, b *uint16) bool { return a == nil || b == nil || *a == *b }
	return same(r.ManufacturerCode, d.ManufacturerCode) && same(r.ImageType, d.ImageType)
}

// why is the refusal or failure for a person, with the word that scripts and other people know it by.
func (r *response) why() string {
	word := r.Status
	if r.Reason != "" {
		word = r.Reason
	}
	switch {
	case r.Error == "":
		return word
	case word == statusFailure:
		return r.Error
	default:
		return r.Error + " (" + word + ")"
	}
}

// decode reads a payload; what cannot be read is of no use to anybody.
func decode[T any](payload []byte) (T, bool) {
	var v T
	return v, json.Unmarshal(payload, &v) == nil
}

// directory is the devices of the service by their EUID.
type directory map[string]*deviceRecord

// note takes a device's record; an empty payload says that the device is gone.
func (d directory) note(euid string, payload []byte) *deviceRecord {
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
		return strings.Compare(a.EUID, b.EUID)
	})
	return list
}

// named reports whether somebody gave the device a name.
func (r *deviceRecord) named() bool { return r.Name != "" && r.Name != r.EUID }

// name is what the device is called.
func (d directory) name(euid string) string {
	if r := d[euid]; r != nil && r.Name != "" {
		return r.Name
	}
	return euid
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
		case strings.EqualFold(terminal.Clean(r.Name), text): // as it is shown
			alike = append(alike, r)
		}
	}
	if len(alike) == 1 {
		return alike[0]
	}
	return nil
}

// euidOf is an EUID as topics have it, "" for what is none.
func euidOf(text string) string {
	digits := strings.NewReplacer(":", "", "-", "").Replace(strings.ToLower(text))
	digits = strings.TrimPrefix(digits, "0x")
	if len(digits) != 16 {
		return ""
	}
	if _, err := strconv.ParseUint(digits, 16, 64); err != nil {
		return ""
	}
	return "0x" + digits
}

func version(v *uint32) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("0x%08x", *v)
}

func hex16(v *uint16) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("0x%04x", *v)
}

// text is what a pointer points to, or what stands for "not known".
func text[T any](v *T) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprint(*v)
}

// ago is how long ago a time was, in one unit.
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

// span is a duration for people.
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

// size is a number of bytes for people.
func size(n uint32) string {
	if n < 10_000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.0f kB", float64(n)/1000)
}
