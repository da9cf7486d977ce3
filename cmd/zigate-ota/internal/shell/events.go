package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

type eventRecord struct {
	EUID             string    `json:"euid"`
	Time             time.Time `json:"time"`
	NetworkAddress   *uint16   `json:"networkAddress"`
	ManufacturerCode *uint16   `json:"mfgId"`
	ImageType        *uint16   `json:"imageTypeId"`
	ImageVersion     *uint32   `json:"imageVersion"`
	OldImageVersion  *uint32   `json:"oldImageVersion"`
	Size             *uint32   `json:"size"`
	Progress         *float64  `json:"progress"`
	Reason           string    `json:"reason"`
	ZCLStatus        *uint8    `json:"zclStatus"`
	Error            string    `json:"error"`
}

// sentences says what each event is, by its name in the topic.
var sentences = map[string]func(e *eventRecord) string{
	"dongleConnected":    func(*eventRecord) string { return "the dongle is connected" },
	"dongleDisconnected": func(*eventRecord) string { return "the dongle is gone" },
	"deviceAnnounced": func(e *eventRecord) string {
		return "announces itself at network address " + hex16(e.NetworkAddress)
	},
	"deviceLeft": func(*eventRecord) string { return "has left the network" },
	"imageAdded": func(e *eventRecord) string {
		return "image " + version(e.ImageVersion) + " is registered" + e.bytes()
	},
	"imageRemoved": func(e *eventRecord) string { return "image " + version(e.ImageVersion) + " is removed" },
	"imageLoaded": func(e *eventRecord) string {
		return fmt.Sprintf("the dongle offers image %s of manufacturer %s, type %s",
			version(e.ImageVersion), hex16(e.ManufacturerCode), hex16(e.ImageType))
	},
	"imageNotified":    func(e *eventRecord) string { return "is told of image " + version(e.ImageVersion) },
	"downloadStarted":  func(e *eventRecord) string { return "downloads " + e.versions() + e.bytes() },
	"downloadProgress": func(e *eventRecord) string { return "has " + e.percent() },
	"downloadPaused":   func(e *eventRecord) string { return "is held at " + e.percent() },
	"downloadResumed":  func(e *eventRecord) string { return "goes on at " + e.percent() },
	"downloadFinished": func(e *eventRecord) string { return "has downloaded " + version(e.ImageVersion) },
	"upgradeApplying":  func(e *eventRecord) string { return "installs " + version(e.ImageVersion) },
	"upgradeSucceeded": func(e *eventRecord) string { return "runs " + version(e.ImageVersion) },
	"upgradeFailed": func(e *eventRecord) string {
		return "was not upgraded to " + version(e.ImageVersion)
	},
	"upgradeCancelled": func(e *eventRecord) string {
		return "its upgrade to " + version(e.ImageVersion) + " is cancelled"
	},
	"deliveryFailed": func(*eventRecord) string { return "could not be reached" },
	"unsolicitedRequest": func(e *eventRecord) string {
		return "asks for image " + version(e.ImageVersion) + " without an upgrade"
	},
}

func (e *eventRecord) bytes() string {
	if e.Size == nil {
		return ""
	}
	return fmt.Sprintf(", %d bytes", *e.Size)
}

func (e *eventRecord) versions() string {
	if e.OldImageVersion == nil {
		return version(e.ImageVersion)
	}
	return version(e.ImageVersion) + " to go from " + version(e.OldImageVersion)
}

func (e *eventRecord) percent() string {
	if e.Progress == nil {
		return "?"
	}
	return fmt.Sprintf("%.1f %%", *e.Progress)
}

// line is the event for people.
func (e *eventRecord) line(name string, devices directory) (who, what string) {
	what = name
	if sentence := sentences[name]; sentence != nil {
		what = sentence(e)
	}
	for _, more := range []string{e.Reason, e.Error} {
		if more != "" {
			what += ": " + more
		}
	}
	if e.ZCLStatus != nil && *e.ZCLStatus != 0 {
		what += fmt.Sprintf(" (ZCL status 0x%02x)", *e.ZCLStatus)
	}
	if e.EUID != "" {
		who = devices.name(e.EUID)
	}
	return terminal.Clean(who), terminal.Clean(what)
}

// events shows what happens from now on.
func events(ctx context.Context, c *invocation) error {
	var names []string
	if c.flags.name != "" {
		names = strings.Split(c.flags.name, ",")
	}
	for _, name := range names {
		if sentences[name] == nil {
			return failed(ExitUsage, "there is no event %q; there are %s", name,
				oneOf(slices.Sorted(maps.Keys(sentences))))
		}
	}
	if c.flags.count < 0 {
		return failed(ExitUsage, "--count must be more than 0")
	}
	s, err := c.open(ctx, wantsDevices, wantsEvents)
	if err != nil {
		return err
	}
	defer s.close()
	only := ""
	if c.flags.device != "" {
		if only, err = s.resolve(ctx, c.flags.device); err != nil {
			return err
		}
	}
	if c.term.Interactive() {
		fmt.Fprintf(c.stderr, "what happens on %s at %s; Ctrl-C ends it\n", s.broker.Base, s.broker.name())
	}
	for n := 0; c.flags.count == 0 || n < c.flags.count; {
		u, err := s.next(ctx, nil)
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			if c.flags.count > 0 {
				return failed(ExitTimeout, "%d of %d events came in time", n, c.flags.count)
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case u.kind == isLost:
			fmt.Fprintln(c.stderr,
				"the connection to the broker is lost; what happens until it is back is not shown")
		case u.kind == isMessage && u.topic == "status" && !s.online:
			fmt.Fprintln(c.stderr, "the service has stopped; this goes on when it is back")
		}
		name, isEvent := strings.CutPrefix(u.topic, "event/")
		if !isEvent || u.kind != isMessage || u.retained || names != nil && !slices.Contains(names, name) {
			continue
		}
		e, ok := decode[eventRecord](u.payload)
		if !ok || only != "" && e.EUID != only {
			continue
		}
		n++
		if err := c.printEvent(s, name, &e, u.payload); err != nil {
			return err
		}
	}
	return nil
}

// printEvent writes one event in one line. JSON has the payload's keys, and the event's name before them.
func (c *invocation) printEvent(s *session, name string, e *eventRecord, payload []byte) error {
	if c.flags.json {
		rest := strings.TrimPrefix(strings.TrimSpace(string(payload)), "{")
		if rest != "}" {
			rest = "," + rest
		}
		line := json.RawMessage(fmt.Sprintf(`{"event":%q%s`, name, rest))
		return printJSON(c.term, line)
	}
	who, what := e.line(name, s.devices)
	at := e.Time.Local().Format(time.TimeOnly)
	if who != "" {
		what = who + ": " + what
	}
	_, err := fmt.Fprintln(c.term, terminal.Fit(c.term.Styled(terminal.Faint, at)+"  "+what, c.fits(at)))
	return err
}

// fits is the width of a line that begins with a styled text: what styles it takes no room.
func (c *invocation) fits(styled string) int {
	width := c.term.Width()
	if width == terminal.Unlimited {
		return width
	}
	return width + len(c.term.Styled(terminal.Faint, styled)) - len(styled)
}
