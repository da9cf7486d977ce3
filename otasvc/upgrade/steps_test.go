package upgrade_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// stageNames are the columns of the table below, in the order of the stages.
var stageNames = strings.Fields("fet sch que piq not dow fin pau off ofp had app suc fai can")

// happenings are the rows of the table below.
var happenings = []struct {
	name  string
	event upgrade.Event
}{
	{"fileProgress", upgrade.FileProgress{Done: 50_000, Total: imageSize}},
	{"imageAdded", upgrade.ImageAdded{Image: order().Image}},
	{"imageFetched", upgrade.ImageFetched{Image: order().Image}},
	{"refused", upgrade.Refusal{Reason: upgrade.ReasonImageAccessFailed}},
	{"due", upgrade.Tick{}},
	{"offered", upgrade.Offered{Version: newVersion}},
	{"slotGivenUp", upgrade.SlotGivenUp{InVain: true}},
	{"putOff", upgrade.PutOff{Until: noon.Add(3 * time.Hour), Told: true}},
	{"calledBack", upgrade.CalledBack{}},
	{"progress", upgrade.Progress{Position: 20_000, StartedAt: noon, LastRequest: noon}},
	{"lastBlock", upgrade.LastBlockAsked{}},
	{"lastBlockFixed", upgrade.LastBlockAsked{SlotFixed: true}},
	{"endSuccess", upgrade.EndRequested{Status: message.OTASuccess, FileVersion: newVersion}},
	{"endAborted", upgrade.EndRequested{Status: message.OTAAbort, FileVersion: newVersion}},
	{"endInvalid", upgrade.EndRequested{Status: message.OTAInvalidImage, FileVersion: newVersion}},
	{"endNeedsMore", upgrade.EndRequested{Status: message.OTARequireMoreImage, FileVersion: newVersion}},
	{"pause", upgrade.Pause{}},
	{"resume", upgrade.Resume{}},
	{"release", upgrade.Release{}},
	{"releasedByHand", upgrade.ReleasedByHand{}},
	{"cancel", upgrade.Cancel{}},
	{"forgotten", upgrade.Forgotten{}},
	{"newVersion", upgrade.VersionRead{Version: newVersion}},
	{"oldVersion", upgrade.VersionRead{Version: oldVersion}},
	{"announced", upgrade.Announced{}},
	{"heard", upgrade.Heard{}},
	{"queried", upgrade.Queried{}},
	{"stillAsks", upgrade.StillAsks{}},
	{"notifySent", upgrade.NotifySent{First: true}},
	{"notifyBusy", upgrade.NotifyBusy{Again: noon.Add(3 * time.Hour)}},
	{"readingDone", upgrade.ReadingDone{}},
	{"imageRemoved", upgrade.ImageRemoved{}},
	{"unavailable", upgrade.ImageUnavailable{}},
	{"waitsFor", upgrade.WaitsFor{Device: 2}},
	{"canaryFailed", upgrade.CanaryFailed{}},
	{"batteryLow", upgrade.BatteryLow{}},
	{"wrongHardware", upgrade.WrongHardware{Why: "the image is for others"}},
	{"dongleBack", upgrade.DongleBack{}},
	{"dongleReplaced", upgrade.DongleReplaced{}},
	{"dongleLost", upgrade.Tick{Facts: upgrade.Facts{Hindered: true, Away: 31 * 24 * time.Hour}}},
	{"noBlocks", upgrade.NoBlocks{}},
	{"dongleRefuses", upgrade.DongleRefuses{}},
	{"triedInVain", upgrade.DongleRefuses{Tried: true}},
	{"restored", upgrade.Restored{LongestWait: time.Hour}},
	{"recordTold", upgrade.RecordTold{}},
	{"answered", upgrade.Answered{}},
}

// wanted says for every stage and every event what stage follows. A dot stands for nothing at all: no effect,
// no other stage. An equals sign stands for effects without another stage. No further attempts are left.
const wanted = `
event          fet sch que piq not dow fin pau off ofp had app suc fai can
fileProgress   =   .   .   .   .   .   .   .   .   .   .   .   .   .   .
imageAdded     =   .   .   .   .   .   .   .   .   .   .   .   .   .   .
imageFetched   que .   .   .   .   .   .   .   .   .   .   .   .   .   .
refused        fai .   .   .   .   .   .   .   .   .   .   .   .   .   .
due            .   que .   .   .   .   dow .   .   .   .   .   .   .   .
offered        .   .   not .   .   .   .   .   .   .   .   .   .   .   .
slotGivenUp    .   .   .   .   que .   .   .   .   .   .   .   .   .   .
putOff         .   .   .   .   .   off .   ofp .   .   .   .   .   .   .
calledBack     .   .   .   .   .   .   .   .   dow pau .   .   .   .   .
progress       .   .   dow .   dow =   =   .   .   .   .   .   .   .   .
lastBlock      .   .   .   .   .   fin =   .   .   .   .   .   .   .   .
lastBlockFixed .   .   .   .   .   can can .   .   .   .   .   .   .   .
endSuccess     =   =   =   =   app app had app app app =   =   .   .   .
endAborted     .   .   .   .   fai fai fai fai fai fai .   fai .   .   .
endInvalid     .   .   =   =   fai fai fai fai fai fai =   fai .   .   .
endNeedsMore   .   .   .   .   fai fai fai fai fai fai .   .   .   .   .
pause          .   .   piq =   pau pau pau =   ofp =   .   .   .   .   .
resume         .   .   .   que .   .   .   dow .   off .   .   .   .   .
release        .   .   .   .   .   .   .   .   .   .   app .   .   .   .
releasedByHand .   .   .   .   .   .   .   .   .   .   app .   .   .   .
cancel         can can can can can can can can can can can .   .   .   .
forgotten      can can can can can can can can can can can can .   .   .
newVersion     .   .   .   suc suc suc suc suc suc suc suc suc .   .   .
oldVersion     .   .   .   .   .   .   .   .   .   .   .   =   .   .   .
announced      .   .   .   .   =   =   =   .   .   .   =   =   .   .   .
heard          .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
queried        .   .   .   .   .   =   .   .   .   .   .   .   .   .   .
stillAsks      .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
notifySent     =   =   =   =   =   =   =   =   =   =   =   =   .   .   .
notifyBusy     .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
readingDone    .   .   .   .   .   .   .   .   .   .   .   =   .   .   .
imageRemoved   can can can can can can can can can can can .   .   .   .
unavailable    .   .   fai fai fai fai fai fai fai fai .   .   .   .   .
waitsFor       =   =   =   =   =   =   =   =   =   =   =   =   .   .   .
canaryFailed   fai fai fai fai .   .   .   .   .   .   .   .   .   .   .
batteryLow     .   .   fai .   .   .   .   .   .   .   .   .   .   .   .
wrongHardware  .   fai fai fai fai .   .   .   .   .   .   .   .   .   .
dongleBack     .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
dongleReplaced .   .   .   fai fai fai fai fai fai fai fai fai .   .   .
dongleLost     .   fai fai fai fai fai fai fai fai fai can fai .   .   .
noBlocks       .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
dongleRefuses  .   .   .   .   .   fai fai .   .   .   .   .   .   .   .
triedInVain    .   .   .   .   .   que que .   .   .   .   .   .   .   .
restored       .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
recordTold     .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
answered       .   .   .   .   .   .   .   .   .   .   .   .   =   =   =
`

// TestEveryStageAndEvent goes through the whole table.
func TestEveryStageAndEvent(t *testing.T) {
	lines := []string{fmt.Sprintf("%-15s%s", "event", strings.Join(stageNames, " "))}
	for _, h := range happenings {
		line := fmt.Sprintf("%-15s", h.name)
		for stage := range upgrade.Stage(len(stageNames)) {
			line += fmt.Sprintf("%-4s", outcome(t, stage, h.name, h.event))
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	if got := strings.Join(lines, "\n"); got != strings.TrimSpace(wanted) {
		t.Errorf("the table is\n%s", got)
	}
}

// outcome is what an event does to an upgrade in a stage, as the table says it.
func outcome(t *testing.T, stage upgrade.Stage, name string, e upgrade.Event) string {
	t.Helper()
	l := in(stage)
	if l.Stage() != stage {
		t.Fatalf("the way to stage %s leads to %s", stageNames[stage], stageNames[l.Stage()])
	}
	l.p.Retries = 0
	switch name {
	case "due":
		l.now = noon.Add(time.Hour)
		l.f.Connected = false
		e = upgrade.Tick{Facts: l.f}
	case "dongleLost":
		l.now = noon.Add(32 * 24 * time.Hour)
	default:
		l.now = noon.Add(2 * time.Minute)
	}
	switch effects := l.step(e); {
	case l.Stage() != stage:
		return stageNames[l.Stage()]
	case len(effects) > 0:
		return "="
	default:
		return "."
	}
}
