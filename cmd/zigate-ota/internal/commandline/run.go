package commandline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// programName is the program's name in messages, in the help and in the manual page.
const programName = "zigate-ota"

// Exit codes of all commands. Those that ask a running service have more: see the package shell.
const (
	ExitOK     = 0
	ExitFailed = shell.ExitFailed // the command failed
	ExitUsage  = shell.ExitUsage  // the command line or the configuration is wrong
)

// Program has a function for each command that is not one of the shell's.
type Program struct {
	// Stdout gets help and completion, Stderr gets errors.
	Stdout io.Writer
	Stderr io.Writer

	Serve       func(ctx context.Context, s Serve) error
	Demo        func(ctx context.Context, d Demo) error
	Inspect     func(ctx context.Context, i Inspect) error
	Simulate    func(ctx context.Context, s Simulation) error
	Healthcheck func(ctx context.Context) error
	// PrintConfig prints the configuration in force, or the example of all variables.
	PrintConfig  func(ctx context.Context, example bool) error
	PrintVersion func() error

	// Shell is for the commands that ask a running service.
	Shell shell.Call
}

// Serve has the options of "serve".
type Serve struct {
	// Trace names the file that the dongle's frames are written to; empty where they are not written.
	Trace string
}

// Demo has the options of "demo".
type Demo struct {
	// Once ends the demo when every device runs its new version.
	Once bool
	// Image is the file or URL of an image for all devices; empty where the demo is to make images.
	Image string
	// Speed is how many times quicker than a real radio the simulation runs.
	Speed float64
}

// Inspect has the arguments of "inspect".
type Inspect struct {
	JSON bool
	// Names are files and URLs, at least one.
	Names []string
}

// Simulation has the options of "sim". The numbers have not been checked.
type Simulation struct {
	TCP      string // address to listen on
	PTY      string // path to link a pseudo-terminal at
	Scenario string // file
	Firmware string
	Trace    string // file
	Images   string // folder

	// Devices are JSON objects, one a device.
	Devices []string
	// Stacks are the names of the devices' Zigbee stacks, in turn.
	Stacks []string
	// Count is the number of devices of the usual home.
	Count int
	Speed float64
	Seed  uint64

	Faults Faults

	// Given has the names of the flags that were on the command line. They replace what a scenario says.
	Given map[string]bool
}

// Faults are what goes wrong in a simulation.
type Faults struct {
	// These are probabilities, from 0 to 1. Lose is for either direction of the line.
	Lose      float64
	Corrupt   float64
	Duplicate float64
	Late      float64
	Refuse    float64
	LoseAir   float64

	ResetEvery   time.Duration // mean time between resets of the dongle; 0 stands for none
	SilentResets bool          // they come without a notice
}

// UsageError says that the command line or the configuration is wrong.
type UsageError struct{ Err error }

// Error returns what is wrong, in one sentence.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *UsageError) Unwrap() error { return e.Err }

// unknownCommandError says that there is no command of a name.
type unknownCommandError struct {
	name    string
	nearest []string // commands with a similar name
}

func (e *unknownCommandError) Error() string {
	text := fmt.Sprintf("there is no command %q", e.name)
	if len(e.nearest) > 0 {
		text += "; did you mean " + strings.Join(e.nearest, " or ") + "?"
	}
	return text
}

// Run carries out a command line (without the program's name), writes to Stderr what went wrong, and
// returns the exit code.
func Run(ctx context.Context, p Program, args []string) int {
	command, err := Execute(ctx, p, args)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(p.Stderr, "%s: %v\n", command, err)

	var unknown *unknownCommandError
	if errors.As(err, &unknown) {
		fmt.Fprintln(p.Stderr)
		newGrammar(p).overview(p.Stderr)
	}
	return ExitCode(err)
}

// Execute carries out a command line. It returns the program's name with that of the command, and why it
// failed.
func Execute(ctx context.Context, p Program, args []string) (command string, err error) {
	g := newGrammar(p)
	full := completed(args)
	if name := full[0]; !g.takes(name) {
		return programName, g.unknown(name) // also with --help behind it
	}
	g.root.SetArgs(full)
	cmd, err := g.root.ExecuteContextC(ctx)
	if _, unknown := errors.AsType[*unknownCommandError](err); unknown {
		return programName, err
	}
	return cmd.CommandPath(), err
}

// ExitCode returns the exit code for an error of Execute.
func ExitCode(err error) int {
	var coded *shell.Error
	var usage *UsageError
	var unknown *unknownCommandError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &coded):
		return coded.Code
	case errors.As(err, &usage), errors.As(err, &unknown):
		return ExitUsage
	default:
		return ExitFailed
	}
}

// completed adds to a command line what may be left out: "serve", which is the default command, and the
// second dash of a flag, which the program's first releases did not need.
func completed(args []string) []string {
	full := make([]string, 0, len(args)+1)
	for i, arg := range args {
		if arg == "--" {
			full = append(full, args[i:]...)
			break
		}
		if len(arg) > 2 && arg[0] == '-' && 'a' <= arg[1] && arg[1] <= 'z' {
			arg = "-" + arg
		}
		full = append(full, arg)
	}
	if len(full) == 0 {
		return []string{"serve"}
	}
	switch first := full[0]; {
	case first == "-h", first == "--help", first == "--version", !strings.HasPrefix(first, "-"):
		return full
	default:
		return append([]string{"serve"}, full...)
	}
}
