package commandline

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// Groups of commands in the help.
const (
	groupService = "service"
	groupAsking  = "asking"
)

// grammar has the commands. It is made anew for each command line.
type grammar struct {
	program  Program
	root     *cobra.Command
	commands []*cobra.Command // in the order of the help
}

func newGrammar(p Program) *grammar {
	g := &grammar{program: p}
	g.root = g.rootCommand()
	g.add(groupService,
		g.serve(), g.demo(), g.inspect(), g.simulate(), g.healthcheck(), g.config(), g.version(),
		g.completion())
	g.add(groupAsking,
		g.status(), g.devices(), g.images(), g.addImage(), g.removeImage(), g.upgrade(), g.cancel(),
		g.pause(), g.resume(), g.check(), g.interview(), g.rename(), g.configure(),
		g.forget(), g.events())
	return g
}

func (g *grammar) add(group string, commands ...*cobra.Command) {
	g.root.AddGroup(&cobra.Group{ID: group})
	for _, cmd := range commands {
		cmd.GroupID = group
		cmd.LocalFlags().VisitAll(splitUsage)
		g.root.AddCommand(cmd)
		g.commands = append(g.commands, cmd)
	}
}

// rootCommand stands for the program. It is run where the first word is no command, and for --version.
func (g *grammar) rootCommand() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:                        programName,
		Short:                      Summary,
		Args:                       cobra.ArbitraryArgs,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		// Where a command does not exist, the error is about the command and not about its flags.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if showVersion {
				return g.program.PrintVersion()
			}
			return g.unknown(args[0])
		},
	}
	root.SetOut(g.program.Stdout)
	root.SetErr(g.program.Stderr)
	root.SetFlagErrorFunc(flagProblem)
	root.SetHelpFunc(g.help)
	root.SetHelpCommand(g.helpCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.PersistentFlags().BoolP("help", "h", false, "show help")
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	return root
}

// unknown returns the error for a name that no command has.
func (g *grammar) unknown(name string) error {
	return &unknownCommandError{name: name, nearest: g.root.SuggestionsFor(name)}
}

// find returns the command of a name. It returns nil where there is none.
func (g *grammar) find(name string) *cobra.Command {
	for _, cmd := range g.commands {
		if cmd.Name() == name {
			return cmd
		}
	}
	return nil
}

// takes reports whether a command line may begin with a word: a flag, a command, or what a shell asks when it
// completes.
func (g *grammar) takes(word string) bool {
	return strings.HasPrefix(word, "-") || strings.HasPrefix(word, cobra.ShellCompRequestCmd) ||
		word == "help" || g.find(word) != nil
}

// argumentsOf returns what follows the command's name in its usage line.
func argumentsOf(cmd *cobra.Command) string {
	_, rest, _ := strings.Cut(cmd.Use, " ")
	return rest
}

func (g *grammar) serve() *cobra.Command {
	var s Serve
	cmd := &cobra.Command{
		Use:   "serve [--trace FILE]",
		Short: "run the service (the default); --trace keeps the dongle's frames, for inspect",
		Long: "The configuration is in environment variables. SIGHUP switches the log between the\n" +
			"configured level and debug; SIGTERM and Ctrl-C end the service.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.program.Serve(cmd.Context(), s) },
	}
	cmd.Flags().StringVar(&s.Trace, "trace", "", "`FILE` to write the dongle's frames to, for inspect")
	completesFiles(cmd, "trace")
	return cmd
}

func (g *grammar) demo() *cobra.Command {
	var d Demo
	cmd := &cobra.Command{
		Use:   "demo [--once] [--image FILE|URL] [--speed N]",
		Short: "a whole upgrade with a simulated dongle, to look at",
		Args:  arguments(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return g.program.Demo(cmd.Context(), d) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&d.Once, "once", false, "end when every device runs its new version")
	flags.StringVar(&d.Image, "image", "", "a firmware image, `FILE|URL`, for all devices")
	flags.Float64Var(&d.Speed, "speed", 30, "how much quicker than a real radio: `N` times")
	completesFiles(cmd, "image")
	return cmd
}

func (g *grammar) inspect() *cobra.Command {
	var i Inspect
	cmd := &cobra.Command{
		Use: "inspect [--json] FILE|URL...",
		Short: "what an image is and what was verified, or a trace; exit code 1 where that is " +
			"wrong",
		Args:              arguments(1, -1),
		ValidArgsFunction: files,
		RunE: func(cmd *cobra.Command, args []string) error {
			i.Names = args
			return g.program.Inspect(cmd.Context(), i)
		},
	}
	cmd.Flags().BoolVar(&i.JSON, "json", false, "JSON for scripts, one object a line")
	return cmd
}

// simulationHelp describes a scenario.
const simulationHelp = `A scenario is a JSON object: firmware, speed, seed, lineRate, devices, faults
(loseFromDongle, loseToDongle, corrupt, duplicate, late, lateBy, loseAir, loseAck, refuse,
resetEvery, silentResets, refuseBlocks, refusalOutlastsReset) and events ({"after": "30s", "do": "reset"},
with the device where one is meant). Events are
%s.
refuseBlocks has every block refused with a status ("0x14" for leaked buffers, "0x15"): as a fault from the
start on, as an event ({"after": "30s", "do": "refuseBlocks", "status": "0x15"}) from then on; until a reset,
or with refusalOutlastsReset until a powerCycle.
A device is an object with ieee, addr, count, manufacturerCode, imageType, fileVersion, stack
(%s),
hardwareVersion, modelId, manufacturerName, battery, sleepy, pollInterval, maxDataSize,
blockInterval, rebootTime, pageRequests, abortAt, stopsAt, invalidAtEnd, keepsOldVersion,
neverReturns and others; see the fields of DeviceConfig in zigate/sim.`

func (g *grammar) simulate() *cobra.Command {
	var s Simulation
	cmd := &cobra.Command{
		Use:   "sim --tcp ADDR | --pty PATH [--scenario FILE] [--devices N] [--speed N] [--images DIR]",
		Short: "a simulated dongle for other software",
		Long:  fmt.Sprintf(simulationHelp, strings.Join(sim.ScenarioActions(), ", "), stackNames()),
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.Given = map[string]bool{}
			cmd.Flags().Visit(func(f *pflag.Flag) { s.Given[f.Name] = true })
			return g.program.Simulate(cmd.Context(), s)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.TCP, "tcp", "", "`ADDR` to listen on, like a WiFi ZiGate")
	flags.StringVar(&s.PTY, "pty", "", "`PATH` at which a pseudo-terminal is linked, like a USB ZiGate")
	flags.StringVar(&s.Scenario, "scenario", "",
		"`FILE` that describes dongle, devices, faults and what happens; other flags come on top")
	flags.StringArrayVar(&s.Devices, "device", nil,
		"one device as a `JSON` object, besides others named like this; instead of the usual home")
	flags.StringSliceVar(&s.Stacks, "stacks", nil,
		"`NAMES` of the devices' Zigbee stacks in turn, ember,telink; else as each maker is known for")
	flags.IntVar(&s.Count, "devices", 4, "how many devices the usual home has: `N`")
	flags.Float64Var(&s.Speed, "speed", 1, "how much quicker than a real radio: `N` times")
	flags.Uint64Var(&s.Seed, "seed", 1, "where everything random comes from: `N`")
	flags.StringVar(&s.Firmware, "firmware", "3.23", "`VERSION` of the dongle's firmware")
	flags.StringVar(&s.Images, "images", "", "`DIR` to write images to, newer than what the devices run")
	flags.StringVar(&s.Trace, "trace", "", "`FILE` to write all frames to, for inspect")
	simulationFaults(flags, &s.Faults)

	completesFiles(cmd, "pty", "scenario", "trace", "images")
	return cmd
}

// stackNames lists the Zigbee stacks that can be simulated.
func stackNames() string {
	var names []string
	for _, s := range sim.Stacks() {
		names = append(names, s.String())
	}
	return strings.Join(names, ", ")
}

// simulationFaults adds the flags for what goes wrong in a simulation.
func simulationFaults(flags *pflag.FlagSet, faults *Faults) {
	flags.Float64Var(&faults.Lose, "lose", 0, "probability `P` that a frame on the line is lost")
	flags.Float64Var(&faults.Corrupt, "corrupt", 0, "probability `P` that a frame on the line is damaged")
	flags.Float64Var(&faults.Duplicate, "duplicate", 0,
		"probability `P` that a frame of the dongle comes twice")
	flags.Float64Var(&faults.Late, "late", 0,
		"probability `P` that a frame of the dongle comes late, behind others")
	flags.Float64Var(&faults.Refuse, "refuse", 0,
		"probability `P` that the dongle has no buffer for an OTA command")
	flags.Float64Var(&faults.LoseAir, "lose-air", 0,
		"probability `P` that a radio frame is lost, each time it is tried")
	flags.DurationVar(&faults.ResetEvery, "reset-every", 0,
		"mean time between resets of the dongle: a `DURATION` such as 5m")
	flags.BoolVar(&faults.SilentResets, "silent-resets", false, "resets come without a notice")
}

func (g *grammar) healthcheck() *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "ask the running service whether it is well; exit code 0 if so",
		Args:  arguments(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return g.program.Healthcheck(cmd.Context()) },
	}
}

func (g *grammar) config() *cobra.Command {
	var example bool
	cmd := &cobra.Command{
		Use:   "config [--example]",
		Short: "print the configuration in force, secrets masked",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.program.PrintConfig(cmd.Context(), example)
		},
	}
	cmd.Flags().BoolVar(&example, "example", false,
		"print all variables with their meaning and their defaults instead")
	return cmd
}

func (g *grammar) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  arguments(0, 0),
		RunE:  func(*cobra.Command, []string) error { return g.program.PrintVersion() },
	}
}
