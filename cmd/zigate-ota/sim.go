package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// firmwares are the firmware versions that can be simulated, by the name that users give them.
var firmwares = map[string]sim.Firmware{
	"3.1c": sim.V131C, "3.1d": sim.V131D, "3.1e": sim.V131E, "3.23": sim.V1323, "v2": sim.V2324,
}

// simulate runs a simulated dongle with simulated devices on a TCP port or a pseudo-terminal, for developing
// and trying software against.
func (p *program) simulate(ctx context.Context, s commandline.Simulation) error {
	if err := checkSimulation(&s); err != nil {
		return err
	}
	devices, err := givenDevices(s.Devices)
	if err != nil {
		return err
	}
	stacks, err := givenStacks(s.Stacks)
	if err != nil {
		return err
	}
	scenario, err := simulatedScenario(&s, devices, stacks)
	if err != nil {
		return err
	}
	if s.Images != "" {
		if err := writeImages(s.Images, scenario.Config.Devices); err != nil {
			return err
		}
	}
	return p.runSimulation(ctx, &s, scenario)
}

// runSimulation serves the dongle until ctx is done.
func (p *program) runSimulation(ctx context.Context, s *commandline.Simulation, scenario sim.Scenario) error {
	var listener net.Listener
	if s.TCP != "" {
		var err error
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.TCP); err != nil {
			return fmt.Errorf("opening the dongle's port: %w; choose another with --tcp", err)
		}
	}

	tasks, ctx := errgroup.WithContext(ctx)
	if s.Trace != "" {
		trace, err := newTraceFile(s.Trace)
		if err != nil {
			return err
		}
		scenario.Config.OnFrame = trace.Trace
		tasks.Go(func() error { return trace.Run(ctx) })
	}

	home := sim.New(scenario.Config)
	for i, d := range home.Devices() {
		device := d.Snapshot()
		fmt.Fprintf(p.stdout, "device %v network address 0x%04x file version 0x%08x%s\n",
			device.IEEE, device.Addr, device.FileVersion, stackShown(scenario.Config.Devices[i].Stack))
	}

	tasks.Go(func() error { return home.Run(ctx) })
	tasks.Go(func() error { return scenario.Play(ctx, home) })
	if listener != nil {
		fmt.Fprintf(p.stdout, "ZIGATE_OTA_DONGLE=tcp://%s\n", listener.Addr())
		tasks.Go(func() error { return home.ServeTCP(ctx, listener) })
	}

	if s.PTY != "" {
		tasks.Go(func() error {
			return home.ServePTY(ctx, s.PTY, func(path string) {
				fmt.Fprintf(p.stdout, "ZIGATE_OTA_DONGLE=%s\n", path)
			})
		})
	}
	return tasks.Wait()
}

// checkSimulation finds mistakes in the options of a simulation.
func checkSimulation(s *commandline.Simulation) error {
	problem := ""
	_, known := firmwares[s.Firmware]
	switch {
	case !known:
		problem = fmt.Sprintf("--firmware %q: there are %s",
			s.Firmware, strings.Join(slices.Sorted(maps.Keys(firmwares)), ", "))
	case !(s.Speed > 0): // this is also true of NaN
		problem = "--speed must be more than 0, 1 is the pace of a real radio"
	case s.Count < 1 || s.Count > 10_000:
		problem = "--devices must be from 1 to 10000"
	case s.TCP == "" && s.PTY == "":
		problem = "say where: --tcp 127.0.0.1:9999 or --pty /tmp/zigate"
	case s.Faults.ResetEvery < 0:
		problem = "--reset-every must not be negative"
	}
	for name, p := range map[string]float64{
		"lose":      s.Faults.Lose,
		"corrupt":   s.Faults.Corrupt,
		"duplicate": s.Faults.Duplicate,
		"late":      s.Faults.Late,
		"refuse":    s.Faults.Refuse,
		"lose-air":  s.Faults.LoseAir,
	} {
		if problem == "" && !(p >= 0 && p <= 1) {
			problem = fmt.Sprintf("--%s is a probability, from 0 to 1", name)
		}
	}
	if problem != "" {
		return usageError("%s; see zigate-ota help sim", problem)
	}
	return nil
}

// givenDevices returns the devices that the command line describes.
func givenDevices(texts []string) ([]sim.DeviceConfig, error) {
	var devices []sim.DeviceConfig
	for _, text := range texts {
		d, err := sim.ParseDevice(text)
		if err != nil {
			return nil, usageError("--device %q: %w; see zigate-ota help sim", text, err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// givenStacks returns the Zigbee stacks that the command line names.
func givenStacks(names []string) ([]sim.Stack, error) {
	var stacks []sim.Stack
	for _, name := range names {
		stack, err := sim.ParseStack(name)
		if err != nil {
			return nil, usageError("--stacks: %w; see zigate-ota help sim", err)
		}
		stacks = append(stacks, stack)
	}
	return stacks, nil
}

// stackShown is how a device's Zigbee stack stands behind what else is told of it.
func stackShown(stack sim.Stack) string {
	if stack == sim.NoStack {
		return ""
	}
	return " stack " + stack.String()
}

// simulatedScenario returns the simulation to run: the scenario of the file, where one is named, changed by
// the other flags.
func simulatedScenario(
	s *commandline.Simulation, devices []sim.DeviceConfig, stacks []sim.Stack,
) (sim.Scenario, error) {
	scenario := sim.Scenario{Config: simulationConfig(nil, s.Speed)}
	if s.Scenario != "" {
		file, err := os.Open(s.Scenario)
		if err != nil {
			return scenario, err
		}
		defer file.Close() // it was only read
		if scenario, err = sim.ParseScenario(file); err != nil {
			return scenario, fmt.Errorf("%s: %w", s.Scenario, err)
		}
	}
	c := &scenario.Config
	if s.Scenario == "" || s.Given["firmware"] {
		c.Firmware = firmwares[s.Firmware]
	}
	if s.Scenario == "" || s.Given["speed"] {
		c.Speed = s.Speed
	}
	if s.Scenario == "" || s.Given["seed"] {
		c.Seed = s.Seed
	}
	c.Devices = append(c.Devices, devices...)
	if len(c.Devices) == 0 {
		c.Devices = homeOfStacks(s.Count, stacks)
	}
	for i := range c.Devices {
		if c.Devices[i].Stack == sim.NoStack && len(stacks) > 0 {
			c.Devices[i].Stack = stacks[i%len(stacks)]
		}
	}
	setFaults(&c.Faults, s)
	return scenario, nil
}

// setFaults changes the faults that the command line names.
func setFaults(f *sim.Faults, s *commandline.Simulation) {
	for name, set := range map[string]func(){
		"lose": func() {
			f.LoseFromDongle = s.Faults.Lose
			f.LoseToDongle = s.Faults.Lose
		},
		"corrupt":       func() { f.Corrupt = s.Faults.Corrupt },
		"duplicate":     func() { f.Duplicate = s.Faults.Duplicate },
		"late":          func() { f.Late = s.Faults.Late },
		"refuse":        func() { f.Refuse = s.Faults.Refuse },
		"lose-air":      func() { f.LoseAir = s.Faults.LoseAir },
		"reset-every":   func() { f.ResetEvery = s.Faults.ResetEvery },
		"silent-resets": func() { f.SilentResets = s.Faults.SilentResets },
	} {
		if s.Given[name] {
			set()
		}
	}
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
