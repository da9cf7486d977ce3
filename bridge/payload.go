package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The shapes of everything that the service says on MQTT. Keys are camelCase in the reference's
// vocabulary; null stands where a value is not known. Consumers are written against them, so a change here
// is a change of the contract.

type infoPayload struct {
	Version   string          `json:"version"`
	StartedAt time.Time       `json:"startedAt"`
	Dongle    donglePayload   `json:"dongle"`
	Slot      *slotPayload    `json:"slot"`
	Devices   int             `json:"devices"`
	Images    int             `json:"images"`
	Upgrades  upgradesPayload `json:"upgrades"`
}

type donglePayload struct {
	Connected bool          `json:"connected"`
	Port      *string       `json:"port"`
	Firmware  *string       `json:"firmware"`
	EUID      *message.IEEE `json:"euid"`
	PANID     *uint16       `json:"panId"`
	Channel   *uint8        `json:"channel"`
	Error     *string       `json:"error"`
}

type slotPayload struct {
	ManufacturerCode uint16 `json:"mfgId"`
	ImageType        uint16 `json:"imageTypeId"`
	ImageVersion     uint32 `json:"imageVersion"`
}

type upgradesPayload struct {
	Queued int `json:"queued"`
	Active int `json:"active"`
}

func newInfoPayload(version string, r otasvc.InfoRecord) infoPayload {
	p := infoPayload{
		Version: version, StartedAt: utc(r.StartedAt), Devices: r.Devices, Images: r.Images,
		Upgrades: upgradesPayload{Queued: r.Queued, Active: r.Active},
		Dongle: donglePayload{
			Connected: r.Dongle.Connected,
			Port:      known(r.Dongle.Port),
			Firmware:  known(r.Dongle.Firmware),
			EUID:      known(r.Dongle.EUID),
			PANID:     known(r.Dongle.PANID),
			Channel:   known(r.Dongle.Channel),
			Error:     known(r.Dongle.Error),
		},
	}
	if r.Slot != nil {
		p.Slot = (*slotPayload)(r.Slot)
	}
	return p
}

type imagesPayload struct {
	Images []registeredPayload `json:"images"`
}

type registeredPayload struct {
	DriverTypeID     string         `json:"driverTypeId"`
	DriverVersion    uint32         `json:"driverVersion"`
	ManufacturerCode uint16         `json:"mfgId"`
	ImageType        uint16         `json:"imageTypeId"`
	ImageVersion     uint32         `json:"imageVersion"`
	Size             uint32         `json:"size"`
	SHA256           string         `json:"sha256"`
	URL              string         `json:"url"`
	Title            string         `json:"title"`
	Devices          []message.IEEE `json:"devices"`
	AddedAt          time.Time      `json:"addedAt"`
	Report           *ImageReport   `json:"report"` // null: the image is missing from the store
}

func newImagesPayload(list []otasvc.RegisteredImage) imagesPayload {
	p := imagesPayload{Images: []registeredPayload{}}
	for i, r := range list {
		devices := r.Devices
		if devices == nil {
			devices = []message.IEEE{}
		}
		p.Images = append(p.Images, registeredPayload{
			DriverTypeID:     r.DriverTypeID,
			DriverVersion:    r.DriverVersion,
			ManufacturerCode: r.ManufacturerCode,
			ImageType:        r.ImageType,
			ImageVersion:     r.ImageVersion,
			Size:             r.Size,
			SHA256:           r.SHA256,
			URL:              r.URL,
			Title:            r.Title,
			Devices:          devices,
			AddedAt:          utc(r.AddedAt),
		})
		if stored := r.Stored; stored != nil {
			p.Images[i].Report = NewImageReport(stored.Wrapper, &stored.Header, stored.Warnings,
				stored.Checks)
		}
	}
	return p
}

type devicePayload struct {
	EUID             message.IEEE    `json:"euid"`
	NetworkAddress   *uint16         `json:"networkAddress"`
	Name             string          `json:"name"`
	ManufacturerName *string         `json:"manufacturerName"`
	ModelID          *string         `json:"modelId"`
	ManufacturerCode *uint16         `json:"mfgId"`
	ImageType        *uint16         `json:"imageTypeId"`
	HardwareVersion  *uint16         `json:"hardwareVersion"`
	Endpoint         *uint8          `json:"endpoint"`
	Sleepy           bool            `json:"sleepy"`
	CurrentVersion   *uint32         `json:"currentFileVersion"`
	LQI              *uint8          `json:"lqi"`
	LastSeen         *time.Time      `json:"lastSeen"`
	UpdateAvailable  bool            `json:"updateAvailable"`
	Image            *offerPayload   `json:"image"`
	Upgrade          *upgradePayload `json:"upgrade"`
	// History has the newest first; it is absent for a device that never had an upgrade.
	History []pastPayload `json:"history,omitempty"`
}

type offerPayload struct {
	ImageVersion  uint32        `json:"imageVersion"`
	Size          *uint32       `json:"size"`   // null, as the next: an index has the image, does not say,
	SHA256        *string       `json:"sha256"` // and it was not fetched yet
	URL           *string       `json:"url"`
	Source        otasvc.Source `json:"source"`
	DriverTypeID  string        `json:"driverTypeId"`
	DriverVersion uint32        `json:"driverVersion"`
	ReleaseNotes  *string       `json:"releaseNotes"`
}

type upgradePayload struct {
	State            otasvc.State   `json:"state"`
	ImageVersion     uint32         `json:"imageVersion"`
	OldImageVersion  *uint32        `json:"oldImageVersion"`
	Offset           uint32         `json:"offset"`
	Size             uint32         `json:"size"`
	Progress         float64        `json:"progress"`
	BytesPerSecond   int            `json:"bytesPerSecond"`
	RemainingSeconds *int           `json:"remainingSeconds"`
	QueuedAt         time.Time      `json:"queuedAt"`
	StartedAt        *time.Time     `json:"startedAt"`
	Attempt          int            `json:"attempt"`
	Reason           *otasvc.Reason `json:"reason"`
}

// pastPayload is an upgrade that has ended.
type pastPayload struct {
	State           otasvc.State   `json:"state"`
	Reason          *otasvc.Reason `json:"reason"`
	ImageVersion    uint32         `json:"imageVersion"`
	OldImageVersion *uint32        `json:"oldImageVersion"`
	QueuedAt        time.Time      `json:"queuedAt"`
	StartedAt       *time.Time     `json:"startedAt"`
	EndedAt         time.Time      `json:"endedAt"`
	Attempts        int            `json:"attempts"`
	Size            uint32         `json:"size"`
	Bytes           uint32         `json:"bytes"`
	BytesPerSecond  int            `json:"bytesPerSecond"`
}

func newPastPayload(u otasvc.PastUpgrade) pastPayload {
	return pastPayload{
		State:           u.State,
		Reason:          known(u.Reason),
		ImageVersion:    u.ImageVersion,
		OldImageVersion: u.OldImageVersion,
		QueuedAt:        utc(u.QueuedAt),
		StartedAt:       knownTime(u.StartedAt),
		EndedAt:         utc(u.EndedAt),
		Attempts:        u.Attempts,
		Size:            u.Size,
		Bytes:           u.Bytes,
		BytesPerSecond:  u.BytesPerSecond,
	}
}

func newDevicePayload(d otasvc.DeviceRecord) devicePayload {
	p := devicePayload{
		EUID:             d.EUID,
		NetworkAddress:   d.NetworkAddress,
		Name:             d.Name,
		ManufacturerName: known(d.ManufacturerName),
		ModelID:          known(d.ModelID),
		ManufacturerCode: d.ManufacturerCode,
		ImageType:        d.ImageType,
		HardwareVersion:  d.HardwareVersion,
		Endpoint:         known(d.Endpoint),
		Sleepy:           d.Sleepy,
		CurrentVersion:   d.CurrentVersion,
		LQI:              d.LQI,
		LastSeen:         knownTime(d.LastSeen),
		UpdateAvailable:  d.UpdateAvailable,
		Upgrade:          newUpgradePayload(d.Upgrade),
	}
	for _, u := range d.History {
		p.History = append(p.History, newPastPayload(u))
	}
	if o := d.Offer; o != nil {
		p.Image = &offerPayload{
			ImageVersion:  o.ImageVersion,
			Size:          known(o.Size),
			SHA256:        known(o.SHA256),
			URL:           known(o.URL),
			Source:        o.Source,
			DriverTypeID:  o.DriverTypeID,
			DriverVersion: o.DriverVersion,
			ReleaseNotes:  known(o.ReleaseNotes),
		}
	}
	return p
}

func newUpgradePayload(u *otasvc.UpgradeRecord) *upgradePayload {
	if u == nil {
		return nil
	}
	return &upgradePayload{
		State:            u.State,
		ImageVersion:     u.ImageVersion,
		OldImageVersion:  u.OldImageVersion,
		Offset:           u.Offset,
		Size:             u.Size,
		Progress:         u.Progress,
		BytesPerSecond:   u.BytesPerSecond,
		RemainingSeconds: u.RemainingSeconds,
		QueuedAt:         utc(u.QueuedAt),
		StartedAt:        knownTime(u.StartedAt),
		Attempt:          u.Attempt,
		Reason:           known(u.Reason),
	}
}

type eventPayload struct {
	EUID             *message.IEEE `json:"euid,omitempty"`
	Time             time.Time     `json:"time"`
	NetworkAddress   *uint16       `json:"networkAddress,omitempty"`
	ManufacturerCode *uint16       `json:"mfgId,omitempty"`
	ImageType        *uint16       `json:"imageTypeId,omitempty"`
	ImageVersion     *uint32       `json:"imageVersion,omitempty"`
	// OldImageVersion is null where it is not known, and absent where it does not apply.
	OldImageVersion **uint32      `json:"oldImageVersion,omitempty"`
	Offset          *uint32       `json:"offset,omitempty"`
	Size            *uint32       `json:"size,omitempty"`
	Progress        *float64      `json:"progress,omitempty"`
	Reason          otasvc.Reason `json:"reason,omitempty"`
	ZCLStatus       *uint8        `json:"zclStatus,omitempty"`
	Error           string        `json:"error,omitempty"`
}

func newEventPayload(e otasvc.Event) eventPayload {
	p := eventPayload{
		EUID:             known(e.EUID),
		Time:             utc(e.Time),
		NetworkAddress:   e.NetworkAddress,
		ManufacturerCode: e.ManufacturerCode,
		ImageType:        e.ImageType,
		ImageVersion:     e.ImageVersion,
		Offset:           e.Offset,
		Size:             e.Size,
		Progress:         e.Progress,
		Reason:           e.Reason,
		ZCLStatus:        e.ZCLStatus,
		Error:            e.Error,
	}
	if e.EUID != 0 && e.ImageVersion != nil {
		p.OldImageVersion = &e.OldImageVersion
	}
	return p
}

// responsePayload is an answer. The operation record is there in whole, with nulls, in every
// answer about a device.
type responsePayload struct {
	Operation   string          `json:"operation"`
	Status      otasvc.Status   `json:"status"`
	Transaction json.RawMessage `json:"transaction,omitempty"`
	*operationPayload
	UpdateAvailable *bool         `json:"updateAvailable,omitempty"`
	Source          otasvc.Source `json:"source,omitempty"`
	// Upgrade may be null, which is not the same as absent.
	Upgrade      *json.RawMessage `json:"upgrade,omitempty"`
	Reason       otasvc.Reason    `json:"reason,omitempty"`
	Results      any              `json:"results,omitempty"`
	DongleStatus *uint8           `json:"dongleStatus,omitempty"`
	Error        string           `json:"error,omitempty"`
}

type operationPayload struct {
	EUID             *message.IEEE `json:"euid"`
	ManufacturerCode *uint16       `json:"mfgId"`
	ImageType        *uint16       `json:"imageTypeId"`
	URL              *string       `json:"url"`
	DriverTypeID     *string       `json:"driverTypeId"`
	DriverVersion    *uint32       `json:"driverVersion"`
	ImageVersion     *uint32       `json:"imageVersion"`
	OldImageVersion  *uint32       `json:"oldImageVersion"`
}

type checkResultPayload struct {
	EUID            message.IEEE  `json:"euid"`
	Status          otasvc.Status `json:"status"`
	UpdateAvailable bool          `json:"updateAvailable"`
}

type upgradeResultPayload struct {
	EUID   message.IEEE   `json:"euid"`
	State  otasvc.State   `json:"state"`
	Reason *otasvc.Reason `json:"reason"`
}

func newResponsePayload(operation string, transaction json.RawMessage, a otasvc.Answer) responsePayload {
	p := responsePayload{
		Operation: operation, Status: a.Status, Transaction: transaction, UpdateAvailable: a.UpdateAvailable,
		Source: a.Source, Reason: a.Reason, DongleStatus: a.DongleStatus, Error: a.Error,
	}
	if op := a.Operation; op != nil {
		p.operationPayload = &operationPayload{
			EUID: known(op.EUID), ManufacturerCode: op.ManufacturerCode, ImageType: op.ImageType, URL: op.URL,
			DriverTypeID: op.DriverTypeID, DriverVersion: op.DriverVersion, ImageVersion: op.ImageVersion,
			OldImageVersion: op.OldImageVersion,
		}
	}
	if a.HasUpgrade {
		raw := json.RawMessage(marshal(newUpgradePayload(a.Upgrade)))
		p.Upgrade = &raw
	}
	switch {
	case a.CheckResults != nil:
		results := []checkResultPayload{}
		for _, r := range a.CheckResults {
			results = append(results, checkResultPayload(r))
		}
		p.Results = results
	case a.UpgradeResults != nil:
		results := []upgradeResultPayload{}
		for _, r := range a.UpgradeResults {
			results = append(results, upgradeResultPayload{
				EUID: r.EUID, State: r.State, Reason: known(r.Reason),
			})
		}
		p.Results = results
	}
	return p
}

// known is a pointer to v, or nil where v is its type's zero value, which stands for "not known".
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func knownTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = utc(t)
	return &t
}

// utc is the time as it stands in payloads: UTC, whole seconds.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// marshal writes one of our own payloads, which always can be. URLs keep their & so that
// people can read them.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("bridge: %T does not marshal: %v", v, err))
	}
	// Of its length: what is retained stays for long.
	return bytes.Clone(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
