package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// firmwares are the firmware versions that can be simulated, by the name that users give them.
var firmwares = map[string]sim.Firmware{
	"3.1c": sim.V1_31C, "3.1d": sim.V1_31D, "3.1e": sim.V1_31E, "3.23": sim.V1_323, "v2": sim.V2_324,
}

// simulate runs a simulated dongle with simulated devices on a TCP port or a pseudo-terminal, for developing and trying
// software against.
func simulate(ctx context.Context, c call) error {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	tcp := flags.String("tcp", "", "address to listen on, like a WiFi ZiGate")
	pty := flags.String("pty", "", "path at which a pseudo-terminal is linked, like a USB ZiGate")
	speed := flags.Float64("speed", 1, "how much quicker than a real radio")
	firmware := flags.String("firmware", "3.23", "of the dongle")
	count := flags.Int("devices", 4, "how many")
	err := flags.Parse(c.args)
	version, known := firmwares[*firmware]
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("takes no argument, got %q", flags.Arg(0))
	case !known:
		err = fmt.Errorf("--firmware %q: there are %s", *firmware, strings.Join(slices.Sorted(maps.Keys(firmwares)), ", "))
	case !(*speed > 0): // nor is it NaN
		err = errors.New("--speed must be more than 0, 1 is the pace of a real radio")
	case *count < 1 || *count > 10_000:
		err = errors.New("--devices must be from 1 to 10000")
	case *tcp == "" && *pty == "":
		err = errors.New("say where: --tcp 127.0.0.1:9999 or --pty /tmp/zigate")
	}
	if err != nil {
		return fmt.Errorf("%w: %v; there are --tcp ADDR, --pty PATH, --speed N, --devices N and --firmware VERSION", errUsage, err)
	}

	var listener net.Listener
	if *tcp != "" {
		if listener, err = net.Listen("tcp", *tcp); err != nil {
			return fmt.Errorf("opening the dongle's port: %w; choose another with --tcp", err)
		}
	}
	home := newSimulation(manyDevices(*count), *speed, version)
	for _, d := range home.Devices() {
		s := d.Snapshot()
		fmt.Fprintf(c.stdout, "device %v network address 0x%04x file version 0x%08x\n", s.IEEE, s.Addr, s.FileVersion)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return home.Run(ctx) })
	if listener != nil {
		fmt.Fprintf(c.stdout, "ZIGATE_OTA_DONGLE=tcp://%s\n", listener.Addr())
		group.Go(func() error { return home.ServeTCP(ctx, listener) })
	}
	if *pty != "" {
		group.Go(func() error {
			return home.ServePTY(ctx, *pty, func(path string) { fmt.Fprintf(c.stdout, "ZIGATE_OTA_DONGLE=%s\n", path) })
		})
	}
	return group.Wait()
}
