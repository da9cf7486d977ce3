package shell

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

const (
	// answerLost is how long after the record of an ended upgrade its final answer may come. Where the
	// connection was lost meanwhile, the answer is lost too.
	answerLost = 5 * time.Second
	// queuedWithin is how long after the first answer an upgrade is queued or refused: the service may have
	// to ask the device for its version first.
	queuedWithin = 60 * time.Second
)

// Upgrade has the options of [Shell.Upgrade]. Texts go to the service as they are; an empty one leaves its
// key out.
type Upgrade struct {
	Devices        []string // names; or "all", alone
	ImageType      string   // names one of several images of each device; empty for its own
	URL            string   // the image's URL; empty for the newest image that fits
	SHA256         string   // of what is at the URL, in hexadecimal digits
	SHA512         string   // of what is at the URL, in hexadecimal digits
	ImageVersion   string
	AllowDowngrade bool
	Force          bool
	// When and Apply are when to begin and when to install: words that the service knows, a time of day
	// (15:04) on this machine's clock, or a time as in RFC 3339.
	When  string
	Apply string

	// NoWait ends the command as soon as the upgrades are queued.
	NoWait bool
	// Quiet shows the outcome only.
	Quiet bool
}

// Upgrade asks for upgrades and shows how they go until they have ended.
func (c *Shell) Upgrade(ctx context.Context, u Upgrade) error {
	var err error
	if u.Devices, err = eachOnce(u.Devices); err != nil {
		return err
	}
	request, err := u.request(time.Now())
	if err != nil {
		return err
	}
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.gather(ctx); err != nil { // for their names, and to know what was there before
		return err
	}
	return c.upgradeAndWait(ctx, s, u, request)
}

// request returns the request that is the same for each device, without the device.
func (u *Upgrade) request(now time.Time) (map[string]any, error) {
	request := map[string]any{}
	for key, value := range map[string]string{
		"imageTypeId": u.ImageType, "url": u.URL, "sha256": u.SHA256, "sha512": u.SHA512,
		"imageVersion": u.ImageVersion,
	} {
		if value != "" {
			request[key] = value
		}
	}
	if u.URL == "" && (u.SHA256 != "" || u.SHA512 != "") {
		return nil, failed(ExitUsage, "--sha256 and --sha512 go with --url")
	}
	if u.AllowDowngrade {
		request["allowDowngrade"] = true
	}
	if u.Force {
		request["force"] = true
	}
	for key, value := range map[string]string{"when": u.When, "apply": u.Apply} {
		if value == "" {
			continue
		}
		at, err := moment(value, now)
		if err != nil {
			return nil, failed(ExitUsage, "--%s %q: %w", key, value, err)
		}
		request[key] = at
	}
	return request, nil
}

// moment returns a time as the service takes it. A time of day is the next one, on this machine's clock;
// words and RFC 3339 are left to the service, which knows which of them it takes where.
func moment(text string, now time.Time) (string, error) {
	if clock, err := time.Parse("15:04", text); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0,
			now.Location())
		if !at.After(now) {
			at = time.Date(now.Year(), now.Month(), now.Day()+1, clock.Hour(), clock.Minute(), 0, 0,
				now.Location())
		}
		return at.Format(time.RFC3339), nil
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil && strings.ContainsAny(text, "0123456789") {
		return "", fmt.Errorf("not a time such as 02:00 or %s", now.Add(time.Hour).Format(time.RFC3339))
	}
	return text, nil
}

// waited is an upgrade that is waited for: the question, and what its device's record says.
type waited struct {
	*question
	euid    contract.EUID // "" until it is known
	heardAt time.Time     // of its first answer
	queued  bool          // the device's record shows the upgrade
	overAt  time.Time     // when the record first said that the upgrade has ended
	held    bool          // the image is on the device, which waits to be told to install it
}

// watch shows upgrades while the command waits for them.
type watch struct {
	c       *Shell
	s       *session
	asked   Upgrade
	screen  *terminal.Screen
	all     bool
	upgrade []*waited
	// before is when the last upgrade of each device was queued, before anything was asked for.
	before map[contract.EUID]time.Time
	shown  map[contract.EUID]bool // devices that have a bar
	away   bool
}

// upgradeAndWait queues upgrades of devices and waits for their end, unless NoWait is set.
func (c *Shell) upgradeAndWait(
	ctx context.Context, s *session, u Upgrade, request map[string]any,
) error {
	w := &watch{
		c: c, s: s, asked: u, screen: terminal.NewScreen(c.term), all: u.Devices[0] == All,
		before: map[contract.EUID]time.Time{}, shown: map[contract.EUID]bool{},
	}

	for euid, d := range s.devices {
		if d.Upgrade != nil {
			w.before[euid] = d.Upgrade.QueuedAt
		}
	}

	var questions []*question
	for _, device := range u.Devices {
		own := map[string]any{"deviceId": device}
		for key, value := range request {
			own[key] = value
		}
		q, err := s.send(ctx, "upgrade", own)
		if err != nil {
			return err
		}
		one := &waited{question: q}
		if d := s.devices.find(device); d != nil {
			one.euid = d.EUID
			w.screen.Align(d.Name)
		}
		w.upgrade = append(w.upgrade, one)
		questions = append(questions, q)
	}

	goesOn := "the upgrade goes on; \"zigate-ota devices\" shows it, \"zigate-ota cancel\" ends it"
	if len(u.Devices) > 1 || w.all {
		goesOn = "the upgrades go on; \"zigate-ota devices\" shows them, \"zigate-ota cancel\" ends them"
	}
	if u.NoWait {
		goesOn = "the service goes on with the request"
	}

	err := s.await(ctx, questions, goesOn, w.take)
	w.screen.Finish()
	if err != nil {
		return err
	}
	return w.outcome()
}

// quiet reports whether only the outcome is shown.
func (w *watch) quiet() bool { return w.asked.Quiet || w.asked.NoWait }

// take handles every update.
func (w *watch) take(u update, q *question, r *response) {
	switch {
	case r != nil:
		w.answered(q, r)
	case u.kind == isLost:
		w.note("the connection to the broker is lost; the upgrade goes on, and this goes on when it is back")
		w.away = true
	case u.kind == isMessage && u.topic == "status" && !w.s.online:
		w.note("the service has stopped; this goes on when it is back")
		w.away = true
	case u.kind == isMessage && u.topic == "status" && w.away:
		w.note("the service is back")
		w.away = false
	case u.kind == isMessage && strings.HasPrefix(u.topic, "device/"):
		euid := contract.EUID(strings.TrimPrefix(u.topic, "device/"))
		if d := w.s.devices[euid]; d != nil && d.Upgrade != nil {
			w.moved(d)
		}
	}
	for _, one := range w.upgrade {
		w.settle(one)
	}
}

// note writes a line that is no result, above the bars where they are on the same terminal.
func (w *watch) note(line string) {
	if w.c.term.Interactive() && !w.quiet() && !w.c.options.JSON {
		w.screen.Print(line)
		return
	}
	fmt.Fprintln(w.c.stderr, line)
}

func (w *watch) answered(q *question, r *response) {
	for _, one := range w.upgrade {
		if one.question != q {
			continue
		}
		if one.heardAt.IsZero() {
			one.heardAt = time.Now()
		}
		known := one.euid != ""
		if r.EUID != nil {
			one.euid = *r.EUID
		}
		if r.Status == contract.StatusInProgress && r.Error != "" && !w.quiet() {
			who := q.subject
			if known || r.EUID != nil {
				who = w.s.devices.name(one.euid)
			}
			w.note(terminal.Clean(who + ": " + r.Error))
		}
		// The record may have come before the answer that names the device.
		if d := w.s.devices[one.euid]; d != nil && d.Upgrade != nil && !known {
			w.moved(d)
		}
	}
}

// moved handles a record whose upgrade may be one of those that the command waits for.
func (w *watch) moved(d *deviceRecord) {
	u := d.Upgrade
	var mine *waited
	for _, one := range w.upgrade {
		if one.euid == d.EUID || w.all && one.subject == All && one.heard {
			mine = one
		}
	}
	before, had := w.before[d.EUID]
	fresh := !had || !u.QueuedAt.Equal(before)
	// An upgrade that was there before counts where the request makes the device install what it holds.
	revived := mine != nil && mine.heard && !w.all && !u.State.Ended()
	if mine == nil || !fresh && !revived {
		return
	}
	if !w.all {
		mine.queued = mine.queued || u.State != contract.StateFetching // until then it may be refused
		if u.State.Ended() && mine.overAt.IsZero() {
			mine.overAt = time.Now()
		}
		mine.held = u.State == contract.StateDownloaded && w.asked.Apply == "hold"
	}
	w.show(d)
}

// show moves the device's bar.
func (w *watch) show(d *deviceRecord) {
	u := d.Upgrade
	if w.quiet() {
		return
	}
	if w.c.options.JSON {
		line := struct {
			EUID    contract.EUID   `json:"euid"`
			Name    string          `json:"name"`
			Upgrade json.RawMessage `json:"upgrade"`
		}{EUID: d.EUID, Name: d.Name}
		var whole struct {
			Upgrade json.RawMessage `json:"upgrade"`
		}
		if json.Unmarshal(d.raw, &whole) == nil {
			line.Upgrade = whole.Upgrade
			_ = printJSON(w.c.term, line) // the outcome tells where the output is broken
		}
		return
	}

	if u.State.Ended() && !w.shown[d.EUID] {
		return // it had ended before the first record came
	}
	w.shown[d.EUID] = true
	more := pace(u)
	if u.State != contract.StateDownloading {
		more = turn(u, time.Now()) // that of a download that goes on says no more than its pace
	}
	switch {
	case u.State == contract.StateFailed && u.Reason != nil:
		more = string(*u.Reason)
	case u.State.Ended():
		more = ""
	}

	w.screen.Bar(string(d.EUID), w.s.devices.name(d.EUID), float64(u.Progress), string(u.State), more)
	if u.State.Ended() {
		w.screen.End(string(d.EUID))
	}
}

// settle ends the wait for an upgrade whose final answer will not come: because NoWait is set, because the
// image is held on the device, or because the answer was published while the connection was lost.
func (w *watch) settle(one *waited) {
	switch {
	case one.final != nil || !one.heard:
	case w.asked.NoWait && (w.all || one.queued || time.Since(one.heardAt) > queuedWithin):
		one.settle(w.made(one, contract.StatusInProgress, nil))
	case one.held:
		one.settle(w.made(one, contract.StatusInProgress, nil))
	case !one.overAt.IsZero() && time.Since(one.overAt) > answerLost:
		d := w.s.devices[one.euid]
		if d == nil || d.Upgrade == nil {
			return
		}
		status := contract.StatusFailure
		if d.Upgrade.State == contract.StateSucceeded {
			status = contract.StatusSuccess
		}
		one.settle(w.made(one, status, d.Upgrade.Reason))
	}
}

// made makes an answer as the service would give it, from the device's record.
func (w *watch) made(one *waited, status contract.Status, reason *contract.Reason) *response {
	r := &response{Response: contract.Response{
		Operation:       "upgradeResponse",
		Status:          status,
		Transaction:     json.RawMessage(strconv.Quote(one.transaction)),
		OperationRecord: &contract.OperationRecord{},
	}}
	if reason != nil {
		r.Reason = *reason
		if status != contract.StatusSuccess {
			r.Error = "the upgrade has ended while nobody listened"
		}
	}
	if d := w.s.devices[one.euid]; d != nil {
		r.EUID = &d.EUID
		r.ManufacturerCode = d.ManufacturerCode
		r.ImageType = d.ImageType
		r.OldImageVersion = d.CurrentVersion
		if d.Upgrade != nil {
			r.ImageVersion = d.Upgrade.ImageVersion
			if o := d.other(d.Upgrade.ImageType); o != nil {
				r.ManufacturerCode = o.ManufacturerCode
				r.ImageType = &o.ImageType
				r.OldImageVersion = o.CurrentVersion
			}
		}
	}
	r.raw = contract.Marshal(r.Response)
	return r
}

// outcome shows how the upgrades have ended. It fails where one of them failed.
func (w *watch) outcome() error {
	c := w.c
	s := w.s
	if w.all && w.upgrade[0].final.Status != contract.StatusInProgress {
		return w.outcomeOfAll(w.upgrade[0].final)
	}
	questions := make([]*question, len(w.upgrade))
	for i, one := range w.upgrade {
		questions[i] = one.question
	}
	return c.outcomes(s, questions, func(q *question) string {
		switch {
		case q.final.Status == contract.StatusInProgress && w.asked.NoWait:
			return s.called(q) + ": queued"
		case q.final.Status == contract.StatusInProgress:
			return fmt.Sprintf("%s: downloaded and held; \"zigate-ota upgrade %s\" installs it",
				s.called(q), quoted(s.called(q)))
		default:
			return fmt.Sprintf("%s: runs %s, after %s",
				s.called(q), version(q.final.ImageVersion), span(q.ended.Sub(q.sent)))
		}
	})
}

// outcomeOfAll shows how the upgrade of each device has ended where all were asked for.
func (w *watch) outcomeOfAll(final *response) error {
	c := w.c
	if c.options.JSON {
		if err := printJSON(c.term, final.raw); err != nil {
			return err
		}
	}

	wrong := 0
	for _, r := range final.Results.Upgrades {
		name := terminal.Clean(w.s.devices.name(r.EUID))
		if r.ImageType != nil {
			name += ", image type " + hex16(r.ImageType)
		}
		line := name + ": " + string(r.State)
		out := c.term.Write
		if r.State != contract.StateSucceeded {
			wrong++
			out = c.stderr.Write
			if r.Reason != nil {
				line += " (" + string(*r.Reason) + ")"
			}
		}
		if !c.options.JSON {
			_, _ = out([]byte(line + "\n"))
		}
	}

	switch {
	case len(final.Results.Upgrades) > 0 && !final.succeeded():
		return failed(ExitFailed, "%d of %d upgrades did not succeed", wrong, len(final.Results.Upgrades))
	case !final.succeeded():
		return failed(ExitFailed, "%s", terminal.Clean(final.why()))
	case len(final.Results.Upgrades) == 0 && !c.options.JSON:
		fmt.Fprintln(c.term, "no device has a newer image")
	}
	return nil
}

// quoted returns a name as a shell takes it.
func quoted(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("_-.,:/@%+", r))
	}) || name == "" {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}
