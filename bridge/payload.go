package bridge

import (
	"encoding/json"
	"net/url"
	"path"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/needs"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// The functions below turn the service's records into the contract's, field by field. States, reasons and
// other words are spelled the same on both sides, which a test of the contract proves.

func newInfo(version string, r otasvc.InfoRecord) contract.Info {
	p := contract.Info{
		Version:   version,
		StartedAt: utc(r.StartedAt),
		Dongle:    newDongle(r.Dongle),
		Devices:   r.Devices,
		Images:    r.Images,
		Upgrades: contract.UpgradeCounts{
			Queued:      r.Queued,
			Active:      r.Active,
			ExpectedEnd: knownTime(r.DownloadsEnd),
		},
	}
	if r.Slot != nil {
		p.Slot = &contract.Slot{
			ManufacturerCode: r.Slot.ManufacturerCode,
			ImageType:        r.Slot.ImageType,
			ImageVersion:     r.Slot.ImageVersion,
		}
	}
	return p
}

func newDongle(d otasvc.DongleInfo) contract.Dongle {
	return contract.Dongle{
		Connected: d.Connected,
		Port:      known(d.Port),
		Firmware:  known(d.Firmware),
		EUID:      knownEUID(d.EUID),
		PANID:     known(d.PANID),
		Channel:   known(d.Channel),
		Error:     known(d.Error),
	}
}

func newImages(list []otasvc.RegisteredImage) contract.Images {
	p := contract.Images{Images: []contract.RegisteredImage{}}
	for _, r := range list {
		p.Images = append(p.Images, newRegisteredImage(r))
	}
	return p
}

func newRegisteredImage(r otasvc.RegisteredImage) contract.RegisteredImage {
	p := contract.RegisteredImage{
		DriverTypeID:     r.Offer.DriverTypeID,
		DriverVersion:    r.Offer.DriverVersion,
		ManufacturerCode: r.Offer.ManufacturerCode,
		ImageType:        r.Offer.ImageType,
		ImageVersion:     r.Offer.ImageVersion,
		Size:             r.Offer.Size,
		SHA256:           contract.SHA256(r.Offer.SHA256),
		URL:              r.Offer.URL,
		Title:            r.Offer.Title,
		FileName:         fileName(r.Offer.URL),
		Devices:          []contract.EUID{},
		AddedAt:          utc(r.AddedAt),
	}
	for _, d := range r.Devices {
		p.Devices = append(p.Devices, euid(d))
	}
	if stored := r.Stored; stored != nil {
		p.Report = NewReport(stored.Wrapper, &stored.Header, stored.Warnings, stored.Checks)
	}
	return p
}

// NewReport puts what was found out about an image file into the contract's terms. The wrapper is empty where
// the file came without a container.
func NewReport(
	wrapper string, h *otafile.Header, warnings []string, checks []otafile.Check,
) *contract.Report {
	r := &contract.Report{
		Wrapper:            wrapper,
		HeaderString:       h.Title(),
		StackVersion:       h.StackVersion,
		MinHardwareVersion: h.MinHardwareVersion,
		MaxHardwareVersion: h.MaxHardwareVersion,
		Warnings:           []string{},
		Checks:             []contract.Check{},
	}
	r.Warnings = append(r.Warnings, warnings...)
	for _, c := range checks {
		r.Checks = append(r.Checks, contract.Check{
			Name:     c.Name,
			Status:   contract.CheckStatus(c.Status.String()),
			Detail:   c.Detail,
			Expected: c.Expected,
			Found:    c.Found,
		})
	}
	return r
}

func newDevice(d otasvc.DeviceRecord) contract.Device {
	p := contract.Device{
		EUID:             euid(d.EUID),
		NetworkAddress:   d.NetworkAddress,
		Name:             d.Name,
		ManufacturerName: known(d.ManufacturerName),
		ModelID:          known(d.ModelID),
		ManufacturerCode: d.ManufacturerCode,
		ImageType:        d.ImageType,
		HardwareVersion:  d.HardwareVersion,
		Endpoint:         known(d.Endpoint),
		Sleepy:           d.Heard.Sleepy,
		CurrentVersion:   d.CurrentVersion,
		SoftwareBuild:    known(d.ForPeople.SoftwareBuild),
		DateCode:         known(d.ForPeople.DateCode),
		OtherServer:      knownEUID(d.ForPeople.OtherServer),
		LQI:              d.Heard.LQI,
		LastSeen:         knownTime(d.Heard.LastSeen),
		UpdateAvailable:  d.UpdateAvailable,
		Image:            newOffer(d.Offer),
		Upgrade:          newUpgrade(d.Upgrade, d.Queue),
		Settings:         newSettings(d.Settings),
	}
	for _, o := range d.OtherImages {
		p.OtherImages = append(p.OtherImages, newOtherImage(o))
	}
	for _, u := range d.History {
		p.History = append(p.History, newPastUpgrade(u))
	}
	return p
}

func newOtherImage(o otasvc.OtherImage) contract.OtherImage {
	return contract.OtherImage{
		Endpoint:         known(o.Endpoint),
		ManufacturerCode: o.ManufacturerCode,
		ImageType:        o.ImageType,
		CurrentVersion:   o.CurrentVersion,
		UpdateAvailable:  o.UpdateAvailable,
		Image:            newOffer(o.Offer),
	}
}

func newSettings(s needs.Settings) contract.Settings {
	return contract.Settings{
		Excluded:            s.Excluded,
		BlockSize:           s.BlockSize,
		BlockIntervalMS:     in(time.Millisecond, s.BlockInterval),
		StallTimeoutSeconds: in(time.Second, s.StallTimeout),
		NotifyAttempts:      s.NotifyAttempts,
	}
}

// in is a length of time in whole units; nil for nil.
func in(unit time.Duration, d *time.Duration) *uint32 {
	if d == nil {
		return nil
	}
	n := uint32(*d / unit)
	return &n
}

func newOffer(o *otasvc.Offer) *contract.Offer {
	if o == nil {
		return nil
	}
	return &contract.Offer{
		ImageVersion:  o.ImageVersion,
		Size:          known(o.Size),
		SHA256:        known(contract.SHA256(o.SHA256)),
		URL:           known(o.URL),
		Source:        contract.Source(o.Source),
		DriverTypeID:  o.DriverTypeID,
		DriverVersion: o.DriverVersion,
		ReleaseNotes:  known(o.ReleaseNotes),
		Title:         known(o.Title),
		FileName:      known(fileName(o.URL)),
	}
}

// fileName is the last part of a URL as people name the file; empty where there is none.
func fileName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		return ""
	}
	return name
}

// newUpgrade returns an upgrade with its place in the queue; either may be nil.
func newUpgrade(u *upgrade.Record, place *slot.Place) *contract.Upgrade {
	if u == nil {
		return nil
	}
	return &contract.Upgrade{
		State:            contract.State(u.State),
		ImageType:        u.ImageType,
		ImageVersion:     u.ImageVersion,
		OldImageVersion:  u.OldImageVersion,
		RunningVersion:   u.RunningVersion,
		Offset:           u.Offset,
		Size:             u.Size,
		Progress:         contract.Percent(u.Progress),
		BytesPerSecond:   u.BytesPerSecond,
		RemainingSeconds: u.RemainingSeconds,
		QueuedAt:         utc(u.QueuedAt),
		StartedAt:        knownTime(u.StartedAt),
		Attempt:          u.Attempt,
		Reason:           known(contract.Reason(u.Reason)),
		Error:            known(u.Error),
		WaitsFor:         knownEUID(u.WaitsFor),
		Queue:            newPlace(place),
	}
}

func newPlace(p *slot.Place) *contract.Place {
	if p == nil {
		return nil
	}
	return &contract.Place{
		Position:      known(p.Position),
		WaitsFor:      known(contract.Wait(p.WaitsFor)),
		ExpectedStart: knownTime(p.Start),
		ExpectedEnd:   knownTime(p.End),
	}
}

func newPastUpgrade(u upgrade.Past) contract.PastUpgrade {
	var imageType *uint16
	if u.Kind != nil {
		imageType = &u.Kind.ImageType
	}
	return contract.PastUpgrade{
		ImageType:       imageType,
		State:           contract.State(u.State),
		Reason:          known(contract.Reason(u.Reason)),
		ImageVersion:    u.ImageVersion,
		OldImageVersion: u.OldImageVersion,
		RunningVersion:  u.RunningVersion,
		QueuedAt:        utc(u.QueuedAt),
		StartedAt:       knownTime(u.StartedAt),
		EndedAt:         utc(u.EndedAt),
		Attempts:        u.Attempts,
		Size:            u.Size,
		Bytes:           u.Bytes,
		BytesPerSecond:  u.BytesPerSecond,
	}
}

func newEvent(e otasvc.Event) contract.Event {
	return contract.Event{
		EUID:             knownEUID(e.EUID),
		Time:             utc(e.Time),
		NetworkAddress:   e.NetworkAddress,
		ManufacturerCode: e.ManufacturerCode,
		ImageType:        e.ImageType,
		ImageVersion:     e.ImageVersion,
		OldImageVersion: contract.Optional[uint32]{
			Present: e.EUID != 0 && (e.ImageVersion != nil || e.Reason != ""),
			Value:   e.OldImageVersion,
		},
		Offset:    e.Offset,
		Size:      e.Size,
		Progress:  (*contract.Percent)(e.Progress),
		Reason:    contract.Reason(e.Reason),
		ZCLStatus: e.ZCLStatus,
		Error:     e.Error,
	}
}

func newResponse(operation string, transaction json.RawMessage, a otasvc.Answer) contract.Response {
	return contract.Response{
		Operation:       operation,
		Status:          contract.Status(a.Status),
		Transaction:     transaction,
		OperationRecord: newOperationRecord(a.Operation),
		RunningVersion:  a.RunningVersion,
		UpdateAvailable: a.UpdateAvailable,
		Source:          contract.Source(a.Source),
		Upgrade: contract.Optional[contract.Upgrade]{
			Present: a.HasUpgrade,
			Value:   newUpgrade(a.Upgrade, a.Queue),
		},
		Reason:       contract.Reason(a.Reason),
		Results:      newResults(a),
		DongleStatus: a.DongleStatus,
		Error:        a.Error,
	}
}

func newOperationRecord(op *otasvc.Operation) *contract.OperationRecord {
	if op == nil {
		return nil
	}
	return &contract.OperationRecord{
		EUID:             knownEUID(op.EUID),
		ManufacturerCode: op.ManufacturerCode,
		ImageType:        op.ImageType,
		URL:              op.URL,
		DriverTypeID:     op.DriverTypeID,
		DriverVersion:    op.DriverVersion,
		ImageVersion:     op.ImageVersion,
		OldImageVersion:  op.OldImageVersion,
	}
}

// newResults returns the results of a request for all devices. The list is empty where no device was found;
// there is no list where the request was for one device.
func newResults(a otasvc.Answer) contract.Results {
	var p contract.Results
	if a.CheckResults != nil {
		p.Checks = []contract.CheckResult{}
	} else if a.UpgradeResults != nil {
		p.Upgrades = []contract.UpgradeResult{}
	}
	for _, r := range a.CheckResults {
		p.Checks = append(p.Checks, contract.CheckResult{
			EUID:            euid(r.EUID),
			Status:          contract.Status(r.Status),
			UpdateAvailable: r.UpdateAvailable,
		})
	}
	for _, r := range a.UpgradeResults {
		p.Upgrades = append(p.Upgrades, contract.UpgradeResult{
			EUID:      euid(r.EUID),
			ImageType: r.ImageType,
			State:     contract.State(r.State),
			Reason:    known(contract.Reason(r.Reason)),
		})
	}
	return p
}

// euid is an IEEE address as the contract writes it.
func euid(e message.IEEE) contract.EUID { return contract.EUID(e.String()) }

// knownEUID is an IEEE address, or nil where it is 0, which stands for "not known".
func knownEUID(e message.IEEE) *contract.EUID {
	if e == 0 {
		return nil
	}
	text := euid(e)
	return &text
}

// known is a pointer to v, or nil where v is its type's zero value, which stands for "not known".
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// knownTime is the time as it stands in payloads, or nil for the zero time, which stands for "not known".
func knownTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = utc(t)
	return &t
}

// utc is the time as it stands in payloads: UTC, whole seconds.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
