package shell

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// All stands for every device in the place of a name.
const All = "all"

// eachOnce returns the named devices, each once. The error says that "all" has to stand alone.
func eachOnce(names []string) ([]string, error) {
	var list []string
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if len(list) > 1 && slices.Contains(list, All) {
		return nil, failed(ExitUsage, "\"all\" stands alone, got %s", oneOf(list))
	}
	return list, nil
}

// Cancel ends queued and running upgrades of devices, or of all.
func (c *Shell) Cancel(ctx context.Context, devices []string) error {
	return c.forEach(ctx, "cancel", devices, nil, "cancelled")
}

// Pause has the options of [Shell.Pause].
type Pause struct {
	Devices []string
	// For is how long the downloads are held, in whole seconds, at least one; 0 holds them until they are
	// resumed.
	For time.Duration
}

// Pause holds the downloads of devices.
func (c *Shell) Pause(ctx context.Context, p Pause) error {
	var more map[string]any
	if p.For > 0 {
		more = map[string]any{"seconds": max(1, int(p.For.Seconds()))}
	}
	return c.forEach(ctx, "pause", p.Devices, more, "paused")
}

// Resume lets the downloads of devices go on.
func (c *Shell) Resume(ctx context.Context, devices []string) error {
	return c.forEach(ctx, "resume", devices, nil, "goes on")
}

// Interview makes the service ask devices again what they are.
func (c *Shell) Interview(ctx context.Context, devices []string) error {
	return c.forEach(ctx, "interview", devices, nil, "has told who it is")
}

// Forget drops devices that are gone.
func (c *Shell) Forget(ctx context.Context, devices []string) error {
	return c.forEach(ctx, "forget", devices, nil, "forgotten")
}

// forEach asks for an operation on each of the devices; done is what is shown for a success.
func (c *Shell) forEach(
	ctx context.Context, operation string, named []string, more map[string]any, done string,
) error {
	devices, err := eachOnce(named)
	if err != nil {
		return err
	}

	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	var questions []*question
	for _, device := range devices {
		request := map[string]any{"deviceId": device}
		maps.Copy(request, more)
		q, err := s.send(ctx, operation, request)
		if err != nil {
			return err
		}
		questions = append(questions, q)
	}

	if err := s.await(ctx, questions, "the service goes on with what was asked for", nil); err != nil {
		return err
	}
	return c.outcomes(s, questions, func(q *question) string {
		if q.subject == All {
			return "all: " + done
		}
		return s.called(q) + ": " + done
	})
}

// called returns the name of the device of a question.
func (s *session) called(q *question) string {
	if q.final != nil && q.final.EUID != nil {
		return terminal.Clean(s.devices.name(*q.final.EUID))
	}
	return terminal.Clean(q.subject)
}

// outcomes shows the outcome of each question. It fails where one of them failed.
func (c *Shell) outcomes(s *session, questions []*question, told func(*question) string) error {
	wrong := 0
	var last string
	for _, q := range questions {
		switch {
		case c.options.JSON:
			if err := printJSON(c.term, q.final.raw); err != nil {
				return err
			}
		case q.final.succeeded():
			fmt.Fprintln(c.term, told(q))
		}
		if !q.final.succeeded() {
			wrong++
			last = terminal.Clean(q.final.why())
			if q.subject != "" {
				last = s.called(q) + ": " + last
			}
			if len(questions) > 1 && !c.options.JSON {
				fmt.Fprintln(c.stderr, last)
			}
		}
	}

	switch {
	case wrong == 0:
		return nil
	case len(questions) == 1:
		return &Error{Code: ExitFailed, Err: errors.New(last)}
	default:
		return failed(ExitFailed, "%d of %d failed", wrong, len(questions))
	}
}

// one asks for one operation and shows its outcome.
func (c *Shell) one(
	ctx context.Context, operation string, request map[string]any, told func(s *session, q *question) string,
) error {
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	q, err := s.send(ctx, operation, request)
	if err != nil {
		return err
	}
	if err := s.await(ctx, []*question{q}, "the service goes on with what was asked for", nil); err != nil {
		return err
	}
	return c.outcomes(s, []*question{q}, func(q *question) string { return told(s, q) })
}

// Rename gives a device a name.
func (c *Shell) Rename(ctx context.Context, device, name string) error {
	return c.one(ctx, "rename",
		map[string]any{"deviceId": device, "name": name}, func(_ *session, q *question) string {
			return fmt.Sprintf("%s is called %s", text(q.final.EUID), terminal.Clean(name))
		})
}

// RemoveImage removes the registered image of a type from a device.
func (c *Shell) RemoveImage(ctx context.Context, device, imageType string) error {
	return c.one(ctx, "remove_image", map[string]any{
		"deviceId": device, "imageTypeId": imageType,
	}, func(s *session, q *question) string {
		return s.called(q) + ": the image is removed"
	})
}

// Check makes the service read the running versions of devices, or of all, and shows which images are
// newer.
func (c *Shell) Check(ctx context.Context, named []string) error {
	devices, err := eachOnce(named)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	if len(devices) == 0 || devices[0] == All {
		return c.checkAll(ctx, s)
	}

	var questions []*question
	for _, device := range devices {
		q, err := s.send(ctx, "check", map[string]any{"deviceId": device})
		if err != nil {
			return err
		}
		questions = append(questions, q)
	}

	if err := s.await(ctx, questions, "the service goes on with the check", nil); err != nil {
		return err
	}
	return c.outcomes(s, questions, func(q *question) string {
		running := s.devices.runs(contract.EUID(text(q.final.EUID)), q.final.OldImageVersion)
		line := fmt.Sprintf("%s: runs %s", s.called(q), running)
		if q.final.UpdateAvailable != nil && *q.final.UpdateAvailable {
			return line + ", there is " + version(q.final.ImageVersion)
		}
		return line + ", nothing newer"
	})
}

// checkAll asks once for all devices and shows the results in a table.
func (c *Shell) checkAll(ctx context.Context, s *session) error {
	final, err := s.ask(ctx, "check", nil, "the service goes on with the check")
	if err != nil {
		return err
	}
	if c.options.JSON {
		if err := printJSON(c.term, final.raw); err != nil {
			return err
		}
	}

	if !final.succeeded() {
		return failed(ExitFailed, "%s", terminal.Clean(final.why()))
	}
	if c.options.JSON {
		return nil
	}

	silent := 0
	newer := 0
	t := &terminal.Table{Columns: []terminal.Column{
		{Heading: "NAME", Least: 10}, {Heading: "VERSION"}, {Heading: "NEWER", Spare: 1},
		{Heading: "CHECK", Spare: 2},
	}}
	for _, d := range s.devices.sorted() {
		for _, r := range final.Results.Checks {
			if r.EUID != d.EUID {
				continue
			}
			if r.UpdateAvailable {
				newer++
			}
			if r.Status != contract.StatusSuccess {
				silent++
			}
			t.Rows = append(t.Rows, checkRow(d, r.UpdateAvailable, r.Status == contract.StatusSuccess))
		}
	}

	if err := t.Print(c.term); err != nil {
		return err
	}
	fmt.Fprintf(c.term, "%d devices, %d with a newer image, %d without an answer\n",
		len(final.Results.Checks), newer, silent)
	return nil
}

// checkRow returns the line of the table for a device.
func checkRow(d *deviceRecord, newer, answered bool) []terminal.Cell {
	row := []terminal.Cell{
		{Text: d.Name}, {Text: version(d.CurrentVersion)}, {Text: "-"}, {Text: "asked"},
	}
	if newer {
		row[2] = terminal.Cell{Text: "yes", Style: terminal.Bold}
		if d.Image != nil {
			row[2].Text = version(&d.Image.ImageVersion)
		}
	}
	if !answered {
		row[3] = terminal.Cell{Text: "no answer", Style: terminal.Red}
	}
	return row
}
