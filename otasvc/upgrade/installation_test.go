package upgrade_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

func TestInstallationIsHeld(t *testing.T) {
	l := in(upgrade.StageFinishing)
	if !l.KeepsLastBlock() || !l.SlotIsKeptEmpty(l.now) {
		t.Error("the slot is not kept empty")
	}
	want := upgrade.AnswerEnd{Sequence: 7, FileVersion: newVersion, UpgradeTime: message.UpgradeTimeWait}
	if effects := l.ends(message.OTASuccess, false); effects[0] != want {
		t.Errorf("%#v", effects)
	}
	if l.SlotIsKeptEmpty(l.now) || !l.HoldsInstallation(l.now) {
		t.Error("the slot is kept empty still, or the installation is not held")
	}
	if effects := l.ends(message.OTASuccess, false); effects[0] != want || len(effects) != 1 {
		t.Errorf("asked again: %#v", effects)
	}
	effects := l.step(upgrade.Release{Ticket: upgrade.Ticket(`"another"`)})
	want.UpgradeTime = upgrade.InstallIn
	if effects[0] != want {
		t.Errorf("%#v", effects)
	}
	if len(l.Tickets()) != 2 || !tells(effects, upgrade.UpgradeApplying) {
		t.Errorf("tickets %s, %#v", l.Tickets(), effects)
	}
}

// The last block was sent, and nothing came: the download goes on after half a minute, with the header
// loaded.
func TestLastBlockIsLost(t *testing.T) {
	l := in(upgrade.StageFinishing)
	if took := l.until(t, upgrade.StageDownloading); took != 30*time.Second {
		t.Errorf("after %v", took)
	}
	l = in(upgrade.StageFinishing)
	l.step(upgrade.Pause{}) // the block may be on its way
	if !l.SlotIsKeptEmpty(l.now) {
		t.Error("a pause has the header loaded")
	}
}

// The dongle holds the header at the end of the download: it has told the device to install.
func TestInstallationCannotBeHeld(t *testing.T) {
	l := in(upgrade.StageFinishing)
	effects := l.ends(message.OTASuccess, true)
	if l.Stage() != upgrade.StageApplying || effects[0] != (upgrade.Remark{What: upgrade.NotHeld}) {
		t.Errorf("stage %s, %#v", stageNames[l.Stage()], effects)
	}
}

func TestInstallationAtATime(t *testing.T) {
	o := order()
	o.Installation.When = upgrade.InstallAt
	o.Installation.At = noon.Add(2 * time.Hour)
	l := begin(o)
	l.step(upgrade.Offered{Version: newVersion})
	l.asks(0)
	l.ends(message.OTASuccess, false)
	if took := l.until(t, upgrade.StageApplying); took != 2*time.Hour {
		t.Errorf("after %v", took)
	}
}

func TestInstallationIsNeverReleased(t *testing.T) {
	l := in(upgrade.StageDownloaded)
	if took := l.until(t, upgrade.StageCancelled); took != 30*24*time.Hour {
		t.Errorf("after %v", took)
	}
}

// TestHoldLimit: who has an installation held is told where the device will not wait for so long.
func TestHoldLimit(t *testing.T) {
	const says = "2 hours"
	tests := map[string]struct {
		limit   time.Duration
		install upgrade.Install
		in      time.Duration // from the request on
		told    bool
	}{
		"held, and it waits":         {install: upgrade.InstallHold},
		"held, and it does not":      {limit: 2 * time.Hour, install: upgrade.InstallHold, told: true},
		"at a time, and it waits":    {install: upgrade.InstallAt, in: 48 * time.Hour},
		"at a time, soon":            {limit: 2 * time.Hour, install: upgrade.InstallAt, in: time.Hour},
		"at a time, and it does not": {limit: 2 * time.Hour, install: upgrade.InstallAt, in: 48 * time.Hour, told: true},
		"at once":                    {limit: 2 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := order()
			o.Installation.When = tt.install
			o.Installation.HoldLimit = tt.limit
			if tt.in > 0 {
				o.Installation.At = noon.Add(tt.in)
			}
			l := begin(o)
			if told := strings.Contains(l.HeldTooShort(), says); told != tt.told {
				t.Errorf("at the request: %q", l.HeldTooShort())
			}
			if l.Why() != "" {
				t.Errorf("in the queue: %q", l.Why())
			}
			l.step(upgrade.Offered{Version: newVersion})
			l.asks(0)
			l.ends(message.OTASuccess, false)
			l.restart(t)
			told := strings.Contains(l.Record(l.now).Error, says)
			if told != tt.told || tt.install != upgrade.InstallNow && l.Stage() != upgrade.StageDownloaded {
				t.Errorf("in stage %s: %q", stageNames[l.Stage()], l.Why())
			}
			l.step(upgrade.VersionRead{Version: newVersion})
			if l.State() != upgrade.Succeeded || l.Why() != "" {
				t.Errorf("it installed by itself: %s, %q", l.State(), l.Why())
			}
		})
	}
}
