package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

type eventRecord struct{ contract.Event }

// sentences has the words for each event, by its name in the topic.
var sentences = map[contract.EventName]func(e *eventRecord) string{
	contract.EventDongleConnected:    func(*eventRecord) string { return "the dongle is connected" },
	contract.EventDongleDisconnected: func(*eventRecord) string { return "the dongle is gone" },
	contract.EventDeviceAnnounced: func(e *eventRecord) string {
		return "announces itself at network address " + hex16(e.NetworkAddress)
	},
	contract.EventDeviceLeft: func(*eventRecord) string { return "has left the network" },
	contract.EventImageAdded: func(e *eventRecord) string {
		return "image " + version(e.ImageVersion) + " is registered" + e.bytes()
	},
	contract.EventImageRemoved: func(e *eventRecord) string {
		return "image " + version(e.ImageVersion) + " is removed"
	},
	contract.EventImageLoaded: func(e *eventRecord) string {
		return fmt.Sprintf("the dongle offers image %s of manufacturer %s, type %s",
			version(e.ImageVersion), hex16(e.ManufacturerCode), hex16(e.ImageType))
	},
	contract.EventImageNotified: func(e *eventRecord) string {
		return "is told of image " + version(e.ImageVersion)
	},
	contract.EventDownloadStarted: func(e *eventRecord) string {
		return "downloads " + e.versions() + e.bytes()
	},
	contract.EventDownloadProgress: func(e *eventRecord) string { return "has " + e.percent() },
	contract.EventDownloadPaused:   func(e *eventRecord) string { return "is held at " + e.percent() },
	contract.EventDownloadResumed:  func(e *eventRecord) string { return "goes on at " + e.percent() },
	contract.EventDownloadFinished: func(e *eventRecord) string {
		return "has downloaded " + version(e.ImageVersion)
	},
	contract.EventUpgradeApplying: func(e *eventRecord) string {
		return "installs " + version(e.ImageVersion)
	},
	contract.EventUpgradeSucceeded: func(e *eventRecord) string { return "runs " + version(e.ImageVersion) },
	contract.EventUpgradeFailed: func(e *eventRecord) string {
		if e.ImageVersion == nil {
			return "was not upgraded"
		}
		return "was not upgraded to " + version(e.ImageVersion)
	},
	contract.EventUpgradeCancelled: func(e *eventRecord) string {
		return "its upgrade to " + version(e.ImageVersion) + " is cancelled"
	},
	contract.EventDeliveryFailed: func(*eventRecord) string { return "could not be reached" },
	contract.EventUnsolicitedRequest: func(e *eventRecord) string {
		return "asks for image " + version(e.ImageVersion) + " without an upgrade"
	},
}

// EventNames lists the names of all events, sorted.
func EventNames() []string {
	var names []string
	for _, name := range contract.EventNames() {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

func (e *eventRecord) bytes() string {
	if e.Size == nil {
		return ""
	}
	return fmt.Sprintf(", %d bytes", *e.Size)
}

func (e *eventRecord) versions() string {
	if e.OldImageVersion.Value == nil {
		return version(e.ImageVersion)
	}
	return version(e.ImageVersion) + " to go from " + version(e.OldImageVersion.Value)
}

func (e *eventRecord) percent() string {
	if e.Progress == nil {
		return "?"
	}
	return fmt.Sprintf("%.1f %%", *e.Progress)
}

// line returns the event in words.
func (e *eventRecord) line(name string, devices directory) (who, what string) {
	what = name
	if sentence := sentences[contract.EventName(name)]; sentence != nil {
		what = sentence(e)
	}
	for _, more := range []string{string(e.Reason), e.Error} {
		if more != "" {
			what += ": " + more
		}
	}
	if e.ZCLStatus != nil && *e.ZCLStatus != 0 {
		what += fmt.Sprintf(" (ZCL status 0x%02x)", *e.ZCLStatus)
	}
	if e.EUID != nil {
		who = devices.name(*e.EUID)
	}
	return terminal.Clean(who), terminal.Clean(what)
}

// Events has the options of [Shell.Events].
type Events struct {
	Device string   // only events of this device; empty for all
	Names  []string // only events of these names; empty for all
	Count  int      // the command ends after this number of events; 0 for no limit
}

// named reports whether events of this name are to be shown.
func (e *Events) named(name string) bool { return len(e.Names) == 0 || slices.Contains(e.Names, name) }

// check finds mistakes in the options.
func (e *Events) check() error {
	for _, name := range e.Names {
		if sentences[contract.EventName(name)] == nil {
			return failed(ExitUsage, "there is no event %q; there are %s", name, oneOf(EventNames()))
		}
	}
	if e.Count < 0 {
		return failed(ExitUsage, "--count must be more than 0")
	}
	return nil
}

// Events shows events from now on. It succeeds when the timeout is over, unless fewer events came than
// Count says.
func (c *Shell) Events(ctx context.Context, wanted Events) error {
	if err := wanted.check(); err != nil {
		return err
	}
	s, err := c.open(ctx, wantsDevices, wantsEvents)
	if err != nil {
		return err
	}
	defer s.close()
	var only contract.EUID
	if wanted.Device != "" {
		if only, err = s.resolve(ctx, wanted.Device); err != nil {
			return err
		}
	}

	if c.term.Interactive() {
		fmt.Fprintf(c.stderr, "what happens on %s at %s; Ctrl-C ends it\n", s.broker.Base, s.broker.name())
	}
	for n := 0; wanted.Count == 0 || n < wanted.Count; {
		u, err := s.next(ctx, nil)
		switch {
		case !errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		case wanted.Count > 0:
			return failed(ExitTimeout, "%d of %d events came in time", n, wanted.Count)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		c.tellGap(s, u)
		name, e, ok := wanted.event(u, only)
		if !ok {
			continue
		}
		n++
		if err := c.printEvent(s, name, &e, u.payload); err != nil {
			return err
		}
	}
	return nil
}

// event returns the event of an update, if it is one that is to be shown. only is the device's EUID, empty
// for all devices.
func (e *Events) event(u update, only contract.EUID) (name string, event eventRecord, ok bool) {
	name, ok = strings.CutPrefix(u.topic, "event/")
	if !ok || u.kind != isMessage || u.retained || !e.named(name) {
		return "", eventRecord{}, false
	}
	event, ok = decode[eventRecord](u.payload)
	if only != "" && (event.EUID == nil || *event.EUID != only) {
		return "", eventRecord{}, false
	}
	return name, event, ok
}

// tellGap says that events may be missing from now on, where that is so.
func (c *Shell) tellGap(s *session, u update) {
	switch {
	case u.kind == isLost:
		fmt.Fprintln(c.stderr,
			"the connection to the broker is lost; what happens until it is back is not shown")
	case u.kind == isMessage && u.topic == "status" && !s.online:
		fmt.Fprintln(c.stderr, "the service has stopped; this goes on when it is back")
	}
}

// printEvent writes one event in one line. JSON has the payload's keys, and the event's name before them.
func (c *Shell) printEvent(s *session, name string, e *eventRecord, payload []byte) error {
	if c.options.JSON {
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

// fits returns the width for a line that begins with a styled text, whose control characters take no room.
func (c *Shell) fits(styled string) int {
	width := c.term.Width()
	if width == terminal.Unlimited {
		return width
	}
	return width + len(c.term.Styled(terminal.Faint, styled)) - len(styled)
}
