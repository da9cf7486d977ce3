package upgrade_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// reads lets time pass, and answers each reading that is awaited with a version; 0 stands for no answer.
func (l *life) reads(d time.Duration, version uint32) (n int) {
	for end := l.now.Add(d); l.now.Before(end) && !l.Ended(); l.now = l.now.Add(time.Second) {
		if count[upgrade.ReadVersion](l.tick()) == 0 {
			continue
		}
		n++
		if version != 0 {
			l.step(upgrade.VersionRead{Version: version})
		}
		l.step(upgrade.ReadingDone{})
	}
	return n
}

func TestVersionIsReadAfterTheDownload(t *testing.T) {
	l := in(upgrade.StageApplying)
	if n := l.reads(5*time.Minute, 0); n < 8 || n > 10 {
		t.Errorf("%d readings in five minutes", n)
	}
	l.step(upgrade.Announced{})
	if n := l.reads(2*time.Second, oldVersion); n != 1 {
		t.Errorf("%d readings right after it came back", n)
	}
	if l.reads(time.Minute, oldVersion); l.Reason() != upgrade.ReasonVersionUnchanged {
		t.Errorf("it runs its old version: %s, %q", l.State(), l.Reason())
	}

	l = in(upgrade.StageApplying)
	if l.reads(20*time.Minute, 0); l.Reason() != upgrade.ReasonNotRejoined {
		t.Errorf("it never came back: %s, %q", l.State(), l.Reason())
	}
	l = in(upgrade.StageApplying)
	if l.reads(20*time.Minute, oldVersion); l.Reason() != upgrade.ReasonVersionUnchanged {
		t.Errorf("it runs its old version: %s, %q", l.State(), l.Reason())
	}
}

// Another version than before is the image's, whatever number that is, once the device is back and stays with it.
func TestAnotherVersionThanTheFiles(t *testing.T) {
	const other = newVersion + 7
	l := in(upgrade.StageApplying)
	l.step(upgrade.VersionRead{Version: other})
	l.step(upgrade.VersionRead{Version: other})
	if l.Ended() {
		t.Fatal("it is believed right away, before it was back")
	}
	l.step(upgrade.Announced{})
	l.step(upgrade.VersionRead{Version: other + 1})
	if l.step(upgrade.VersionRead{Version: other}); l.Ended() {
		t.Fatal("it is believed though it tells another number each time")
	}
	if l.reads(time.Minute, other); l.State() != upgrade.Succeeded || l.RunningVersion() == nil || *l.RunningVersion() != other {
		t.Errorf("%s, %q, runs %v", l.State(), l.Reason(), l.RunningVersion())
	}
	if r := l.Record(l.now); r.RunningVersion == nil || *r.RunningVersion != other || *r.ImageVersion != newVersion {
		t.Errorf("the record is %+v", r)
	}
	if p := l.Past(); p.RunningVersion == nil || *p.RunningVersion != other {
		t.Errorf("its past is %+v", p)
	}
}

func TestVersionsThatAreToldAfterwards(t *testing.T) {
	const other = newVersion + 7
	old, same, told := uint32(oldVersion), uint32(newVersion), uint32(other)
	for name, tt := range map[string]struct {
		before, toldAs *uint32
		announced      bool
		version        uint32
		reason         upgrade.Reason
		running        bool // RunningVersion is the version
	}{
		"the image's":                               {before: &old, announced: true, version: newVersion},
		"another":                                   {before: &old, announced: true, version: other, running: true},
		"another, and the announce was lost":        {before: &old, version: other, running: true},
		"the old one":                               {before: &old, announced: true, version: oldVersion, reason: upgrade.ReasonVersionUnchanged},
		"none that means anything":                  {before: &old, announced: true, version: 0xFFFFFFFF, reason: upgrade.ReasonVersionUnchanged},
		"another, the one before is not known":      {announced: true, version: other, reason: upgrade.ReasonVersionUnchanged},
		"the image's, the one before is not known":  {announced: true, version: newVersion},
		"the same, as was asked for":                {before: &same, announced: true, version: newVersion},
		"the same, as was asked for, differently":   {before: &told, toldAs: &told, announced: true, version: other, running: true},
		"the same as before, which is no reinstall": {before: &told, announced: true, version: other, reason: upgrade.ReasonVersionUnchanged},
	} {
		t.Run(name, func(t *testing.T) {
			o := order()
			o.OldVersion, o.ToldAs = tt.before, tt.toldAs
			l := begin(o)
			l.step(upgrade.Offered{Version: newVersion})
			l.asks(0)
			l.ends(message.OTASuccess, true)
			if tt.announced {
				l.step(upgrade.Announced{})
			}
			l.reads(20*time.Minute, tt.version)
			state := upgrade.Succeeded
			if tt.reason != upgrade.NoReason {
				state = upgrade.Failed
			}
			if l.State() != state || l.Reason() != tt.reason || (l.RunningVersion() != nil) != tt.running {
				t.Errorf("%s, %q, runs %v", l.State(), l.Reason(), l.RunningVersion())
			}
			if took := l.now.Sub(noon); took > 3*time.Minute && tt.announced {
				t.Errorf("that took %v", took)
			}
		})
	}
}

// What was known of the old version may be old: what the device tells before it gets a block counts.
func TestOldVersionIsToldAnew(t *testing.T) {
	l := begin(order())
	l.step(upgrade.VersionRead{Version: 0x10})
	l.step(upgrade.Offered{Version: newVersion})
	l.step(upgrade.VersionRead{Version: 0x11})
	l.asks(0)
	l.step(upgrade.VersionRead{Version: 0x12})
	if got := *l.OldVersion(); got != 0x11 {
		t.Errorf("the old version is 0x%x", got)
	}
}

// A device that installs the version which it runs has it before and after: its announce tells, or time.
func TestSameVersionAgain(t *testing.T) {
	for _, announced := range []bool{true, false} {
		o := order()
		same := uint32(newVersion)
		o.OldVersion = &same
		l := begin(o)
		l.step(upgrade.Offered{Version: newVersion})
		l.asks(0)
		if l.step(upgrade.VersionRead{Version: newVersion}); l.Ended() {
			t.Fatal("it is done before it has the image")
		}
		l.ends(message.OTASuccess, true)
		if announced {
			l.step(upgrade.Announced{})
		} else if l.step(upgrade.VersionRead{Version: newVersion}); l.Ended() {
			t.Fatal("it is done before it has installed the image")
		}
		if l.reads(2*time.Minute, newVersion); l.State() != upgrade.Succeeded {
			t.Errorf("announced %v: %s", announced, l.State())
		}
	}
}

// A device that tells its version only when it looks for an image is made to look for one when there is room for that.
func TestVersionIsAskedForInTurn(t *testing.T) {
	l := in(upgrade.StageApplying)
	room := l.now.Add(7 * time.Minute)
	l.f = upgrade.Facts{Connected: true, Addressed: true, QueryOnly: true, QueriesShow: true, QueryAt: room}
	for made := false; !made; {
		if l.now = l.now.Add(time.Second); l.now.Sub(room) > time.Second {
			t.Fatal("there is room, and it is not made to look for an image")
		}
		made = count[upgrade.MakeQuery](l.tick()) > 0
		if made && l.now.Before(room) {
			t.Errorf("it is made to look for an image %v before there is room", room.Sub(l.now))
		}
	}
	if next := l.Next(l.f); !next.After(l.now) {
		t.Errorf("to be looked at again at %v, and it is %v", next, l.now)
	}
}

// A device that tells its version only when it looks for an image is not given up while nobody would see that, for a
// day at most. Once it would be seen, it has the time to do so.
func TestVersionThatNobodySees(t *testing.T) {
	hidden := upgrade.Facts{Connected: true, Addressed: true, Slot: upgrade.SlotOther, QueryOnly: true}
	shown := hidden
	shown.QueriesShow = true

	l := in(upgrade.StageApplying)
	l.f = hidden
	if effects := l.quiet(3 * time.Hour); l.Stage() != upgrade.StageApplying || count[upgrade.MakeQuery](effects) > 0 {
		t.Fatalf("%s after three hours, %d queries made", l.State(), count[upgrade.MakeQuery](effects))
	}
	l.f = shown
	l.step(upgrade.ReadingDone{}) // of one that told nothing
	if effects := l.quiet(10 * time.Minute); l.Ended() || count[upgrade.MakeQuery](effects) == 0 {
		t.Errorf("%s, %d queries made", l.State(), count[upgrade.MakeQuery](effects))
	}
	l.step(upgrade.VersionRead{Version: newVersion})
	if l.State() != upgrade.Succeeded {
		t.Errorf("in the end %s", l.State())
	}

	l = in(upgrade.StageApplying)
	l.f = hidden
	if took := l.until(t, upgrade.StageFailed); took < 24*time.Hour || took > 25*time.Hour {
		t.Errorf("given up after %v", took)
	}
	l = in(upgrade.StageApplying)
	l.f = shown
	if took := l.until(t, upgrade.StageFailed); took != l.p.RejoinTimeout {
		t.Errorf("seen, and given up after %v", took)
	}
}
