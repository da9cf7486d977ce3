package shell

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// printJSON writes one JSON document in one line. It does not escape <, > and &, which need that in HTML
// only.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// Devices shows all devices in a table, or everything about those that are named.
func (c *Shell) Devices(ctx context.Context, names []string) error {
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.gather(ctx); err != nil {
		return err
	}

	list := s.devices.sorted()
	if len(names) > 0 {
		list = nil
		for _, name := range names {
			d := s.devices.find(name)
			if d == nil {
				return failed(ExitFailed, "there is no device %q; \"zigate-ota devices\" lists them", name)
			}
			list = append(list, d)
		}
	}

	switch {
	case c.options.JSON:
		raw := make([]json.RawMessage, len(list))
		for i, d := range list {
			raw[i] = d.raw
		}
		return printJSON(c.term, map[string]any{"devices": raw})
	case len(names) > 0:
		for i, d := range list {
			if i > 0 {
				fmt.Fprintln(c.term)
			}
			d.print(c.term, time.Now())
		}
	case len(list) == 0:
		fmt.Fprintln(c.term, "no devices yet: the service finds them when they send something, "+
			"or when they are named by their EUID")
	default:
		if err := devicesTable(list, time.Now()).Print(c.term); err != nil {
			return err
		}
	}
	s.dongleNote()
	return nil
}

func devicesTable(list []*deviceRecord, now time.Time) *terminal.Table {
	t := &terminal.Table{Columns: []terminal.Column{
		{Heading: "NAME", Least: 10}, {Heading: "MODEL", Least: 10, Spare: 5}, {Heading: "BUILD", Spare: 7},
		{Heading: "VERSION"},
		{Heading: "NEWER", Spare: 1}, {Heading: "UPGRADE", Spare: 2}, {Heading: "LQI", Right: true, Spare: 6},
		{Heading: "SEEN", Right: true, Spare: 4}, {Heading: "EUID", Spare: 3},
	}}
	for _, d := range list {
		newer := terminal.Cell{Text: "-"}
		if d.UpdateAvailable && d.Image != nil {
			newer = terminal.Cell{Text: version(&d.Image.ImageVersion), Style: terminal.Bold}
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: d.Name}, {Text: text(d.ModelID)}, {Text: text(d.SoftwareBuild)},
			{Text: version(d.CurrentVersion)}, newer,
			upgradeCell(d.Upgrade), {Text: text(d.LQI)}, {Text: ago(d.LastSeen, now)},
			{Text: string(d.EUID), Style: terminal.Faint},
		})
	}
	if slices.ContainsFunc(list, func(d *deviceRecord) bool { return !d.named() }) {
		t.Columns[0].Least = len("0x000b57fffec6a5b2") // an EUID must not be cut
	}
	if !slices.ContainsFunc(list, (*deviceRecord).named) { // the first column has the EUIDs already
		leaveOut(t, "EUID")
	}
	if !slices.ContainsFunc(list, func(d *deviceRecord) bool { return d.SoftwareBuild != nil }) {
		leaveOut(t, "BUILD")
	}
	return t
}

// leaveOut takes a column out of a table.
func leaveOut(t *terminal.Table, heading string) {
	at := slices.IndexFunc(t.Columns, func(c terminal.Column) bool { return c.Heading == heading })
	t.Columns = slices.Delete(t.Columns, at, at+1)
	for i := range t.Rows {
		t.Rows[i] = slices.Delete(t.Rows[i], at, at+1)
	}
}

// upgradeCell returns the state of an upgrade in a few words.
func upgradeCell(u *contract.Upgrade) terminal.Cell {
	switch {
	case u == nil:
		return terminal.Cell{Text: "-"}
	case u.State == contract.StateSucceeded:
		return terminal.Cell{Text: string(u.State), Style: terminal.Green}
	case u.State == contract.StateFailed && u.Reason != nil:
		return terminal.Cell{Text: string(u.State) + ": " + string(*u.Reason), Style: terminal.Red}
	case u.State.Ended() || u.Progress == 0:
		return terminal.Cell{Text: string(u.State)}
	default:
		return terminal.Cell{Text: fmt.Sprintf("%s %.0f %%", u.State, u.Progress)}
	}
}

// rows writes names and values below each other, cut to the terminal's width.
type rows struct{ term *terminal.Terminal }

func (r rows) row(name, format string, args ...any) {
	line := fmt.Sprintf("  %-18s %s", name, terminal.Clean(fmt.Sprintf(format, args...)))
	fmt.Fprintln(r.term, terminal.Fit(line, r.term.Width()))
}

// print writes everything about a device.
func (d *deviceRecord) print(term *terminal.Terminal, now time.Time) {
	r := rows{term}
	fmt.Fprintln(term, term.Styled(terminal.Bold, terminal.Clean(d.Name)))
	r.row("EUID", "%s", d.EUID)
	r.row("network address", "%s", hex16(d.NetworkAddress))
	r.row("model", "%s, %s", text(d.ModelID), text(d.ManufacturerName))
	r.row("manufacturer code", "%s", hex16(d.ManufacturerCode))
	r.row("image type", "%s", hex16(d.ImageType))
	if d.HardwareVersion != nil {
		r.row("hardware version", "%d", *d.HardwareVersion)
	}

	if d.Endpoint != nil {
		r.row("endpoint", "%d", *d.Endpoint)
	}
	if d.Sleepy {
		r.row("power", "sleeps; it is upgraded when it wakes")
	}

	if d.LQI != nil {
		r.row("link quality", "%d of 255", *d.LQI)
	}
	r.row("last seen", "%s", seen(d.LastSeen, now))
	r.row("running version", "%s", d.running())
	if d.DateCode != nil {
		r.row("date code", "%s", *d.DateCode)
	}
	if d.OtherServer != nil {
		r.row("other OTA server", "%s, where it may look for images alone", *d.OtherServer)
		r.row("", "switch that server off, reset the device, let it join again")
	}
	if set := settingsWords(d.Settings); set != "" {
		r.row("set for it alone", "%s", set)
	}
	d.printImage(r)
	d.printOtherImages(r)
	if u := d.Upgrade; u != nil {
		r.row("upgrade", "%s", upgradeCell(u).Text)
		if u.ImageType != nil {
			r.row("upgrade of", "image type %s", hex16(u.ImageType))
		}
		r.row("upgrade from", "%s to %s", version(u.OldImageVersion), version(u.ImageVersion))
		if u.Error != nil {
			r.row("upgrade failed", "%s", *u.Error)
		}
		if !u.State.Ended() {
			r.row("upgrade queued", "%s", seen(&u.QueuedAt, now))
			if more := pace(u); more != "" {
				r.row("upgrade pace", "%s", more)
			}
			if more := turn(u, now); more != "" {
				r.row("queue", "%s", more)
			}
		}
	}
}

// printImage writes what is known of the device's image.
func (d *deviceRecord) printImage(r rows) {
	image := d.Image
	switch {
	case image != nil:
	case d.ManufacturerCode == nil || d.ImageType == nil:
		r.row("image", "none known: the device has not said yet which images it takes")
		return
	default:
		r.row("image", "none; \"zigate-ota add-image\" gives it one")
		return
	}
	newer := "not newer"
	if d.UpdateAvailable {
		newer = "newer"
	}
	r.row("image", "%s, %s, %s", version(&image.ImageVersion), newer, image.Source)
	if image.Size != nil {
		r.row("image size", "%d bytes", *image.Size)
	}
	if image.SHA256 != nil {
		r.row("image SHA-256", "%s", *image.SHA256)
	}
	if image.Title != nil {
		r.row("image title", "%s", *image.Title)
	}
	if image.FileName != nil {
		r.row("image file", "%s", *image.FileName)
	}
	if image.URL != nil {
		r.row("image from", "%s", *image.URL)
	}
	if image.ReleaseNotes != nil {
		r.row("release notes", "%s", *image.ReleaseNotes)
	}
}

// printOtherImages writes what is known of the device's other images.
func (d *deviceRecord) printOtherImages(r rows) {
	for _, o := range d.OtherImages {
		where := ""
		if o.Endpoint != nil {
			where = fmt.Sprintf(" at endpoint %d", *o.Endpoint)
		}
		newer := ""
		if o.Image != nil && o.UpdateAvailable {
			newer = ", newer: " + version(&o.Image.ImageVersion)
		}
		r.row("image type "+hex16(&o.ImageType), "runs %s%s%s", version(o.CurrentVersion), where, newer)
	}
}

func seen(t *time.Time, now time.Time) string {
	switch a := ago(t, now); a {
	case "now", "never":
		return a
	default:
		return a + " ago"
	}
}

// pace returns the rate and the remaining time of a download. It is empty where neither is known.
func pace(u *contract.Upgrade) string {
	var parts []string
	if u.BytesPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%d B/s", u.BytesPerSecond))
	}
	if u.RemainingSeconds != nil && *u.RemainingSeconds > 0 {
		parts = append(parts, span(time.Duration(*u.RemainingSeconds)*time.Second)+" left")
	}
	return strings.Join(parts, ", ")
}

// Images shows the registered images.
func (c *Shell) Images(ctx context.Context) error {
	s, err := c.open(ctx, wantsDevices, wantsImages)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.gather(ctx); err != nil {
		return err
	}

	record, ok := decode[contract.Images](s.images)
	if !ok {
		return failed(ExitFailed, "the service has not said which images it has")
	}
	if c.options.JSON {
		return printJSON(c.term, s.images)
	}

	if len(record.Images) == 0 {
		fmt.Fprintln(c.term, "no images are registered; \"zigate-ota add-image\" adds one")
		return nil
	}
	t := &terminal.Table{Columns: []terminal.Column{
		{Heading: "VERSION"}, {Heading: "MFG", Spare: 3}, {Heading: "TYPE", Spare: 1},
		{Heading: "SIZE", Right: true, Spare: 4}, {Heading: "FOR", Least: 10},
		{Heading: "TITLE", Least: 8, Spare: 5}, {Heading: "CHECKS", Spare: 2},
		{Heading: "ADDED", Right: true, Spare: 6}, {Heading: "FROM", Least: 20, Spare: 7},
	}}
	now := time.Now()
	for _, im := range record.Images {
		owners := make([]string, len(im.Devices))
		for i, euid := range im.Devices {
			owners[i] = s.devices.name(euid)
		}
		whose := oneOf(owners)
		if im.DriverTypeID != "" {
			whose = strings.TrimSuffix(fmt.Sprintf("driver %s %d: %s",
				im.DriverTypeID, im.DriverVersion, whose), ": ")
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: version(&im.ImageVersion)}, {Text: hex16(&im.ManufacturerCode)},
			{Text: hex16(&im.ImageType)}, {Text: size(im.Size)}, {Text: whose},
			{Text: strings.TrimSpace(im.Title)}, checksCell(&im), {Text: ago(&im.AddedAt, now)},
			{Text: im.URL},
		})
	}
	return t.Print(c.term)
}

// checksCell sums up the image's report: how many of its checks have passed or failed. "zigate-ota inspect"
// and --json show which.
func checksCell(im *contract.RegisteredImage) terminal.Cell {
	if im.Report == nil {
		// The store has lost the file, which has to be added again.
		return terminal.Cell{Text: "missing", Style: terminal.Red}
	}
	passed := 0
	broken := 0
	for _, check := range im.Report.Checks {
		switch check.Status {
		case contract.CheckPassed:
			passed++
		case contract.CheckFailed: // it was registered with force
			broken++
		}
	}
	switch {
	case broken > 0:
		return terminal.Cell{Text: fmt.Sprintf("%d failed", broken), Style: terminal.Red}
	case passed > 0:
		return terminal.Cell{Text: fmt.Sprintf("%d passed", passed), Style: terminal.Green}
	default:
		return terminal.Cell{Text: "none"}
	}
}

// Status shows the service and its dongle.
func (c *Shell) Status(ctx context.Context) error {
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.gather(ctx); err != nil {
		return err
	}

	if s.info == nil {
		return failed(ExitFailed, "the service has not published its info record")
	}
	if c.options.JSON {
		return printJSON(c.term, s.info.raw)
	}

	i := s.info
	r := rows{c.term}
	fmt.Fprintln(c.term, c.term.Styled(terminal.Bold, "zigate-ota "+terminal.Clean(i.Version)))
	r.row("started", "%s", seen(&i.StartedAt, time.Now()))
	r.row("broker", "%s, topics %s/#", s.broker.name(), s.broker.Base)
	if d := i.Dongle; d.Connected {
		r.row("dongle", "%s, firmware %s", text(d.Port), text(d.Firmware))
		r.row("dongle EUID", "%s", text(d.EUID))
		r.row("network", "PAN %s, channel %s", hex16(d.PANID), text(d.Channel))
		if d.Error != nil {
			r.row("trouble", "%s", text(d.Error))
		}
	} else {
		r.row("dongle", "not connected: %s", text(d.Error))
	}

	if i.Slot != nil {
		r.row("offered image", "%s, manufacturer %s, type %s", version(&i.Slot.ImageVersion),
			hex16(&i.Slot.ManufacturerCode), hex16(&i.Slot.ImageType))
	}
	newer := 0
	for _, d := range s.devices {
		if d.UpdateAvailable {
			newer++
		}
	}

	r.row("devices", "%d, %d with a newer image", i.Devices, newer)
	r.row("images", "%d", i.Images)
	r.row("upgrades", "%d running, %d waiting", i.Upgrades.Active, i.Upgrades.Queued)
	now := time.Now()
	if end := i.Upgrades.ExpectedEnd; end != nil {
		r.row("downloads", "all complete %s", expected(*end, now))
	}
	for n, d := range s.devices.queue() {
		heading := ""
		if n == 0 {
			heading = "queue"
		}
		r.row(heading, "%s: %s", d.Name, turn(d.Upgrade, now))
	}
	return nil
}
