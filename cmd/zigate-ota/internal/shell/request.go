package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// all is the device that means every one.
const all = "all"

// devices are the devices named on the command line, each once. "all" stands alone.
func (c *invocation) devices() ([]string, error) {
	var list []string
	for _, name := range c.args {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if len(list) > 1 && slices.Contains(list, all) {
		return nil, failed(ExitUsage, "\"all\" stands alone, got %s", oneOf(list))
	}
	return list, nil
}

// simply makes a command that asks for an operation for each of its devices; done says what has
// become of a device.
func simply(operation, done string) func(ctx context.Context, c *invocation) error {
	return func(ctx context.Context, c *invocation) error {
		devices, err := c.devices()
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
			if c.flags.hold > 0 {
				request["seconds"] = max(1, int(c.flags.hold.Seconds()))
			}
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
			if q.subject == all {
				return "all: " + done
			}
			return s.called(q) + ": " + done
		})
	}
}

// called is what the device of an answered question is called.
func (s *session) called(q *question) string {
	if q.final != nil && q.final.EUID != nil {
		return terminal.Clean(s.devices.name(*q.final.EUID))
	}
	return terminal.Clean(q.subject)
}

// outcomes shows what became of each question, and fails where one did not go well.
func (c *invocation) outcomes(s *session, questions []*question, told func(*question) string) error {
	wrong := 0
	var last string
	for _, q := range questions {
		switch {
		case c.flags.json:
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
			if len(questions) > 1 && !c.flags.json {
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

// one asks for one operation and shows what became of it.
func (c *invocation) one(
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

func rename(ctx context.Context, c *invocation) error {
	name := c.args[1]
	return c.one(ctx, "rename",
		map[string]any{"deviceId": c.args[0], "name": name}, func(_ *session, q *question) string {
			return fmt.Sprintf("%s is called %s", text(q.final.EUID), terminal.Clean(name))
		})
}

func removeImage(ctx context.Context, c *invocation) error {
	return c.one(ctx, "remove_image", map[string]any{
		"deviceId": c.args[0], "imageTypeId": c.args[1],
	}, func(s *session, q *question) string {
		return s.called(q) + ": the image is removed"
	})
}

// check reads versions again and shows what is newer.
func check(ctx context.Context, c *invocation) error {
	devices, err := c.devices()
	if err != nil {
		return err
	}
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	if len(devices) == 0 || devices[0] == all {
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
		line := fmt.Sprintf("%s: runs %s", s.called(q), version(q.final.OldImageVersion))
		if q.final.UpdateAvailable != nil && *q.final.UpdateAvailable {
			return line + ", there is " + version(q.final.ImageVersion)
		}
		return line + ", nothing newer"
	})
}

// checkAll is one request for all devices, and a table of what came of it.
func (c *invocation) checkAll(ctx context.Context, s *session) error {
	final, err := s.ask(ctx, "check", nil, "the service goes on with the check")
	if err != nil {
		return err
	}
	if c.flags.json {
		if err := printJSON(c.term, final.raw); err != nil {
			return err
		}
	}
	if !final.succeeded() {
		return failed(ExitFailed, "%s", terminal.Clean(final.why()))
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
			row := []terminal.Cell{
				{Text: d.Name}, {Text: version(d.CurrentVersion)}, {Text: "-"}, {Text: "asked"},
			}
			if r.UpdateAvailable {
				newer++
				row[2] = terminal.Cell{Text: "yes", Style: terminal.Bold}
				if d.Image != nil {
					row[2].Text = version(&d.Image.ImageVersion)
				}
			}
			if r.Status != contract.StatusSuccess {
				silent++
				row[3] = terminal.Cell{Text: "no answer", Style: terminal.Red}
			}
			t.Rows = append(t.Rows, row)
		}
	}
	if c.flags.json {
		return nil
	}
	if err := t.Print(c.term); err != nil {
		return err
	}
	fmt.Fprintf(c.term, "%d devices, %d with a newer image, %d without an answer\n",
		len(final.Results.Checks), newer, silent)
	return nil
}
