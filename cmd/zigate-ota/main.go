package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// version and commit are stamped by the linker: -X main.version=1.2.0 -X main.commit=abc123.
var (
	version = "dev"
	commit  = ""
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// Exit codes: 0 all is well, 1 it did not work, 2 the command line or the configuration is wrong. The
// commands that ask a running service have more (see the package shell).
const (
	exitOK = iota
	exitFailure
	exitUsage
)

// errUsage marks errors of the command line and the configuration.
var errUsage = errors.New("usage")

// command is one subcommand.
type command struct {
	name, arguments, summary string
	run                      func(ctx context.Context, c call) error
	help                     func(w io.Writer) // nil: there is no more to know than the above
	more                     func(w io.Writer) // what its flags mean; nil: they need no word
	hidden                   bool              // for other programs; stands in no help
}

// call is what a subcommand is called with.
type call struct {
	args           []string
	environ        []string
	stdout, stderr io.Writer
}

func commands() []command {
	return append([]command{
		{
			name:      "serve",
			arguments: "[--trace FILE]",
			summary:   "run the service (the default); --trace keeps the dongle's frames, for inspect",
			run:       serve,
		},
		{
			name:      "demo",
			arguments: "[--once] [--image FILE|URL] [--speed N]",
			summary:   "a whole upgrade with a simulated dongle, to look at",
			run:       demo,
		},
		{
			name:      "inspect",
			arguments: "[--json] FILE|URL...",
			summary:   "what an image is and what was verified, or a trace; exit code 1 where that is wrong",
			run:       inspect,
		},
		{
			name:      "sim",
			arguments: simArguments,
			summary:   "a simulated dongle for other software",
			run:       simulate,
			more:      simHelp,
		},
		{
			name:    "healthcheck",
			summary: "ask the running service whether it is well; exit code 0 if so",
			run:     healthcheck,
		},
		{
			name:      "config",
			arguments: "[--example]",
			summary:   "print the configuration in force, secrets masked",
			run:       printConfig,
		},
		{name: "version", summary: "print the version", run: printVersion},
	}, shellCommands()...)
}

// run is main without the process: arguments, environment and outputs in, exit code out.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name = args[0]
		args = args[1:]
	}
	if name == "help" && len(args) > 0 && !isHelp(args[0]) {
		name = args[0]
		args = []string{"--help"}
	}
	if name == "help" || len(args) > 0 && isHelp(args[0]) && name == "serve" {
		usage(stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		if wantsHelp(args) && !c.hidden {
			c.usage(stdout)
			return exitOK
		}
		err := c.run(ctx, call{args: args, environ: environ, stdout: stdout, stderr: stderr})
		var coded *shell.Error
		switch {
		case err == nil:
			return exitOK
		case errors.As(err, &coded):
			fmt.Fprintf(stderr, "zigate-ota %s: %v\n", name, err)
			return coded.Code
		case errors.Is(err, errUsage):
			fmt.Fprintf(stderr, "zigate-ota %s: %s\n",
				name, strings.TrimPrefix(err.Error(), errUsage.Error()+": "))
			return exitUsage
		default:
			fmt.Fprintf(stderr, "zigate-ota %s: %v\n", name, err)
			return exitFailure
		}
	}
	fmt.Fprintf(stderr, "zigate-ota: there is no command %q\n\n", name)
	usage(stderr)
	return exitUsage
}

// wantsHelp reports whether one of the flags asks for help.
func wantsHelp(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.ContainsFunc(args, isHelp)
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

func usage(w io.Writer) {
	fmt.Fprint(w, "zigate-ota upgrades the firmware of Zigbee devices through a ZiGate, "+
		"commanded over MQTT.\n\nUsage: zigate-ota [command]\n\n")
	own := true
	for _, c := range commands() {
		if c.hidden {
			continue
		}
		if own && c.help != nil {
			own = false
			fmt.Fprint(w, "\nAsking a running service:\n\n")
		}
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.summary)
		if c.arguments != "" {
			fmt.Fprintf(w, "  %-12s   %s\n", "", c.arguments)
		}
	}
	fmt.Fprint(w, "\n\"zigate-ota help COMMAND\" tells more. The configuration is in environment "+
		"variables;\n\"zigate-ota config --example\" lists them all.\n")
}

// usage is the help for one command.
func (c *command) usage(w io.Writer) {
	if c.help != nil {
		c.help(w)
		return
	}
	fmt.Fprintf(w, "zigate-ota %s: %s.\n\nUsage: zigate-ota %s\n",
		c.name, c.summary, strings.TrimSpace(c.name+" "+c.arguments))
	if c.more != nil {
		c.more(w)
	}
}

// noArguments refuses arguments that a subcommand does not take.
func noArguments(c call) error {
	if len(c.args) > 0 {
		return fmt.Errorf("%w: takes no argument, got %q", errUsage, c.args[0])
	}
	return nil
}

func printVersion(_ context.Context, c call) error {
	if err := noArguments(c); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "zigate-ota %s%s %s %s/%s\n",
		version, commitSuffix(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

func commitSuffix() string {
	c := commit
	if c == "" {
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					c = s.Value
				}
			}
		}
	}
	if c == "" {
		return ""
	}
	return " (" + c[:min(12, len(c))] + ")"
}

func printConfig(_ context.Context, c call) error {
	if len(c.args) == 1 && c.args[0] == "--example" {
		return config.WriteExample(c.stdout)
	}
	if err := noArguments(c); err != nil {
		return err
	}
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	return cfg.Print(c.stdout)
}

// loadConfig reads the configuration; all its mistakes are one usage error, one a line.
func loadConfig(c call) (config.Config, error) {
	cfg, err := config.Load(c.environ)
	if err != nil {
		return config.Config{}, fmt.Errorf("%w: the configuration has mistakes:\n%v", errUsage, err)
	}
	return cfg, nil
}
