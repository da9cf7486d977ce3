package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// firmwares are the firmware versions that can be simulated, by the name that users give them.
var firmwares = map[string]sim.Firmware{
	"3.1c": sim.V1_31C, "3.1d": sim.V1_31D, "3.1e": sim.V1_31E, "3.23": sim.V1_323, "v2": sim.V2_324,
}

// simArguments are the flags that most people need; simHelp tells all.
const simArguments = "--tcp ADDR | --pty PATH [--scenario FILE] [--devices N] [--speed N] [--images DIR]"

// simHelp says what the flags mean.
func simHelp(w io.Writer) {
	fmt.Fprint(w, "\n")
	flags, _ := simFlags()
	flags.SetOutput(w)
	flags.PrintDefaults()
	fmt.Fprintf(w, `
A scenario is a JSON object: firmware, speed, seed, lineRate, devices, faults (loseFromDongle, loseToDongle, corrupt,
duplicate, late, lateBy, loseAir, loseAck, refuse, resetEvery, silentResets) and events ({"after": "30s", "do": "reset"},
with the device where one is meant). Events are %s.
A device is an object with ieee, addr, count, manufacturerCode, imageType, fileVersion, hardwareVersion, modelId,
manufacturerName, battery, sleepy, pollInterval, maxDataSize, blockInterval, rebootTime, pageRequests, abortAt, stopsAt,
invalidAtEnd, keepsOldVersion, neverReturns and others; see the fields of DeviceConfig in zigate/sim.
`, strings.Join(sim.ScenarioActions(), ", "))
}

// simOptions are what the flags of sim say.
type simOptions struct {
	tcp, pty, scenario, firmware, trace, images string
	devices                                     []sim.DeviceConfig
	count                                       int
	speed                                       float64
	seed                                        uint64
	faults                                      sim.Faults
	lose                                        float64 // in either direction
}

func simFlags() (*flag.FlagSet, *simOptions) {
	o := &simOptions{}
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.tcp, "tcp", "", "`address` to listen on, like a WiFi ZiGate")
	flags.StringVar(&o.pty, "pty", "", "`path` at which a pseudo-terminal is linked, like a USB ZiGate")
	flags.StringVar(&o.scenario, "scenario", "",
		"`file` that describes dongle, devices, faults and what happens; other flags come on top")
	flags.Func("device", "one device as a `JSON` object, besides others named like this; "+
		"instead of the usual home", func(text string) error {
		d, err := sim.ParseDevice(text)
		o.devices = append(o.devices, d)
		return err
	})
	flags.Float64Var(&o.speed, "speed", 1, "how much quicker than a real radio")
	flags.StringVar(&o.firmware, "firmware", "3.23", "`version` of the dongle's firmware")
	flags.IntVar(&o.count, "devices", 4, "how many devices the usual home has")
	flags.Uint64Var(&o.seed, "seed", 1, "where everything random comes from")
	flags.Float64Var(&o.lose, "lose", 0, "`probability` that a frame on the line is lost")
	flags.Float64Var(&o.faults.Corrupt, "corrupt", 0, "`probability` that a frame on the line is damaged")
	flags.Float64Var(&o.faults.Duplicate, "duplicate", 0,
		"`probability` that a frame of the dongle comes twice")
	flags.Float64Var(&o.faults.Late, "late", 0,
		"`probability` that a frame of the dongle comes late, behind others")
	flags.Float64Var(&o.faults.Refuse, "refuse", 0,
		"`probability` that the dongle has no buffer for an OTA command")
	flags.Float64Var(&o.faults.LoseAir, "lose-air", 0,
		"`probability` that a radio frame is lost, each time it is tried")
	flags.DurationVar(&o.faults.ResetEvery, "reset-every", 0, "mean `time` between resets of the dongle")
	flags.BoolVar(&o.faults.SilentResets, "silent-resets", false, "resets come without a notice")
	flags.StringVar(&o.images, "images", "", "`folder` to write images to, newer than what the devices run")
	flags.StringVar(&o.trace, "trace", "", "`file` to write all frames to, for inspect")
	return flags, o
}

// config is the simulation that the flags describe.
func (o *simOptions) config(flags *flag.FlagSet) (sim.Scenario, error) {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	s := sim.Scenario{Config: simulationConfig(nil, o.speed, sim.V1_323)}
	if o.scenario != "" {
		file, err := os.Open(o.scenario)
		if err != nil {
			return s, err
		}
		defer file.Close() // it was only read
		if s, err = sim.ParseScenario(file); err != nil {
			return s, fmt.Errorf("%s: %w", o.scenario, err)
		}
	}
	c := &s.Config
	if o.scenario == "" || given["firmware"] {
		c.Firmware = firmwares[o.firmware]
	}
	if o.scenario == "" || given["speed"] {
		c.Speed = o.speed
	}
	if o.scenario == "" || given["seed"] {
		c.Seed = o.seed
	}
	c.Devices = append(c.Devices, o.devices...)
	if len(c.Devices) == 0 {
		c.Devices = manyDevices(o.count)
	}
	f := &c.Faults
	for name, set := range map[string]func(){
		"lose": func() {
			f.LoseFromDongle = o.lose
			f.LoseToDongle = o.lose
		},
		"corrupt":       func() { f.Corrupt = o.faults.Corrupt },
		"duplicate":     func() { f.Duplicate = o.faults.Duplicate },
		"late":          func() { f.Late = o.faults.Late },
		"refuse":        func() { f.Refuse = o.faults.Refuse },
		"lose-air":      func() { f.LoseAir = o.faults.LoseAir },
		"reset-every":   func() { f.ResetEvery = o.faults.ResetEvery },
		"silent-resets": func() { f.SilentResets = o.faults.SilentResets },
	} {
		if given[name] {
			set()
		}
	}
	return s, nil
}

// check finds mistakes in the flags.
func (o *simOptions) check(flags *flag.FlagSet) error {
	_, known := firmwares[o.firmware]
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("takes no argument, got %q", flags.Arg(0))
	case !known:
		return fmt.Errorf("--firmware %q: there are %s",
			o.firmware, strings.Join(slices.Sorted(maps.Keys(firmwares)), ", "))
	case !(o.speed > 0): // nor is it NaN
		return errors.New("--speed must be more than 0, 1 is the pace of a real radio")
	case o.count < 1 || o.count > 10_000:
		return errors.New("--devices must be from 1 to 10000")
	case o.tcp == "" && o.pty == "":
		return errors.New("say where: --tcp 127.0.0.1:9999 or --pty /tmp/zigate")
	case o.faults.ResetEvery < 0:
		return errors.New("--reset-every must not be negative")
	}
	for name, p := range map[string]float64{
		"lose": o.lose, "corrupt": o.faults.Corrupt, "duplicate": o.faults.Duplicate, "late": o.faults.Late,
		"refuse": o.faults.Refuse, "lose-air": o.faults.LoseAir,
	} {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("--%s is a probability, from 0 to 1", name)
		}
	}
	return nil
}

// simulate runs a simulated dongle with simulated devices on a TCP port or a pseudo-terminal, for developing
// and trying software against.
func simulate(ctx context.Context, c call) error {
	flags, o := simFlags()
	err := flags.Parse(c.args)
	if err == nil {
		err = o.check(flags)
	}
	if err != nil {
		return fmt.Errorf("%w: %v; see zigate-ota sim --help", errUsage, err)
	}
	scenario, err := o.config(flags)
	if err != nil {
		return err
	}
	if o.images != "" {
		if err := writeImages(o.images, scenario.Config.Devices); err != nil {
			return err
		}
	}
	var listener net.Listener
	if o.tcp != "" {
		if listener, err = net.Listen("tcp", o.tcp); err != nil {
			return fmt.Errorf("opening the dongle's port: %w; choose another with --tcp", err)
		}
	}
	tasks, ctx := errgroup.WithContext(ctx)
	if o.trace != "" {
		trace, err := newTraceFile(o.trace)
		if err != nil {
			return err
		}
		scenario.Config.OnFrame = trace.Trace
		tasks.Go(func() error { return trace.Run(ctx) })
	}
	home := sim.New(scenario.Config)
	for _, d := range home.Devices() {
		s := d.Snapshot()
		fmt.Fprintf(c.stdout, "device %v network address 0x%04x file version 0x%08x\n",
			s.IEEE, s.Addr, s.FileVersion)
	}
	tasks.Go(func() error { return home.Run(ctx) })
	tasks.Go(func() error { return scenario.Play(ctx, home) })
	if listener != nil {
		fmt.Fprintf(c.stdout, "ZIGATE_OTA_DONGLE=tcp://%s\n", listener.Addr())
		tasks.Go(func() error { return home.ServeTCP(ctx, listener) })
	}
	if o.pty != "" {
		tasks.Go(func() error {
			return home.ServePTY(ctx, o.pty, func(path string) {
				fmt.Fprintf(c.stdout, "ZIGATE_OTA_DONGLE=%s\n", path)
			})
		})
	}
	return tasks.Wait()
}

// writeImages writes an image for each kind of device into a folder, which is made where there is none.
func writeImages(dir string, devices []sim.DeviceConfig) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder for the images: %w", err)
	}
	for _, d := range devices {
		image := madeImage(d)
		if err := os.WriteFile(filepath.Join(dir, image.name), image.file, 0o644); err != nil {
			return fmt.Errorf("writing an image: %w", err)
		}
	}
	return nil
}
