package upgrade_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// settings has, for each setting of the policy, a stage, a change of that setting alone, and a question to an
// upgrade in that stage whose answer becomes another one by the change.
var settings = map[string]struct {
	stage  upgrade.Stage
	change func(*upgrade.Policy)
	ask    func(*testing.T, *life) any
	before any
	after  any
}{
	"NotifyInterval": {
		stage:  upgrade.StageNotified,
		change: func(p *upgrade.Policy) { p.NotifyInterval = 30 * time.Second },
		ask:    func(_ *testing.T, l *life) any { return count[upgrade.Notify](l.quiet(time.Minute)) },
		before: 4, after: 2,
	},
	"NotifyAttempts": {
		stage:  upgrade.StageNotified,
		change: func(p *upgrade.Policy) { p.NotifyAttempts = 2 },
		ask:    func(t *testing.T, l *life) any { return l.until(t, upgrade.StageQueued) },
		before: 5 * time.Minute, after: 30 * time.Second,
	},
	"StallTimeout": {
		stage:  upgrade.StageDownloading,
		change: func(p *upgrade.Policy) { p.StallTimeout = 10 * time.Minute },
		ask:    func(t *testing.T, l *life) any { return l.until(t, upgrade.StageQueued) },
		before: 5 * time.Minute, after: 10 * time.Minute,
	},
	"StallSet": {
		stage: upgrade.StageDownloading,
		change: func(p *upgrade.Policy) {
			p.StallSet = true
		},
		ask: func(t *testing.T, l *life) any {
			l.p.Sleepy = true
			return l.until(t, upgrade.StageQueued)
		},
		before: time.Hour, after: 5 * time.Minute,
	},
	"Silence": {
		stage:  upgrade.StageDownloading,
		change: func(p *upgrade.Policy) { p.Silence = 2 * time.Minute },
		ask:    func(_ *testing.T, l *life) any { return count[upgrade.Notify](l.quiet(2 * time.Minute)) },
		before: 1, after: 0,
	},
	"RejoinTimeout": {
		stage:  upgrade.StageApplying,
		change: func(p *upgrade.Policy) { p.RejoinTimeout = time.Hour },
		ask:    func(t *testing.T, l *life) any { return l.until(t, upgrade.StageFailed) },
		before: 15 * time.Minute, after: time.Hour,
	},
	"BlockInterval": {
		stage:  upgrade.StageDownloading,
		change: func(p *upgrade.Policy) { p.BlockInterval = 10 * time.Second },
		ask:    func(_ *testing.T, l *life) any { return count[upgrade.DistrustSlot](l.quiet(30 * time.Second)) },
		before: 1, after: 0,
	},
	"Retries": {
		stage:  upgrade.StageDownloading,
		change: func(p *upgrade.Policy) { p.Retries = 0 },
		ask: func(_ *testing.T, l *life) any {
			l.quiet(time.Hour)
			return l.State()
		},
		before: upgrade.Queued, after: upgrade.Failed,
	},
	"Slice": {
		stage:  upgrade.StageQueued,
		change: func(p *upgrade.Policy) { p.Slice = 10 * time.Minute },
		ask: func(_ *testing.T, l *life) any {
			l.p.Sleepy = true
			l.step(upgrade.Heard{})
			l.now = l.now.Add(15 * time.Minute)
			l.step(upgrade.Heard{})
			return l.AwakeUntil().After(l.now)
		},
		before: false, after: true,
	},
	"AsksByItself": {
		stage:  upgrade.StageNotified,
		change: func(p *upgrade.Policy) { p.AsksByItself = true },
		ask: func(_ *testing.T, l *life) any {
			l.quiet(time.Hour)
			return l.State()
		},
		before: upgrade.Queued, after: upgrade.Notified,
	},
	"Sleepy": {
		stage:  upgrade.StageDownloading,
		change: func(p *upgrade.Policy) { p.Sleepy = true },
		ask:    func(t *testing.T, l *life) any { return l.until(t, upgrade.StageQueued) },
		before: 5 * time.Minute, after: time.Hour,
	},
}

// TestEverySettingCounts: each setting of the policy makes a difference, and there is a case that shows it.
func TestEverySettingCounts(t *testing.T) {
	for field := range reflect.TypeFor[upgrade.Policy]().Fields() {
		if _, ok := settings[field.Name]; !ok {
			t.Errorf("no case shows what %s changes: add one to the settings above", field.Name)
		}
	}
	for name, s := range settings {
		if got := s.ask(t, in(s.stage)); got != s.before {
			t.Errorf("%s is not changed: %v, want %v", name, got, s.before)
		}
		p := policy()
		s.change(&p)
		if got := s.ask(t, under(p, s.stage)); got != s.after {
			t.Errorf("%s is changed: %v, want %v", name, got, s.after)
		}
	}
}
