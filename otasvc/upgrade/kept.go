package upgrade

import (
	"encoding/json"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// kept is an upgrade in the state file. Its keys and their meaning must stay.
type kept struct {
	State            State         `json:"state"`
	Reason           Reason        `json:"reason,omitempty"`
	Refused          bool          `json:"refused,omitempty"`
	Sentence         string        `json:"error,omitempty"` // why it was refused
	Before           *Tried        `json:"before,omitempty"`
	Fetch            *Fetch        `json:"fetch,omitempty"` // its image is being fetched
	Missing          bool          `json:"missing,omitempty"`
	NoVersion        bool          `json:"noVersion,omitempty"`
	SHA256           string        `json:"sha256"`
	ManufacturerCode uint16        `json:"manufacturerCode"`
	ImageType        uint16        `json:"imageType"`
	ImageVersion     uint32        `json:"imageVersion"`
	Size             uint32        `json:"size"`
	URL              string        `json:"url,omitempty"`
	DriverTypeID     string        `json:"driverTypeId,omitempty"`
	DriverVersion    uint32        `json:"driverVersion,omitempty"`
	OldVersion       *uint32       `json:"oldVersion,omitempty"`
	ToldAs           *uint32       `json:"toldAs,omitempty"`
	QueuedAt         time.Time     `json:"queuedAt"`
	DueAt            time.Time     `json:"dueAt,omitzero"`
	OfferedAt        time.Time     `json:"offeredAt,omitzero"`
	StartedAt        time.Time     `json:"startedAt,omitzero"`
	EndedAt          time.Time     `json:"endedAt,omitzero"`
	DownloadedAt     time.Time     `json:"downloadedAt,omitzero"`
	ApplyingAt       time.Time     `json:"applyingAt,omitzero"`
	Attempt          int           `json:"attempt"`
	VainAttempts     int           `json:"vainAttempts,omitempty"`
	FurthestOffset   uint32        `json:"furthestOffset,omitempty"` // of all attempts that have failed
	Offset           uint32        `json:"offset,omitempty"`
	StartOffset      uint32        `json:"startOffset,omitempty"`
	Tickets          []Ticket      `json:"tickets,omitempty"`
	OfferedVersion   uint32        `json:"offeredVersion"`
	Install          Install       `json:"install,omitempty"`
	InstallAt        time.Time     `json:"installAt,omitzero"`
	HoldLimit        time.Duration `json:"holdLimit,omitempty"`
	WasHeld          bool          `json:"wasHeld,omitempty"`
	EndSequence      uint8         `json:"endSequence,omitempty"`
	Held             bool          `json:"held,omitempty"`      // a person paused it
	AsideUntil       time.Time     `json:"asideUntil,omitzero"` // the end of a putting off
	AsideTold        bool          `json:"asideTold,omitempty"` // the device knows of that end
	WaitsUntil       time.Time     `json:"waitsUntil,omitzero"` // the device was told to wait
	Group            uint64        `json:"group,omitempty"`
	Forced           bool          `json:"forced,omitempty"`
	Canary           message.IEEE  `json:"canary,omitempty"`
	Setback          Reason        `json:"setback,omitempty"` // of the attempt before this one
	PausedUntil      time.Time     `json:"pausedUntil,omitzero"`
	ZCLStatus        *uint8        `json:"zclStatus,omitempty"`
	Verify           keptVerify    `json:"verify,omitzero"`
}

// keptVerify is what was seen of a device since its download ended.
type keptVerify struct {
	Announced     bool    `json:"announced,omitempty"`
	OldReadings   int     `json:"oldReadings,omitempty"`
	OtherReadings int     `json:"otherReadings,omitempty"`
	Running       *uint32 `json:"running,omitempty"` // told last
}

// MarshalJSON writes what is kept of the upgrade.
func (u *Upgrade) MarshalJSON() ([]byte, error) {
	o := &u.order
	return json.Marshal(kept{
		State:            u.State(),
		Reason:           u.outcome.reason,
		Refused:          u.outcome.refused,
		Sentence:         u.outcome.sentence,
		Before:           u.outcome.before,
		Fetch:            o.Fetch,
		Missing:          o.Missing,
		NoVersion:        o.NoVersion,
		SHA256:           o.SHA256,
		ManufacturerCode: o.ManufacturerCode,
		ImageType:        o.ImageType,
		ImageVersion:     o.ImageVersion,
		Size:             o.Size,
		URL:              o.URL,
		DriverTypeID:     o.DriverTypeID,
		DriverVersion:    o.DriverVersion,
		OldVersion:       o.OldVersion,
		ToldAs:           o.ToldAs,
		QueuedAt:         u.queuedAt,
		DueAt:            o.DueAt,
		OfferedAt:        u.offeredAt,
		StartedAt:        u.startedAt,
		EndedAt:          u.endedAt,
		DownloadedAt:     u.downloadedAt,
		ApplyingAt:       u.applyingAt,
		Attempt:          u.tries.attempt,
		VainAttempts:     u.tries.vain,
		FurthestOffset:   u.tries.furthest,
		Offset:           u.offset,
		StartOffset:      u.startOffset,
		Tickets:          o.Tickets,
		OfferedVersion:   u.offeredVersion,
		Install:          o.Installation.When,
		InstallAt:        o.Installation.At,
		HoldLimit:        o.Installation.HoldLimit,
		WasHeld:          u.wasHeld,
		EndSequence:      u.endRequest.sequence,
		Held:             u.stage.PausedByPerson(),
		AsideUntil:       u.deadlines.at(purposePutOffEnds),
		AsideTold:        u.PutOffTold(),
		WaitsUntil:       u.waitsUntil,
		Group:            o.Group,
		Forced:           o.Forced,
		Canary:           u.precedence.canary,
		Setback:          u.precedence.setback,
		PausedUntil:      u.deadlines.at(purposePauseEnds),
		ZCLStatus:        u.endRequest.zclStatus,
		Verify:           keptVerify{u.announced, u.oldReadings, u.otherReadings, u.running},
	})
}

// UnmarshalJSON reads what was kept of an upgrade, also by earlier versions. Restored has to follow. An
// upgrade in a state that this version does not know is taken for cancelled.
func (u *Upgrade) UnmarshalJSON(data []byte) error {
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	*u = Upgrade{
		order: Order{
			Image: Image{
				SHA256:           k.SHA256,
				ManufacturerCode: k.ManufacturerCode,
				ImageType:        k.ImageType,
				ImageVersion:     k.ImageVersion,
				Size:             k.Size,
				URL:              k.URL,
				DriverTypeID:     k.DriverTypeID,
				DriverVersion:    k.DriverVersion,
				Missing:          k.Missing,
				NoVersion:        k.NoVersion,
			},
			OldVersion: k.OldVersion,
			ToldAs:     k.ToldAs,
			DueAt:      k.DueAt,
			Tickets:    k.Tickets,
			Installation: Installation{
				When:      k.Install,
				At:        k.InstallAt,
				HoldLimit: k.HoldLimit,
			},
			Group:  k.Group,
			Forced: k.Forced,
			Fetch:  k.Fetch,
		},
		precedence:     precedence{canary: k.Canary, setback: k.Setback},
		stage:          k.stage(),
		outcome:        outcome{k.Reason, k.Refused, k.Sentence, k.Before},
		queuedAt:       k.QueuedAt,
		offeredAt:      k.OfferedAt,
		startedAt:      k.StartedAt,
		endedAt:        k.EndedAt,
		downloadedAt:   k.DownloadedAt,
		applyingAt:     k.ApplyingAt,
		tries:          tries{attempt: k.Attempt, vain: k.VainAttempts, furthest: k.FurthestOffset},
		offset:         k.Offset,
		startOffset:    k.StartOffset,
		offeredVersion: k.OfferedVersion,
		wasHeld:        k.WasHeld,
		endRequest:     endRequest{zclStatus: k.ZCLStatus, sequence: k.EndSequence},
		putOffTold:     k.AsideTold,
		waitsUntil:     k.WaitsUntil,
		verification: verification{
			announced:     k.Verify.Announced,
			oldReadings:   k.Verify.OldReadings,
			otherReadings: k.Verify.OtherReadings,
			running:       k.Verify.Running,
		},
	}
	if u.Ended() && k.State != u.State() {
		u.outcome.reason = ReasonCancelled
	}
	u.deadlines.set(purposePutOffEnds, k.AsideUntil)
	u.deadlines.set(purposePauseEnds, k.PausedUntil)
	u.deadlines.leave(u.stage)
	return nil
}

// stage tells what people are told apart from what a state was: the file has the one, and enough besides to
// know the other.
func (k *kept) stage() Stage {
	switch k.State {
	case Fetching:
		return StageFetching
	case Scheduled:
		return StageScheduled
	case Queued:
		return StageQueued
	case Notified:
		return StageNotified
	case Downloading:
		return StageDownloading
	case Paused:
		return k.pausedStage()
	case Downloaded:
		return StageDownloaded
	case Applying:
		return StageApplying
	case Succeeded:
		return StageSucceeded
	case Failed:
		return StageFailed
	default:
		return StageCancelled
	}
}

// pausedStage tells the stages apart of which people are told that the upgrade is paused.
func (k *kept) pausedStage() Stage {
	switch {
	case !k.AsideUntil.IsZero() && k.Held:
		return StagePutOffPaused
	case !k.AsideUntil.IsZero():
		return StagePutOff
	case k.StartedAt.IsZero():
		return StagePausedInQueue
	default:
		return StagePaused
	}
}
