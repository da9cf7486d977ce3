package admission_test

import (
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

func TestPolicy(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	failed := func(reason upgrade.Reason, ago, returnedAgo time.Duration) admission.Before {
		b := admission.Before{Tried: true, Reason: reason, EndedAt: now.Add(-ago)}
		if returnedAgo > 0 {
			b.Returned = now.Add(-returnedAgo)
		}
		return b
	}
	proven := failed(upgrade.ReasonCanaryFailed, time.Hour, 0)
	proven.Proven = true
	newer := &admission.Offer{Version: 8, Fits: true, Here: true}
	doubtful := &admission.Offer{Version: 8, Fits: true, Here: true, Doubtful: true}
	anyVersion := &admission.Offer{Version: 0xFFFFFFFF, Fits: true, Here: true, AnyVersion: true}
	tests := map[string]struct {
		device           admission.Device
		offer            *admission.Offer
		before           admission.Before
		forAll, byPolicy bool
	}{
		"for a person to judge": {device: admission.Device{Version: version(7)}, offer: doubtful},
		"of any version":        {device: admission.Device{Version: version(7)}, offer: anyVersion},
		"newer":                 {device: admission.Device{Version: version(7)}, offer: newer, forAll: true, byPolicy: true},
		"the same":              {device: admission.Device{Version: version(8)}, offer: newer},
		"older":                 {device: admission.Device{Version: version(9)}, offer: newer},
		"not known":             {offer: newer, forAll: true},
		"none":                  {device: admission.Device{Version: version(7)}},
		"for other hardware":    {device: admission.Device{Version: version(7)}, offer: &admission.Offer{Version: 8, Fits: true, Here: true, WrongHardware: "image is for others"}},
		"called invalid":        {device: admission.Device{Version: version(7)}, offer: &admission.Offer{Version: 8, CalledInvalid: true}},
		"excluded":              {device: admission.Device{Version: version(7), Excluded: true}, offer: newer},
		"under way":             {device: admission.Device{Version: version(7), Upgrading: true}, offer: newer},
		"not to be had":         {device: admission.Device{Version: version(7)}, offer: newer, before: admission.Before{Unfetched: true}, forAll: true},
		"tried already":         {device: admission.Device{Version: version(7)}, offer: newer, before: admission.Before{Tried: true}, forAll: true},
		"silent an hour ago":    {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonNoResponse, time.Hour, 0), forAll: true},
		"silent, and back":      {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonNoResponse, time.Hour, time.Minute), forAll: true, byPolicy: true},
		"back before it failed": {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonStalled, time.Hour, 2*time.Hour), forAll: true},
		"stalled a day ago":     {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonStalled, 24*time.Hour, 0), forAll: true, byPolicy: true},
		"the dongle refuses":    {device: admission.Device{Version: version(7)}, offer: newer, before: admission.Before{Tried: true, Reason: upgrade.ReasonDongleRefuses, DongleRefuses: true}, forAll: true},
		"the dongle refused":    {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonDongleRefuses, time.Minute, 0), forAll: true, byPolicy: true},
		"refused the image":     {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonInvalidImage, 48*time.Hour, time.Minute), forAll: true},
		"cancelled":             {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonCancelled, 48*time.Hour, time.Minute), forAll: true},
		"after its canary":      {device: admission.Device{Version: version(7)}, offer: newer, before: failed(upgrade.ReasonCanaryFailed, 48*time.Hour, time.Minute), forAll: true},
		"the image runs by now": {device: admission.Device{Version: version(7)}, offer: newer, before: proven, forAll: true, byPolicy: true},
		"to be fetched":         {device: admission.Device{Version: version(7)}, offer: &admission.Offer{Version: 8, Fits: true}, forAll: true, byPolicy: true},
		"a sleeping device":     {device: admission.Device{Version: version(7), Sleepy: true}, offer: newer, forAll: true, byPolicy: true},
		"an old information":    {device: admission.Device{Version: version(7), VersionFresh: false}, offer: newer, forAll: true, byPolicy: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := admission.ForAll(tt.device, tt.offer); got != tt.forAll {
				t.Errorf("for all: %v", got)
			}
			if got := admission.ByPolicy(tt.device, tt.offer, tt.before, now); got != tt.byPolicy {
				t.Errorf("by policy: %v", got)
			}
		})
	}
}

func TestIsUpdate(t *testing.T) {
	tests := map[string]struct {
		running *uint32
		offer   admission.Offer
		want    bool
	}{
		"newer":                          {version(7), admission.Offer{Version: 8}, true},
		"newer, for a person to judge":   {version(7), admission.Offer{Version: 8, Doubtful: true}, true},
		"the same":                       {version(8), admission.Offer{Version: 8}, false},
		"not known":                      {nil, admission.Offer{Version: 8}, true},
		"of any version":                 {nil, admission.Offer{Version: 0xFFFFFFFF, AnyVersion: true}, false},
		"called invalid by the device":   {version(7), admission.Offer{Version: 8, CalledInvalid: true}, false},
		"for other devices, where named": {version(7), admission.Offer{Version: 8, Fits: false}, true},
	}
	for name, tt := range tests {
		if got := admission.IsUpdate(tt.running, tt.offer); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPolicyActs(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		dongle admission.Dongle
		window *upgrade.Window
		want   bool
	}{
		"at any time":             {dongle: working, want: true},
		"in the window":           {dongle: working, window: &upgrade.Window{Begin: 11 * time.Hour, End: 13 * time.Hour}, want: true},
		"before the window":       {dongle: working, window: &upgrade.Window{Begin: 13 * time.Hour, End: 15 * time.Hour}},
		"without a dongle":        {dongle: away},
		"right after it is there": {dongle: admission.Dongle{Connected: true, For: time.Minute}},
	}
	for name, tt := range tests {
		if got := admission.PolicyActs(tt.dongle, tt.window, at); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestUnsolicited(t *testing.T) {
	ignore := admission.StrayVerdict{Action: admission.Ignore}
	tell := admission.StrayVerdict{Action: admission.Tell}
	begin := admission.StrayVerdict{Action: admission.BeginUpgrade}
	beginAnswering := admission.StrayVerdict{Action: admission.BeginUpgrade, Answer: true}
	goOn := admission.StrayVerdict{Action: admission.GoOn, Answer: true}
	tellRefused := admission.StrayVerdict{Action: admission.Tell, Refuse: true}
	busy := admission.StrayVerdict{Action: admission.Tell, StillAsks: true}
	refused := admission.StrayVerdict{Action: admission.Tell, StillAsks: true, Refuse: true}
	tests := map[string]struct {
		stray admission.Stray
		want  admission.StrayVerdict
	}{
		"served":                              {admission.Stray{Result: blocks.Served}, ignore},
		"served, and offered":                 {admission.Stray{Result: blocks.Served, Offered: true}, ignore},
		"served, and waits":                   {admission.Stray{Result: blocks.Served, Waits: true, GoesOn: true}, ignore},
		"a transfer meanwhile":                {admission.Stray{Result: blocks.Unsolicited, HasTransfer: true}, ignore},
		"a transfer of another image":         {admission.Stray{Result: blocks.WrongImage, HasTransfer: true}, tell},
		"unsolicited":                         {admission.Stray{Result: blocks.Unsolicited}, tell},
		"unsolicited, and offered":            {admission.Stray{Result: blocks.Unsolicited, Offered: true}, begin},
		"another image, and offered":          {admission.Stray{Result: blocks.WrongImage, Offered: true}, tell},
		"not answered, and offered":           {admission.Stray{Result: blocks.Unknown, Offered: true}, beginAnswering},
		"not answered, and not for it":        {admission.Stray{Result: blocks.Unknown}, tellRefused},
		"not known, with a transfer by now":   {admission.Stray{Result: blocks.Unknown, HasTransfer: true}, ignore},
		"goes on":                             {admission.Stray{Result: blocks.Unknown, Waits: true, GoesOn: true}, goOn},
		"would go on, and was refused":        {admission.Stray{Result: blocks.Unsolicited, Waits: true, GoesOn: true}, busy},
		"waits, and asks for something else":  {admission.Stray{Result: blocks.Unknown, Waits: true}, refused},
		"waits, and was refused what it asks": {admission.Stray{Result: blocks.WrongImage, Waits: true}, busy},
	}
	for name, tt := range tests {
		if got := admission.Unsolicited(tt.stray); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
