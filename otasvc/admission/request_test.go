package admission_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/admission"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

func version(v uint32) *uint32 { return &v }

// working is a dongle that upgrades can be done with; away is one that is not there.
var (
	working = admission.Dongle{Connected: true, For: time.Hour}
	away    = admission.Dongle{Trouble: "the dongle is not connected"}
)

// now is a request for the newest image, at once, that nothing is said about.
var now = admission.Request{AtOnce: true, InstallNow: true}

// with is a request changed.
func with(r admission.Request, change func(*admission.Request)) admission.Request {
	change(&r)
	return r
}

// decided compares a verdict with its action, or the cause for which it refuses and part of what it says.
func decided(t *testing.T, got admission.Verdict, action admission.Action, cause admission.Cause, reason upgrade.Reason, says string) {
	t.Helper()
	if got.Action != action || got.Cause != cause || got.Reason != reason || !strings.Contains(got.Sentence, says) {
		t.Errorf("decided %+v, want action %d, cause %d, reason %q, saying %q", got, action, cause, reason, says)
	}
	if got.Action != admission.Refuse && got != (admission.Verdict{Action: action}) {
		t.Errorf("%+v refuses something, too", got)
	}
	if says == "" && got.Sentence != "" && got.Cause != admission.ForReason {
		t.Errorf("it says %q", got.Sentence)
	}
}

func TestBeginAt(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	night := &upgrade.Window{Begin: 2 * time.Hour, End: 5 * time.Hour}
	noon := &upgrade.Window{Begin: 11 * time.Hour, End: 13 * time.Hour}
	tests := map[string]struct {
		asked    time.Time
		inWindow bool
		window   *upgrade.Window
		want     time.Time
		refused  bool
	}{
		"nothing said":                  {},
		"past":                          {asked: at.Add(-time.Hour)},
		"now":                           {asked: at},
		"later":                         {asked: at.Add(time.Hour), want: at.Add(time.Hour)},
		"later, outside the window":     {asked: at.Add(time.Hour), window: night, want: at.Add(time.Hour)},
		"in the window":                 {inWindow: true, window: night, want: at.Add(14 * time.Hour)},
		"in the window, which is open":  {inWindow: true, window: noon},
		"in the window, instead of now": {asked: at, inWindow: true, window: night, want: at.Add(14 * time.Hour)},
		"in no window":                  {inWindow: true, refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := admission.BeginAt(tt.asked, tt.inWindow, tt.window, at)
			if !got.Equal(tt.want) || ok == tt.refused {
				t.Errorf("begins at %v, %v", got, ok)
			}
		})
	}
}

func TestArrived(t *testing.T) {
	later := with(now, func(r *admission.Request) { r.AtOnce = false })
	byURL := with(now, func(r *admission.Request) { r.FromURL = true })
	held := with(now, func(r *admission.Request) { r.InstallNow = false })
	ofVersion := func(v uint32) admission.Request {
		return with(now, func(r *admission.Request) { r.Version = &v })
	}
	downloads := &admission.Underway{Version: 7}
	waits := &admission.Underway{Downloaded: true, Version: 7}
	tests := map[string]struct {
		request  admission.Request
		device   admission.Device
		underway *admission.Underway
		dongle   admission.Dongle
		action   admission.Action
		cause    admission.Cause
		reason   upgrade.Reason
		says     string
	}{
		"excluded":                        {request: now, device: admission.Device{Excluded: true}, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonExcluded, says: "force"},
		"excluded, by its URL":            {request: byURL, device: admission.Device{Excluded: true}, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonExcluded, says: "force"},
		"excluded, with force":            {request: with(now, func(r *admission.Request) { r.Force = true }), device: admission.Device{Excluded: true}, dongle: working, action: admission.Choose},
		"excluded, to install what waits": {request: now, device: admission.Device{Excluded: true}, underway: waits, dongle: working, action: admission.Release},
		"of a device":                     {request: now, dongle: working, action: admission.Choose},
		"of a version":                    {request: ofVersion(3), dongle: working, action: admission.Choose},
		"of a URL":                        {request: byURL, dongle: working, action: admission.Fetch},
		"without a dongle":                {request: now, dongle: away, cause: admission.DongleUnusable, says: "not connected"},
		"of a URL, without a dongle":      {request: byURL, dongle: away, cause: admission.DongleUnusable, says: "not connected"},
		"for later, without a dongle":     {request: later, dongle: away, action: admission.Choose},
		"during the download":             {request: now, underway: downloads, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"during it, without a dongle":     {request: now, underway: downloads, dongle: away, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"to install":                      {request: now, underway: waits, dongle: working, action: admission.Release},
		"to install this version":         {request: ofVersion(7), underway: waits, dongle: working, action: admission.Release},
		"to install another version":      {request: ofVersion(8), underway: waits, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"to install later":                {request: later, underway: waits, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"to hold what is held":            {request: held, underway: waits, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"to install what is at a URL":     {request: byURL, underway: waits, dongle: working, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"to install, without a dongle":    {request: now, underway: waits, dongle: away, cause: admission.DongleUnusable, says: "not connected"},
		"to install later, without it":    {request: later, underway: waits, dongle: away, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"a dongle that is there for less": {request: now, dongle: admission.Dongle{Connected: true, Trouble: "no OTA server"}, cause: admission.DongleUnusable, says: "no OTA server"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := admission.Arrived(tt.request, tt.device, tt.underway, tt.dongle)
			decided(t, got, tt.action, tt.cause, tt.reason, tt.says)
		})
	}
	t.Run("for all", func(t *testing.T) {
		decided(t, admission.ArrivedForAll(now, working), admission.Choose, 0, "", "")
		decided(t, admission.ArrivedForAll(later, away), admission.Choose, 0, "", "")
		decided(t, admission.ArrivedForAll(now, away), admission.Refuse, admission.DongleUnusable, "", "not connected")
	})
}

func TestFetched(t *testing.T) {
	lamp := admission.Device{Name: "lamp", Known: true}
	ofVersion := with(now, func(r *admission.Request) { r.Version = version(8) })
	right := admission.Offer{Version: 8, Fits: true, Here: true}
	unfit := admission.Offer{Version: 8, Here: true}
	older := admission.Offer{Version: 7, Fits: true, Here: true}
	decided(t, admission.Fetched(now, lamp, right, 1, 2), admission.Choose, 0, "", "")
	decided(t, admission.Fetched(now, lamp, older, 1, 2), admission.Choose, 0, "", "")
	decided(t, admission.Fetched(ofVersion, lamp, right, 1, 2), admission.Choose, 0, "", "")
	decided(t, admission.Fetched(ofVersion, lamp, older, 1, 2), admission.Refuse, admission.ForReason, upgrade.ReasonImageValidationFailed,
		"has version 0x00000007, not the 0x00000008 asked for")
	decided(t, admission.Fetched(ofVersion, lamp, unfit, 0x117c, 0x2201), admission.Refuse, admission.ForReason, upgrade.ReasonImageValidationFailed,
		"manufacturer 0x117c and image type 0x2201 and does not fit lamp")
	other := admission.Offer{Version: 8, Fits: true, Here: true, WrongHardware: "image is for hardware versions from 2 to 4, not 1"}
	forced := with(now, func(r *admission.Request) { r.Force = true })
	decided(t, admission.Fetched(now, lamp, other, 1, 2), admission.Refuse, admission.ForReason, upgrade.ReasonHardwareMismatch,
		`the image is for hardware versions from 2 to 4, not 1; say "force"`)
	decided(t, admission.Fetched(forced, lamp, other, 1, 2), admission.Choose, 0, "", "")
}

func TestOffered(t *testing.T) {
	ofVersion := with(now, func(r *admission.Request) { r.Version = version(9) })
	forced := with(now, func(r *admission.Request) { r.Force = true })
	newer := &admission.Offer{Version: 8, Fits: true, Here: true}
	otherHardware := &admission.Offer{Version: 8, Fits: true, Here: true, WrongHardware: "image is for others"}
	told := admission.Device{Known: true, Version: version(7), VersionFresh: true}
	remembered := admission.Device{Known: true, Version: version(7)}
	unknown := admission.Device{Known: true}
	sleepy := admission.Device{Known: true, Sleepy: true, Version: version(7)}
	current := admission.Device{Known: true, Sleepy: true, Version: version(8)}
	tests := map[string]struct {
		request admission.Request
		device  admission.Device
		dongle  admission.Dongle
		offer   *admission.Offer
		others  bool
		action  admission.Action
		cause   admission.Cause
		reason  upgrade.Reason
		says    string
	}{
		"no image":                         {request: now, device: told, dongle: working, cause: admission.NoImage, reason: upgrade.ReasonImageInfoNotFound},
		"no image at all":                  {request: ofVersion, device: told, dongle: working, cause: admission.NoImage, reason: upgrade.ReasonImageInfoNotFound},
		"images of other versions":         {request: ofVersion, device: told, dongle: working, others: true, cause: admission.NoSuchVersion, reason: upgrade.ReasonImageInfoNotFound, says: "version 0x00000009"},
		"a version that was told":          {request: now, device: told, dongle: working, offer: newer, action: admission.Queue},
		"a version from the state file":    {request: now, device: remembered, dongle: working, offer: newer, action: admission.ReadVersion},
		"a version that is not known":      {request: now, device: unknown, dongle: working, offer: newer, action: admission.ReadVersion},
		"other hardware, whatever it runs": {request: now, device: unknown, dongle: working, offer: otherHardware, cause: admission.ForReason, reason: upgrade.ReasonHardwareMismatch, says: "force"},
		"other hardware, forced":           {request: forced, device: unknown, dongle: working, offer: otherHardware, action: admission.ReadVersion},
		"nobody to ask":                    {request: now, device: remembered, dongle: away, offer: newer, action: admission.Queue},
		"a sleeping device":                {request: now, device: sleepy, dongle: working, offer: newer, action: admission.Queue},
		"a sleeping device with that":      {request: now, device: current, dongle: working, offer: newer, action: admission.ReadVersion},
		"a sleeping device with it, twice": {request: forced, device: current, dongle: working, offer: newer, action: admission.Queue},
		"nobody to ask, and up to date":    {request: now, device: current, dongle: away, offer: newer, cause: admission.ForReason, reason: upgrade.ReasonUpToDate, says: "force"},
		"a dongle without an OTA server":   {request: now, device: remembered, dongle: admission.Dongle{Connected: true, Trouble: "no OTA server"}, offer: newer, action: admission.ReadVersion},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := admission.Offered(tt.request, tt.device, tt.dongle, tt.offer, tt.others)
			decided(t, got, tt.action, tt.cause, tt.reason, tt.says)
		})
	}
}

func TestAdmit(t *testing.T) {
	force := with(now, func(r *admission.Request) { r.Force = true })
	downgrade := with(now, func(r *admission.Request) { r.AllowDowngrade = true })
	device := func(running *uint32) admission.Device { return admission.Device{Known: true, Version: running} }
	offer := admission.Offer{Version: 8, Fits: true, Here: true}
	listed := admission.Offer{Version: 8, Fits: true}
	invalid := admission.Offer{Version: 8, Fits: true, Here: true, CalledInvalid: true}
	unfit := admission.Offer{Version: 8, Here: true}
	otherHardware := admission.Offer{Version: 8, Fits: true, Here: true, WrongHardware: "image is for others"}
	tests := map[string]struct {
		request admission.Request
		device  admission.Device
		offer   admission.Offer
		action  admission.Action
		cause   admission.Cause
		reason  upgrade.Reason
		says    string
	}{
		"newer":                           {request: now, device: device(version(7)), offer: offer, action: admission.Queue},
		"newer than what is not known":    {request: now, device: device(nil), offer: offer, action: admission.Queue},
		"to be fetched":                   {request: now, device: device(version(7)), offer: listed, action: admission.Ensure},
		"other hardware":                  {request: now, device: device(version(7)), offer: otherHardware, cause: admission.ForReason, reason: upgrade.ReasonHardwareMismatch, says: "the image is for others; say"},
		"other hardware, forced":          {request: force, device: device(version(7)), offer: otherHardware, action: admission.Queue},
		"other hardware, and it runs":     {request: downgrade, device: device(version(8)), offer: otherHardware, cause: admission.ForReason, reason: upgrade.ReasonHardwareMismatch, says: "force"},
		"the same":                        {request: now, device: device(version(8)), offer: offer, cause: admission.ForReason, reason: upgrade.ReasonUpToDate, says: "force"},
		"the same, to be fetched":         {request: now, device: device(version(8)), offer: listed, cause: admission.ForReason, reason: upgrade.ReasonUpToDate, says: "force"},
		"the same, forced":                {request: force, device: device(version(8)), offer: offer, action: admission.Queue},
		"the same, a downgrade allowed":   {request: downgrade, device: device(version(8)), offer: offer, cause: admission.ForReason, reason: upgrade.ReasonUpToDate, says: "force"},
		"older":                           {request: now, device: device(version(9)), offer: offer, cause: admission.ForReason, reason: upgrade.ReasonDowngradeRefused, says: "allowDowngrade"},
		"older, forced":                   {request: force, device: device(version(9)), offer: offer, cause: admission.ForReason, reason: upgrade.ReasonDowngradeRefused, says: "allowDowngrade"},
		"older, allowed":                  {request: downgrade, device: device(version(9)), offer: offer, action: admission.Queue},
		"called invalid":                  {request: now, device: device(version(7)), offer: invalid, cause: admission.ForReason, reason: upgrade.ReasonInvalidImage, says: "0x96"},
		"called invalid, forced":          {request: force, device: device(version(7)), offer: invalid, action: admission.Queue},
		"for others":                      {request: force, device: device(version(7)), offer: unfit, cause: admission.NoImage, reason: upgrade.ReasonImageInfoNotFound},
		"an upgrade meanwhile":            {request: force, device: admission.Device{Known: true, Upgrading: true}, offer: offer, cause: admission.ForReason, reason: upgrade.ReasonAlreadyQueued, says: "cancel it first"},
		"forgotten meanwhile":             {request: force, device: admission.Device{}, offer: offer, cause: admission.DeviceForgotten},
		"forgotten meanwhile, for others": {request: force, device: admission.Device{Upgrading: true}, offer: unfit, cause: admission.DeviceForgotten},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			decided(t, admission.Admit(tt.request, tt.device, tt.offer), tt.action, tt.cause, tt.reason, tt.says)
		})
	}
}
