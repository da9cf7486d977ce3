package shell

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// Call is what a command is called with.
type Call struct {
	Args           []string
	Environ        []string
	Stdout, Stderr io.Writer
	// Configure reads the configuration: where the service is talked to. broker and topic come from the
	// command line and go before what the environment says; "" where they were not given.
	Configure func(broker, topic string) (Broker, error)
	// Commands are all of the program, for completion.
	Commands []Described
}

// Described is a command as completion shows it.
type Described struct {
	Name, Summary string
	Flags         []string // with their dashes; for commands that are not of this package
}

// Command is one of the shell's commands.
type Command struct {
	Name, Arguments, Summary string
	// Hidden commands are for other programs and stand in no help.
	Hidden bool

	details  string // more help, in lines
	examples []string
	define   func(fs *flag.FlagSet, f *flags)
	least    int      // arguments that there have to be
	most     int      // and may be; -1: any number
	takes    argument // what completion offers
	run      func(ctx context.Context, c *invocation) error
}

// argument is what the arguments of a command are.
type argument int

const (
	takesNothing      argument = iota
	takesDevices               // any number
	takesDevicesOrAll          // likewise, or "all"
	takesDevice                // the first one, the others are something else
	takesDeviceAndFile
	takesEvents // no arguments, but flags that name devices and events
	takesShell
)

// flags are the values of all flags; a command defines those that it has.
type flags struct {
	broker, topic string
	json          bool
	timeout       time.Duration
	noWait, quiet bool

	url, sha256, sha512   string
	imageVersion          string
	allowDowngrade, force bool
	when, apply           string

	driverType, driverVersion, manufacturer, imageType string
	upgrade                                            bool
	serve                                              string

	hold time.Duration

	device, name string
	count        int
}

// invocation is one run of a command.
type invocation struct {
	command   *Command
	flags     flags
	args      []string
	term      *terminal.Terminal
	stderr    io.Writer
	configure func(broker, topic string) (Broker, error)
	call      Call
}

// Commands lists the shell's commands in the order of their help.
func Commands() []Command {
	answer := func(fs *flag.FlagSet, f *flags) { defineTimeout(fs, f) }
	return []Command{
		{
			Name:    "status",
			Summary: "the service, its dongle and what is under way",
			run:     status,
			define:  answer,
		},
		{
			Name:      "devices",
			Arguments: "[DEVICE...]",
			Summary:   "the devices, their versions and upgrades; everything about those that are named",
			run:       listDevices,
			define:    answer,
			most:      -1,
			takes:     takesDevices,
			examples: []string{
				"devices", "devices 'Kitchen bulb'",
				"devices --json | jq '.devices[] | select(.updateAvailable) | .euid'",
			},
		},
		{
			Name: "images", Summary: "the registered images", run: listImages, define: answer,
		},
		{
			Name:      "add-image",
			Arguments: "DEVICE URL|FILE",
			Summary:   "fetch, check and register an image for a device",
			run:       addImage,
			define:    defineAddImage,
			least:     2,
			most:      2,
			takes:     takesDeviceAndFile,
			details: "A FILE of this machine is served over HTTP, by this command, " +
				"until the service has fetched it.",
			examples: []string{
				"add-image 'Kitchen bulb' https://example.com/bulb.ota.signed",
				"add-image 0x000b57fffec6a5b2 bulb.ota --upgrade",
			},
		},
		{
			Name:      "remove-image",
			Arguments: "DEVICE TYPE",
			Summary:   "take an image back; an upgrade that uses it ends",
			run:       removeImage,
			define:    answer,
			least:     2,
			most:      2,
			takes:     takesDevice,
			examples:  []string{"remove-image 'Kitchen bulb' 0x2201"},
		},
		{
			Name:      "upgrade",
			Arguments: "DEVICE... | all",
			Summary:   "upgrade devices, with a progress bar for each",
			run:       upgrade,
			define:    defineUpgrade,
			least:     1,
			most:      -1,
			takes:     takesDevicesOrAll,
			details: "Each device gets the newest image that fits it, or the one that a flag " +
				"says.\nCtrl-C ends the waiting, not the upgrade: \"zigate-ota cancel\" does that.",
			examples: []string{
				"upgrade 'Kitchen bulb' 'Hall bulb'", "upgrade all --when window --no-wait",
				"upgrade 0x4f4f --json",
			},
		},
		{
			Name:      "cancel",
			Arguments: "DEVICE... | all",
			Summary:   "end queued and running upgrades",
			run:       simply("cancel", "cancelled"),
			define:    answer,
			least:     1,
			most:      -1,
			takes:     takesDevicesOrAll,
		},
		{
			Name:      "pause",
			Arguments: "DEVICE...",
			Summary:   "hold downloads, until resume or for some time",
			run:       simply("pause", "paused"),
			define: func(fs *flag.FlagSet, f *flags) {
				answer(fs, f)
				fs.Var((*duration)(&f.hold), "for", "for this `DURATION`, such as 10m; "+
					"without it until resume")
			},
			least:    1,
			most:     -1,
			takes:    takesDevices,
			examples: []string{"pause 'Kitchen bulb' --for 10m"},
		},
		{
			Name:      "resume",
			Arguments: "DEVICE...",
			Summary:   "let downloads go on",
			run:       simply("resume", "goes on"),
			define:    answer,
			least:     1,
			most:      -1,
			takes:     takesDevices,
		},
		{
			Name:      "check",
			Arguments: "[DEVICE...]",
			Summary:   "read the running versions again and look for newer images",
			run:       check,
			define:    answer,
			most:      -1,
			takes:     takesDevices,
		},
		{
			Name:      "interview",
			Arguments: "DEVICE...",
			Summary:   "ask devices again who they are",
			run:       simply("interview", "has told who it is"),
			define:    answer,
			least:     1,
			most:      -1,
			takes:     takesDevices,
		},
		{
			Name:      "rename",
			Arguments: "DEVICE NAME",
			Summary:   "give a device a name",
			run:       rename,
			define:    answer,
			least:     2,
			most:      2,
			takes:     takesDevice,
			examples:  []string{"rename 0x000b57fffec6a5b2 'Kitchen bulb'"},
		},
		{
			Name:      "forget",
			Arguments: "DEVICE...",
			Summary:   "drop devices that are gone",
			run:       simply("forget", "forgotten"),
			define:    answer,
			least:     1,
			most:      -1,
			takes:     takesDevices,
		},
		{
			Name:    "events",
			Summary: "what happens, one line each, until Ctrl-C",
			run:     events,
			define:  defineEvents,
			takes:   takesEvents,
			examples: []string{
				"events --device 'Kitchen bulb'", "events --name upgradeSucceeded,upgradeFailed --json",
				"events --count 1 --timeout 1h",
			},
		},
		{
			Name:      "completion",
			Arguments: "bash|zsh|fish",
			Summary:   "print the completion of commands and devices for a shell",
			run:       completion,
			least:     1,
			most:      1,
			takes:     takesShell,
			details: "bash: add to ~/.bashrc            source <(zigate-ota completion bash)\n" +
				"zsh:  add to ~/.zshrc, behind compinit   source <(zigate-ota completion zsh)\n" +
				"fish: add to ~/.config/fish/config.fish  zigate-ota completion fish | source",
		},
		{Name: completeCommand, Hidden: true, run: complete, most: -1},
	}
}

// duration is a flag that takes a duration, or a number of seconds.
type duration time.Duration

func (d *duration) String() string {
	if d == nil || *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		if v, err = time.ParseDuration(text + "s"); err != nil {
			return errors.New("not a duration such as 90s or 10m")
		}
	}
	if v <= 0 {
		return errors.New("must be more than 0")
	}
	*d = duration(v)
	return nil
}

func defineTimeout(fs *flag.FlagSet, f *flags) {
	fs.Var((*duration)(&f.timeout), "timeout",
		"wait no longer than this `DURATION`, such as 90s, for the outcome")
}

func defineUpgrade(fs *flag.FlagSet, f *flags) {
	defineTimeout(fs, f)
	fs.BoolVar(&f.noWait, "no-wait", false, "return as soon as the upgrades are queued")
	fs.BoolVar(&f.quiet, "quiet", false, "show the outcome only")
	fs.StringVar(&f.url, "url", "", "take the image at this `URL`")
	fs.StringVar(&f.sha256, "sha256", "", "with --url: its SHA-256, in `HEX`")
	fs.StringVar(&f.sha512, "sha512", "", "with --url: its SHA-512, in `HEX`")
	fs.StringVar(&f.imageVersion, "image-version", "", "take the image of this `VERSION`, such as 0x23095631")
	fs.BoolVar(&f.allowDowngrade, "allow-downgrade", false, "take an image that is older than what runs")
	fs.BoolVar(&f.force, "force", false,
		"also to the version that runs, or with an image that failed a check")
	fs.StringVar(&f.when, "when", "", "begin at a `TIME`: now, window, 02:00 or 2026-11-22T02:00:00+01:00")
	fs.StringVar(&f.apply, "apply", "",
		"install at a `TIME`: now, hold (a later upgrade installs it), or a time as for --when")
}

func defineAddImage(fs *flag.FlagSet, f *flags) {
	defineTimeout(fs, f)
	fs.BoolVar(&f.upgrade, "upgrade", false, "then upgrade the device, and wait for it")
	fs.BoolVar(&f.noWait, "no-wait", false, "with --upgrade: return as soon as the upgrade is queued")
	fs.BoolVar(&f.quiet, "quiet", false, "show the outcome only")
	fs.StringVar(&f.sha256, "sha256", "", "SHA-256 of the file, in `HEX`")
	fs.StringVar(&f.sha512, "sha512", "", "SHA-512 of the file, in `HEX`")
	fs.StringVar(&f.manufacturer, "mfg-id", "", "the manufacturer `CODE` that the image must have")
	fs.StringVar(&f.imageType, "image-type", "", "the image `TYPE` that it must have")
	fs.StringVar(&f.driverType, "driver-type", "", "register it for all devices of this driver type `ID`")
	fs.StringVar(&f.driverVersion, "driver-version", "", "the `VERSION` of that driver")
	fs.StringVar(&f.serve, "serve", "",
		"`HOST`[:PORT] of this machine under which the service can fetch FILE")
}

func defineEvents(fs *flag.FlagSet, f *flags) {
	fs.Var((*duration)(&f.timeout), "timeout", "listen for this `DURATION`, such as 10m")
	fs.StringVar(&f.device, "device", "", "only events of this `DEVICE`")
	fs.StringVar(&f.name, "name", "", "only events of these `NAMES`, separated by commas")
	fs.IntVar(&f.count, "count", 0, "end after `N` events")
}

// flagSet is the flags of a command.
func (c *Command) flagSet(f *flags) *flag.FlagSet {
	fs := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if c.define != nil {
		c.define(fs, f)
		fs.StringVar(&f.broker, "broker", "", "the broker's `URL`, instead of ZIGATE_OTA_MQTT_URL")
		fs.StringVar(&f.topic, "topic", "",
			"the service's base `TOPIC`, instead of ZIGATE_OTA_MQTT_BASE_TOPIC")
		fs.BoolVar(&f.json, "json", false, "JSON for scripts, with the keys of the MQTT payloads")
	}
	return fs
}

// Run runs the command. Its errors are of type [*Error], or mean that it failed.
func (c *Command) Run(ctx context.Context, call Call) error {
	run := &invocation{
		command:   c,
		term:      terminal.New(call.Stdout, call.Environ),
		stderr:    call.Stderr,
		configure: call.Configure,
		call:      call,
	}
	if c.Name == completeCommand {
		run.args = call.Args
		return c.run(ctx, run)
	}
	var err error
	if run.args, err = parse(c.flagSet(&run.flags), call.Args); err != nil {
		return failed(ExitUsage, "%w; see zigate-ota help %s", err, c.Name)
	}
	switch n := len(run.args); {
	case c.most == 0 && n > 0:
		return failed(ExitUsage, "takes no argument, got %q; see zigate-ota help %s", run.args[0], c.Name)
	case n < c.least, c.most > 0 && n > c.most:
		return failed(ExitUsage, "wants %s; see zigate-ota help %s", c.Arguments, c.Name)
	}
	if run.flags.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, run.flags.timeout)
		defer cancel()
	}
	return c.run(ctx, run)
}

// parse takes flags from anywhere before "--"; the rest is arguments.
func parse(fs *flag.FlagSet, args []string) (arguments []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return arguments, nil
		}
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			return append(arguments, rest...), nil
		}
		arguments = append(arguments, rest[0])
		args = rest[1:]
	}
}

// Help writes what there is to know about the command.
func (c *Command) Help(w io.Writer) {
	fmt.Fprintf(w, "zigate-ota %s: %s.\n\nUsage: zigate-ota %s", c.Name, c.Summary, c.Name)
	if c.Arguments != "" {
		fmt.Fprintf(w, " %s", c.Arguments)
	}
	fs := c.flagSet(&flags{})
	type line struct{ name, usage string }
	var lines []line
	widest := 0
	fs.VisitAll(func(f *flag.Flag) {
		placeholder, usage := flag.UnquoteUsage(f)
		l := line{"--" + f.Name, usage}
		if placeholder != "" {
			l.name += " " + placeholder
		}
		widest = max(widest, len(l.name))
		lines = append(lines, l)
	})
	if len(lines) > 0 {
		fmt.Fprint(w, " [flags]")
	}
	fmt.Fprintln(w)
	if slices.Contains([]argument{takesDevices, takesDevicesOrAll, takesDevice, takesDeviceAndFile},
		c.takes) {
		fmt.Fprint(w, "\nA DEVICE is named by its EUID (0x000b57fffec6a5b2), its network address (0x4f4f) "+
			"or its name.\n")
	}
	if c.details != "" {
		fmt.Fprintf(w, "\n%s\n", c.details)
	}
	if len(lines) > 0 {
		fmt.Fprint(w, "\nFlags:\n")
		for _, l := range lines {
			fmt.Fprintf(w, "  %-*s  %s\n", widest, l.name, l.usage)
		}
	}
	if len(c.examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
		for _, e := range c.examples {
			fmt.Fprintf(w, "  zigate-ota %s\n", e)
		}
	}
	if c.define != nil {
		fmt.Fprint(w, "\nExit codes: 0 done, 1 refused or failed, 2 usage, "+
			"3 broker or service not reachable,\n4 the time given with --timeout is over, 130 interrupted.\n")
		fmt.Fprint(w,
			"\nThe broker, its user and password are those of the service: ZIGATE_OTA_MQTT_URL, "+
				"..._USERNAME,\n..._PASSWORD, ..._BASE_TOPIC; without them the service's own broker on "+
				"this machine.\n")
	}
}

// flagNames lists a command's flags with their dashes.
func (c *Command) flagNames() []string {
	var names []string
	c.flagSet(&flags{}).VisitAll(func(f *flag.Flag) { names = append(names, "--"+f.Name) })
	return names
}

// oneOf names words in a sentence.
func oneOf(words []string) string { return strings.Join(words, ", ") }
