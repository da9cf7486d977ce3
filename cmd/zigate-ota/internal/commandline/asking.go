package commandline

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// request asks a running service for what a command stands for.
type request func(ctx context.Context, sh *shell.Shell, args []string) error

// ask completes a command that asks a running service: it adds the flags that all of those have, and run as
// its action.
func (g *grammar) ask(cmd *cobra.Command, o *shell.Options, run request) *cobra.Command {
	flags := cmd.Flags()
	flags.StringVar(&o.Broker, "broker", "", "the broker's `URL`, instead of ZIGATE_OTA_MQTT_URL")
	flags.StringVar(&o.Topic, "topic", "",
		"the service's base `TOPIC`, instead of ZIGATE_OTA_MQTT_BASE_TOPIC")
	flags.BoolVar(&o.JSON, "json", false, "JSON for scripts, with the keys of the MQTT payloads")
	if flags.Lookup("timeout") == nil {
		durationVar(flags, &o.Timeout, "timeout",
			"wait no longer than this `DURATION`, such as 90s, for the outcome")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := o.Bound(cmd.Context())
		defer cancel()
		return run(ctx, shell.New(g.program.Shell, *o), args)
	}
	return cmd
}

func (g *grammar) status() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:   "status",
		Short: "the service, its dongle and what is under way",
		Args:  arguments(0, 0),
	}, &o, func(ctx context.Context, sh *shell.Shell, _ []string) error { return sh.Status(ctx) })
}

func (g *grammar) devices() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:   "devices [DEVICE...]",
		Short: "the devices, their versions and upgrades; everything about those that are named",
		Example: "devices\n" +
			"devices 'Kitchen bulb'\n" +
			"devices --json | jq '.devices[] | select(.updateAvailable) | .euid'",
		Args:              arguments(0, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevices),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error { return sh.Devices(ctx, args) })
}

func (g *grammar) images() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:   "images",
		Short: "the registered images",
		Args:  arguments(0, 0),
	}, &o, func(ctx context.Context, sh *shell.Shell, _ []string) error { return sh.Images(ctx) })
}

func (g *grammar) addImage() *cobra.Command {
	var o shell.Options
	var a shell.AddImage
	cmd := &cobra.Command{
		Use:   "add-image DEVICE URL|FILE",
		Short: "fetch, check and register an image for a device",
		Long: "A FILE of this machine is served over HTTP, by this command, until the service\n" +
			"has fetched it.",
		Example: "add-image 'Kitchen bulb' https://example.com/bulb.ota.signed\n" +
			"add-image 0x000b57fffec6a5b2 bulb.ota --upgrade",
		Args:              arguments(2, 2),
		ValidArgsFunction: g.completesDevices(&o, oneDeviceAndFile),
	}

	flags := cmd.Flags()
	flags.BoolVar(&a.Upgrade, "upgrade", false, "then upgrade the device, and wait for it")
	flags.BoolVar(&a.NoWait, "no-wait", false, "with --upgrade: return as soon as the upgrade is queued")
	flags.BoolVar(&a.Quiet, "quiet", false, "show the outcome only")
	flags.StringVar(&a.SHA256, "sha256", "", "SHA-256 of the file, in `HEX`")
	flags.StringVar(&a.SHA512, "sha512", "", "SHA-512 of the file, in `HEX`")
	flags.StringVar(&a.Manufacturer, "mfg-id", "", "the manufacturer `CODE` that the image must have")
	flags.StringVar(&a.ImageType, "image-type", "", "the image `TYPE` that it must have")
	flags.StringVar(&a.DriverType, "driver-type", "", "register it for all devices of this driver type `ID`")
	flags.StringVar(&a.DriverVersion, "driver-version", "", "the `VERSION` of that driver")
	flags.StringVar(&a.Serve, "serve", "",
		"`HOST`[:PORT] of this machine under which the service can fetch FILE")
	return g.ask(cmd, &o, func(ctx context.Context, sh *shell.Shell, args []string) error {
		a.Device = args[0]
		a.Source = args[1]
		return sh.AddImage(ctx, a)
	})
}

func (g *grammar) removeImage() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "remove-image DEVICE TYPE",
		Short:             "remove a registered image; an upgrade that uses it ends",
		Example:           "remove-image 'Kitchen bulb' 0x2201",
		Args:              arguments(2, 2),
		ValidArgsFunction: g.completesDevices(&o, oneDevice),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error {
		return sh.RemoveImage(ctx, args[0], args[1])
	})
}

func (g *grammar) upgrade() *cobra.Command {
	var o shell.Options
	var u shell.Upgrade
	cmd := &cobra.Command{
		Use:   "upgrade DEVICE... | all",
		Short: "upgrade devices, with a progress bar for each",
		Long: "Each device gets the newest image that fits it, or the one that a flag says.\n" +
			"Ctrl-C ends the waiting, not the upgrade: \"zigate-ota cancel\" does that.",
		Example: "upgrade 'Kitchen bulb' 'Hall bulb'\n" +
			"upgrade all --when window --no-wait\n" +
			"upgrade 0x4f4f --json",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevicesOrAll),
	}

	flags := cmd.Flags()
	flags.BoolVar(&u.NoWait, "no-wait", false, "return as soon as the upgrades are queued")
	flags.BoolVar(&u.Quiet, "quiet", false, "show the outcome only")
	flags.StringVar(&u.ImageType, "image-type", "", "upgrade the device's other image of this `TYPE`")
	flags.StringVar(&u.URL, "url", "", "take the image at this `URL`")
	flags.StringVar(&u.SHA256, "sha256", "", "with --url: its SHA-256, in `HEX`")
	flags.StringVar(&u.SHA512, "sha512", "", "with --url: its SHA-512, in `HEX`")
	flags.StringVar(&u.ImageVersion, "image-version", "",
		"take the image of this `VERSION`, such as 0x23095631")
	flags.BoolVar(&u.AllowDowngrade, "allow-downgrade", false, "take an image that is older than what runs")
	flags.BoolVar(&u.Force, "force", false,
		"also to the version that runs, or with an image that failed a check")
	flags.StringVar(&u.When, "when", "", "begin at a `TIME`: now, window, 02:00 or 2026-11-22T02:00:00+01:00")
	flags.StringVar(&u.Apply, "apply", "",
		"install at a `TIME`: now, hold (a later upgrade installs it), or a time as for --when")
	completesWords(cmd, "when", "now", "window")
	completesWords(cmd, "apply", "now", "hold")
	return g.ask(cmd, &o, func(ctx context.Context, sh *shell.Shell, args []string) error {
		u.Devices = args
		return sh.Upgrade(ctx, u)
	})
}

func (g *grammar) cancel() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "cancel DEVICE... | all",
		Short:             "end queued and running upgrades",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevicesOrAll),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error { return sh.Cancel(ctx, args) })
}

func (g *grammar) pause() *cobra.Command {
	var o shell.Options
	var p shell.Pause
	cmd := &cobra.Command{
		Use:               "pause DEVICE...",
		Short:             "hold downloads, until resume or for some time",
		Example:           "pause 'Kitchen bulb' --for 10m",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevices),
	}
	durationVar(cmd.Flags(), &p.For, "for", "for this `DURATION`, such as 10m; without it until resume")
	return g.ask(cmd, &o, func(ctx context.Context, sh *shell.Shell, args []string) error {
		p.Devices = args
		return sh.Pause(ctx, p)
	})
}

func (g *grammar) resume() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "resume DEVICE...",
		Short:             "let downloads go on",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevices),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error { return sh.Resume(ctx, args) })
}

func (g *grammar) check() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "check [DEVICE...]",
		Short:             "read the running versions again and look for newer images",
		Args:              arguments(0, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevices),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error { return sh.Check(ctx, args) })
}

func (g *grammar) interview() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "interview DEVICE...",
		Short:             "ask devices again what they are and run",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevices),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error { return sh.Interview(ctx, args) })
}

func (g *grammar) rename() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "rename DEVICE NAME",
		Short:             "give a device a name",
		Example:           "rename 0x000b57fffec6a5b2 'Kitchen bulb'",
		Args:              arguments(2, 2),
		ValidArgsFunction: g.completesDevices(&o, oneDevice),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error {
		return sh.Rename(ctx, args[0], args[1])
	})
}

func (g *grammar) configure() *cobra.Command {
	var o shell.Options
	var c shell.Configure
	cmd := &cobra.Command{
		Use:   "configure DEVICE",
		Short: "set what holds for one device alone",
		Long: "What is not given stays as it is; \"default\" takes a setting back.\n" +
			"Without a flag, the device is shown with what is set.",
		Example: "configure 'Kitchen bulb' --excluded true\n" +
			"configure 'Kitchen bulb' --block-size 40 --stall-timeout 1h\n" +
			"configure 'Kitchen bulb' --block-size default",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completesDevices(&o, oneDevice),
	}

	flags := cmd.Flags()
	flags.Var(&c.Excluded, "excluded",
		"upgrade it only when it is named, with --force: `true|false`")
	flags.Var(&c.BlockSize, "block-size", "largest block in `BYTES`, 1 to 64")
	flags.Var(&c.BlockInterval, "block-interval", "shortest time between two blocks, a `DURATION`")
	flags.Var(&c.StallTimeout, "stall-timeout",
		"`DURATION` without a block request after which a download has stalled")
	flags.Var(&c.NotifyAttempts, "notify-attempts", "`NUMBER` of offers before an upgrade fails")
	completesWords(cmd, "excluded", "true", "false", "default")
	return g.ask(cmd, &o, func(ctx context.Context, sh *shell.Shell, args []string) error {
		c.Device = args[0]
		return sh.Configure(ctx, c)
	})
}

func (g *grammar) forget() *cobra.Command {
	var o shell.Options
	return g.ask(&cobra.Command{
		Use:               "forget DEVICE...",
		Short:             "drop devices that are gone",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completesDevices(&o, anyDevices),
	}, &o, func(ctx context.Context, sh *shell.Shell, args []string) error { return sh.Forget(ctx, args) })
}

func (g *grammar) events() *cobra.Command {
	var o shell.Options
	var e shell.Events
	var names string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "what happens, one line each, until Ctrl-C",
		Example: "events --device 'Kitchen bulb'\n" +
			"events --name upgradeSucceeded,upgradeFailed --json\n" +
			"events --count 1 --timeout 1h",
		Args: arguments(0, 0),
	}
	flags := cmd.Flags()
	durationVar(flags, &o.Timeout, "timeout", "listen for this `DURATION`, such as 10m")
	flags.StringVar(&e.Device, "device", "", "only events of this `DEVICE`")
	flags.StringVar(&names, "name", "", "only events of these `NAMES`, separated by commas")
	flags.IntVar(&e.Count, "count", 0, "end after `N` events")
	completesFlag(cmd, "device", g.completesDevices(&o, anyDevices))
	completesWords(cmd, "name", shell.EventNames()...)
	return g.ask(cmd, &o, func(ctx context.Context, sh *shell.Shell, _ []string) error {
		if names != "" {
			e.Names = strings.Split(names, ",")
		}
		return sh.Events(ctx, e)
	})
}
